"""How many bytes all requests of a process may hold together, before the storage has them."""

from __future__ import annotations

import threading
import time
from typing import Protocol
from weakref import WeakSet

from .gathered import Gathered

_IDLE = 0.05  # seconds
_SPARED = 8  # this part of the budget may be memory that is kept for the next parts


class Holder(Protocol):
    """What holds bytes that could be stored as they are."""

    touched: float  # when it took some

    @property
    def holds(self) -> int: ...

    def spill(self) -> bool:
        """Store what is held; False if that cannot be done in this moment."""


class Budget:
    """Bytes are taken before they are held, and given back when they are stored; then their memory may be kept for the
    next part."""

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0
        self._spare: list[bytearray] = []
        self._reusable = 0  # bytes of buffers that are spare, or that were and are in use again
        self._lock = threading.Lock()
        self._holders: WeakSet[Holder] = WeakSet()

    def take(self, size: int, holder: Holder) -> bool:
        """Whether there is room for so many more bytes."""
        with self._lock:
            self._holders.add(holder)
            if self.used + size > self.size:
                return False
            if self.used + size + sum(map(len, self._spare)) > self.size:
                self._reusable -= sum(map(len, self._spare))
                self._spare.clear()
            self.used += size
            return True

    def reuse(self, size: int, holder: Holder) -> Gathered:
        """Memory of that size which was used before, and is taken now; if there is none, one that grows."""
        with self._lock:
            at = next((n for n, one in enumerate(self._spare) if len(one) == size), -1)
            if at < 0:
                return Gathered()
            self._holders.add(holder)
            self.used += size
            return Gathered(reused=self._spare.pop(at))

    def back(self, held: Gathered, part: int) -> None:
        """What was held is stored, or does not count; nobody reads it any more."""
        with self._lock:
            self.used -= held.cost
            if not held.reused:
                if held.cost != part or self._reusable + part > self.size // _SPARED:
                    return
                self._reusable += part
            self._spare.append(held.buffer)

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
