"""TLS in front of our own server, for HTTP/1.1: what it sends before an answer reaches clients, so that phones resume.

One thread deciphers for all connections. The server gets one end of a pair of sockets in place of each connection, and
the address of the client; it must never be able to tell the pair from a connection that broke where the client's did.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from ..errors import OptionError
from ..server import serve
from ..server.serving import announce
from .certificates import Pair, check_pair

logger = logging.getLogger("tus.server")
_BLOCK = 1 << 17  # bytes that go from one side to the other at once
_HANDSHAKE = 20.0  # seconds
_UNREAD = 120.0  # seconds that a client may read nothing of an answer, as in our server (its channel_timeout)
_KEPT = 1 << 16  # bytes that wait here for a slow client: what is here when the server has closed must go out in time
_REST = 5.0  # seconds in which a client may still send to a server that has said its last word

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def serve_http1(app: Any, *, on_listening: Callable[[list[str]], Any] = announce, pair: Pair, **options: Any) -> None:
    """Serve `app` with our own server, behind TLS, until a signal."""
    check_pair(pair, _now())
    serve(app, on_listening=on_listening, url_scheme="https", tls=Deciphered(pair), **options)


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Deciphered:
    """Deciphers connections, with the certificate that lies there when they come."""

    files = 3  # the connection, and both ends of the pair

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._seen = self._state()
        self._context = _context(pair)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._carried: set[asyncio.Task[None]] = set()

    def __call__(self, connection: socket.socket) -> socket.socket:
        """What the server has in place of this connection."""
        near, inner = socket.socketpair()
        for sock in (connection, near, inner):
            sock.setblocking(False)
        self._started().call_soon_threadsafe(self._begin, connection, inner)
        return near

    def _started(self) -> asyncio.AbstractEventLoop:
        """Late: a worker is a process that was forked."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="tus-tls", daemon=True).start()
        return self._loop

    def _begin(self, connection: socket.socket, inner: socket.socket) -> None:
        assert self._loop
        task = self._loop.create_task(self._carry(connection, inner))
        self._carried.add(task)  # or the collector would take it
        task.add_done_callback(self._carried.discard)

    async def _carry(self, connection: socket.socket, inner: socket.socket) -> None:
        near = await asyncio.open_connection(sock=inner, limit=_BLOCK)
        try:
            far = await _secured(connection, self._current())
        except (OSError, asyncio.TimeoutError):  # no TLS, or too slow
            near[1].close()
            return
        sending = asyncio.ensure_future(_pour(far[0], near[1]))
        sending.add_done_callback(lambda _: near[1].close())  # a client that is gone is gone for the server, too
        try:
            await _pour(near[0], far[1])
            # The server's last word. It may have closed, or it waits for the client to hear it.
            if not _hung_up(inner):
                await asyncio.wait([sending], timeout=_REST)
        finally:
            sending.cancel()
            near[1].close()
            far[1].close()
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(far[1].wait_closed(), _REST)

    def close(self) -> None:
        """Let clients have what the server has said, once it has closed its ends."""
        if self._loop:
            with suppress(TimeoutError, concurrent.futures.TimeoutError):
                asyncio.run_coroutine_threadsafe(self._carried_out(), self._loop).result(_REST)

    async def _carried_out(self) -> None:
        if self._carried:
            await asyncio.wait(self._carried)

    def _current(self) -> ssl.SSLContext:
        """With the certificate as it is now; one that is wrong leaves the old one."""
        if (state := self._state()) != self._seen:
            self._seen = state
            try:
                check_pair(self._pair, _now())
                self._context = _context(self._pair)
                logger.info("New connections get the certificate of now")
            except (OptionError, OSError) as error:
                logger.error("The old certificate stays: %s", error)
        return self._context

    def _state(self) -> tuple[tuple[int, int], ...]:
        found = []
        for path in self._pair:
            with suppress(OSError):  # it is being replaced
                status = os.stat(path)
                found.append((status.st_ino, status.st_mtime_ns))
        return tuple(found)


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(*pair)
    return context


async def _secured(connection: socket.socket, context: ssl.SSLContext) -> _Streams:
    """The streams of a connection, once both sides know each other."""
    loop = asyncio.get_running_loop()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # the server is at the other end of a pair, and cannot tell
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD * 1000))
    reader = asyncio.StreamReader(limit=_BLOCK)
    transport, protocol = await loop.connect_accepted_socket(
        lambda: asyncio.StreamReaderProtocol(reader), connection, ssl=context, ssl_handshake_timeout=_HANDSHAKE
    )
    transport.set_write_buffer_limits(_KEPT)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """All that comes, no faster than it is taken."""
    with suppress(OSError):
        while data := await source.read(_BLOCK):
            sink.write(data)
            await sink.drain()


def _hung_up(sock: socket.socket) -> bool:
    """Whether the server has closed its end, and not only said that it sends no more; or this end is closed, since the
    client left."""
    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
