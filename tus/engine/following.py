"""An upload is read while it arrives, and no writer notices.

What is given to a reader is never taken back: bytes that wait for their checksum do not count, and those of numbered
chunks count from the first one on. If a disk or a power cut takes back after all what was given, the reader is told so.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import BinaryIO, cast

from ..errors import Abandoned, Gone, NotFound, Silent, StoreAway, TusError
from ..upload import Upload, checked_id
from .core import Core
from .watching import Wake, Watched

_BLOCK = 1 << 18  # bytes


def follow(
    core: Core, upload: Upload | str, *, start: int = 0, timeout: float | None = None, accepted: bool = False
) -> Followed:
    """The upload as a file that is read while it arrives, and as an async iterator of blocks. Its end is that of the
    upload, however often that is cut and resumed. Raises Abandoned when that will never be whole, and Silent when
    nothing has come for `timeout` seconds. With `accepted`, the last byte waits until the host has the upload."""
    id = upload if isinstance(upload, str) else upload.id
    return Followed(Follower(core, id, start=start, timeout=timeout, accepted=accepted))


def certain_of(core: Core, id: str) -> Upload:
    """The upload, with an offset that counts only what can be read from its beginning on and will not be taken back;
    raises Gone if its time is over."""
    upload = core.store.load(id, durable=core.assures)
    if core.expired(upload):
        raise Gone("the upload has expired")
    if upload.complete:
        return upload
    if upload.final:  # made of its parts at the end
        return upload.evolve(offset=0)
    if upload.chunks:
        marks = core.places.marks(id)
        first = marks.find(b"\0")
        many = len(marks) if first < 0 else first
        whole = many == upload.chunks.many and upload.length is not None
        return upload.evolve(offset=upload.length if whole else many * upload.chunks.size)
    if core.distant:
        return upload
    # A request may have begun to write what its checksum decides about, between the record and the size of the file.
    return upload.evolve(offset=min(upload.offset, core.store.load(id, durable=core.assures).offset))


class Follower:
    """One reader. It waits for nothing; what drives it knows how to wait."""

    def __init__(
        self, core: Core, id: str, *, start: int = 0, end: int | None = None, timeout: float | None = None,
        accepted: bool = False,
    ) -> None:  # fmt: skip
        self._core, self.id = core, checked_id(id)
        self.position, self._end = start, end
        self._timeout, self._accepted = timeout, accepted
        self._watched: Watched | None = None
        self._seen = self._given = 0
        self._created = 0.0  # when the upload was
        self._closed = False
        self._began = time.monotonic()
        self._file: BinaryIO | None = None
        self._there = 0  # where the data ended when the file was opened
        self._number = -1  # of the open file, where it is one of the system's

    def take(self, most: int = _BLOCK) -> bytes | None:
        """The next bytes; nothing at the end; None if none are there yet."""
        upload = self.look()
        there = self._reach(upload)
        if self.position < there:
            data = self._read(min(most, there - self.position), upload)
            if data:
                self.position += len(data)
                self._given = max(self._given, self.position)
                return data
        elif self._is_over(upload):
            return b""
        left = self.patience
        if left is not None and left <= 0:
            raise Silent(f"nothing has come for {self._timeout:g} seconds", offset=upload.offset)
        return None

    def look(self) -> Upload:
        """The upload as it was seen last; raises Abandoned if that will never be whole."""
        try:
            watched = self._watched
            if watched is None:
                look = partial(certain_of, self._core, self.id)
                watched = self._watched = self._core.watches.join(self.id, look)
                if self._closed:  # while another thread looked
                    self.close()
                    raise ValueError("nobody reads this any more")
            self._seen = watched.version
            if watched.error:
                raise watched.error
        except (NotFound, Gone) as error:
            raise Abandoned(f"the upload is gone: {error}") from error
        upload = watched.upload
        self._created = self._created or upload.created
        if upload.created != self._created:
            raise Abandoned("the upload is gone, and another one goes by its name")
        if upload.refused:
            reason = upload.result.reason if upload.result else ""
            raise Abandoned(f"the upload was refused: {reason or 'the host does not want it'}")
        if upload.offset < self._given:
            raise Abandoned(f"of {self._given} bytes that were read, the storage lost those behind {upload.offset}")
        return upload

    @property
    def patience(self) -> float | None:
        """Seconds that are worth waiting; None: any number."""
        if self._timeout is None:
            return None
        grew = self._watched.grew if self._watched else 0.0
        return max(grew, self._began) + self._timeout - time.monotonic()

    def call(self, wake: Wake) -> None:
        """Call this, once, when `take` may have more to say. It is called in another thread, or in this one at once."""
        assert self._watched
        self._watched.call(wake, self._seen)

    def wait(self) -> None:
        """Until then, in this thread."""
        woken = threading.Event()
        self.call(woken.set)
        woken.wait(self.patience)

    def leap(self, position: int) -> None:
        """Go on there."""
        self.position = position
        if self._number < 0:
            self._forget_file()

    def hold(self) -> bool:
        """Whether this reader may keep a thread, until `free`."""
        return self._core.watches.hold(self._core.options.live_readers)

    def free(self) -> None:
        self._core.watches.free()

    def close(self) -> None:
        """Twice is fine."""
        self._closed = True
        watched, self._watched = self._watched, None
        if watched:
            self._core.watches.leave(self.id, watched)
        self._forget_file()

    def _reach(self, upload: Upload) -> int:
        """Where the bytes end that may be given now."""
        there = upload.offset
        if self._accepted and not _settled(upload) and upload.length is not None:
            there = min(there, upload.length - 1)  # with its last byte it would look whole
        return there if self._end is None else min(there, self._end)

    def _is_over(self, upload: Upload) -> bool:
        if self._end is not None and self.position >= self._end:
            return True
        if self._accepted:
            return _settled(upload)
        return upload.complete or upload.filled and not upload.digests

    def _read(self, size: int, upload: Upload) -> bytes:
        """What is there; nothing if it cannot be had now."""
        for _ in range(2):
            try:
                if self._file is None or self._number < 0 and self.position >= self._there:
                    self._open(upload)
                assert self._file
                if self._number >= 0:  # nothing is read ahead that could still be taken back
                    return os.pread(self._number, size, self.position)
                if data := self._file.read(min(size, self._there - self.position)):
                    return data
                self._forget_file()
            except StoreAway:
                return b""
            except NotFound as error:
                raise Abandoned("the data of the upload is gone") from error
            except (OSError, TusError):  # what was open has been replaced
                self._forget_file()
        return b""

    def _open(self, upload: Upload) -> None:
        self._forget_file()
        far = None if upload.chunks else self._core.distant  # a chunk that counts has no writer any more
        file = far.follow(self.id, self.position) if far else self._core.store.open(self.id, self.position)
        self._file, self._there = file, upload.offset
        with suppress(OSError, AttributeError):
            self._number = self._file.fileno()

    def _forget_file(self) -> None:
        file, self._file, self._number = self._file, None, -1
        if file:
            file.close()


def _settled(upload: Upload) -> bool:
    """Whether nobody will refuse it any more."""
    return upload.complete and upload.result is not None


class _Bytes(io.RawIOBase):
    """The upload, for Python's own buffers."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return not self.closed and self._follower.look().length is not None

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while (data := self._follower.take(len(view))) is None:
            self._follower.wait()
        view[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._follower.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        follower = self._follower
        end = follower.look().length if whence == io.SEEK_END else 0
        if end is None:
            raise io.UnsupportedOperation("the length of this upload is not known yet")
        at = {io.SEEK_SET: 0, io.SEEK_CUR: follower.position, io.SEEK_END: end}[whence] + offset
        if at < 0:
            raise ValueError("there is nothing before the beginning")
        if at != follower.position:
            follower.leap(at)
        return at

    def close(self) -> None:
        self._follower.close()
        super().close()


class Followed(io.BufferedReader):
    """An upload that may still arrive, as a file in binary mode. `read` waits for bytes, `read1` for the first ones."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(cast(io.RawIOBase, _Bytes(follower)), _BLOCK)
        self._follower = follower

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Blocks as they come. No thread waits for them."""
        loop, follower = asyncio.get_running_loop(), self._follower
        while (block := await loop.run_in_executor(None, follower.take)) != b"":
            if block:
                yield block
                continue
            woken = asyncio.Event()
            follower.call(partial(loop.call_soon_threadsafe, woken.set))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(woken.wait(), follower.patience)
