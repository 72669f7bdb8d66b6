"""Leases and claims that lie in the data of the upload itself, `<id>`, and need no lease file.

Each is taken while the data is locked by flock and there is neither a lease file nor somebody's mark. A brief lease and
a claim stay locked. A lease whose holder waits for its client leaves a mark: whoever wants to take it over, or to share
the upload, makes the lease file, and writes there that the holder of the mark has the lease.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Protocol

from ..errors import Interrupted, Locked, StoreFull
from ..stores import filesystems
from . import Lease
from .flocks import MOMENT, Held, ear, flocked, unlock, waited
from .marks import mark, marked, unmark

_DATA = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Filed(Lease, Protocol):
    """A lease that has a file, and is its own turn."""

    def rest(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


class Files(Protocol):
    """What is needed of the locker that has lease files."""

    def has(self, id: str) -> bool:
        """Whether there is a lease file."""

    def leads(self, id: str, fd: int) -> bool:
        """Whether the open file is the upload's data."""

    def adopted(self, id: str) -> Filed | None:
        """The lease that the file says is ours; None if it is another's."""

    def say(self, id: str) -> None:
        """Make the lease file, which says that the lease is ours. Only while the data is locked and there is none."""

    def begun(self, id: str) -> int:
        """A lease file, opened and locked. Only while the data is locked and there is none."""

    def remove(self, id: str) -> bool: ...


class DataLease(Held):
    """Ours until the release: a brief one."""

    token = 1  # who comes next does so when we can write no more

    def __init__(self, fd: int) -> None:
        self._fd, self._ends = fd, ear.ends

    def turn(self) -> DataLease:
        return self

    def __enter__(self) -> None:
        if self._fd < 0:
            raise Interrupted("this request has let go of the upload")

    def __exit__(self, *_: object) -> None:
        """The others wait until the release."""

    def keep(self) -> None:
        self.__enter__()

    def on_lost(self, end: Callable[[], None]) -> None:
        """It cannot be lost."""

    def release(self, *, forget: bool = False) -> None:
        fd = self._taken()
        if fd >= 0:
            unlock(fd)


class MarkedLease(Held):
    """Ours while the data bears our mark and there is no lease file; then while that says so. While the mark is there,
    nobody removes the file, so that we cannot miss it."""

    token = 1  # who is marked next is so when we can write no more; a lease file begins with it

    def __init__(self, files: Files, fd: int, id: str) -> None:
        self._files, self._fd, self._id = files, fd, id
        self._ends = ear.ends
        self._end: Callable[[], None] | None = None
        self._filed: Filed | None = None
        self._size = -1  # of the data, when our last turn ended
        self._kept = False

    def turn(self) -> MarkedLease:
        return self

    def __enter__(self) -> None:
        if self._fd >= 0 and not self._kept:
            self._enter()
        if self._filed:
            self._filed.__enter__()
        elif self._fd < 0:
            raise Interrupted("this request has let go of the upload")

    def _enter(self) -> None:
        """Lock the data, if there is no lease file."""
        while not flocked(self._fd, MOMENT) and not self._files.has(self._id):
            """The holder of a brief lease, of a version that knows no marks, writes for long."""
        if self._files.has(self._id):
            self._move()
        elif self._is_strange():
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            raise Interrupted("a newer request took over this upload")

    def _is_strange(self) -> bool:
        """Whether the host has the file by now, or somebody wrote who does not know what a mark means."""
        changed = self._size >= 0 and self._size != os.fstat(self._fd).st_size
        return changed or not self._files.leads(self._id, self._fd)

    def __exit__(self, *_: object) -> None:
        if self._filed:
            self._filed.__exit__()
        elif not self._kept:
            self._size = os.fstat(self._fd).st_size
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def rest(self) -> None:
        """A mark needs an open file. So the lease has a file from now on, which need not be open."""
        if self._fd >= 0 and not self._kept and flocked(self._fd, MOMENT):
            try:
                if not self._files.has(self._id):
                    self._files.say(self._id)
                self._move()
            except (OSError, StoreFull):  # so the data stays open
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        if self._filed:
            self._filed.rest()

    def keep(self) -> None:
        self.__enter__()
        if self._filed:
            self._filed.__exit__()
            self._filed.keep()
        self._kept = True

    def on_lost(self, end: Callable[[], None]) -> None:
        if self._filed:
            self._filed.on_lost(end)
        elif self._fd >= 0 and not self._kept:
            self._end = end
            self._ends.listen(self._fd, self._id, self.token, end)
            if self._files.has(self._id):
                self._move()
                if not self._filed:
                    end()

    def _move(self) -> None:
        """Go on with the lease file, if it says that the lease is ours."""
        try:
            filed = self._files.adopted(self._id)
        except OSError:  # as when too many files are open
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            raise
        self._let_go()
        self._filed = filed
        if filed and self._end:
            filed.on_lost(self._end)

    def _let_go(self) -> None:
        fd, self._fd = self._fd, -1
        if self._end:
            self._ends.forget(fd)
        try:
            unmark(fd)
        finally:
            unlock(fd)

    def release(self, *, forget: bool = False) -> None:
        if self._inherited():
            return
        if self._fd >= 0:
            # While we have the lock, nobody makes the file.
            if not self._kept:
                flocked(self._fd, MOMENT)
            if self._files.has(self._id):
                self._move()
            else:
                self._let_go()
        filed, self._filed, self._kept = self._filed, None, False
        if filed:
            filed.release(forget=forget)


