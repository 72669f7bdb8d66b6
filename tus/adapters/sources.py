"""How each WSGI server hands over a request body, and the fastest way to take it that loses nothing.

On most servers, a plain `read(n)` throws away up to n bytes when the connection dies. So for each known server this
module reads in a way that takes bytes as they arrive; every other server is read in small blocks.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

BLOCK = 1 << 20  # bytes; gunicorn has a quarter of its speed with 64 KiB
GATHERED = 1 << 18  # bytes of chunks that gunicorn gathers, and copies several times, before it hands them out
SMALL = 1 << 14  # bytes; what a cut connection can cost on a server that we don't know
PATIENCE = 60.0  # seconds without a byte, where the socket can be reached

Environ = Mapping[str, Any]


class Source:
    """Any server: `read` in blocks so small that losing one costs little."""

    dechunks = False  # whether the end of a chunked body can be told
    shows_trailers = False
    shows_cuts = False  # granian and others end a cut chunked body as they end a whole one
    splices = False
    receives = False  # `receive` puts bytes where they are wanted
    collected = False  # the server waits for the whole body before it calls the application
    arrived = False  # the whole body is here, and reading it waits for nothing
    parks = False  # the server can wait for it without a thread: then `read` and `pipe` say None where nothing has come
    own = False  # the server drains, times out and ends bodies by itself
    end: Callable[[], None] | None = None  # makes a blocked read return, from any thread

    def __init__(self, environ: Environ) -> None:
        self.input = environ["wsgi.input"]
        self.dechunks = bool(environ.get("wsgi.input_terminated"))

    def open(self) -> None:
        """What wants the body is there."""

    def read(self, size: int) -> bytes | memoryview | None:
        """Some bytes, at most `size`; none at the end. Raises OSError or ValueError if the body was cut."""
        return self.input.read(min(size, SMALL))  # type: ignore[no-any-return]

    def pipe(self, fd: int, size: int) -> int | None:
        """Move some bytes into a pipe; 0 at the end."""
        raise NotImplementedError

    def receive(self, space: memoryview) -> int | None:
        """Put some bytes there; 0 at the end."""
        raise NotImplementedError

    def trailers(self) -> Mapping[str, str]:
        """What followed the last chunk, by lower-case names."""
        return {}

    def lent(self, buffer: memoryview) -> AbstractContextManager[None]:
        """Read into this buffer meanwhile, and keep none afterwards, where the server can do that."""
        return nullcontext()

    def hurry(self, seconds: float) -> None:
        """From now on wait so long for bytes and no longer, where that can be said."""


class Spooled(Source):
    """Stock waitress and others that call the application when the body lies in a file or in memory."""

    dechunks = arrived = collected = True

    def __init__(self, environ: Environ) -> None:
        self.input = environ["wsgi.input"]

    def read(self, size: int) -> bytes | memoryview:
        return self.input.read(size)  # type: ignore[no-any-return]


class Piecewise(Source):
    """wsgiref, werkzeug and others whose input has `read1`, which returns what is there."""

    def read(self, size: int) -> bytes | memoryview:
        return self.input.read1(size)  # type: ignore[no-any-return]


class Ours(Source):
    """`tus.server`: straight from the socket into our buffer, or through a pipe without touching Python."""

    dechunks = shows_trailers = shows_cuts = receives = own = True

    def __init__(self, environ: Environ) -> None:
        self.input = environ["tus.input"]
        self.arrived = self.input.arrived
        self.buffer: memoryview | None = None
        if not self.arrived:
            self.end = self.input.end
            self.splices = self.input.can_splice
            self.parks = self.input.parks

    def open(self) -> None:
        if self.parks:
            self.input.be_patient()

    @contextmanager
    def lent(self, buffer: memoryview) -> Iterator[None]:
        self.buffer = buffer
        try:
            yield
        finally:
            self.buffer = None

    def read(self, size: int) -> memoryview | None:
        if self.buffer is None or len(self.buffer) < size:
            self.buffer = memoryview(bytearray(size))
        got = self.input.readinto(self.buffer[:size])
        if got is None:
            self.buffer = None  # many can wait, and each would have one
            return None
        return self.buffer[:got]

    def receive(self, space: memoryview) -> int | None:
        return self.input.readinto(space)  # type: ignore[no-any-return]

    def pipe(self, fd: int, size: int) -> int | None:
        return self.input.splice_to(fd, size)  # type: ignore[no-any-return]

    def trailers(self) -> Mapping[str, str]:
        return self.input.trailers()  # type: ignore[no-any-return]


class Gunicorn(Source):
    """gunicorn's own reader: what it received before an error is returned by one more read."""

    dechunks = shows_trailers = shows_cuts = True

    def __init__(self, environ: Environ) -> None:
        self.input = environ["wsgi.input"]
        self._error: OSError | None = None
        self._socket: Any = environ.get("gunicorn.socket")
        if self._socket is not None:
            self.end = lambda: _shut(self._socket)

    def hurry(self, seconds: float) -> None:
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def read(self, size: int) -> bytes | memoryview:
        if self._error:
            raise self._error  # asked again, the reader would report a clean end
        size = min(size, GATHERED)
        try:
            return self.input.read(size)  # type: ignore[no-any-return]
        except OSError as error:
            self._error = error
            rest: bytes = self.input.read(size)
            if not rest:
                raise
            return rest

    def trailers(self) -> Mapping[str, str]:
        request = getattr(getattr(self.input, "reader", None), "req", None)
        return {name.lower(): value for name, value in getattr(request, "trailers", None) or ()}


