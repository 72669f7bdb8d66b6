"""What a process remembers of uploads: so that the next request of a client costs one call.

It is used where a lease knows that no other process had one since; and if it is wrong all the same, a request costs
more, and no byte.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from .. import Fence
from .gathered import Gathered
from .state import Holding

_CERTAIN = 300.0  # seconds for which a lease knows for certain that there was none before it
_SINCE_GLIMPSE = 0.25  # seconds
_MANY = 10_000


@dataclass
class Known:
    """An upload as the request left it whose lease had this token."""

    token: int
    state: Holding
    held: Gathered  # its last bytes, which fill no part yet
    since: float

    def holds(self, fence: Fence, offset: int) -> bool:
        before = getattr(fence, "before", None)
        if before is None or before != self.token or offset != self.state.end:
            return False
        return before > 0 or time.monotonic() - self.since < _CERTAIN


class Memory:
    """The newest ones, with no more than so many bytes."""

    def __init__(self, size: int) -> None:
        self._size, self._bytes = size, 0
        self._uploads: OrderedDict[str, Known] = OrderedDict()
        self._glimpsed: dict[str, tuple[float, Holding]] = {}
        self._lock = threading.Lock()

    def put(self, id: str, token: int, state: Holding, held: Gathered) -> None:
        with self._lock:
            self._remove(id)
            self._uploads[id] = Known(token, state, held, time.monotonic())
            self._bytes += len(held)
            while len(self._uploads) > _MANY or self._bytes > self._size and self._uploads:
                self._remove(next(iter(self._uploads)))

    def look(self, id: str) -> Holding | None:
        """What is remembered, right or not."""
        found = self._uploads.get(id)
        return found.state if found else None

    def take(self, id: str, fence: Fence, offset: int) -> Known | None:
        """What is remembered, if it is right; it is forgotten then, since it will be wrong in a moment."""
        with self._lock:
            found = self._remove(id)
        return found if found and found.holds(fence, offset) else None

    def forget(self, id: str) -> None:
        with self._lock:
            self._remove(id)

    def _remove(self, id: str) -> Known | None:
        found = self._uploads.pop(id, None)
        if found:
            self._bytes -= len(found.held)
        return found

    def glimpsed(self, id: str, state: Holding) -> None:
        """A record that was read just now."""
        if len(self._glimpsed) > _MANY:
            self._glimpsed.clear()
        self._glimpsed[id] = time.monotonic(), state

    def fresh(self, id: str) -> Holding | None:
        """The record, if it was read just now; it is used once."""
        since, state = self._glimpsed.pop(id, (0.0, None))
        return state if time.monotonic() - since < _SINCE_GLIMPSE else None
