"""One numbered chunk: what its client says of it, the lease of the request that brings it, and what may take its bytes
instead of a file. Every number from the client is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from ..errors import BadRequest, LengthMismatch, StoreBroken, TooLarge
from ..http.headers import MAX_NUMBER
from ..lockers import Lease, Share
from ..stores import Block, Draft
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


class ChunkLease:
    """The lease of a request that writes a chunk: the chunk is its own, and the upload is shared. The newest request
    for a chunk has it."""

    def __init__(self, chunk: Lease, share: Share) -> None:
        self._chunk, self._share = chunk, share
        self.token = chunk.token

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._chunk.turn(), self._share.turn():
            yield

    def keep(self) -> None:
        """A chunk finishes nothing: the request that finishes the upload has a claim."""

    def on_lost(self, end: Callable[[], None]) -> None:
        self._chunk.on_lost(end)

    def release(self, *, forget: bool = False) -> None:
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

    def write(self, block: Block) -> None:
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
    """The draft of a chunk that a hook sees, and may replace, before it is stored."""

    def __init__(self, draft: Draft, see: Callable[[bytes], bytes | None]) -> None:
        self._draft, self._see = draft, see
        self._data = bytearray()

    @property
    def taken(self) -> int:
        return self._draft.taken + len(self._data)

    def write(self, block: Block) -> None:
        self._data += block

    def commit(self, *, durable: bool = False) -> int:
        """Store what the hook makes of it; it may take its time."""
        data = bytes(self._data)
        replaced = self._see(data)
        replaced = data if replaced is None else replaced
        if len(replaced) != len(data):  # every chunk has its place, whatever is in it
            raise StoreBroken(f"the hook `chunk` made {len(replaced)} bytes of {len(data)}")
        self._data.clear()
        self._draft.write(replaced)
        return self._draft.commit(durable=durable)

    def abort(self) -> None:
        self._data.clear()
        self._draft.abort()

    def close(self) -> None:
        self._draft.close()