class GunicornSocket(Gunicorn):
    """A body of known length: from gunicorn's socket, past its buffers."""

    receives = True

    def __init__(self, environ: Environ) -> None:
        super().__init__(environ)
        self._reader = self.input.reader
        self._early: bytes | None = None
        self._buffer: memoryview | None = None
        self.splices = hasattr(os, "splice") and type(self._socket) is socket.socket
        if self._socket.gettimeout() is None:
            self._socket.settimeout(PATIENCE)

    def read(self, size: int) -> bytes | memoryview:
        size = min(size, self._reader.length)
        if self._early is None:
            self._early = self._taken()
        if self._early:
            block, self._early = self._early[:size], self._early[size:]
            return block
        if not size:
            return b""
        if self._buffer is None or len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer[: self._received(self._buffer[:size])]

    def _received(self, space: memoryview) -> int:
        got: int = self._socket.recv_into(space)
        self._reader.length -= got
        return got

    def receive(self, space: memoryview) -> int:
        if self._early is None or self._early:
            block = self.read(len(space))
            space[: len(block)] = block
            return len(block)
        size = min(len(space), self._reader.length)
        return self._received(space[:size]) if size else 0

    def _taken(self) -> bytes:
        """What came with the headers. What belongs to the next request goes back."""
        unreader, length = self._reader.unreader, self._reader.length
        early: bytes = unreader.buf.getvalue()
        unreader.buf.seek(0)
        unreader.buf.truncate()
        unreader.buf.write(early[length:])
        self._reader.length -= len(early[:length])
        return early[:length]

    def pipe(self, fd: int, size: int) -> int:
        if self._early is None or self._early:
            return os.write(fd, self.read(size))
        size = min(size, self._reader.length)
        if not size:
            return 0
        # Wait without the pipe's help: splice itself has no time-out on a socket that Python made non-blocking.
        if not _readable(self._socket, self._socket.gettimeout()):
            raise TimeoutError("the client sent nothing for too long")
        moved = os.splice(self._socket.fileno(), fd, size)
        self._reader.length -= moved
        return moved


class Cheroot(Source):
    """Its own buffer while there is anything in it, and then the raw socket."""

    shows_trailers = shows_cuts = True

    def read(self, size: int) -> bytes | memoryview:
        if not hasattr(self.input, "remaining"):  # chunked
            return self.input.read(min(size, SMALL))  # type: ignore[no-any-return]
        size = min(size, self.input.remaining)
        if not size:
            return b""
        file = self.input.rfile
        block: bytes = file.read1(size) if file.has_data() else file.raw.read(size)
        self.input.remaining -= len(block)
        return block

    def trailers(self) -> Mapping[str, str]:
        lines = (bytes(line).decode("latin-1").partition(":") for line in self.input.read_trailer_lines())
        return {name.strip().lower(): value.strip() for name, _, value in lines}


