"""Parts of one request that are on their way, side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

_SIDE_BY_SIDE = 3


class Going:
    """By their numbers."""

    def __init__(self) -> None:
        self._parts: dict[int, Future[str]] = {}
        self.failed = False  # at least one of them

    def __bool__(self) -> bool:
        return bool(self._parts)

    def send(
        self,
        pool: ThreadPoolExecutor,
        number: int,
        put: Callable[..., str],
        *args: Any,
        then: Callable[[], object] = bool,
    ) -> None:
        """Let `put` store a part, and call `then` whatever comes of it."""
        self._parts[number] = going = pool.submit(put, *args)

        def over(_: Future[str]) -> None:
            self.failed = self.failed or going.exception() is not None
            then()

        going.add_done_callback(over)

    def wait_for_one(self, *, most: int = 0) -> bool:
        """Until one of them is over; false if no more than `most` are on their way."""
        going = [one for one in self._parts.values() if not one.done()]
        if len(going) <= most:
            return False
        wait(going, return_when=FIRST_COMPLETED)
        return True

    def has_room(self) -> bool:
        """Whether one more may go; if not, wait until one is over."""
        return not self.wait_for_one(most=_SIDE_BY_SIDE - 1)

    def wait(self) -> None:
        wait(self._parts.values())

    def taken(self) -> list[tuple[int, Future[str]]]:
        """All of them, when they are over; none is on its way any more."""
        self.wait()
        parts, self._parts, self.failed = self._parts, {}, False
        return sorted(parts.items())
