"""The body of one request, poured into what wants it: the blocking way to drive a conversation."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

from ..engine.writer import Sink, Writer
from ..talk import Filling
from .sources import BLOCK, SMALL, Environ, Spooled, Unterminated, source

PIECE = 1 << 16  # bytes at a time of a body that has not many
SPLICE_FROM = 1 << 18  # bytes; below that, making a pipe costs more than it saves
DRAIN = 1 << 20  # bytes of a refused body that are read, so that the client sees the answer and not a reset
DRAIN_TIME = 1.0  # seconds


class Body:
    """The body of one request, still with the server."""

    def __init__(self, environ: Environ, length: int | None, chunked: bool) -> None:
        self._environ = environ
        self._source = road = source(environ, chunked=chunked)
        self.chunked = chunked and road.dechunks
        self.shows_cuts = road.shows_cuts
        self.collected = road.collected
        self.arrived = road.arrived
        self.trailers = road.trailers if road.shows_trailers else None
        self._filling = Filling(length)

    @property
    def parks(self) -> bool:
        """The server can wait for it without a thread."""
        return not self.arrived and self._source.parks

    @property
    def cut(self) -> BaseException | None:
        """Why it ended too early, if it did."""
        return self._filling.cut

    def rest(self) -> None:
        """Nothing may come for long: what takes it need hold no file open."""
        if isinstance(self._filling.sink, Writer):
            self._filling.sink.rest()

    def fill(self, sink: Sink) -> BaseException | None:
        """Pour what arrives into the sink; why it stopped, if it stopped too early."""
        self._begin(sink)
        self.pour()
        return self._filling.cut

    def open(self, sink: Sink, *, patient: bool) -> None:
        """Begin to fill it, by `pour`; if `patient`, the server may say that nothing has come."""
        if patient:
            self._source.open()
        self._begin(sink)

    def _begin(self, sink: Sink) -> None:
        source = self._source
        self._filling.into(sink)
        if sink.lease and source.end and not source.arrived:
            sink.lease.on_lost(source.end)

    def pour(self, buffer: memoryview | None = None) -> bool:
        """Take what comes, into this buffer if there is one; true when the body is over, false if nothing has come for
        longer than the server has patience."""
        source, filling = self._source, self._filling
        sink = filling.sink
        assert sink
        if buffer is not None:
            with source.lent(buffer):
                return self._read(len(buffer))
        if source.splices and sink.splices and (sink.wanted or 0) >= SPLICE_FROM:
            return self._splice(sink)
        # A thousand small bodies that trickle in must not have a large buffer each.
        return self._read(PIECE if sink.wanted is not None and sink.wanted < SPLICE_FROM else BLOCK)

    def _read(self, most: int) -> bool:
        source, filling = self._source, self._filling
        sink = filling.sink
        writer = sink if source.receives and isinstance(sink, Writer) and sink.receives else None
        while size := filling.wants(most):
            space = writer.space(size) if writer else None
            got: Any
            try:
                got = source.read(size) if space is None else source.receive(space)
            except Exception as error:  # servers raise what they like; all of it means that the client is gone
                filling.stop(error)
                return True
            if got is None:
                return False
            if space is None:
                filling.take(got)
            else:
                filling.took(got)
        return True

    def _splice(self, sink: Sink) -> bool:
        filling = self._filling
        out, into, holds = _pipe()
        try:
            while size := filling.wants(holds):
                try:
                    waiting = self._source.pipe(into, size)
                except Exception as error:
                    filling.stop(error)
                    return True
                if waiting is None:
                    return False
                filling.count(waiting)
                while waiting:
                    waiting -= sink.splice(out, waiting)
        finally:
            os.close(out)
            os.close(into)
        return True

    def drain(self) -> None:
        """Read a little of an unwanted body: closing on unread bytes makes the kernel answer with a reset,
        and the client never sees why it was refused."""
        source, filling = self._source, self._filling
        if filling.over or source.own or isinstance(source, Spooled | Unterminated):
            return
        # A client that asks first sends nothing; and unread frames of HTTP/2 harm no other answer.
        if "HTTP_EXPECT" in self._environ or self._environ.get("SERVER_PROTOCOL", "").startswith("HTTP/2"):
            return
        if source.end is None:
            return  # the rest may never come, and nothing could end the read
        deadline, left = time.monotonic() + DRAIN_TIME, DRAIN
        source.hurry(DRAIN_TIME)
        with suppress(Exception):
            while left > 0 and time.monotonic() < deadline and not filling.over:
                block = source.read(min(left, SMALL) if filling.left is None else min(left, filling.left, BLOCK)) or b""
                left -= len(block)
                filling.count(len(block))


def _pipe() -> tuple[int, int, int]:
    """Both ends, and how much it holds: to write more than that, with nobody reading, would be to wait for ever."""
    import fcntl

    out, into = os.pipe()
    with suppress(OSError):  # beyond the user's share of pipe memory, a small one does
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, BLOCK)
    return out, into, fcntl.fcntl(into, fcntl.F_GETPIPE_SZ)
