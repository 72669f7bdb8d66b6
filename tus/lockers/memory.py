"""Leases for the threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import Interrupted, Locked


class MemoryLocker:
    """Knows the owner of each upload that is being written to. All uploads share one mutex: memory is fast."""

    def __init__(self) -> None:
        self.turns = threading.Lock()
        self._owners: dict[str, MemoryLease] = {}
        self._claims: set[str] = set()

    def lease(self, id: str) -> MemoryLease:
        with self.turns:
            self._free(id)
            old = self._owners.get(id)
            new = self._owners[id] = MemoryLease(self, id)
        if old:
            old.end()
        return new

    def _free(self, id: str) -> None:
        if id in self._claims:
            raise Locked("the upload is being handed over")

    def owns(self, lease: MemoryLease) -> bool:
        return self._owners.get(lease.id) is lease

    def writing(self, id: str) -> bool:
        return id in self._owners

    @contextmanager
    def mutex(self, id: str) -> Iterator[None]:
        with self.turns:
            self._free(id)
            yield

    def claim(self, id: str) -> MemoryClaim:
        with self.turns:
            self._free(id)
            self._claims.add(id)
        return MemoryClaim(self, id)

    def forget(self, lease: MemoryLease) -> None:
        with self.turns:
            if self.owns(lease):
                del self._owners[lease.id]

    def unclaim(self, id: str) -> None:
        with self.turns:
            self._claims.discard(id)


class MemoryLease:
    """Ours until somebody else asks for one."""

    def __init__(self, locker: MemoryLocker, id: str) -> None:
        self._locker = locker
        self.id = id
        self.end: Callable[[], None] = lambda: None

    def turn(self) -> MemoryLease:
        return self

    def __enter__(self) -> None:
        self._locker.turns.acquire()
        if not self._locker.owns(self):
            self._locker.turns.release()
            raise Interrupted("a newer request took over this upload")

    def __exit__(self, *_: object) -> None:
        self._locker.turns.release()

    def on_lost(self, end: Callable[[], None]) -> None:
        self.end = end
        if not self._locker.owns(self):
            end()

    def release(self, *, forget: bool = False) -> None:
        self.end = lambda: None
        self._locker.forget(self)


class MemoryClaim:
    """Held until released, or until nobody knows of it any more."""

    def __init__(self, locker: MemoryLocker, id: str) -> None:
        self._locker: MemoryLocker | None = locker
        self._id = id

    def release(self) -> None:
        locker, self._locker = self._locker, None
        if locker:
            locker.unclaim(self._id)

    def __del__(self) -> None:
        with suppress(AttributeError):
            self.release()
