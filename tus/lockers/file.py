"""Leases for the processes of one machine, through one small file an upload, or none.

`<id>.lease` holds a number and the address of the owner. Taking the lease raises the number; a turn holds flock on the
file and writes only while the number is still the one it took. So a dead connection can neither block the next request
nor write after it. A claim is flock held for longer, on the same file.

A brief lease of an upload that has no such file is flock on its data, `<id>`: small uploads come and go without a file
more. So `<id>.lease` is made only while the data is locked; where it is there, it alone tells. Where locks keep others
from reading and writing, as on some network file systems, and where there is no data, every lease has its file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress

from ..errors import FULL, Interrupted, Locked, NotFound, StoreFull
from ..upload import checked_id, is_random
from .flocks import MOMENT, Data, DataLease, Held, ear, flocked, unlock, waited

log = logging.getLogger("tus")

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBER = 12  # digits; a number is raised once a request
_RECORD = 64  # bytes: the number, a space, the owner's address, blanks
_OURS = re.compile(rb"[0-9]{%d} [ -~]{%d}" % (_NUMBER, _RECORD - _NUMBER - 1))
_BRIEFLY = 1.0  # seconds; longer than a record takes to be saved on a busy disk
_CLOSED, _RESTING = -1, -2  # in place of a descriptor
_PATIENCE = 5.0  # seconds to wait for another's turn; a turn is one write


class FileLocker:
    """Keeps its files beside those of the store."""

    def __init__(self, directory: str, *, patience: float = _PATIENCE) -> None:
        self._directory = os.path.abspath(directory)
        self._dir = self._opened()
        self._patience = patience
        self._data = Data(self._directory, self._dir)
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
    ) -> FileLease | DataLease:
        patience = self._patience if patience is None else max(patience, MOMENT)
        if brief and (data := self._data.locked(id, patience)) >= 0:
            if not os.access(id + ".lease", os.F_OK, dir_fd=self._dir):
                return DataLease(data)
            unlock(data)
        fd, size = self._locked(id, patience)
        lease = FileLease(self, fd, id)
        try:
            lease.take(*_read(fd, size), brief, check)
        except BaseException:
            lease.abandon()
            raise
        return lease

    def share(self, id: str) -> FileShare:
        fd, size = self._locked(id, self._patience, fcntl.LOCK_SH)
        share = FileShare(fd, os.pread(fd, _NUMBER, 0) if size else b"")
        fcntl.flock(fd, fcntl.LOCK_UN)
        return share

    def claim(self, id: str, *, patience: float = 0.0) -> FileClaim:
        fd, size = self._locked(id, max(patience, MOMENT))
        claim = FileClaim(self, id, fd)
        try:
            if size:  # who wrote before writes no more, not even if we die
                _write(fd, _read(fd, size)[0] + 1, "")
        except OSError as error:
            claim.abandon()
            raise _fullness(error) from None
        return claim

    def _locked(self, id: str, patience: float, how: int = fcntl.LOCK_EX) -> tuple[int, int]:
        """The lease file, opened and locked, and certainly the one that goes by this name; and its size."""
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
                if found.st_nlink:
                    return fd, found.st_size
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # removed while we waited

    def reopened(self, id: str, before: tuple[int, int]) -> int:
        """The lease file again; -1 if it is another one, or was written to."""
        try:
            fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
        except FileNotFoundError:
            return _CLOSED
        if _identity(fd) == before:
            return fd
        os.close(fd)
        return _CLOSED

    def _made(self, id: str, patience: float) -> int:
        """A new lease file."""
        data = self._data.locked(id, patience)
        try:
            return os.open(id + ".lease", _FLAGS | os.O_CREAT, 0o600, dir_fd=self._dir)
        except FileNotFoundError:
            self._renew()
            return os.open(id + ".lease", _FLAGS | os.O_CREAT, 0o600, dir_fd=self._dir)
        except OSError as error:
            raise _fullness(error) from None
        finally:
            if data >= 0:
                unlock(data)

    def writing(self, id: str) -> bool:
        return self._data.busy(id) or self._held(id, bool)

    def lives(self, id: str) -> bool:
        return self._data.busy(id) or self._held(id, ear.reaches)  # a process that was killed left its address behind

    def _held(self, id: str, counts: Callable[[str], bool]) -> bool:
        """Whether a request has it, if the owner that the file names counts."""
        if not os.access(id + ".lease", os.F_OK, dir_fd=self._dir):
            return False
        try:
            fd = os.open(id + ".lease", _FLAGS, dir_fd=self._dir)
        except OSError:
            return False
        try:
            number, owner = _read(fd)
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
        return is_random(id.partition("-")[0]) and not found.st_size or found.st_size == _RECORD and self._is_ours(id)

    def _is_ours(self, id: str) -> bool:
        fd = os.open(id + ".lease", os.O_RDONLY | os.O_NONBLOCK | _FLAGS & ~os.O_RDWR, dir_fd=self._dir)
        try:
            return bool(_OURS.fullmatch(os.pread(fd, _RECORD, 0)))
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

    def remove(self, id: str) -> None:
        """Remove the file. Call it only while the file is locked."""
        with suppress(FileNotFoundError):
            os.unlink(id + ".lease", dir_fd=self._dir)


class FileLease(Held):
    """Ours until the number in the file changes."""

    _unsaid = False  # no other has a number, and while the file is locked none reads ours
    _listens = False
    _rested: tuple[int, int] = 0, 0  # the file that was closed, until there is something to write

    def __init__(self, locker: FileLocker, fd: int, id: str) -> None:
        self._locker, self._fd, self._id = locker, fd, id
        self._process = os.getpid()
        self._kept = True  # the file stays locked until the release

    @property
    def token(self) -> int:
        return self._number

    def take(self, number: int, owner: str, brief: bool, check: Callable[[], object] | None) -> None:
        """Take it from the present holder."""
        if owner and check:
            check()
        self._number = number + 1
        self._mark = _mark(self._number)
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
            _write(self._fd, self._number, ear.address())
        except OSError as error:
            raise _fullness(error) from None

    def turn(self) -> FileLease:
        return self

    def rest(self) -> None:
        if self._fd >= 0 and not self._kept:
            self._rested = _identity(self._fd)
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
        return self._fd < 0 or os.pread(self._fd, _NUMBER, 0) != self._mark

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
        if self._process == os.getpid():
            with suppress(OSError):  # no room for an open file: the next request takes over without a word from us
                self._wake()
        fd, self._fd = self._fd, _CLOSED
        if self._listens:
            ear.ends.forget(id(self))
        if fd < 0:
            return
        if self._process != os.getpid():  # a child inherited it, and has no say
            os.close(fd)
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
        if self._kept or flocked(fd, MOMENT) and os.pread(fd, _NUMBER, 0) == self._mark:
            if forget or self._unsaid:
                self._locker.remove(self._id)
            else:
                _write(fd, self._number, "")


class FileShare(Held):
    """Ours until the number in the file changes, or the file goes away; its turns exclude those of leases only."""

    def __init__(self, fd: int, mark: bytes) -> None:
        self._fd, self._mark = fd, mark

    @property
    def token(self) -> int:
        return int(self._mark) if self._mark.isdigit() else 0

    def turn(self) -> FileShare:
        return self

    def __enter__(self) -> None:
        if self._fd < 0 or not flocked(self._fd, _BRIEFLY, fcntl.LOCK_SH):
            raise Interrupted("this upload is being handed over")
        # A request that hands the upload over, or removes it, removes the file and need not raise the number.
        if os.pread(self._fd, _NUMBER, 0) != self._mark or not os.fstat(self._fd).st_nlink:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            raise Interrupted("this upload was finished or taken over")

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class FileClaim(Held):
    """Holds flock; the kernel lets go of it when the process dies."""

    def __init__(self, locker: FileLocker, id: str, fd: int) -> None:
        self._locker, self._id, self._fd = locker, id, fd
        self._process = os.getpid()

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._process != os.getpid():  # a child inherited it, and has no say
            os.close(fd)
            return
        try:
            self._locker.remove(self._id)
        finally:
            unlock(fd)


def _fullness(error: OSError) -> Exception:
    """What the caller is told of an error."""
    return StoreFull("there is no room left, not even to say who writes") if error.errno in FULL else error


def _identity(fd: int) -> tuple[int, int]:
    """Whoever takes the lease over writes to the file, and who removes it makes place for another one."""
    found = os.fstat(fd)
    return found.st_ino, found.st_mtime_ns


def _mark(number: int) -> bytes:
    return b"%0*d" % (_NUMBER, number)


def _read(fd: int, size: int = _RECORD) -> tuple[int, str]:
    if not size:
        return 0, ""
    number, _, owner = os.pread(fd, _RECORD, 0).decode("ascii", "replace").partition(" ")
    return int(number) if number.isdigit() else 0, owner.strip()


def _write(fd: int, number: int, owner: str) -> None:
    os.pwrite(fd, b"%s %-*s" % (_mark(number), _RECORD - _NUMBER - 1, owner.encode()), 0)
