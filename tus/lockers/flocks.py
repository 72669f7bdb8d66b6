"""What the leases of one machine are made of: flock, which the kernel lets go of when a process dies."""

from __future__ import annotations

import fcntl
import os
import time

from ..waiting import take_time
from .ear import Ear, Ends

MOMENT = 0.05  # seconds; longer than a turn, shorter than a hand-over

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
    _ends: Ends  # of the process that took it

    def release(self) -> None:
        raise NotImplementedError

    def _inherited(self) -> bool:
        """Whether we are a child that inherited it, and has no say: then it is closed, and nothing else happens."""
        fd = self._fd
        if fd < 0 or self._ends is ear.ends:
            return False
        self._fd = -1
        os.close(fd)
        return True

    def _taken(self) -> int:
        """The file, for the last time; -1 if there is nothing to let go of."""
        if self._inherited():
            return -1
        fd, self._fd = self._fd, -1
        return fd

    def abandon(self) -> None:
        """It was not taken after all."""
        fd, self._fd = self._fd, -1
        unlock(fd)

    def __del__(self) -> None:
        try:  # noqa: SIM105
            self.release()
        except (AttributeError, OSError, TypeError):
            pass  # half made, or at the end of the process, when modules are gone already
