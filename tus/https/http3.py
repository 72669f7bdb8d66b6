"""HTTP/3: aioquic in our own event loop, and its streams as requests of ASGI.

aioquic widens its windows whatever becomes of the bytes. So a connection that is ahead of the disk is left unheard for
a while: its packets wait, and its client slows down.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, StopSendingReceived, StreamReset

from ..adapters.scopes import AsgiApp, Message, Receive, Scope, Send
from .certificates import Pair

_AHEAD = 1 << 20  # bytes of a connection that wait for the disk
_HELD = 2048  # packets of a connection that wait to be heard; what comes then is lost, and sent again
_UNSENT = 1 << 20  # bytes of an answer that the client has not confirmed
_IDLE = 60.0  # seconds without a packet

_SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "3",
    "scheme": "https",
    "root_path": "",
}


class Http3:
    """Serves one socket of UDP."""

    def __init__(self, app: AsgiApp, sock: socket.socket, pair: Pair) -> None:
        self._app, self._socket = app, sock
        self._configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, idle_timeout=_IDLE)
        self.renew(pair)
        self._server: QuicServer | None = None
        self._requests: set[asyncio.Task[None]] = set()

    def renew(self, pair: Pair) -> None:
        """Connections that come from now on get this certificate."""
        self._configuration.load_cert_chain(*pair)

    async def start(self) -> None:
        make = partial(_Connection, app=self._app, requests=self._requests)
        server = partial(QuicServer, configuration=self._configuration, create_protocol=make)
        _, self._server = await asyncio.get_running_loop().create_datagram_endpoint(server, sock=self._socket)

    async def stop(self, seconds: float) -> None:
        """Let requests finish for so long, and close all connections."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=seconds)
        if self._server:
            self._server.close()


