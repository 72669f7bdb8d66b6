"""One numbered chunk: what its client says of it, the lease of the request that brings it, and what may take its bytes
instead of a file. Every number from the client is checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

from ..errors import BadRequest, Interrupted, LengthMismatch, StoreBroken, TooLarge
from ..http.headers import MAX_NUMBER
from ..lockers import Lease, Share
from ..stores import Place
from ..upload import Chunks, Upload

MOST = 1 << 20  # chunks; each request reads that many marks, in less than a millisecond
LARGEST = 1 << 26  # bytes of a chunk that a hook wants to see, so that it lies in memory


class Piece(NamedTuple):
    """What a client says of one chunk."""

    name: tuple[str, ...]  # what it calls the upload; two that differ in anything here never meet
    number: int  # from 0
    chunks: Chunks  # of size 0, if the client doesn't say
    length: int | None  # of the whole; None where the last chunk tells
    nameless: bool = False  # the client has no name for an upload but the file's, so chunk 0 begins a new one
    whose: tuple[str, ...] = ("",)  # what no other visitor can say; one of these, which may have been said before

    @property
    def alone(self) -> bool:
        """Whether it is the first one that such a client sends, before it heard anything of us."""
        return self.chunks.many == 1 or self.nameless and self.number == 0

    def checked(self) -> Piece:
        """Itself, if it makes sense."""
        size, count = self.chunks
        if not 1 <= count <= MOST:
            raise BadRequest(f"{count} chunks; this server takes from 1 to {MOST}")
        if not 0 <= self.number < count:
            raise BadRequest(f"there is no chunk {self.number} among {count}, counted from 0")
        if (self.number + 2) * size > MAX_NUMBER:  # the last one may be twice as long
            raise TooLarge(f"chunk {self.number} of {size} bytes would lie behind the end of any file")
        # flow.js and its cousins let the last chunk be up to twice as long, or cut it off, as their option says.
        if self.length is not None and count not in (max(self.length // size, 1), max(-(-self.length // size), 1)):
            raise BadRequest(f"{self.length} bytes in chunks of {size} are not {count} chunks")
        return self


class Alone:
    """The lease of a request that writes a chunk: the chunk is its own, and the upload is shared. The newest request
    for a chunk has it."""

    def __init__(self, chunk: Lease) -> None:
        self._chunk = chunk
        self._share: Share | None = None

    def join(self, share: Share) -> None:
        self._share = share

    def holds(self) -> bool:
        with suppress(Interrupted), self._chunk.turn():
            return self._share is not None and self._share.holds()
        return False

    @contextmanager
    def turn(self) -> Iterator[None]:
        assert self._share
        with self._chunk.turn(), self._share.turn():
            yield

    def lock(self) -> None:
        """A chunk finishes nothing: the request that finishes the upload takes a lease."""

    def unlock(self) -> None:
        """It never begins with a turn."""

    def on_lost(self, end: Callable[[], None]) -> None:
        self._chunk.on_lost(end)

    def release(self, *, forget: bool = False) -> None:
        if self._share:
            self._share.release()
        self._chunk.release(forget=True)


class Again:
    """Takes a chunk that is there already, and compares. The same again is harmless: an answer was lost."""

    splices = False
    lease = None

    def __init__(self, upload: Upload, file: BinaryIO | None, size: int | None, announced: int | None) -> None:
        self.upload = upload
        self.received = 0
        self.same = True
        self._file, self._size, self._announced = file, size, announced
        if announced is not None:
            self._check(announced == (size or announced), announced)

    @property
    def wanted(self) -> int | None:
        return None if self._announced is None else self._announced - self.received

    def write(self, block: bytes | bytearray | memoryview) -> None:
        self.received += len(block)
        self._check(self.received <= (LARGEST if self._size is None else self._size), self.received)
        if self._file and self.same:
            self.same = self._file.read(len(block)) == block

    def splice(self, pipe: int, size: int) -> int:
        raise NotImplementedError("it has to be looked at")

    def check_size(self) -> None:
        """All of it came, or LengthMismatch is raised."""
        self._check(self._size in (None, self.received), self.received)

    def _check(self, right: bool, size: int) -> None:
        if not right:
            self.close()
            raise LengthMismatch(f"a chunk of {self._size} bytes is there, and this one has {size}")

    def close(self) -> None:
        if self._file:
            self._file.close()

    def __enter__(self) -> Again:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Seen:
    """The place of a chunk that a hook sees, and may replace, before it is stored."""

    def __init__(self, place: Place, start: int, see: Callable[[bytes], bytes | None]) -> None:
        self._place, self._start, self._see = place, start, see
        self._data = bytearray()

    @property
    def position(self) -> int:
        return self._start + len(self._data)

    def write(self, block: bytes | bytearray | memoryview) -> int:
        self._data += block
        return len(block)

    def splice(self, pipe: int, size: int) -> int:
        return self.write(os.read(pipe, size))

    def replaced(self) -> bytes:
        """What the hook makes of it; it may take its time."""
        data = bytes(self._data)
        replaced = self._see(data)
        if replaced is None:
            return data
        if len(replaced) != len(data):  # every chunk has its place, whatever is in it
            raise StoreBroken(f"the hook `chunk` made {len(replaced)} bytes of {len(data)}")
        return replaced

    def store(self, data: bytes) -> None:
        self._place.write(data)

    def copy(self, source: BinaryIO, size: int) -> int:
        raise NotImplementedError("a chunk comes from a client")

    def truncate(self, size: int) -> None:
        del self._data[size - self._start :]

    def start_sync(self) -> None:
        """Nothing is stored yet."""

    def sync(self) -> None:
        self._place.sync()

    def close(self) -> None:
        self._place.close()
