"""What the leases of one machine are made of: flock, which the kernel lets go of when a process dies."""

from __future__ import annotations

import fcntl
import os
import time

from ..waiting import take_time
from .ear import Ear

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
