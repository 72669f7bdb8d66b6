"""The bytes of one request on their way into a file. What is written is in the file at once, and counts; but for an
`exact` draft, whose record says from where on nothing counts until the commit.

A raw descriptor, since a buffer would be flushed after the lease is lost.
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import closing
from typing import BinaryIO, Protocol

from ..errors import StoreBroken, StoreFull, TusError
from ..upload import Upload
from . import Block, Fence
from .disk import copied, release, sync, unwritten, write_back

log = logging.getLogger("tus")

CLOSED, RESTING = -1, -2  # in place of a descriptor
STEP = 8 << 20  # bytes after which writing back is started, so that the last sync finds little to do


class Copied(Protocol):
    """Where the bytes of an upload are, for a draft that copies them."""

    fd: int
    start: int  # of them in the file

    def check(self) -> None:
        """Raise NotFound, if they may have been another upload's meanwhile."""

    def close(self) -> None: ...


class Home(Protocol):
    """What a draft needs of its store."""

    certify: bool

    def open(self, id: str, start: int = 0) -> BinaryIO: ...
    def reopen(self, id: str) -> int:
        """The data of a draft that was closed meanwhile."""

    def source(self, id: str) -> Copied: ...
    def hide(self, id: str, start: int | None, *, durable: bool = False) -> None: ...
    def certain(self, id: str) -> int:
        """How many bytes are on the disk for certain."""

    def note(self, id: str, size: int) -> None:
        """So many bytes are on the disk for certain."""

    def doubt(self, id: str, size: int) -> None: ...
    def cut(self, id: str, fd: int) -> None: ...
    def leave(self, id: str, draft: NewDraft) -> None: ...