class DataClaim(Held):
    """Holds flock; the kernel lets go of it when the process dies."""

    def __init__(self, files: Files, fd: int, id: str) -> None:
        self._files, self._fd, self._id = files, fd, id
        self._ends = ear.ends
        self._filed = False

    def detach(self) -> None:
        if not self._filed and self._fd >= 0:
            data, self._fd = self._fd, self._files.begun(self._id)
            self._filed = True
            unlock(data)

    def release(self) -> None:
        fd = self._taken()
        if fd < 0:
            return
        try:
            if self._filed:
                self._files.remove(self._id)
        finally:
            unlock(fd)


class Data:
    """The files of the uploads."""

    def __init__(self, files: Files, directory: str, dir: int) -> None:
        self._files, self._dir = files, dir
        # Locks of others may keep everybody from reading and writing there.
        self.local = not filesystems.shared(filesystems.kind(directory))

    def lease(self, id: str, patience: float, brief: bool) -> DataLease | MarkedLease | None:
        """None if there must be a lease file."""
        fd = self._free(id, patience)
        if fd < 0:
            return None
        if brief:
            return DataLease(fd)
        if not mark(fd, ear.number()):
            unlock(fd)
            return None
        fcntl.flock(fd, fcntl.LOCK_UN)
        return MarkedLease(self._files, fd, id)

    def claim(self, id: str, patience: float) -> DataClaim | None:
        """None if there must be a lease file."""
        fd = self._free(id, patience)
        return None if fd < 0 else DataClaim(self._files, fd, id)

    def _free(self, id: str, patience: float) -> int:
        """The data, locked, if nobody has a lease, nor ever had one that has left a file; otherwise -1."""
        fd = self.locked(id, patience)
        if fd >= 0 and (self._files.has(id) or marked(fd)):
            unlock(fd)
            return -1
        return fd

    def locked(self, id: str, patience: float) -> int:
        """The upload's data, opened and locked; -1 if there is none, or if it must not be locked."""
        while self.local:
            try:
                fd = os.open(id, _DATA, dir_fd=self._dir)
            except OSError:
                break
            try:
                at_once = flocked(fd, 0)
                if not at_once and not waited(fd, patience):
                    raise Locked("the upload is busy")
                if os.fstat(fd).st_nlink and (at_once or self._files.leads(id, fd)):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # removed or moved while we waited
        return -1

    def mark(self, id: str) -> int:
        """The mark of the lease that has no file; 0 if there is none."""
        fd = self._opened(id)
        if fd < 0:
            return 0
        try:
            return marked(fd)
        finally:
            os.close(fd)

    def busy(self, id: str, *, marks: bool = True) -> bool:
        """Whether a lease or a claim is held that has no file; without `marks`, one that keeps the data locked."""
        fd = self._opened(id)
        if fd < 0:
            return False
        try:
            return marks and bool(marked(fd)) or not flocked(fd, 0, fcntl.LOCK_SH)
        finally:
            unlock(fd)

    def _opened(self, id: str) -> int:
        if self.local:
            try:
                return os.open(id, _DATA, dir_fd=self._dir)
            except OSError:
                pass
        return -1
