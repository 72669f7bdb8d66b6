"""The chunked transfer coding of a request body, decoded without any input or output.

No client can make it remember more than one line or one trailer section.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from ._waitress import CHUNK_EXT_RE, BadRequest, OverflowableBuffer

LINE = 1024  # bytes of one chunk's size and extensions
FIELD_LINE = 8192  # bytes of one trailer field
TRAILER = 65536  # bytes of the whole trailer section

# RFC 9112, 7.1: 1*HEXDIG; 16 digits are more than any file.
SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")  # cannot backtrack


class BadBody(OSError):
    """The framing of a chunked body is invalid."""


class ChunkDecoder:
    """Decodes what it is fed; ``take`` gives the data, ``leftover`` what came behind the end."""

    def __init__(self) -> None:
        self.gap = 0  # bytes of the current chunk that are still to come
        self.complete = False
        self.trailers: dict[str, str] = {}
        self._pending = b""
        self._at = 0
        self._trailer_size = 0
        self._step = ChunkDecoder._size

    def feed(self, data: bytes) -> None:
        self._pending = self._pending[self._at :] + data
        self._at = 0

    @property
    def direct(self) -> int:
        """How many bytes can be received past us: the rest of the chunk, when nothing is pending."""
        return 0 if self._at < len(self._pending) else self.gap

    def passed(self, size: int) -> None:
        """So many bytes of the current chunk went past us."""
        self.gap -= size
        if not self.gap:
            self._step = ChunkDecoder._end

    @property
    def leftover(self) -> bytes:
        return self._pending[self._at :] if self.complete else b""

    def take(self, limit: int) -> bytes:
        """At most ``limit`` decoded bytes; nothing when more must be fed, or at the end."""
        while not self.complete:
            if self.gap:
                start, size = self._at, min(self.gap, limit, len(self._pending) - self._at)
                if not size:
                    return b""
                self._at += size
                self.passed(size)
                return self._pending[start : self._at]
            if not self._step(self):
                return b""
        return b""

    def _line(self, limit: int, complaint: str) -> bytes | None:
        end = self._pending.find(b"\r\n", self._at, self._at + limit)
        if end < 0:
            if len(self._pending) - self._at >= limit:
                raise BadBody(complaint)
            return None
        line, self._at = self._pending[self._at : end], end + 2
        return line

    def _size(self) -> bool:
        line = self._line(LINE, "Invalid chunk size")
        if line is None:
            return False
        size, semicolon, _ = line.partition(b";")
        if semicolon and not CHUNK_EXT_RE.fullmatch(line[len(size) :]):
            raise BadBody("Invalid chunk extension")
        if not SIZE.fullmatch(size):
            raise BadBody("Invalid chunk size")
        self.gap = int(size, 16)
        if not self.gap:
            self._step = ChunkDecoder._trailer
        return True

    def _end(self) -> bool:
        mark = self._pending[self._at : self._at + 2]
        if not b"\r\n".startswith(mark):
            raise BadBody("Chunk not properly terminated")
        if len(mark) < 2:
            return False
        self._at += 2
        self._step = ChunkDecoder._size
        return True

    def _trailer(self) -> bool:
        line = self._line(FIELD_LINE, "Trailer section too large")
        if line is None:
            return False
        self._trailer_size += len(line) + 2
        if self._trailer_size > TRAILER:
            raise BadBody("Trailer section too large")
        if not line:
            self.complete = True
            return True
        field = FIELD.fullmatch(line)
        if field is None:
            raise BadBody("Invalid trailer")
        self._remember(field[1].decode("ascii").lower(), field[2].strip(b" \t").decode("latin-1"))
        return True

    def _remember(self, name: str, value: str) -> None:
        if name in self.trailers:
            value = f"{self.trailers[name]}, {value}"
        self.trailers[name] = value


class ChunkedBody:
    """The same for waitress's parser: collects the data of a body until it is whole, or is taken over by a stream."""

    def __init__(self, buffer: OverflowableBuffer) -> None:
        self.chunks = ChunkDecoder()
        self.buf = buffer
        self.error: BadRequest | None = None

    @property
    def completed(self) -> bool:
        return self.chunks.complete

    def __len__(self) -> int:
        return self.buf.__len__()

    def received(self, data: bytes) -> int:
        self.chunks.feed(data)
        try:
            while taken := self.chunks.take(len(data)):
                self.buf.append(taken)
        except BadBody as error:
            self.error = BadRequest(str(error))
        return len(data) - len(self.chunks.leftover)

    def getfile(self) -> BinaryIO:
        return self.buf.getfile()

    def getbuf(self) -> OverflowableBuffer:
        return self.buf
