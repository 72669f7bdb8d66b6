"""Leases for the processes of one machine, through one small file an upload, or none.

`<id>.lease` holds a number and the address of the owner. Taking the lease raises the number; a turn holds flock on the
file and writes only while the number is still the one it took. So a dead connection can neither block the next request
nor write after it. A claim is flock held for longer, on the same file.

Most uploads are written by one request after another, and need no such file: their leases and claims are in the data
itself, see `ondata`. So `<id>.lease` is made only while the data is locked; where it is there, it alone tells. Where
locks keep others from reading and writing, as on some network file systems, and where there is no data, every lease has
its file. So has a claim whose host is going to get the path of the data, since it may move that away.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import FULL, Interrupted, Locked, NotFound, StoreFull
from ..upload import checked_id, is_random
from . import leasefile
from .ear import owner_of
from .flocks import MOMENT, Held, ear, flocked, unlock, waited
from .leasefile import FileClaim, FileShare
from .marks import marked
from .ondata import Data, DataClaim, DataLease, MarkedLease

log = logging.getLogger("tus")

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_CLOSED, _RESTING = -1, -2  # in place of a descriptor
_MOVING = 0.001  # seconds that a claim needs to move to a file
_PATIENCE = 5.0  # seconds to wait for another's turn; a turn is one write


class FileLocker:
    """Keeps its files beside those of the store."""

    def __init__(self, directory: str, *, patience: float = _PATIENCE) -> None:
        self._directory = os.path.abspath(directory)
        self._dir = self._opened()
        self._patience = patience
        self._data = Data(self, self._directory, self._dir)
        self.prompt = self._data.local

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # At the end of a process, modules and what they imported may be gone already.
        try:  # noqa: SIM105
            close(self._dir)
        except (AttributeError, OSError):
            pass

    def _opened(self) -> int:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        return os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _renew(self) -> None:
        """The directory was removed while we run; all that hold its descriptor get the new one."""
        fd = self._opened()
        os.dup2(fd, self._dir, inheritable=False)
        os.close(fd)

    def lease(
        self,
        id: str,
        *,
        brief: bool = False,
        patience: float | None = None,
        check: Callable[[], object] | None = None,
    ) -> FileLease | DataLease | MarkedLease:
        patience = self._patience if patience is None else max(patience, MOMENT)
        if found := self._data.lease(id, patience, brief):
            return found
        fd, size = self._locked(id, patience)
        lease = FileLease(self, fd, id)
        try:
            lease.take(*leasefile.owned(fd, size), brief, check)
        except BaseException:
            lease.abandon()
            raise
        return lease

    def share(self, id: str) -> FileShare:
        fd, size = self._locked(id, self._patience, fcntl.LOCK_SH)
        share = FileShare(fd, os.pread(fd, leasefile.NUMBER, 0) if size else b"")
        fcntl.flock(fd, fcntl.LOCK_UN)
        return share

    def claim(self, id: str, *, patience: float = 0.0) -> FileClaim | DataClaim:
        patience = max(patience, MOMENT)
        if found := self._data.claim(id, patience):
            return found
        fd, size = self._locked(id, patience)
        claim = FileClaim(self.remove, id, fd, stays=bool(self._data.mark(id)))
        try:
            if size:  # who wrote before writes no more, not even if we die
                leasefile.write(fd, leasefile.owned(fd, size)[0] + 1, "")
        except OSError as error:
            claim.abandon()
            raise _fullness(error) from None
        return claim

    def _locked(self, id: str, patience: float, how: int = fcntl.LOCK_EX) -> tuple[int, int]:
        """The lease file, opened and locked, and certainly the one that goes by this name; and its size."""
        deadline = time.monotonic() + patience
        while True:
            try:
                fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
            except FileNotFoundError:
                fd = self._made(id, patience)
            except OSError as error:
                raise _fullness(error) from None
            try:
                if not (flocked(fd, 0, how) or waited(fd, patience, how)):
                    raise Locked("the upload is busy")
                found = os.fstat(fd)
                # A claim that moves from the data to a new file has locked the data until it has locked that.
                moving = not found.st_size and self._data.busy(id, marks=False)
                if found.st_nlink and not moving:
                    return fd, found.st_size
                if moving and time.monotonic() > deadline:
                    raise Locked("the upload is busy")
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # removed while we waited, or not ours to take
            if moving:
                time.sleep(_MOVING)

    def reopened(self, id: str, before: tuple[int, int]) -> int:
        """The lease file again; -1 if it is another one, or was written to."""
        try:
            fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
        except FileNotFoundError:
            return _CLOSED
        if leasefile.identity(fd) == before:
            return fd
        os.close(fd)
        return _CLOSED

    def _made(self, id: str, patience: float) -> int:
        """A new lease file. If somebody has a lease without one, it says so."""
        data = self._data.locked(id, patience)
        try:
            fd = self._opened_new(id)
            owner = 0 if data < 0 else marked(data)
            if owner and not os.fstat(fd).st_size:
                self._begin(fd, id, owner)
            return fd
        except OSError as error:
            raise _fullness(error) from None
        finally:
            if data >= 0:
                unlock(data)

    def _opened_new(self, id: str) -> int:
        try:
            return os.open(id + ".lease", _FLAGS | os.O_CREAT, 0o600, dir_fd=self._dir)
        except FileNotFoundError:
            self._renew()
            return os.open(id + ".lease", _FLAGS | os.O_CREAT, 0o600, dir_fd=self._dir)

    def _begin(self, fd: int, id: str, owner: int) -> None:
        try:
            leasefile.write(fd, MarkedLease.token, owner_of(owner))
        except BaseException:
            os.unlink(id + ".lease", dir_fd=self._dir)  # empty, it would say that nobody has the lease
            os.close(fd)
            raise

    def has(self, id: str) -> bool:
        return os.access(id + ".lease", os.F_OK, dir_fd=self._dir)

    def leads(self, id: str, fd: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), os.stat(id, dir_fd=self._dir, follow_symlinks=False))
        return False

    def adopted(self, id: str) -> FileLease | None:
        try:
            fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
        except FileNotFoundError:
            return None
        if os.pread(fd, leasefile.RECORD, 0) == leasefile.line(MarkedLease.token, ear.address()):
            return FileLease(self, fd, id, MarkedLease.token)
        os.close(fd)
        return None

    def say(self, id: str) -> None:
        try:
            fd = self._opened_new(id)
            self._begin(fd, id, ear.number())
        except OSError as error:
            raise _fullness(error) from None
        os.close(fd)

    def begun(self, id: str) -> int:
        try:
            fd = self._opened_new(id)
        except OSError as error:
            raise _fullness(error) from None
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def writing(self, id: str) -> bool:
        return self._data.busy(id) or self._held(id, bool)

    def lives(self, id: str) -> bool:
        return self._data.busy(id) or self._held(id, ear.reaches)  # a process that was killed left its address behind

    def _held(self, id: str, counts: Callable[[str], bool]) -> bool:
        """Whether a request has it, if the owner that the file names counts."""
        if not self.has(id):
            return False
        try:
            fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
        except OSError:
            return False
        try:
            number, owner = leasefile.owned(fd)
            # A writer without a number keeps the file locked while it writes.
            return counts(owner) or not number and not flocked(fd, 0, fcntl.LOCK_SH)
        finally:
            unlock(fd)

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        for name in os.listdir(self._dir):
            id = name.removesuffix(".lease")
            with suppress(NotFound, FileNotFoundError):
                try:
                    if id != name and not exists(checked_id(id)) and self._left(id, before):
                        self._forget(id, exists)
                except OSError as error:
                    log.warning("%s is left as it is: %s", name, error)

    def _left(self, id: str, before: float) -> bool:
        """Whether this is a file of ours, and an old one."""
        found = os.stat(id + ".lease", dir_fd=self._dir, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_mtime >= before:
            return False
        # Chunks have leases of their own, by the id and their number.
        return (
            is_random(id.partition("-")[0])
            and not found.st_size
            or found.st_size == leasefile.RECORD
            and self._is_ours(id)
        )

    def _is_ours(self, id: str) -> bool:
        fd = os.open(id + ".lease", os.O_RDONLY | os.O_NONBLOCK | _FLAGS & ~os.O_RDWR, dir_fd=self._dir)
        try:
            return bool(leasefile.OURS.fullmatch(os.pread(fd, leasefile.RECORD, 0)))
        finally:
            os.close(fd)

    def _forget(self, id: str, exists: Callable[[str], bool]) -> None:
        with suppress(Locked):
            fd, _ = self._locked(id, 0)
            try:
                if not exists(id):
                    self.remove(id)
            finally:
                unlock(fd)

    def remove(self, id: str) -> bool:
        """Remove the file, and say so; but not if somebody has still to find that it is there. Call it only while the
        file is locked."""
        if self._data.mark(id):
            return False
        with suppress(FileNotFoundError):
            os.unlink(id + ".lease", dir_fd=self._dir)
        return True


class FileLease(Held):
    """Ours until the number in the file changes."""

    _unsaid = False  # no other has a number, and while the file is locked none reads ours
    _listens = False
    _rested: tuple[int, int] = 0, 0  # the file that was closed, until there is something to write

    def __init__(self, locker: FileLocker, fd: int, id: str, number: int = 0) -> None:
        self._locker, self._fd, self._id = locker, fd, id
        self._number, self._mark = number, leasefile.digits(number)
        self._ends = ear.ends
        self._kept = not number  # the file stays locked until the release

    @property
    def token(self) -> int:
        return self._number

    def take(self, number: int, owner: str, brief: bool, check: Callable[[], object] | None) -> None:
        """Take it from the present holder."""
        if owner and check:
            check()
        self._number = number + 1
        self._mark = leasefile.digits(self._number)
        self._unsaid = brief and not number
        if not self._unsaid:
            self._say()
        if not brief:
            self._kept = False
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        if owner:
            ear.tell(owner, self._id, self._number)

    def _say(self) -> None:
        try:
            leasefile.write(self._fd, self._number, ear.address())
        except OSError as error:
            raise _fullness(error) from None

    def turn(self) -> FileLease:
        return self

    def rest(self) -> None:
        if self._fd >= 0 and not self._kept:
            self._rested = leasefile.identity(self._fd)
            os.close(self._fd)
            self._fd = _RESTING

    def _wake(self) -> None:
        if self._fd == _RESTING:
            self._fd = self._locker.reopened(self._id, self._rested)

    def __enter__(self) -> None:
        if self._kept:
            return
        self._wake()
        while self._fd < 0 or not flocked(self._fd, MOMENT):
            # Held for long: by a newer request, while the host looks at the content. There is no waiting for that.
            self._check()
        try:
            self._check()
        except Interrupted:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            raise

    def _check(self) -> None:
        if self._lost():
            raise Interrupted("a newer request took over this upload")

    def _lost(self) -> bool:
        return self._fd < 0 or os.pread(self._fd, leasefile.NUMBER, 0) != self._mark

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def keep(self) -> None:
        self.__enter__()
        self._kept = True

    def on_lost(self, end: Callable[[], None]) -> None:
        if self._kept or self._fd == _CLOSED:
            return
        self._wake()
        self._listens = True
        ear.ends.listen(id(self), self._id, self._number, end)
        if self._lost():
            ear.ends.end(self._id, self._number + 1)

    def release(self, *, forget: bool = False) -> None:
        if self._ends is ear.ends:
            with suppress(OSError):  # no room for an open file: the next request takes over without a word from us
                self._wake()
        fd = self._taken()
        if self._listens:
            ear.ends.forget(id(self))
        if fd < 0:
            return
        try:
            self._leave(fd, forget)
        except OSError as error:  # such as a disk that is read-only now: the next request can still take over
            log.warning("upload %s: cannot record that writing has ended: %s", self._id, error)
        finally:
            self._kept = False
            unlock(fd)

    def _leave(self, fd: int, forget: bool) -> None:
        # Not worth waiting for: a request that holds it for longer is newer than we are, or hands the upload over.
        if not self._kept and not (flocked(fd, MOMENT) and os.pread(fd, leasefile.NUMBER, 0) == self._mark):
            return
        if not (forget or self._unsaid) or not self._locker.remove(self._id):
            leasefile.write(fd, self._number, "")


def _fullness(error: OSError) -> Exception:
    """What the caller is told of an error."""
    return StoreFull("there is no room left, not even to say who writes") if error.errno in FULL else error
