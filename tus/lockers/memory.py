"""Leases for the threads of one process."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ..errors import Interrupted, Locked
from .ear import Ends

_MOMENT = 0.05  # seconds; longer than what is brief takes in memory
_PATIENCE = 5.0  # seconds to wait for what another request keeps


class _Upload:
    """One that is written to, or handed over. Those who hold something of it are known by their numbers."""

    def __init__(self, newest: int) -> None:
        self.newest = newest  # no lease on it had a higher token
        self.owner = 0  # the lease that has turns
        self.keeper = 0  # the lease or claim that keeps all others out
        self.shares: set[int] = set()

    def take(self, owner: int, keeper: int) -> None:
        self.owner, self.keeper = owner, keeper
        self.shares.clear()

    def leave(self, number: int) -> None:
        self.shares.discard(number)
        if self.owner == number:
            self.owner = 0
        if self.keeper == number:
            self.keeper = 0

    @property
    def idle(self) -> bool:
        return not (self.owner or self.keeper or self.shares)


class MemoryLocker:
    """Knows the owner of each upload that is being written to. All uploads share one mutex: memory is fast."""

    def __init__(self, *, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self.turns = threading.RLock()  # the garbage collector may release a claim while its thread has a turn
        self.ends = Ends()
        self._freed = threading.Condition(self.turns)
        self._uploads: dict[str, _Upload] = {}
        self._dropped: deque[tuple[str, int]] = deque()  # what the garbage collector has found to be over
        self._last = 0

    def lease(
        self,
        id: str,
        *,
        brief: bool = False,
        patience: float | None = None,
        check: Callable[[], object] | None = None,
    ) -> MemoryLease:
        with self.turns:
            upload = self._free(id, self._patience if patience is None else max(patience, _MOMENT))
            if upload.owner and check:
                check()
            token = upload.newest = self._next()
            upload.take(token, token if brief else 0)
            self._uploads[id] = upload
            lease = MemoryLease(self, id, token)
        self.ends.end(id, token)
        return lease

    def share(self, id: str) -> MemoryShare:
        with self.turns:
            upload, number = self._free(id, self._patience), self._next()
            upload.shares.add(number)
            self._uploads[id] = upload
            return MemoryShare(self, id, number, upload.newest)

    def claim(self, id: str, *, patience: float = 0.0) -> MemoryClaim:
        with self.turns:
            upload, number = self._free(id, max(patience, _MOMENT)), self._next()
            upload.take(0, number)
            self._uploads[id] = upload
            return MemoryClaim(self, id, number)

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _free(self, id: str, patience: float) -> _Upload:
        """The upload, once no other request keeps it. Store it again: the garbage collector may have released the rest
        of what was held of it."""
        self._clear()
        if not self._freed.wait_for(lambda: not self._known(id).keeper, patience):
            raise Locked("the upload is busy")
        return self._known(id)

    def _known(self, id: str) -> _Upload:
        return self._uploads.get(id) or _Upload(self._last)

    def enter(self, id: str, number: int) -> None:
        """Begin a turn."""
        self.turns.acquire()
        if not self.holds(id, number):
            self.done()
            raise Interrupted("a newer request took over this upload")

    def done(self) -> None:
        """End a turn."""
        if self._dropped:
            self._clear()
        self.turns.release()

    def holds(self, id: str, number: int) -> bool:
        """Whether the lease or share with this number has turns."""
        upload = self._uploads.get(id)
        return upload is not None and (upload.owner == number or number in upload.shares and not upload.keeper)

    def keep(self, id: str) -> None:
        """The owner keeps it. Only in a turn."""
        upload = self._uploads[id]
        upload.keeper = upload.owner

    def keeps(self, id: str, number: int) -> bool:
        return self._known(id).keeper == number

    def leave(self, id: str, number: int) -> None:
        """What had this number is over."""
        with self.turns:
            upload = self._uploads.get(id)
            if not upload:
                return
            upload.leave(number)
            if upload.idle:
                del self._uploads[id]
            self._freed.notify_all()

    def drop(self, id: str, number: int) -> None:
        """The same for the garbage collector, which must not wait: it may have stopped a thread for which the one waits
        that has a turn. That one ends it then."""
        self._dropped.append((id, number))
        if self.turns.acquire(blocking=False):
            self.done()

    def _clear(self) -> None:
        with suppress(IndexError):
            while True:
                self.leave(*self._dropped.popleft())

    def writing(self, id: str) -> bool:
        return bool(self._known(id).owner)

    lives = writing  # a process that dies takes the memory along

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        pass  # a crash leaves nothing


class _Held:
    """What is released when nothing uses it any more."""

    _over = False

    def __init__(self, locker: MemoryLocker, id: str, number: int) -> None:
        self._locker, self._id, self._number = locker, id, number

    def release(self) -> None:
        self._over = True
        self._locker.leave(self._id, self._number)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the process a thread that had a turn may never leave it, and the memory goes anyway.
        if not (self._over or ending()):
            self._locker.drop(self._id, self._number)


class MemoryLease(_Held):
    """Ours until another request asks for one."""

    _listens = False

    @property
    def token(self) -> int:
        return self._number

    def turn(self) -> MemoryLease:
        return self

    def __enter__(self) -> None:
        self._locker.enter(self._id, self._number)

    def __exit__(self, *_: object) -> None:
        self._locker.done()

    def keep(self) -> None:
        with self:
            self._locker.keep(self._id)

    def on_lost(self, end: Callable[[], None]) -> None:
        if self._over or self._locker.keeps(self._id, self._number):
            return
        self._listens = True
        self._locker.ends.listen(self._number, self._id, self._number, end)
        if not self._locker.holds(self._id, self._number):
            self._locker.ends.end(self._id, self._number + 1)

    def release(self, *, forget: bool = False) -> None:
        if self._listens:
            self._locker.ends.forget(self._number)
        super().release()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if self._listens and not (self._over or ending()):
            self._locker.ends.forget(self._number)
        super().__del__()


class MemoryShare(_Held):
    """Ours until another request asks for the whole."""

    def __init__(self, locker: MemoryLocker, id: str, number: int, token: int) -> None:
        super().__init__(locker, id, number)
        self.token = token

    def turn(self) -> MemoryShare:
        return self

    def __enter__(self) -> None:
        self._locker.enter(self._id, self._number)

    def __exit__(self, *_: object) -> None:
        self._locker.done()


class MemoryClaim(_Held):
    """Held until released, or until nothing refers to it any more."""