class Paste(Source):
    """Paste's server counts what was read in its own attribute."""

    def read(self, size: int) -> bytes | memoryview:
        block: bytes = self.input.file.read1(size)
        self.input._consumed += len(block)
        return block


class Pywsgi(Source):
    """gevent.pywsgi with a Content-Length."""

    def __init__(self, environ: Environ) -> None:
        super().__init__(environ)
        self._asked = False

    def read(self, size: int) -> bytes | memoryview:
        if not self._asked:
            self._asked = True
            self.input._send_100_continue()
        block: bytes = self.input.rfile.read1(size)
        self.input.position += len(block)
        return block


class Uwsgi(Source):
    """uWSGI loses what a read gathered before the client went, so only what has arrived is asked for."""

    dechunks = True

    def __init__(self, environ: Environ) -> None:
        import uwsgi  # only there inside that server

        self.input = environ["wsgi.input"]
        self._uwsgi = uwsgi
        self._chunked = "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH")
        self._fd = uwsgi.connection_fd()
        self._early = int(uwsgi.opt.get("buffer-size") or uwsgi.opt.get(b"buffer-size") or 4096)

    def read(self, size: int) -> bytes | memoryview:
        if self._chunked:
            return self._uwsgi.chunked_read(int(PATIENCE))  # type: ignore[no-any-return]
        if self._early:
            # A beginning may sit in the buffer of the headers, where the socket doesn't show it. One read empties that.
            size, self._early = min(size, self._early), 0
            return self.input.read(size)  # type: ignore[no-any-return]
        arrived = self._arrived()
        if not arrived:
            if not select.select([self._fd], [], [], PATIENCE)[0]:
                raise TimeoutError("the client sent nothing for too long")
            arrived = self._arrived()
        return self.input.read(min(size, arrived)) if arrived else b""

    def _arrived(self) -> int:
        import fcntl
        import termios

        return int(struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, b"\0\0\0\0"))[0])


class Awaited(Source):
    """ASGI: a coroutine pours the body. Where it does not, all of it is in `wsgi.input` already."""

    dechunks = shows_cuts = own = True

    def __init__(self, environ: Environ) -> None:
        self.input = environ["wsgi.input"]
        self.collected = "tus.collected" in environ
        self._trailers: Mapping[str, str] = environ.get("tus.trailers", {})  # filled when the body ends
        self.shows_trailers = "tus.trailers" in environ
        self._read = getattr(self.input, "read1", self.input.read)

    def read(self, size: int) -> bytes | memoryview:
        return self._read(size)  # type: ignore[no-any-return]

    def trailers(self) -> Mapping[str, str]:
        return self._trailers


class Unterminated(Source):
    """A body without a length whose end the server doesn't show, or gets wrong."""

    def __init__(self, environ: Environ) -> None:
        super().__init__(environ)
        self.dechunks = False


def source(environ: Environ, *, chunked: bool) -> Source:
    """The road for this server."""
    if "tus.input" in environ:
        return Ours(environ)
    if "tus.awaited" in environ:
        return Awaited(environ)
    input = environ["wsgi.input"]
    module = type(input).__module__
    if module.startswith("gunicorn."):
        plain = type(getattr(input, "reader", None)).__name__ == "LengthReader" and not input.buf.tell()
        return GunicornSocket(environ) if plain and "gunicorn.socket" in environ else Gunicorn(environ)
    if module == "uwsgi":
        return Uwsgi(environ)
    if module.startswith("cheroot."):
        return Cheroot(environ)
    if module == "tempfile" or hasattr(input, "getbuffer") or module == "waitress.buffers":
        return Spooled(environ)
    if chunked:
        # werkzeug's decoder hands out memory that no client sent when a chunk is cut.
        road = Unterminated(environ) if module.startswith("werkzeug.") else Source(environ)
        road.shows_cuts = module == "gevent.pywsgi"
        return road
    if module.startswith("paste.") and hasattr(getattr(input, "file", None), "read1"):
        return Paste(environ)
    if module == "gevent.pywsgi" and input.content_length is not None:
        return Pywsgi(environ)
    return Piecewise(environ) if hasattr(input, "read1") else Source(environ)


def _readable(sock: socket.socket, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if timeout is None else int(timeout * 1000)))


def _shut(sock: Any) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RD)
