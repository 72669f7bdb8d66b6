"""Leases for the threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import Interrupted, Locked


class MemoryLocker:
    """Knows the owner of each upload that is being written to. All uploads share one mutex: memory is fast."""

    def __init__(self) -> None:
        self.turns = threading.RLock()  # the garbage collector may release a claim while its thread has a turn
        self._owners: dict[str, MemoryLease] = {}
        self._claims: set[str] = set()
        self._shares: dict[str, set[MemoryShare]] = {}

    def lease(
        self, id: str, *, locked: bool = False, patient: bool = True, check: Callable[[], object] | None = None
    ) -> MemoryLease:
        with self.turns:
            self._free(id)
            old = self._owners.get(id)
            if old and check:
                check()
            new = self._owners[id] = MemoryLease(self, id)
            self._shares.pop(id, None)
            if locked:
                new.begin()
        if old:
            old.end()
        return new

    def share(self, id: str) -> MemoryShare:
        with self.turns:
            self._free(id)
            share = MemoryShare(self, id)
            self._shares.setdefault(id, set()).add(share)
            return share

    def has(self, share: MemoryShare) -> bool:
        return share in self._shares.get(share.id, ())

    def leave(self, share: MemoryShare) -> None:
        with self.turns:
            shares = self._shares.get(share.id, set())
            shares.discard(share)
            if not shares:
                self._shares.pop(share.id, None)

    def claimed(self, id: str) -> bool:
        return id in self._claims

    def _free(self, id: str) -> None:
        if id in self._claims:
            raise Locked("the upload is being handed over")

    def owns(self, lease: MemoryLease) -> bool:
        return self._owners.get(lease.id) is lease

    def writing(self, id: str) -> bool:
        return id in self._owners

    lives = writing  # a process that dies takes the memory along

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

    def lock(self, id: str) -> None:
        self._claims.add(id)

    def unlock(self, id: str) -> None:
        with self.turns:
            self._claims.discard(id)

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        pass  # a crash leaves nothing

    def forget(self, lease: MemoryLease) -> None:
        with self.turns:
            if self.owns(lease):
                del self._owners[lease.id]

    def unclaim(self, id: str) -> None:
        with self.turns:
            self._shares.pop(id, None)
            self._claims.discard(id)


class MemoryLease:
    """Ours until somebody else asks for one."""

    def __init__(self, locker: MemoryLocker, id: str) -> None:
        self._locker = locker
        self.id = id
        self._begun = self._locked = False
        self.end: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """The first turn."""
        self._locker.turns.acquire()
        self._begun = True

    def lock(self) -> None:
        with self.turn():
            self._locked = True
            self._locker.lock(self.id)

    def unlock(self) -> None:
        if self._locked:
            self._locked = False
            self._locker.unlock(self.id)
        if self._begun:
            self._begun = False
            self._locker.turns.release()

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
        self.unlock()


class MemoryShare:
    """Ours until somebody asks for the whole."""

    def __init__(self, locker: MemoryLocker, id: str) -> None:
        self._locker = locker
        self.id = id

    def holds(self) -> bool:
        return self._locker.has(self)

    def turn(self) -> MemoryShare:
        return self

    def __enter__(self) -> None:
        self._locker.turns.acquire()
        if not self.holds() or self._locker.claimed(self.id):
            self._locker.turns.release()
            raise Interrupted("this upload was finished or taken over")

    def __exit__(self, *_: object) -> None:
        self._locker.turns.release()

    def lock(self) -> None:
        """A share finishes nothing: the request that finishes the upload takes a lease."""

    def unlock(self) -> None:
        """It never begins with a turn."""

    def on_lost(self, end: Callable[[], None]) -> None:
        """No other share is told: there may be many, and each finds out at its next turn, in time."""

    def release(self, *, forget: bool = False) -> None:
        self._locker.leave(self)


class MemoryClaim:
    """Held until released, or until nothing refers to it any more."""

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
