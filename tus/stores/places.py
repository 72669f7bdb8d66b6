"""The data files of uploads while they are open, and why the disk refused."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import closing
from typing import Any, BinaryIO

from ..errors import FULL, NO_LINKS, StoreBroken, StoreFull, TooLarge

NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OLD = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # somebody's pipe by such a name must not hold us up
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_FAILING = frozenset((errno.EIO, errno.EREMOTEIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT))
_COPY = 1 << 30  # bytes a copy_file_range call; the kernel stops at 2 GiB


class FilePlace:
    """An open data file. A raw descriptor, since a buffer would be flushed after the lease is lost."""

    _STEP = 8 << 20  # bytes after which writing back is started, so that the last sync finds little to do

    def __init__(self, fd: int, offset: int) -> None:
        self._fd = fd
        self.position = self._started = offset

    def write(self, block: bytes | bytearray | memoryview) -> int:
        rest = memoryview(block)
        try:
            while rest:
                written = os.pwrite(self._fd, rest, self.position)
                self.position += written
                rest = rest[written:]
        except OSError as error:
            raise _unwritten(error) from None
        return len(block)

    def splice(self, pipe: int, size: int) -> int:
        try:
            moved = os.splice(pipe, self._fd, size, offset_dst=self.position)
        except OSError as error:
            if error.errno == errno.EINVAL:  # some network file systems cannot
                return self.write(os.read(pipe, size))
            raise _unwritten(error) from None
        self.position += moved
        return moved

    def copy(self, source: BinaryIO, size: int) -> int:
        start = source.tell()
        copied = 0
        try:
            while copied < size and hasattr(os, "copy_file_range"):
                # A reflink where the file system can; in the kernel in any case.
                step = os.copy_file_range(
                    source.fileno(), self._fd, min(size - copied, _COPY), start + copied, self.position
                )
                if not step:
                    break
                copied += step
                self.position += step
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise _unwritten(error) from None
        source.seek(start + copied)
        while copied < size and (block := source.read(min(size - copied, 1 << 20))):
            copied += self.write(block)
        source.seek(start + copied)
        return copied

    def truncate(self, size: int) -> None:
        size = min(size, self.position)
        os.ftruncate(self._fd, size)
        self.position = size
        self._started = min(self._started, size)

    def start_sync(self) -> None:
        """Let the kernel begin to write back what has gathered, without waiting for it."""
        if self.position - self._started >= self._STEP:
            _write_back(self._fd, self._started, self.position - self._started)
            self._started = self.position

    def sync(self) -> None:
        sync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


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


def _write_back(fd: int, start: int, size: int) -> None:
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
    with (
        open(os.open(old, os.O_RDONLY | OLD, dir_fd=directory), "rb", buffering=0) as source,
        closing(FilePlace(os.open(new, os.O_WRONLY | NEW, 0o600, dir_fd=directory), 0)) as place,
    ):
        try:
            place.copy(source, os.fstat(source.fileno()).st_size)
            place.sync()  # soon it may be all that is left
        except BaseException:
            os.unlink(new, dir_fd=directory)
            raise


def _unwritten(error: OSError) -> Exception:
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
