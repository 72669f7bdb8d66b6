"""Marks on a file: whoever has it open can leave a number there, which the kernel removes when the process dies.

A mark is a shared lock on the one byte of the file that has this number; nobody ever asks for an exclusive one, so it
keeps nobody from anything. Such locks and flock do not see each other on a disk of this machine.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys

BITS = 62  # of a mark
_LOCK = struct.Struct("hhqqi4x")  # struct flock of every 64-bit Linux: type, whence, start, length, process
_LINUX = sys.platform == "linux" and sys.maxsize > 1 << 32
# They belong to the open file. POSIX's own would go away when the process closes any other descriptor of it.
_SET = getattr(fcntl, "F_OFD_SETLK", 0) if _LINUX else 0
_GET = getattr(fcntl, "F_OFD_GETLK", 0) if _LINUX else 0


def mark(fd: int, number: int) -> bool:
    """Leave a mark, greater than 0, until the file is closed; false where that is not possible."""
    return bool(_SET) and _locked(fd, _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, number, 1, 0))


def unmark(fd: int) -> None:
    """Remove it, also where a forked child has the file open."""
    _locked(fd, _LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def _locked(fd: int, lock: bytes) -> bool:
    try:
        fcntl.fcntl(fd, _SET, lock)
    except OSError:  # not on this file system
        return False
    return True


_ANY = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_NONE = _LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)


def marked(fd: int) -> int:
    """A mark that was left through another descriptor; 0 if there is none."""
    if not _GET:
        return 0
    try:
        found = fcntl.fcntl(fd, _GET, _ANY)
    except OSError:
        return 0
    return 0 if found == _NONE else int(_LOCK.unpack(found)[2])
