"""How many bytes all requests of a process may hold together, before the storage has them."""

from __future__ import annotations

import threading
import time
from typing import Protocol
from weakref import WeakSet

from .gathered import Gathered

_IDLE = 0.05  # seconds
_SPARED = 4  # this part of the budget may be memory of whole parts, which is kept for the next ones


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

    def part(self, size: int, holder: Holder) -> bytearray | None:
        """Memory for a whole part, taken now: what another part has left, or new; None, if there is no room."""
        with self._lock:
            spare = sum(map(len, self._spare))
            at = next((n for n, one in enumerate(self._spare) if len(one) == size), -1)
            if at < 0 and (self._reusable + size > self.size // _SPARED or self.used + spare + size > self.size):
                return None
            self._holders.add(holder)
            self.used += size
            if at >= 0:
                return self._spare.pop(at)
            self._reusable += size
            return bytearray(size)

    def back(self, held: Gathered, *, spare: bool = True) -> None:
        """What was held is stored, or does not count. `spare`: nobody reads or writes there any more."""
        with self._lock:
            self.used -= held.cost
            if held.whole and spare:
                self._spare.append(held.buffer)
            elif held.whole:
                self._reusable -= held.cost

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
