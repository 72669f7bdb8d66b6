"""Reading what lies in several objects as if it were one file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import BinaryIO, cast

from .bucket import Bucket
from .client import ATTEMPTS, Incoming, Unavailable
from .grid import Span

_AHEAD = 1 << 18  # bytes
_BLOCK = 1 << 20  # bytes


def reader(bucket: Bucket, row: Sequence[Span], start: int) -> BinaryIO:
    """The bytes of this unbroken row, from `start` on."""
    raw = Reader(bucket, row)
    raw.seek(start)
    return cast(BinaryIO, io.BufferedReader(raw, _AHEAD))


class Stretch:
    """Some bytes of an object, which are fetched each time when they are asked for."""

    def __init__(self, bucket: Bucket, span: Span) -> None:
        self._bucket, self._span = bucket, span

    def __len__(self) -> int:
        return self._span.end - self._span.start

    def __iter__(self) -> Iterator[bytes]:
        with closing(reader(self._bucket, [self._span], self._span.start)) as file:
            while block := file.read(_BLOCK):
                yield block


class Reader(io.RawIOBase):
    """One request for each object that is read from, and one more after each jump."""

    def __init__(self, bucket: Bucket, row: Sequence[Span]) -> None:
        self._bucket, self._row, self._at = bucket, row, 0
        self._end = row[-1].end if row else 0
        self._stream: Incoming | None = None
        self._left = 0  # bytes of the stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        if base + offset < 0:
            raise ValueError("there is nothing before the beginning")
        if base + offset != self._at:
            self._stop()
            self._at = base + offset
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._some(len(view))
        view[: len(data)] = data
        self._at += len(data)
        self._left -= len(data)
        if not self._left:
            self._stop()
        return len(data)

    def _some(self, size: int) -> bytes:
        """The next bytes. Where a body breaks off, it is asked for again from there on."""
        for _ in range(ATTEMPTS):
            if not self._left and not self._open():
                return b""
            assert self._stream
            with suppress(Unavailable):
                if data := self._stream.read(min(size, self._left)):
                    return data
            self._stop()
        raise Unavailable("the object storage breaks off again and again")

    def _open(self) -> bool:
        for one in self._row:
            if one.start <= self._at < one.end:
                skipped = self._at - one.start
                self._stream = self._bucket.stream(one.key, one.at + skipped, one.at + one.end - one.start)
                self._left = one.end - self._at
                return True
        return False

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        self._left = 0
        if stream:
            stream.close()

    def close(self) -> None:
        self._stop()
        super().close()
