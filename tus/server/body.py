"""``wsgi.input`` of a request whose body may still be arriving: reads it from the socket, in the request's thread.

It reports a cut body only after it has handed out every byte that arrived.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .chunks import BadBody, ChunkDecoder
from .pipes import drain_pipe, wide_pipe
from .receiving import GATHER, BodyTooSlow, ConnectionCut, NothingYet, Receiver, Taken

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 20  # bytes that one receive asks for at most: more gains nothing, less costs system calls
FRAMES = 65536  # bytes that are received at once where chunk sizes have to be found in them
SPLICE_MOVE_NONBLOCK = 1 | 2


class BodyStream:
    """One request's body. Only one thread reads; any thread may call ``end``."""

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_ended",
        "_expects",
        "_failure",
        "_pipe",
        "_prefix",
        "_remaining",
        "_trailers",
        "patience",
        "received",
        "receiver",
    )

    def __init__(
        self,
        prefix: bytes = b"",
        *,
        remaining: int = 0,
        chunks: ChunkDecoder | None = None,
        trailers: dict[str, str] | None = None,
        expects_continue: bool = False,
    ) -> None:
        self._prefix = memoryview(prefix)  # what came along with the headers
        self._remaining = remaining  # bytes still to come from the socket, when that is known
        self._chunks = chunks  # the decoder, when it is not
        self._trailers = trailers
        self._expects = expects_continue and not prefix
        self._failure: tuple[type[OSError], str] | None = None
        self.receiver: Receiver | None = None
        self._ended = False
        self._pipe: tuple[int, int] | None = None
        self.patience: int | None = None  # ms that a thread waits for an application that can do without it
        self.received = len(prefix)  # bytes of the body that have come so far

    # -- set-up and end, by the channel in the thread that serves the request

    def attach(
        self,
        sock: socket.socket,
        timeout: float,
        min_rate: int,
        say_continue: Callable[[], object] | None = None,
        *,
        crowded: bool = False,
    ) -> None:
        """Receive from ``sock``. Where it is ``crowded``, thousands of threads that wake up for a packet each
        would keep everybody from the interpreter: larger blocks will do."""
        self.receiver = receiver = Receiver(sock, timeout, min_rate, self.received)
        if self._expects:
            receiver.say_continue = say_continue
        if crowded:
            receiver.gather(GATHER)
        if self._ended:  # before we had a socket
            receiver.end()

    def detach(self) -> Receiver | None:
        """The request is over, and reading on is an error. What is returned is to be closed, perhaps after a drain."""
        if self.receiver is None or not self.receiver.detach():
            return None
        if not self.finished and self._failure is None:
            self._failure = ConnectionCut, "the request is over"
        self.receiver.say_continue = None
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None
        return self.receiver

    def end(self) -> None:
        """Make the reader see a cut body at once, after what has arrived; from any thread."""
        if self.finished:
            return  # the connection may carry another request
        self._ended = True
        if self.receiver is not None:
            self.receiver.end()

    def refuse_continue(self) -> None:
        """The answer is on its way: too late to ask for the body."""
        self._expects = False
        if self.receiver is not None:
            self.receiver.say_continue = None

    # -- without a thread that waits

    @property
    def parks(self) -> bool:
        """The server can wait for it without a thread, if the application can."""
        return self.patience is not None

    def be_patient(self) -> None:
        """The application can: ``readinto`` and ``splice_to`` say when nothing comes for a while."""
        if self.receiver is not None:
            self.receiver.patience = self.patience

    @property
    def left(self) -> int | None:
        """Bytes that still have to come; None: its end will tell."""
        return None if self._chunks is not None else self._remaining

    # -- what is known

    @property
    def finished(self) -> bool:
        """The body was read to its end."""
        if len(self._prefix) or self._failure is not None:
            return False
        return self._chunks.complete if self._chunks is not None else not self._remaining

    @property
    def arrived(self) -> bool:
        """The whole body came with the headers; reading it waits for nothing."""
        return self._chunks is None and not self._remaining

    @property
    def failed(self) -> bool:
        """The connection is broken or silent, so that draining it helps no client."""
        return self._failure is not None and self._failure[0] in (ConnectionCut, BodyTooSlow) and not self._ended

    @property
    def malformed(self) -> str:
        """What is wrong with the framing, if anything."""
        return self._failure[1] if self._failure is not None and self._failure[0] is BadBody else ""

    @property
    def can_splice(self) -> bool:
        return self._chunks is None and hasattr(os, "splice")

    def trailers(self) -> dict[str, str]:
        """The trailer fields of a chunked body that was read to its end, with lower-case names."""
        if self._chunks is not None:
            return self._chunks.trailers if self._chunks.complete else {}
        return self._trailers or {}

    @property
    def leftover(self) -> bytes:
        """What came behind a chunked body: the next request of the connection."""
        return self._chunks.leftover if self._chunks is not None else b""

    @property
    def _asks(self) -> bool:
        """The client waits to be asked for the body."""
        return self._expects if self.receiver is None else self.receiver.say_continue is not None

    def settle(self) -> None:
        """Read the end of a chunked body if nothing else is missing and it is here, so that the connection lives."""
        chunks = self._chunks
        if chunks is None or chunks.complete or chunks.gap or self._prefix or self._failure or self._asks:
            return
        try:
            if not chunks.take(0) and not chunks.complete and self.receiver is not None:
                chunks.feed(self.receiver.sock.recv(FRAMES))
                chunks.take(0)
        except OSError:
            pass  # nothing here, broken or malformed: the connection is closed

    # -- receiving

    def _fail(self, kind: type[OSError], message: str) -> OSError:
        # Remembered as its parts: an exception object would keep the frames of its traceback, and their files, alive.
        self._failure = kind, message
        return kind(message)

    def _check(self) -> None:
        if self._failure is not None:
            kind, message = self._failure
            raise kind(message)

    def _raw(self, receive: Callable[[int], Taken], size: int) -> Taken:
        """One receive from the socket of at most ``size`` bytes; what ``receive`` returns, which is never empty."""
        receiver = self.receiver
        if receiver is None:
            raise self._fail(ConnectionCut, "the request is over")
        try:
            return receiver.take(receive, size, self.received)
        except (ConnectionCut, BodyTooSlow) as error:
            self._fail(type(error), str(error))
            raise

    def _recv(self, size: int) -> bytes:
        return self._raw(self.receiver.sock.recv if self.receiver else bytes, size)

    def _receive(self, size: int) -> bytes:
        """At most ``size`` bytes of the body from the socket, at least one; nothing at the end."""
        self._check()
        chunks = self._chunks
        if chunks is not None:
            return self._decode(chunks, size)
        if not self._remaining:
            return b""
        data = self._recv(min(size, self._remaining, BLOCK))
        self._remaining -= len(data)
        self.received += len(data)
        return data

    def _decode(self, chunks: ChunkDecoder, size: int) -> bytes:
        try:
            while not (data := chunks.take(size)) and not chunks.complete:
                if chunks.direct:
                    data = self._recv(min(size, chunks.direct, BLOCK))
                    chunks.passed(len(data))
                    break
                chunks.feed(self._recv(FRAMES))
        except BadBody as error:
            raise self._fail(BadBody, str(error)) from None
        self.received += len(data)
        return data

    def _from_prefix(self, size: int) -> memoryview:
        data, self._prefix = self._prefix[:size], self._prefix[size:]
        return data

    # -- the file interface of WSGI

    def read1(self, size: int | None = -1) -> bytes:
        """What has arrived, at most ``size`` bytes."""
        size = BLOCK if size is None or size < 0 else size
        if len(self._prefix):
            return bytes(self._from_prefix(size))
        return self._receive(size) if size else b""

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer at the end or before a cut, which the next call reports."""
        wanted = sys.maxsize if size is None or size < 0 else size
        parts: list[bytes] = []
        while wanted:
            try:
                data = self.read1(min(wanted, BLOCK))
            except OSError:
                if not parts:
                    raise
                break
            if not data:
                break
            parts.append(data)
            wanted -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Fill ``buffer`` with what has arrived; at least one byte, 0 at the end. None, if nothing has come and the
        server has no thread to wait: only after ``be_patient``."""
        try:
            return self._readinto(buffer)
        except NothingYet:
            return None

    readinto1 = readinto

    def _readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if len(self._prefix):
            data = self._from_prefix(len(view))
            view[: len(data)] = data
            return len(data)
        if not len(view):
            return 0
        self._check()
        chunks = self._chunks
        if chunks is None or chunks.direct:
            return self._straight(view, chunks)
        decoded = self._decode(chunks, len(view))
        view[: len(decoded)] = decoded
        return len(decoded)

    def _straight(self, view: memoryview, chunks: ChunkDecoder | None) -> int:
        size = min(len(view), chunks.direct if chunks is not None else self._remaining)
        if not size:
            return 0
        receiver = self.receiver
        size = self._raw(lambda room: receiver.sock.recv_into(view, room) if receiver else 0, size)
        if chunks is not None:
            chunks.passed(size)
        else:
            self._remaining -= size
        self.received += size
        return size

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and with the next newline, at most ``size`` bytes."""
        limit = sys.maxsize if size is None or size < 0 else size
        line = bytearray()
        while len(line) < limit and not line.endswith(b"\n"):
            if not len(self._prefix) and not self._refill(line):
                break
            end = bytes(self._prefix[: limit - len(line)]).find(b"\n") + 1
            line += self._from_prefix(end or limit - len(line))
        return bytes(line)

    def _refill(self, line: bytearray) -> bool:
        try:
            self._prefix = memoryview(self._receive(FRAMES))
        except OSError:
            if not line:
                raise
        return len(self._prefix) > 0

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: the server ends the body with the request."""

    # -- without a copy in user space

    def splice_to(self, fd: int, size: int) -> int | None:
        """Move at most ``size`` bytes that have arrived into ``fd``, a pipe or a file; at least one, 0 at the end, and
        None as ``readinto``."""
        try:
            return self._splice_to(fd, size)
        except NothingYet:
            return None

    def _splice_to(self, fd: int, size: int) -> int:
        if len(self._prefix):
            written = os.write(fd, self._prefix[:size])
            self._from_prefix(written)
            return written
        self._check()
        size = min(size, self._remaining, BLOCK)
        if not size:
            return 0
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return self._splice(fd, size)
        if self._pipe is None:
            self._pipe = wide_pipe()
        source, sink = self._pipe
        moved = self._splice(sink, size)
        try:
            drain_pipe(source, fd, moved)
        except OSError as error:
            # The bytes in the pipe are lost to the reader: he must not go on behind the hole.
            self._fail(ConnectionCut, f"writing failed: {error}")
            raise
        return moved

    def _splice(self, sink: int, size: int) -> int:
        source = self.receiver.sock.fileno() if self.receiver else -1
        moved = self._raw(lambda room: os.splice(source, sink, room, flags=SPLICE_MOVE_NONBLOCK), size)
        self._remaining -= moved
        self.received += moved
        return moved
