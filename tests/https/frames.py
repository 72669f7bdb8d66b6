"""A client of HTTP/2 that says when each frame is sent, and sees every frame that comes.

It must not answer a reset by itself, or end a stream that a test leaves open.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

PATIENCE = 10.0  # seconds
GOAWAY = 7  # a kind of frame
CANCEL = 8  # a code
TUS = {"tus-resumable": "1.0.0"}
PATCH = {**TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream"}


@dataclass
class Stream:
    """What came on one stream so far."""

    number: int
    interim: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None  # the code

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", 0))

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Connection:
    """One connection with TLS, which spoke for h2."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext | None = None) -> None:
        raw = socket.create_connection(address, PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket = (context or trusting()).wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise
        self.certificate = self.socket.getpeercert(binary_form=True) or b""
        self.protocol = self.socket.selected_alpn_protocol()
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.connection.initiate_connection()
        self.streams: dict[int, Stream] = {}
        self.rest = b""  # a frame that has not come whole
        self.leaving = False  # the server takes no new stream here
        self.closed = False  # by the server
        self._flush()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def begin(self, method: str, path: str, headers: Mapping[str, str] = TUS, *, end: bool = False) -> Stream:
        """Send the head of a request."""
        number = self.connection.get_next_available_stream_id()
        fields = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.connection.send_headers(number, [*fields, *headers.items()], end_stream=end)
        self.streams[number] = Stream(number)
        self._flush()
        return self.streams[number]

    def send(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body, as the windows allow; nothing more once the server has ended the stream."""
        sent = 0
        while sent < len(data):
            room = min(
                self.connection.local_flow_control_window(stream.number), self.connection.max_outbound_frame_size
            )
            if not room:
                self.until(lambda: stream.over or self.connection.local_flow_control_window(stream.number))
                if stream.reset is not None:
                    return
                continue
            block = data[sent : sent + room]
            self.connection.send_data(stream.number, block)
            sent += len(block)
            self._flush()
        if end:
            self.connection.end_stream(stream.number)
            self._flush()

    def reset(self, stream: Stream) -> None:
        """Give the stream up, as a browser does."""
        self.connection.reset_stream(stream.number, CANCEL)
        self._flush()

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] = TUS, *, body: bytes = b"", within: float = PATIENCE
    ) -> Stream:
        """A whole request and its answer."""
        stream = self.begin(method, path, headers, end=not body)
        if body:
            self.send(stream, body, end=True)
        self.until(lambda: stream.over, within=within)
        return stream

    def until(self, true: Callable[[], object], *, within: float = PATIENCE) -> None:
        """Take what comes until this is so."""
        end = time.monotonic() + within
        while not true():
            left = end - time.monotonic()
            if left <= 0 or self.closed:
                raise AssertionError(f"{'closed' if self.closed else 'silent'}; {self.streams}")
            self.take(left)

    def take(self, seconds: float) -> None:
        """Whatever comes within this time."""
        if not self.socket.pending() and not select.select([self.socket], [], [], seconds)[0]:
            return
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        for event in self.connection.receive_data(self._allowed(data)):
            self._heard(event)
        self._flush()

    def _allowed(self, data: bytes) -> bytes:
        """All whole frames but GOAWAY, after which h2 takes nothing more, though streams may go on to their end."""
        self.rest += data
        allowed = b""
        while len(self.rest) >= 9 and len(self.rest) >= (size := 9 + int.from_bytes(self.rest[:3], "big")):
            if self.rest[3] == GOAWAY:
                self.leaving = True
            else:
                allowed += self.rest[:size]
            self.rest = self.rest[size:]
        return allowed

    def _heard(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(dict(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code

    def _flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())


def trusting(*, protocols: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
    """Any certificate will do."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context
