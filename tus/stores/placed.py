"""Drafts of parts that lie in their final place, and of the whole that these become."""

from __future__ import annotations

import os

from ..errors import NotFound
from ..upload import PartPlace
from . import Block, Fence
from .disk import release, sync, unwritten, write_back
from .drafts import CLOSED, STEP, FileDraft, Home
from .wholes import Wholes


class PlaceFile:
    """The place of a part, opened to be written to."""

    def __init__(self, wholes: Wholes, id: str, place: PartPlace) -> None:
        self._wholes, self._id, self._place = wholes, id, place
        self._fd = wholes.open(id, os.O_WRONLY)

    @property
    def doubtful(self) -> bool:
        return self._wholes.is_doubtful(self._fd)

    def write(self, block: Block, offset: int) -> int:
        return os.pwrite(self._fd, block, self._place.start + offset)

    def splice(self, pipe: int, size: int, offset: int) -> int:
        return os.splice(pipe, self._fd, size, offset_dst=self._place.start + offset)

    def write_back(self, offset: int, size: int) -> None:
        if self._fd >= 0:
            write_back(self._fd, self._place.start + offset, size)

    def sync(self) -> None:
        self._wholes.sync(self._place, self._fd)

    def reopen(self) -> None:
        if self._fd < 0:
            self._fd = self._wholes.open(self._id, os.O_WRONLY)

    def close(self) -> None:
        fd, self._fd = self._fd, CLOSED
        if fd >= 0:
            os.close(fd)


class CopySource:
    """Where the bytes of an upload are, for a draft that copies them."""

    def __init__(self, fd: int, wholes: Wholes, place: PartPlace | None) -> None:
        self.fd, self._wholes, self._place = fd, wholes, place
        self.start = place.start if place else 0

    def check(self) -> None:
        """Raise NotFound, if what was copied may have been another upload's, which its host can change."""
        if self._place and self._wholes.is_taken(self._place, self.fd):
            raise NotFound("this part is part of another upload now")

    def close(self) -> None:
        os.close(self.fd)


class PlacedDraft(FileDraft):
    """Bytes on their way to their place in the whole. The part's own file says how many there are, and grows after."""

    def __init__(
        self, store: Home, id: str, fd: int, start: int, fence: Fence, *, to: PlaceFile, exact: bool = False
    ) -> None:
        super().__init__(store, id, fd, start, fence, exact=exact)
        self._to = to

    def _put(self, block: Block) -> None:
        rest = memoryview(block)
        try:
            while rest:
                written = self._to.write(rest, self.taken)
                self._grow(written)
                rest = rest[written:]
        except OSError as error:
            raise unwritten(error) from None

    def _move(self, pipe: int, size: int) -> None:
        self._grow(self._to.splice(pipe, size, self.taken))

    def _grow(self, size: int) -> None:
        os.ftruncate(self._fd, self.taken + size)
        self.taken += size

    def rest(self) -> None:
        super().rest()
        self._to.close()

    def _wake(self) -> None:
        self._to.reopen()  # first: if there is no room for an open file, the next block wakes us again
        super()._wake()

    def write_back(self) -> None:
        if self.taken - self._started >= STEP:
            self._to.write_back(self._started, self.taken - self._started)
            self._started = self.taken

    def _flush(self) -> None:
        self._to.sync()
        sync(self._fd)

    def close(self) -> None:
        super().close()
        self._to.close()


class WholeDraft(FileDraft):
    """All bytes of an upload, which are there already."""

    def __init__(self, store: Home, id: str, fd: int, size: int, fence: Fence, wholes: Wholes) -> None:
        super().__init__(store, id, fd, size, fence)
        self._wholes = wholes

    def secure(self, *, durable: bool) -> None:
        """Nothing is cut off, whatever fails: the parts were on the disk before."""
        os.utime(self._fd)  # how long it is kept counts from here, as of any other final upload
        if durable:
            sync(self._fd)
            self._wholes.sync_names()

    def rest(self) -> None:
        """Its lock is on the open file."""

    def close(self) -> None:
        fd, self._fd = self._fd, CLOSED
        if fd >= 0:
            release(fd)
