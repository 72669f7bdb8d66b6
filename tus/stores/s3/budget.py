"""How many bytes all requests of a process may hold together, before the storage has them."""

from __future__ import annotations

import threading
import time
from typing import Protocol
from weakref import WeakSet

_IDLE = 0.05  # seconds


class Holder(Protocol):
    """What holds bytes that could be stored as they are."""

    touched: float  # when it took some

    @property
    def holds(self) -> int: ...

    def spill(self) -> bool:
        """Store what is held; False if that cannot be done in this moment."""


class Budget:
    """Bytes are taken before they are held, and given back when they are stored."""

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0
        self._lock = threading.Lock()
        self._holders: WeakSet[Holder] = WeakSet()

    def take(self, size: int, holder: Holder) -> bool:
        """Whether there is room for so many more bytes."""
        with self._lock:
            self._holders.add(holder)
            if self.used + size > self.size:
                return False
            self.used += size
            return True

    def force(self, size: int) -> None:
        """Those bytes are there, whether there is room for them or not."""
        with self._lock:
            self.used += size

    def give(self, size: int) -> None:
        with self._lock:
            self.used -= size

    def relieve(self, asking: Holder) -> bool:
        """Let one of those store what it holds that wait for their clients: the one that holds most."""
        with self._lock:
            others = [one for one in self._holders if one is not asking and one.holds]
        now = time.monotonic()
        idle = sorted((one for one in others if now - one.touched > _IDLE), key=lambda one: one.holds, reverse=True)
        return any(one.spill() for one in idle[:_TRIED])


_TRIED = 8
