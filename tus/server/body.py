"""``wsgi.input`` of a request whose body may still be arriving: reads it from the socket, in the request's thread.

It reports a cut body only after it has handed out every byte that arrived.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ._waitress import ClientDisconnected
from .chunks import BadBody, ChunkDecoder

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover - Windows
    fcntl = termios = None  # type: ignore[assignment]

BLOCK = 1 << 20  # bytes that one receive asks for at most: more gains nothing, less costs system calls
FRAMES = 65536  # bytes that are received at once where chunk sizes have to be found in them
LONGEST = 0x7FFFFFFF  # milliseconds that poll() takes
F_SETPIPE_SZ = 1031  # Linux; the fcntl module knows it since Python 3.10, but not everywhere
GATHER = 65536  # bytes that the kernel gathers before it wakes the thread of one upload among many
MOMENT = 2000  # milliseconds after which less than that will do
SPLICE_MOVE_NONBLOCK = 1 | 2
Taken = TypeVar("Taken", bytes, int)  # what was received, or how much


class ConnectionCut(ClientDisconnected, ConnectionResetError):
    """The client went away, or was sent away, before the body was whole."""


class BodyTooSlow(ClientDisconnected, TimeoutError):
    """The body fell silent for ``body_timeout``, or came slower than ``body_min_rate``."""


class BodyStream:
    """One request's body. Only one thread reads; any thread may call ``end``."""

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_continue",
        "_copy",
        "_ended",
        "_failure",
        "_grace",
        "_lock",
        "_lowat",
        "_min_rate",
        "_pipe",
        "_poll",
        "_prefix",
        "_remaining",
        "_say_continue",
        "_socket",
        "_timeout",
        "_trailers",
        "_waited",
        "_window",
        "received",
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
        self._continue = expects_continue and not prefix
        self._failure: tuple[type[OSError], str] | None = None
        self._socket: socket.socket | None = None
        self._ended = False
        self._grace: int | None = None  # bytes that had arrived when end() was called
        self._pipe: tuple[int, int] | None = None
        self._lock: threading.Lock | None = None
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
        """Receive from a copy of ``sock``: the loop may close its own at any time. Where it is ``crowded``, thousands
        of threads that wake up for a packet each would keep everybody from the interpreter: larger blocks will do."""
        self._lock = threading.Lock()
        self._timeout, self._min_rate, self._say_continue = timeout, min_rate, say_continue
        self._waited, self._window = 0.0, self.received
        self._copy = copy = sock.dup()
        copy.setblocking(False)
        self._poll = select.poll()
        self._poll.register(copy, select.POLLIN)
        self._lowat = 1
        if crowded:
            self._gather(GATHER)
        self._socket = copy
        if self._ended:  # before we had a socket
            self.end()

    def _gather(self, size: int) -> None:
        """Be woken when so much has arrived, and not by each packet."""
        self._lowat = size
        self._copy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def detach(self) -> socket.socket | None:
        """The request is over: hand the socket back, to be closed or drained; reading on is an error."""
        if self._lock is None:
            return None
        with self._lock:
            sock, self._socket = self._socket, None
        if sock is not None and self._lowat > 1:
            with suppress(OSError):
                self._gather(1)  # it belongs to the connection, not to this copy of it
        if not self.finished and self._failure is None:
            self._failure = ConnectionCut, "the request is over"
        self._say_continue = None
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None
        return sock

    def end(self) -> None:
        """Make the reader see a cut body at once, after what has arrived; from any thread."""
        if self.finished:
            return  # the connection may carry another request
        self._ended = True
        if self._lock is None:
            return
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):  # the connection may be gone already
                    self._socket.shutdown(socket.SHUT_RD)  # wakes a reader that waits

    def refuse_continue(self) -> None:
        """The answer is on its way: too late to ask for the body."""
        self._continue = False

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

    def settle(self) -> None:
        """Read the end of a chunked body if nothing else is missing and it is here, so that the connection lives."""
        chunks = self._chunks
        if chunks is None or chunks.complete or chunks.gap or self._prefix or self._failure or self._continue:
            return
        try:
            if not chunks.take(0) and not chunks.complete and self._socket is not None:
                chunks.feed(self._socket.recv(FRAMES))
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

    def _room(self, size: int) -> int:
        """How much may be received now; after end() only what had arrived by then."""
        if not self._ended:
            return size
        if self._grace is None:
            self._grace = arrived(self._copy)
        if not self._grace:
            raise self._fail(ConnectionCut, f"ended after {self.received} bytes of the body")
        return min(size, self._grace)

    def _wait(self) -> None:
        """Until something has arrived, or it takes too long."""
        if self._continue:
            self._continue = False
            if self._say_continue is not None:
                self._say_continue()
        if self._waited >= self._timeout:
            if self.received - self._window < self._min_rate * self._waited:
                raise self._fail(BodyTooSlow, f"fewer than {self._min_rate} bytes per second")
            self._waited, self._window = 0.0, self.received
        started = time.monotonic()
        # 1 ms more: poll() must not return just before the deadline.
        patience = min(int(self._timeout * 1000) + 1, LONGEST)
        if self._lowat > 1:
            if self._chunks is None and self._remaining < self._lowat:
                self._gather(max(self._remaining, 1))
            if not self._poll.poll(min(patience, MOMENT)) and not arrived(self._copy):
                self._gather(1)  # silence: whatever comes next ends it
        if self._lowat == 1 and not self._poll.poll(patience):
            raise self._fail(BodyTooSlow, f"silent for {self._timeout:g} seconds")
        self._waited += time.monotonic() - started

    def _raw(self, receive: Callable[[int], Taken], size: int) -> Taken:
        """One receive from the socket of at most ``size`` bytes; what ``receive`` returns, which is never empty."""
        if self._socket is None:
            raise self._fail(ConnectionCut, "the request is over")
        while True:
            room = self._room(size)
            try:
                data = receive(room)
            except BlockingIOError:
                self._wait()
                continue
            except OSError as error:
                raise self._fail(ConnectionCut, f"{error.strerror} after {self.received} bytes of the body") from error
            if not data:
                raise self._fail(ConnectionCut, f"the client left after {self.received} bytes of the body")
            if self._grace is not None:
                self._grace -= data if isinstance(data, int) else len(data)
            return data

    def _receive(self, size: int) -> bytes:
        """At most ``size`` bytes of the body from the socket, at least one; nothing at the end."""
        self._check()
        chunks = self._chunks
        if chunks is not None:
            return self._decode(chunks, size)
        if not self._remaining:
            return b""
        data = self._raw(self._copy.recv, min(size, self._remaining, BLOCK))
        self._remaining -= len(data)
        self.received += len(data)
        return data

    def _decode(self, chunks: ChunkDecoder, size: int) -> bytes:
        try:
            while not (data := chunks.take(size)) and not chunks.complete:
                if chunks.direct:
                    data = self._raw(self._copy.recv, min(size, chunks.direct, BLOCK))
                    chunks.passed(len(data))
                    break
                chunks.feed(self._raw(self._copy.recv, FRAMES))
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

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer`` with what has arrived; at least one byte, 0 at the end."""
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
            return self._readinto(view, chunks)
        decoded = self._decode(chunks, len(view))
        view[: len(decoded)] = decoded
        return len(decoded)

    readinto1 = readinto

    def _readinto(self, view: memoryview, chunks: ChunkDecoder | None) -> int:
        size = min(len(view), chunks.direct if chunks is not None else self._remaining)
        if not size:
            return 0
        size = self._raw(lambda room: self._copy.recv_into(view, room), size)
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

    def splice_to(self, fd: int, size: int) -> int:
        """Move at most ``size`` bytes that have arrived into ``fd``, a pipe or a file; at least one, 0 at the end."""
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
        source = self._copy.fileno()
        moved = self._raw(lambda room: os.splice(source, sink, room, flags=SPLICE_MOVE_NONBLOCK), size)
        self._remaining -= moved
        self.received += moved
        return moved


def arrived(sock: socket.socket) -> int:
    """How many bytes the kernel holds for us."""
    if fcntl is None:  # pragma: no cover - Windows
        return 0
    answer = fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(answer, sys.byteorder)


def wide_pipe() -> tuple[int, int]:
    """A pipe that holds a block, where the system grants it."""
    source, sink = os.pipe()
    with suppress(OSError):  # more than this user may have: the usual 64 KiB do as well
        fcntl.fcntl(sink, F_SETPIPE_SZ, BLOCK)
    return source, sink


def drain_pipe(source: int, fd: int, size: int) -> None:
    """Move ``size`` bytes that are in a pipe into a file."""
    while size:
        try:
            size -= os.splice(source, fd, size, flags=1)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system without splice, or a file opened for appending.
            data = os.read(source, size)
            size -= len(data)
            while data:
                data = data[os.write(fd, data) :]