class _Connection(QuicConnectionProtocol):  # type: ignore[misc] # which has no types
    """One client."""

    def __init__(self, *args: Any, app: AsgiApp, requests: set[asyncio.Task[None]], **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._app, self._requests = app, requests
        self._h3: H3Connection | None = None
        self._streams: dict[int, _Stream] = {}
        self._client: tuple[str, int] | None = None
        self._held: deque[tuple[bytes, Any]] = deque()
        self._ahead = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._client = addr[:2]
        if self._ahead >= _AHEAD:
            if len(self._held) < _HELD:
                self._held.append((data, addr))
            return
        super().datagram_received(data, addr)
        for stream in self._streams.values():
            stream.wake()

    def count(self, size: int) -> None:
        """So many bytes more wait for the application, or less."""
        self._ahead += size
        while size < 0 and self._held and self._ahead < _AHEAD:
            super().datagram_received(*self._held.popleft())

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._h3 = H3Connection(self._quic)
        elif isinstance(event, ConnectionTerminated):
            for stream in self._streams.values():
                stream.leave()
        elif isinstance(event, StreamReset | StopSendingReceived) and event.stream_id in self._streams:
            self._streams[event.stream_id].leave()
        for heard in self._h3.handle_event(event) if self._h3 else ():
            known = self._streams.get(heard.stream_id)
            if isinstance(heard, HeadersReceived) and known is None:
                self._begin(heard)
            elif isinstance(heard, DataReceived | HeadersReceived) and known:
                if isinstance(heard, HeadersReceived):  # after the body
                    known.trailers.update((n.decode("latin-1"), v.decode("latin-1")) for n, v in heard.headers)
                known.feed(getattr(heard, "data", b""), heard.stream_ended)

    def _begin(self, heard: HeadersReceived) -> None:
        stream = _Stream(self, heard.stream_id)
        self._streams[heard.stream_id] = stream
        stream.feed(b"", heard.stream_ended)
        scope = {
            **_scope(heard.headers),
            "tus.trailers": stream.trailers,
            "client": self._client,
            "server": self._transport.get_extra_info("sockname")[:2],
        }
        task = asyncio.ensure_future(self._app(scope, stream.receive, stream.send))
        self._requests.add(task)
        task.add_done_callback(partial(self._done, stream))

    def _done(self, stream: _Stream, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        del self._streams[stream.number]
        stream.end(failed=task.cancelled() or task.exception() is not None)

    # What a stream sends

    def head(self, number: int, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert self._h3
        self._h3.send_headers(number, [(b":status", b"%d" % status), *headers])
        self.transmit()

    def body(self, number: int, data: bytes, *, end: bool) -> None:
        assert self._h3
        self._h3.send_data(number, data, end)
        self.transmit()

    def unsent(self, number: int) -> int:
        """How much of an answer aioquic keeps."""
        stream = self._quic._streams.get(number)
        return stream.sender._buffer_stop - stream.sender._buffer_start if stream else 0

    def cut(self, number: int, code: int, *, answer: bool) -> None:
        """Ask for no more of a request; or cut its answer, too."""
        with suppress(Exception):  # it may be over, and aioquic says that in many ways
            self._quic.stop_stream(number, code)
            if answer:
                self._quic.reset_stream(number, code)
        self.transmit()


class _Stream:
    """One request and its answer."""

    def __init__(self, connection: _Connection, number: int) -> None:
        self._connection, self.number = connection, number
        self.trailers: dict[str, str] = {}
        self._blocks: list[bytes] = []
        self._ended = self._told = False  # the body is over, and the application has heard it
        self._left = self._answered = False
        self._awake = asyncio.Event()

    def wake(self) -> None:
        self._awake.set()

    def feed(self, data: bytes, ended: bool) -> None:
        """What came of the body."""
        self._ended = self._ended or ended
        if data:
            self._blocks.append(data)
            self._connection.count(len(data))
        self.wake()

    def leave(self) -> None:
        """The client has given the request up."""
        self._left = True
        self.wake()

    async def receive(self) -> Message:
        while not (self._blocks or (self._ended and not self._told)):
            if self._left or self._answered:
                return {"type": "http.disconnect"}
            await self._woken()
        body, self._blocks = b"".join(self._blocks), []
        self._connection.count(-len(body))
        self._told = self._ended
        return {"type": "http.request", "body": body, "more_body": not self._ended}

    async def _woken(self) -> None:
        self._awake.clear()
        await self._awake.wait()

    async def send(self, message: Message) -> None:
        if self._left:
            return
        connection, number = self._connection, self.number
        if message["type"] in ("http.response.start", "http.response.informational"):
            connection.head(number, message["status"], list(message.get("headers", ())))
            return
        while connection.unsent(number) > _UNSENT and not self._left:
            await self._woken()
        if not self._left:
            self._answered = not message.get("more_body")
            connection.body(number, message.get("body", b""), end=self._answered)

    def end(self, *, failed: bool) -> None:
        """The application is done; the client need not send the rest."""
        self._connection.count(-sum(map(len, self._blocks)))
        if failed or not self._answered:
            self._connection.cut(self.number, ErrorCode.H3_INTERNAL_ERROR, answer=True)
        elif not self._ended:
            self._connection.cut(self.number, ErrorCode.H3_NO_ERROR, answer=False)


def _scope(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The request in the words of ASGI."""
    pseudo = {name: value for name, value in headers if name[:1] == b":"}
    fields = [pair for pair in headers if pair[0][:1] != b":"]
    if b":authority" in pseudo:
        fields.insert(0, (b"host", pseudo[b":authority"]))
    path, _, query = pseudo.get(b":path", b"/").partition(b"?")
    return {
        **_SCOPE,
        "method": pseudo[b":method"].decode("ascii", "replace"),
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "headers": fields,
        "extensions": {"http.response.informational": {}},
    }


def advertised(app: AsgiApp, port: int) -> AsgiApp:
    """The application for HTTP/1.1 and 2, whose answers say that there is HTTP/3 at this port."""
    header = (b"alt-svc", b'h3=":%d"; ma=86400' % port)

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await app(scope, receive, with_header)

    return told
