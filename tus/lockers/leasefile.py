"""What is in a lease file: a number, and who has the lease. And what holds it without being that: a share, which
reads no more than the number, and a claim."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable

from ..errors import Interrupted
from .flocks import Held, ear, flocked, unlock

NUMBER = 12  # digits; a number is raised once a request
RECORD = 64  # bytes: the number, a space, the owner's address, blanks
OURS = re.compile(rb"[0-9]{%d} [ -~]{%d}" % (NUMBER, RECORD - NUMBER - 1))
_BRIEFLY = 1.0  # seconds; longer than a record takes to be saved on a busy disk


def digits(number: int) -> bytes:
    return b"%0*d" % (NUMBER, number)


def owned(fd: int, size: int = RECORD) -> tuple[int, str]:
    if not size:
        return 0, ""
    number, _, owner = os.pread(fd, RECORD, 0).decode("ascii", "replace").partition(" ")
    return int(number) if number.isdigit() else 0, owner.strip()


def write(fd: int, number: int, owner: str) -> None:
    os.pwrite(fd, line(number, owner), 0)


def line(number: int, owner: str) -> bytes:
    return b"%s %-*s" % (digits(number), RECORD - NUMBER - 1, owner.encode())


def identity(fd: int) -> tuple[int, int]:
    """Whoever takes the lease over writes to the file, and who removes it makes place for another one."""
    found = os.fstat(fd)
    return found.st_ino, found.st_mtime_ns


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
        if os.pread(self._fd, NUMBER, 0) != self._mark or not os.fstat(self._fd).st_nlink:
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

    def __init__(self, remove: Callable[[str], object], id: str, fd: int, *, stays: bool) -> None:
        self._remove, self._id, self._fd = remove, id, fd
        self._ends = ear.ends
        self._stays = stays  # somebody has still to find that the file is there

    def release(self) -> None:
        fd = self._taken()
        if fd < 0:
            return
        try:
            if not self._stays:
                self._remove(self._id)
        finally:
            unlock(fd)
