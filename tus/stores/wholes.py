"""Parts that lie in their final place from the beginning, so that to put them together is to give a file another name.

`<whole>.whole` is a sparse file with the bytes of all parts, each behind the other. A part has a second name for it,
`<id>.place`, so that the kernel counts who needs the file; the part's own file, `<id>`, has nothing but holes, and its
size says how many bytes are there, as of any upload. Bytes are written to the whole first, and `<id>` grows then.

A power cut may keep the size and lose the bytes, since they are in two files. So a place says under which boot of the
system it was written to, and after another one only what was synced counts. What a failed sync made doubtful may be of
any part: the whole gets the sticky bit then, and no part goes on in it.
"""

from __future__ import annotations

import fcntl
import io
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from ..errors import Locked, NotFound, StoreBroken, StoreFull
from ..upload import PartPlace, Upload, is_random
from .disk import NEW, OLD, Directory, absent, explained, sync

PLACE, WHOLE = ".place", ".whole"
# Disks of this machine where holes cost nothing, and a file may have thousands of names.
_SPARSE = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay"))
_BOOT = "/proc/sys/kernel/random/boot_id"


@lru_cache(1)
def boot() -> str:
    """What this run of the system calls itself; "" if it does not say."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


class Wholes:
    """The files that parts share."""

    def __init__(self, home: Directory, type: str, mode: int) -> None:
        self._home, self._mode = home, mode
        self._doubted: set[int] = set()  # inodes, where the disk did not even take the mark
        self._can = type in _SPARSE and bool(boot())

    def reserve(self, whole: str, start: int, total: int) -> PartPlace | None:
        return PartPlace(whole, start, total, boot()) if self._can else None

    def link(self, id: str, place: PartPlace, fd: int) -> None:
        """Let the part, of which this is the open file, know its whole; or remove it. Only while its record is begun:
        then nobody else has this id."""
        try:
            self._home.unlink(id + PLACE)  # which a crash left
            while not self._linked(place.whole + WHOLE, id + PLACE):
                self._make(place.whole + WHOLE)
        except OSError:
            os.close(fd)
            self._home.unlink(id)
            raise

    def _linked(self, whole: str, name: str) -> bool:
        """Whether there was a whole, which has this name as well now."""
        with suppress(FileNotFoundError):
            os.link(whole, name, src_dir_fd=self._home.fd, dst_dir_fd=self._home.fd, follow_symlinks=False)
            return True
        return False

    def leave(self, id: str, place: PartPlace) -> None:
        """The part is removed, and the whole with the last one. No record leads to the part any more."""
        whole = place.whole + WHOLE
        with suppress(NotFound, OSError):
            fd = self.open(id, os.O_RDONLY)
            try:
                if os.fstat(fd).st_nlink == 2 and self._home.leads(whole, fd):
                    self._home.unlink(whole)
                    if os.fstat(fd).st_nlink > 1:  # another part came in this moment
                        self._linked(id + PLACE, whole)
            finally:
                os.close(fd)
        self._home.unlink(id + PLACE)

    def _make(self, name: str) -> None:
        with suppress(FileExistsError):
            fd = os.open(name, os.O_WRONLY | NEW, 0o600, dir_fd=self._home.fd)
            try:
                os.fchmod(fd, self._mode)
            finally:
                os.close(fd)

    def open(self, id: str, flags: int) -> int:
        """The whole that a part lies in."""
        return self._opened(id + PLACE, flags)

    def sync(self, place: PartPlace, fd: int) -> None:
        """Have it on the disk; raises StoreBroken for every part, if that failed for one of them."""
        try:
            sync(fd)
        except (StoreFull, StoreBroken):
            self._doubt(place, fd)
            raise
        if self.is_doubtful(fd):  # who has heard of it may have been somebody else, a moment ago
            raise StoreBroken("the disk fails: bytes of another part were lost, and may be of this one")

    def _doubt(self, place: PartPlace, fd: int) -> None:
        """No part goes on in this whole. If the disk takes no mark either, that holds while this process lives."""
        try:
            os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | stat.S_ISVTX)
            self._home.unlink(place.whole + WHOLE)
        except OSError:
            self._doubted.add(os.fstat(fd).st_ino)

    def is_doubtful(self, fd: int) -> bool:
        """Whether a sync of this whole has failed."""
        found = os.fstat(fd)
        return bool(found.st_mode & stat.S_ISVTX) or found.st_ino in self._doubted

    def is_taken(self, place: PartPlace, fd: int) -> bool:
        """Whether the whole is another upload by now."""
        return not (self._home.leads(place.whole + WHOLE, fd) or self.is_doubtful(fd))

    def is_left(self, part: Upload) -> bool:
        """Whether the whole of this part is another upload by now."""
        fd = self.open(part.id, os.O_RDONLY)
        try:
            return part.place is not None and self.is_taken(part.place, fd)
        finally:
            os.close(fd)

    def gathered(self, id: str, parts: Sequence[Upload]) -> int:
        """The whole as the data of this upload, open and locked, if these parts are all of it; otherwise -1. Raises
        NotFound, if it became the data of another one."""
        places = [part.place for part in parts if part.place]
        if len(places) < len(parts) or not _are_all(places, parts):
            return -1
        numbers = {self._home.number(part.id + PLACE) for part in parts}
        ours = self._home.number(id)
        if numbers == {ours}:  # a crash came after this
            return self._opened(id)
        if ours in numbers or 0 in numbers:
            raise NotFound("a part of this upload was replaced")
        if any(set(part.finals) - {id} for part in parts):  # another upload waits for a copy
            return -1
        return self._named(id, places[0].whole + WHOLE, numbers)

    def _named(self, id: str, name: str, numbers: set[int]) -> int:
        """Give the whole the name of the upload, so that no other part comes into it."""
        if len(numbers) > 1 or numbers != {self._home.number(name)}:
            return -1
        fd = self._opened(name)
        try:
            # Who waits for the upload has locked the file that goes by its name now, and looks again then.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, self._mode)  # which a crash may have left otherwise
            self._home.rename(name, id)
        except BlockingIOError:
            os.close(fd)
            raise Locked("the upload is busy") from None
        except OSError as error:
            os.close(fd)
            raise absent(error) from None
        return fd

    def _opened(self, name: str, flags: int = os.O_RDWR) -> int:
        try:
            return os.open(name, flags | OLD, dir_fd=self._home.fd)
        except OSError as error:
            raise absent(error) from None

    def sync_names(self) -> None:
        """Have it on the disk what is called how."""
        try:
            os.fsync(self._home.fd)
        except OSError as error:
            raise explained(error) from None

    def tidy(self, before: float) -> None:
        """Remove what no part has as its whole any more. A part that comes now finds it, or makes another."""
        for whole in filter(is_random, self._home.named(WHOLE)):
            with suppress(FileNotFoundError):
                found = os.stat(whole + WHOLE, dir_fd=self._home.fd, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_ctime < before:
                    self._home.unlink(whole + WHOLE)


def _are_all(places: Sequence[PartPlace], parts: Sequence[Upload]) -> bool:
    """Whether the parts lie one behind the other in one whole, from its beginning to its end."""
    end = 0
    for place, part in zip(places, parts, strict=True):
        if place[:2] != (places[0].whole, end):
            return False
        end += part.offset
    return end == places[0].total


class Window(io.RawIOBase):
    """Some bytes of a file, as a file of their own."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd, self._start, self._size, self._at = fd, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)[: max(self._size - self._at, 0)]
        data = os.pread(self._fd, len(room), self._start + self._at)
        room[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max((0, self._at, self._size)[whence] + offset, 0)
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
