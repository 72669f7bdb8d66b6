"""The bytes that a draft has in hand, in memory of which the budget knows."""

from __future__ import annotations

from collections.abc import Callable

from .budget import Budget, Holder
from .gathered import Digest, Gathered

_FAST = 1 << 17  # bytes; who brings more than that at once will fill a part soon
_MOVED = 1 << 20  # bytes that are copied once, so that those which follow need no copy


class InHand:
    """The last ones that it took. Those that come fast gather in memory of a whole part, where a server can
    receive."""

    def __init__(
        self, budget: Budget, holder: Holder, hashes: Callable[[], Digest], gathered: Gathered | None = None
    ) -> None:
        self._budget, self._holder, self._hashes = budget, holder, hashes
        self.gathered = gathered or Gathered(hashes)
        self._space: tuple[Gathered, memoryview] | None = None  # where the server receives
        self._fast = False
        budget.force(self.gathered.cost)

    def __len__(self) -> int:
        return len(self.gathered)

    @property
    def frees(self) -> int:
        """Bytes of memory that others can have, once what is here is stored; none of what a server receives into."""
        return 0 if self._space else self.gathered.cost

    def heed(self, size: int) -> None:
        """So much came at once."""
        self._fast, self._space = size > _FAST, None

    def want(self, part: int) -> None:
        """Have memory for a whole part of so many bytes, if they come fast and there is some; what is here moves there.
        0: it is not wanted."""
        held = self.gathered
        if not (self._fast and part) or held.whole or len(held) > _MOVED:
            return
        if memory := self._budget.part(part, self._holder):
            self.gathered = held.into(memory)
            self._budget.back(held)

    def space(self, size: int, part: int) -> memoryview | None:
        """Where the server may receive."""
        if size > _FAST:
            self.want(part)
        self._space = (self.gathered, self.gathered.space(size)) if self.gathered.whole else None
        return self._space[1] if self._space else None

    def received(self, size: int) -> memoryview | None:
        """So much lies there now. What is returned does not lie here: in the meantime, this was let go."""
        assert self._space
        (gathered, space), self._space = self._space, None
        if gathered is not self.gathered:
            return space[:size]
        self._fast = size > _FAST or self._fast and size == len(space)
        gathered.took(space[:size])
        return None

    def leave(self) -> Gathered:
        """What is here is somebody else's now, who gives it back to the budget."""
        held, self.gathered = self.gathered, Gathered(self._hashes)
        return held

    def let_go(self) -> None:
        """It is stored, or does not count. A server may still receive there."""
        held = self.leave()
        self._budget.back(held, spare=not self._space or self._space[0] is not held)
