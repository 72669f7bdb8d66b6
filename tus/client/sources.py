"""Where the bytes of an upload come from. None of them holds a file in memory."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Protocol

from ..checksum import ALGORITHMS
from .failures import TransferError
from .wire import BLOCK, Bytes, FileRange, Payload

STREAM_CHUNK = 8 << 20  # bytes; a stream cannot be read twice, so a chunk of it stays in memory


class Readable(Protocol):
    """What a stream can do at least."""

    def read(self, size: int, /) -> bytes: ...


class ByteSource(Protocol):
    """Where bytes come from."""

    length: int | None  # None until it is known

    def body(self, offset: int, most: int | None) -> Payload:
        """At most `most` bytes from `offset` on; may find out the length."""

    def digest(self, body: Payload, algorithm: str) -> bytes: ...


class File:
    """A regular file from `start` on: any part of it can be sent again."""

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self.fd = file.fileno()
        self._start = start
        self._before = self._state()
        self.length: int | None = max(0, self._before[0] - start)

    def part(self, start: int, length: int) -> File:
        """Some of it, as a file of its own."""
        made = copy.copy(self)
        made._start, made.length = self._start + start, length
        return made

    def body(self, offset: int, most: int | None) -> FileRange:
        room = (self.length or 0) - offset
        return FileRange(self.fd, self._start + offset, room if most is None else min(room, most))

    def digest(self, body: Any, algorithm: str) -> bytes:
        hash, position, end = ALGORITHMS[algorithm][1](), body.start, body.start + body.length
        while position < end and (data := os.pread(self.fd, min(BLOCK, end - position), position)):
            hash.update(data)
            position += len(data)
        return hash.digest()

    @property
    def changed(self) -> bool:
        """Whether somebody wrote to the file since it was opened."""
        return self._state() != self._before

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self.fd)
        return status.st_size, status.st_mtime_ns


class InMemory:
    """Bytes: any part of them can be sent again."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data).cast("B")
        self.length: int | None = len(self._data)

    def body(self, offset: int, most: int | None) -> Bytes:
        return Bytes(self._data[offset:][:most])

    def digest(self, body: Any, algorithm: str) -> bytes:
        hash = ALGORITHMS[algorithm][1]()
        hash.update(body.data)
        return hash.digest()


class Stream:
    """A pipe: it is read once, and the newest chunk is kept so that it can be sent again."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._start = 0
        self._chunk = b""
        self.length: int | None = None

    def body(self, offset: int, most: int | None) -> Bytes:
        end = self._start + len(self._chunk)
        if not self._start <= offset <= end:
            raise TransferError(f"the server went back to byte {offset}, and a stream cannot be read twice")
        if offset == end and self.length is None:
            room = most or STREAM_CHUNK
            self._start, self._chunk = end, self._read(room)
            if len(self._chunk) < room:
                self.length = end + len(self._chunk)
        return Bytes(memoryview(self._chunk)[offset - self._start :][:most])

    digest = InMemory.digest

    def _read(self, size: int) -> bytes:
        """Exactly so much, but at the end: some streams give less although more is to come."""
        blocks, got = [], 0
        while got < size and (block := self._file.read(size - got)):
            blocks.append(block)
            got += len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)


class BlockStream:
    """Blocks of bytes from an iterator, as something to read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks: Iterator[bytes] = iter(blocks)
        self._rest = b""

    def read(self, size: int) -> bytes:
        while not self._rest:
            if (block := next(self._blocks, None)) is None:
                return b""
            self._rest = bytes(block)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
