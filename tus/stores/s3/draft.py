"""The bytes of one request on their way into the storage."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING

from ...errors import Interrupted, StoreBroken, StoreFull
from .. import Block, Fence, Following
from . import grid
from .client import Failed
from .names import Name
from .state import Holding

if TYPE_CHECKING:
    from . import S3Store

_SIDE_BY_SIDE = 3  # parts of one request that are on their way


class S3Draft:
    """Bytes gather here until they fill a part, which goes on its way while the next one gathers. What is left at a
    commit becomes a piece. The parts of an `exact` draft wait as objects of their own until the commit."""

    def __init__(
        self,
        store: S3Store,
        state: Holding,
        start: int,
        fence: Fence,
        *,
        exact: bool = False,
        name: Name | None = None,
        held: bytearray | None = None,
    ) -> None:
        self._store, self._uploads, self._fence, self._exact = store, store.uploads, fence, exact
        self.state, self._name = state, name
        self.fresh = name is not None  # nobody knows of this upload yet
        self.taken = self._committed = start
        # The last bytes that were taken, of the part that is not full.
        self._held = bytearray() if held is None else held
        self._piece_end = start  # up to there they lie in pieces as well
        self._going: dict[int, Future[str]] = {}  # parts on their way
        self._parked: dict[int, list[grid.Span]] = {}  # parts of an exact draft that wait
        self.closed = self.failed = False

    @property
    def alone(self) -> bool:
        """Whether a lease keeps all others out, wherever they are."""
        return isinstance(self._fence, Following)

    # Taking

    def write(self, block: Block) -> None:
        with self._fence.turn():
            """Raises Interrupted if it is lost."""
        self._check_going()
        view = memoryview(block).cast("B")
        while view:
            if self._exact and self._fills():
                self._park()
            room = self._room()
            taken = view[:room] if room else view
            self._held += taken
            self.taken += len(taken)
            view = view[len(taken) :]
            if not self._exact and self._fills():
                self._send()

    def _room(self) -> int:
        """Bytes that the part still lacks; 0 if there are to be no parts."""
        part = self.state.place.part
        return 0 if self.state.single else part - self.taken % part

    def _fills(self) -> bool:
        """Whether what is held ends a part."""
        return not self.state.single and bool(self._held) and self.taken % self.state.place.part == 0

    def _ends(self) -> bool:
        """Whether what is held ends a part, or the last one."""
        return self._fills() or bool(self._held) and not self.state.single and self.taken == self.state.upload.length

    @property
    def _from(self) -> int:
        """Where what is held begins."""
        return self.taken - len(self._held)

    def _number(self) -> int:
        """The part that what is held belongs to."""
        return -(-self.taken // self.state.place.part)

    def _head(self) -> list[grid.Span]:
        """What of that part lies in pieces."""
        return grid.between(self.state.pieces, (self._number() - 1) * self.state.place.part, self._from)

    def _park(self) -> None:
        head, token = self._head(), self._fence.token
        piece = self._uploads.put_piece(self.state, self._from, token, self._held, apart=True)
        self._parked[self._number()] = [*head, piece]
        self._held = bytearray()

    def _send(self) -> None:
        """A part that is full goes on its way."""
        self._make_room()
        self._uploads.begin(self.state)
        number, head = self._number(), self._head()
        held, self._held = self._held, bytearray()
        self._going[number] = self._uploads.pool.submit(self._uploads.put_part, self.state, number, head, held)

    def _make_room(self) -> None:
        """Wait until there is room for one more part on its way."""
        while len(going := [one for one in self._going.values() if not one.done()]) >= _SIDE_BY_SIDE:
            wait(going, return_when=FIRST_COMPLETED)
            self._check_going()

    def _check_going(self) -> None:
        if any(one.done() and one.exception() for one in self._going.values()):
            self._settle()

    def _settle(self) -> None:
        """Wait for all parts on their way; raises with the offset that is certain, if one failed."""
        going, self._going = self._going, {}
        wait(going.values())
        failed: BaseException | None = None
        for number in sorted(going):
            failed = failed or going[number].exception()
            if not failed:
                self.state.etags[number - 1 :] = [going[number].result()]
        if failed:
            self._fail(failed)

    def _fail(self, error: BaseException) -> None:
        """What follows a part that failed does not count."""
        self._held, self.failed = bytearray(), True
        self.state.pieces = grid.row(self.state.pieces, self.state.parts_end)
        self.taken = self._committed = self._piece_end = max(self.state.end, self._committed)
        if isinstance(error, Failed) and error.missing:
            raise Interrupted("another request finished or removed this upload") from error
        if isinstance(error, StoreBroken | StoreFull):
            error.offset = self.taken
        raise error

    # Committing

    def commit(self, *, durable: bool = False) -> int:
        if self.taken != self._committed:
            self._settle()
            with self._fence.turn():
                try:
                    self._reveal() if self._parked else self._flush()
                except (StoreBroken, StoreFull) as error:
                    self._fail(error)
            self._committed = self.taken
            self.state.upload = self.state.upload.evolve(offset=self.taken, touched=self._uploads.clock())
        return self.taken

    def _flush(self) -> None:
        """What is held becomes a part, or else a piece; those of its bytes that are in pieces already need none."""
        if self._ends():
            self._uploads.begin(self.state)
            number = self._number()
            self.state.etags[number - 1 :] = [self._uploads.put_part(self.state, number, self._head(), self._held)]
            self._held = bytearray()
            return
        start = max(self._piece_end, self._from)
        if start < self.taken:
            piece = self._uploads.put_piece(self.state, start, self._fence.token, self._held[start - self._from :])
            self.state.pieces = [*self.state.pieces, piece]
        self._piece_end = self.taken

    def _reveal(self) -> None:
        """What lies farthest goes first: nothing counts until the part in which this draft began is there."""
        self._uploads.begin(self.state)
        parked, self._parked = self._parked, {}
        rows = {number: (row, b"") for number, row in parked.items()}
        if self._ends():
            rows[self._number()] = ([], self._held)  # type: ignore[assignment]
        else:
            self._flush()
        etags = {n: self._uploads.put_part(self.state, n, *rows[n]) for n in sorted(rows, reverse=True)}
        self.state.etags[min(etags) - 1 :] = [etags[number] for number in sorted(etags)]
        if len(rows) > len(parked):
            self._held = bytearray()

    def put_last(self) -> None:
        """What lies in pieces behind the last part becomes the last part: the end is known now."""
        state = self.state
        if state.parts_end < self.taken == state.upload.length:
            self._held = bytearray()
            self._uploads.begin(state)
            number, row = len(state.etags) + 1, grid.between(state.pieces, state.parts_end, self.taken)
            state.etags.append(self._uploads.put_part(state, number, row, b""))

    def settle(self) -> None:
        """Nothing is on its way any more; raises as `commit` does."""
        self._settle()

    def whole(self) -> list[Block]:
        """All that there is of an upload that fits into one part."""
        return [*self._uploads.data(grid.between(self.state.pieces, 0, self._from)), bytes(self._held)]

    # Forgetting

    def abort(self) -> None:
        if self.closed:
            return
        with self._fence.turn():
            going, self._going = self._going, {}
            wait(going.values())
            for number in sorted(going):
                if not going[number].exception() and len(self.state.etags) == number - 1:
                    self.state.etags.append(going[number].result())
            self._parked.clear()
            self._held = bytearray()
            self.taken = self._piece_end = self._committed
            if going or self.state.parts_end > self._committed:
                self._uploads.lay_out_anew(self.state, self._committed, self._fence.token, fresh=self.fresh)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        wait(self._going.values())
        self._store.closed(self)
        if self._name:
            self._name.release()

    def remember(self) -> None:
        """Let the next request of this process go on without asking what is there."""
        whole, state = self.taken == self._committed == self.state.end, self.state
        if whole and not (self._going or self._parked or state.sealed or state.place.whole):
            self._store.memory.put(state.upload.id, self._fence.token, state, self._held)
