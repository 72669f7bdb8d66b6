"""What the leases of one machine are made of: flock, which the kernel lets go of when a process dies; and the brief
lease that needs nothing else.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import Interrupted, Locked
from ..stores import filesystems
from ..waiting import take_time
from .ear import Ear

MOMENT = 0.05  # seconds; longer than a turn, shorter than a hand-over
_DATA = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

ear = Ear()


def flocked(fd: int, patience: float, how: int = fcntl.LOCK_EX) -> bool:
    deadline = None
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            now = time.monotonic()
            deadline = deadline or now + patience
            if now >= deadline:
                return False
            time.sleep(0.001)


def waited(fd: int, patience: float, how: int = fcntl.LOCK_EX) -> bool:
    """The same, where there is time for it."""
    take_time()
    return flocked(fd, patience, how)


def unlock(fd: int) -> None:
    """Let go, also of what a forked child holds of the same lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


class Held:
    """What is released when nothing uses it any more."""

    _fd = -1

    def release(self) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        """It was not taken after all."""
        fd, self._fd = self._fd, -1
        unlock(fd)

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.release()
        except (AttributeError, OSError, TypeError):
            pass  # half made, or at the end of the process, when modules are gone already


class DataLease(Held):
    """Ours until the release: a brief one, on the data itself."""

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
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._ends is not ear.ends:  # a child inherited it, and has no say
            os.close(fd)
        else:
            unlock(fd)


class Data:
    """The files of the uploads themselves, locked in place of a lease file."""

    def __init__(self, directory: str, dir: int) -> None:
        self._dir = dir
        # Locks of others may keep everybody from reading and writing there.
        self.local = not filesystems.shared(filesystems.kind(directory))

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
                if os.fstat(fd).st_nlink and (at_once or self._leads(id, fd)):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # removed or moved while we waited
        return -1

    def _leads(self, id: str, fd: int) -> bool:
        """Whether the open file is still the one by this name."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), os.stat(id, dir_fd=self._dir, follow_symlinks=False))
        return False

    def busy(self, id: str) -> bool:
        """Whether a brief lease is held that has no file."""
        if not self.local:
            return False
        try:
            fd = os.open(id, _DATA, dir_fd=self._dir)
        except OSError:
            return False
        try:
            return not flocked(fd, 0, fcntl.LOCK_SH)
        finally:
            unlock(fd)