class FileDraft:
    """Bytes that lengthen the file."""

    def __init__(
        self,
        store: Home,
        id: str,
        fd: int,
        start: int,
        fence: Fence,
        *,
        exact: bool = False,
        known: Upload | None = None,
    ) -> None:
        self._store, self._id, self._fd, self._fence = store, id, fd, fence
        self.taken = self._committed = self._started = start
        self._exact = self._hidden = exact  # hidden: the record says that what is not committed does not count
        self.known = known  # the record as it was when this began, unless something was written down there since
        self._failed: StoreFull | StoreBroken | None = None

    def write(self, block: Block) -> None:
        with self._fence.turn():
            if self._fd == RESTING:
                self._wake()
            if self._exact and not self._hidden:
                self._hide(self.taken)
            self._put(block)

    def rest(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = RESTING

    def _wake(self) -> None:
        """Only in a turn: then the name leads to the same file as before."""
        self._fd = self._store.reopen(self._id)

    def _put(self, block: Block) -> None:
        rest = memoryview(block)
        try:
            while rest:
                written = os.pwrite(self._fd, rest, self.taken)
                self.taken += written
                rest = rest[written:]
        except OSError as error:
            raise unwritten(error) from None

    def splice(self, pipe: int, size: int) -> int:
        with self._fence.turn():
            if self._fd == RESTING:
                self._wake()
            if self._exact and not self._hidden:
                self._hide(self.taken)
            start = self.taken
            try:
                self._move(pipe, size)
            except OSError as error:
                if error.errno != errno.EINVAL:  # some network file systems cannot
                    raise unwritten(error) from None
                block = os.read(pipe, size)
                self._put(block)
                return len(block)
            return self.taken - start

    def _move(self, pipe: int, size: int) -> None:
        self.taken += os.splice(pipe, self._fd, size, offset_dst=self.taken)

    def join(self, id: str, size: int) -> None:
        done = 0
        with closing(self._store.source(id)) as source:
            while step := self._copy(source.fd, size - done, source.start + done):
                done += step
            source.check()

    def _copy(self, source: int, size: int, start: int) -> int:
        with self._fence.turn():
            if self._exact and not self._hidden:
                self._hide(self.taken)
            try:
                step = copied(source, self._fd, size, start, self.taken)
            except OSError as error:
                raise unwritten(error) from None
            self.taken += step
            return step

    def write_back(self) -> None:
        if self.taken - self._started >= STEP and self._fd >= 0:
            write_back(self._fd, self._started, self.taken - self._started)
            self._started = self.taken

    def review(self) -> BinaryIO:
        return self._store.open(self._id, self._committed)

    def commit(self, *, durable: bool = False) -> int:
        if durable or self._failed:
            self.secure(durable=durable)
        if self._hidden:
            with self._fence.turn():
                self._hide(None)
        self._committed = self.taken
        return self.taken

    def secure(self, *, durable: bool) -> None:
        """What a commit does before the record may say anything: with `durable`, every byte is on the disk."""
        if self._failed:
            self._recover(self._failed)
        if durable and not (self._store.certify and self._store.certain(self._id) == self.taken):
            self._sync()

    def settle(self) -> None:
        """Everything is committed, and the record says so."""
        self._hidden = False
        self._committed = self.taken

    def _sync(self) -> None:
        if self._fd == RESTING:
            with self._fence.turn():
                self._wake()
        try:
            self._flush()
        except (StoreFull, StoreBroken) as error:
            self._fall_back(error)
            raise
        if self._store.certify:
            with self._fence.turn():
                self._store.note(self._id, self.taken)

    def _flush(self) -> None:
        sync(self._fd)

    def _fall_back(self, failed: StoreFull | StoreBroken) -> None:
        """Back to what is certain: the kernel forgets what it could not write, and reports success the next time."""
        size = self._store.certain(self._id) if self._store.certify else 0
        log.error("upload %s was not written to the disk; %d bytes of it are certain", self._id, size)
        failed.offset = self.taken = self._committed = self._started = size
        self._failed, self.known = failed, None
        self._store.doubt(self._id, size)
        self._recover(failed)

    def _recover(self, failed: StoreFull | StoreBroken) -> None:
        """Cut off what is doubtful, or raise what made it so."""
        try:
            with self._fence.turn():
                if self._fd == RESTING:
                    self._wake()
                self._store.cut(self._id, self._fd)
        except (OSError, TusError) as error:
            log.error("upload %s cannot be cut back, and is refused until it can: %s", self._id, error)
            raise failed from None
        self._failed = None

    def _hide(self, start: int | None) -> None:
        """Write down from where on nothing counts. Only in a turn."""
        self._store.hide(self._id, start, durable=self._store.certify)
        self._hidden = start is not None

    def abort(self) -> None:
        if self._fd == CLOSED or self.taken == self._committed and not self._hidden:
            return
        with self._fence.turn():
            if self._fd == RESTING:
                self._wake()
            try:
                os.ftruncate(self._fd, self._committed)
            except OSError as error:
                raise unwritten(error) from None
            self.taken = self._committed
            self._started = min(self._started, self.taken)
            if self._hidden:
                self._hide(None)

    def close(self) -> None:
        fd, self._fd = self._fd, CLOSED
        if fd >= 0:
            os.close(fd)


class NewDraft(FileDraft):
    """The first bytes of an upload. Until that is saved, its record is locked: somebody makes it."""

    def __init__(self, store: Home, id: str, fd: int, fence: Fence, record: int) -> None:
        super().__init__(store, id, fd, 0, fence)
        self.record = record

    def rest(self) -> None:
        """Its locks are on the open files."""

    def settled(self) -> None:
        """The upload exists, or it never will."""
        record, self.record = self.record, -1
        if record >= 0:
            release(record)

    def close(self) -> None:
        super().close()
        if self.record >= 0:
            self._store.leave(self._id, self)


class FilePiece(FileDraft):
    """Bytes at a place of their own, beside others. They count once they are marked."""

    def rest(self) -> None:
        """A share does not keep the name of the file for us."""

    def secure(self, *, durable: bool) -> None:
        if durable:
            sync(self._fd)

    def abort(self) -> None:
        self.taken = self._started = self._committed
