"""A client of HTTP/3, spoken to from a test as one speaks to that of HTTP/2: it hides nothing that comes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset
from cryptography.hazmat.primitives import serialization

PATIENCE = 30.0  # seconds; all of it is Python, on both sides
TUS = {"tus-resumable": "1.0.0"}
PATCH = {**TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
UNSENT = 1 << 18  # bytes


@dataclass
class Flow:
    """What came on one stream so far."""

    number: int
    interim: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None  # the code
    stopped: int | None = None  # the code with which the server asked for no more

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", 0))


class Quic(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.http = H3Connection(self._quic)
        self.flows: dict[int, Flow] = {}
        self.closed = False
        self.heard = asyncio.Event()

    def quic_event_received(self, event: Any) -> None:
        flow = self.flows.get(getattr(event, "stream_id", -1))
        if isinstance(event, ConnectionTerminated):
            self.closed = True
        if flow and isinstance(event, StopSendingReceived):
            flow.stopped = event.error_code
        if flow and isinstance(event, StreamReset):
            flow.reset = event.error_code
        for told in self.http.handle_event(event):
            self._told(self.flows[told.stream_id], told)
        self.heard.set()

    def _told(self, flow: Flow, told: Any) -> None:
        if isinstance(told, HeadersReceived):
            headers = {name.decode(): value.decode() for name, value in told.headers}
            if headers.get(":status", "").startswith("1"):
                flow.interim.append(headers)
            else:
                flow.headers = headers
        elif isinstance(told, DataReceived):
            flow.body += told.data
        flow.ended = flow.ended or told.stream_ended

    @property
    def certificate(self) -> bytes:
        """What the server has shown."""
        return bytes(self._quic.tls._peer_certificate.public_bytes(serialization.Encoding.DER))

    def begin(self, method: str, path: str, headers: Mapping[str, str] = TUS, *, end: bool = False) -> Flow:
        """Send the head of a request."""
        number = self._quic.get_next_available_stream_id()
        self.flows[number] = Flow(number)
        fields = {":method": method, ":scheme": "https", ":authority": "localhost", ":path": path, **headers}
        self.http.send_headers(number, [(n.encode(), v.encode()) for n, v in fields.items()], end_stream=end)
        self.transmit()
        return self.flows[number]

    async def send(self, flow: Flow, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body, as fast as the server takes it."""
        step = 1 << 16
        for at in range(0, len(data), step):
            if flow.stopped is not None:
                return
            self.http.send_data(flow.number, data[at : at + step], False)
            self.transmit()
            await self.until(lambda: flow.stopped is not None or self._unsent(flow) < UNSENT)
        if end and flow.stopped is None:
            self.http.send_data(flow.number, b"", True)
            self.transmit()

    def trail(self, flow: Flow, trailers: Mapping[str, str]) -> None:
        """End the body with what follows it."""
        self.http.send_headers(flow.number, [(n.encode(), v.encode()) for n, v in trailers.items()], end_stream=True)
        self.transmit()

    def _unsent(self, flow: Flow) -> int:
        sender = self._quic._streams[flow.number].sender
        return int(sender._buffer_stop - sender._buffer_start)

    def give_up(self, flow: Flow) -> None:
        """As a browser does when the upload is paused."""
        self._quic.reset_stream(flow.number, 0x10C)
        self._quic.stop_stream(flow.number, 0x10C)
        self.transmit()

    async def ask(self, method: str, path: str, headers: Mapping[str, str] = TUS, *, body: bytes = b"") -> Flow:
        """A whole request and its answer."""
        flow = self.begin(method, path, headers, end=not body)
        if body:
            await self.send(flow, body, end=True)
        await self.until(lambda: flow.ended or flow.reset is not None)
        return flow

    async def until(self, true: Callable[[], object], *, within: float = PATIENCE) -> None:
        """Take what comes until this is so."""

        async def waited() -> None:
            while not true():
                if self.closed:
                    raise AssertionError(f"closed; {self.flows}")
                self.heard.clear()
                await self.heard.wait()

        await asyncio.wait_for(waited(), within)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        self.heard.set()


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Quic]:
    """A connection that trusts any certificate."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    async with connect(*address, configuration=configuration, create_protocol=Quic, wait_connected=True) as quic:
        yield quic  # type: ignore[misc]
