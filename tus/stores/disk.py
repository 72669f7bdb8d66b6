"""What the file store asks of the operating system, why a disk refused, and the directory that all lies in."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any

from ..errors import FULL, NO_LINKS, NotFound, StoreBroken, StoreFull, TooLarge
from ..upload import is_id

NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OLD = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # somebody's pipe by such a name must not hold us up
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_FAILING = frozenset((errno.EIO, errno.EREMOTEIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT))
_COPY = 1 << 25  # bytes a copy_file_range call: some milliseconds, since other requests wait for it
_BLOCK = 1 << 20  # bytes copied at a time where the kernel cannot

NEVER = -inf  # when a file was touched that does not exist


def _loaded_write_back() -> Any:
    """The C library's sync_file_range, where there is one."""
    try:
        import ctypes

        function = ctypes.CDLL(None).sync_file_range
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    except (ImportError, OSError, AttributeError):
        return lambda fd, start, size, flags: None
    return function


_sync_file_range: Any = None


def write_back(fd: int, start: int, size: int) -> None:
    """Let the kernel begin to write this back, without waiting for it."""
    global _sync_file_range
    if _sync_file_range is None:
        _sync_file_range = _loaded_write_back()  # late: ctypes costs some milliseconds and a megabyte
    _sync_file_range(fd, start, size, 2)  # SYNC_FILE_RANGE_WRITE


def alone(fd: int) -> bool:
    """Whether no other process has this file open; from now on we have it, until it is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return True


def lock(fd: int) -> None:
    """Wait until nobody else has this lock; it is ours until the file is closed."""
    try:  # noqa: SIM105 (this runs for every request)
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:  # no locks here
        pass


def release(fd: int) -> None:
    """Close it, and let go of its lock, also of what a forked child holds of it."""
    try:  # noqa: SIM105 (this runs for every request)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:  # no locks here
        pass
    os.close(fd)


def sync(fd: int) -> None:
    try:
        if _FULL_SYNC is not None:  # macOS, where fsync leaves the data in the drive's own memory
            fcntl.fcntl(fd, _FULL_SYNC)
        else:
            getattr(os, "fdatasync", os.fsync)(fd)
    except OSError as error:
        raise explained(error) from None


def link(directory: int, old: str, new: str) -> None:
    """A second name for a file, or a copy where there are no links."""
    try:
        os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copy(directory, old, new)


def _copy(directory: int, old: str, new: str) -> None:
    with open(os.open(old, os.O_RDONLY | OLD, dir_fd=directory), "rb", buffering=0) as source:
        fd = os.open(new, os.O_WRONLY | NEW, 0o600, dir_fd=directory)
        try:
            position, size = 0, os.fstat(source.fileno()).st_size
            while step := copied(source.fileno(), fd, size - position, position, position):
                position += step
            sync(fd)  # soon it may be all that is left
        except BaseException:
            os.unlink(new, dir_fd=directory)
            raise
        finally:
            os.close(fd)


def copied(source: int, fd: int, size: int, start: int, position: int) -> int:
    """Copy up to `size` bytes from one place to another; return how many, 0 at the end of the source."""
    if hasattr(os, "copy_file_range"):
        try:
            # A reflink where the file system can; in the kernel in any case.
            return os.copy_file_range(source, fd, min(size, _COPY), start, position)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
    return os.pwrite(fd, os.pread(source, min(size, _BLOCK), start), position)


def unwritten(error: OSError) -> Exception:
    """Why no more of the data can be written. More room would not help a file that is too large for its disk."""
    if error.errno == errno.EFBIG:
        return TooLarge("a file cannot become that large on this server's disk")
    return explained(error)


def explained(error: OSError) -> Exception:
    if error.errno == errno.EROFS:
        return StoreFull("the disk is read-only, so nothing can be stored")
    if error.errno in FULL:
        return StoreFull("there is no room left to store this upload")
    if error.errno in _FAILING:
        return StoreBroken(f"the disk fails: {error.strerror}")
    return error


def absent(error: OSError) -> Exception:
    """A file that is not there, or is a link somebody put there, is an unknown upload."""
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
        return NotFound("no such upload")
    return explained(error)


class Directory:
    """A directory of ours. What lies in it is reached by its descriptor, and never through a symbolic link."""

    ordered = False  # whether a file that is synced cannot lose its name

    def __init__(self, path: str, mode: int) -> None:
        self.path = os.path.abspath(path)
        self._mode = mode
        self._make()
        self.fd = self._opened()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # At the end of a process, modules and what they imported may be gone already.
        try:  # noqa: SIM105
            close(self.fd)
        except (AttributeError, OSError):
            pass

    def _make(self) -> None:
        if not os.path.isdir(self.path):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            os.chmod(self.path, self._mode)

    def _opened(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def gone(self) -> bool:
        """Whether it was removed while we run."""
        return not os.fstat(self.fd).st_nlink

    def renew(self) -> None:
        """Make it again, if nobody has; all that hold its descriptor get the new one."""
        self._make()
        fd = self._opened()
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)

    def exists(self, name: str) -> bool:
        return self.touched(name) > NEVER

    def touched(self, name: str) -> float:
        """When it was written to, in seconds since the epoch."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return NEVER

    def number(self, name: str) -> int:
        """The inode that goes by this name, or 0."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return 0

    def leads(self, name: str, fd: int) -> bool:
        """Whether the open file is the one that goes by this name."""
        return os.fstat(fd).st_ino == self.number(name)

    def sync(self) -> None:
        """Have the names of files on the disk that were made here, and are themselves synced before or after."""
        if not self.ordered:
            os.fsync(self.fd)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def clear(self, *names: str) -> None:
        """Remove those of these files that there are; most of them never are."""
        for name in names:
            if os.access(name, os.F_OK, dir_fd=self.fd):
                self.unlink(name)

    def named(self, suffix: str) -> Iterator[str]:
        """The ids of which there is such a file."""
        with os.scandir(self.path) as entries:
            for entry in entries:
                id = entry.name.removesuffix(suffix)
                if id != entry.name and is_id(id):
                    yield id
