"""How fast bytes go out."""

from __future__ import annotations

import threading
import time

_BLOCK = 1 << 20  # bytes that go at once, at most
_TURNS = 10  # blocks a second, so that a slow line moves all the time


class Rate:
    """At most so many bytes a second, for all connections that share it."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self.block = max(1, min(_BLOCK, per_second // _TURNS))
        self._due = 0.0  # time.monotonic() until which the bytes sent so far are paid for
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Wait until as many bytes may have gone."""
        with self._lock:
            now = time.monotonic()
            self._due = max(now, self._due) + count / self._per_second
            left = self._due - now
        time.sleep(left)
