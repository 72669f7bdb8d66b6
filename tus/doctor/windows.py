"""HTTP/2, as far as `tus check` needs it: how many bytes a client may send before it has to wait for the other side.

A line of some length is slow with a small window, whatever its bandwidth is.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..client.connecting import explain
from ..client.meter import human
from . import advice
from .visit import LITTLE, Finding, Findings, Visit

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8  # kinds of frames
ACK, END_HEADERS = 1, 4  # flags
INITIAL_WINDOW_SIZE = 4  # a setting
DEFAULT = 65535  # bytes, where nothing is said
SMALL = 256 << 10  # bytes; less is felt on a usual line
WISHED = 1 << 20  # bytes
USUAL = 0.05  # seconds there and back, to a server on the same continent
LISTENING = 0.6  # seconds in which a server says what it takes


def http2(visit: Visit) -> Findings:
    """HTTP/2: how far may a client be ahead of the server?"""
    if urlsplit(visit.url).scheme != "https":
        return
    visit.look()
    with _connection(visit) as sock:
        if sock.selected_alpn_protocol() != "h2":
            yield Finding("http2", "ok", "HTTP/1.1 alone is spoken, whose windows grow by themselves")
            return
        window = _window(visit, sock)
    speed = human(int(window / USUAL))
    text = f"HTTP/2 takes {human(window)} ahead: at most {speed}/s for each upload on a line of {USUAL * 1000:g} ms"
    if window < SMALL:
        gain = f"{text}; {human(WISHED)} would be {WISHED / window:.0f} times as fast"
        yield Finding("http2", "note", gain, advice.windows(visit.server))
        return
    yield Finding("http2", "ok", text)


@contextlib.contextmanager
def _connection(visit: Visit) -> Iterator[ssl.SSLSocket]:
    url, clock, trust = urlsplit(visit.url), visit.client.clock, visit.client.trust
    context = trust.new_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection((url.hostname or "", url.port or 443), clock.patience()) as raw,
            trust.secured(raw, url.hostname or "", context) as sock,
        ):
            yield sock
    except OSError as error:
        raise explain(error, url, clock) from error


def _window(visit: Visit, sock: ssl.SSLSocket) -> int:
    """What may be sent of a PATCH before anything of it is taken."""
    method, extra = visit.patch_request(visit.offset, {"Content-Length": str(visit.passes)})
    headers = visit.client.headers_for(method, visit.upload, extra)
    opening = PREFACE + _frame(SETTINGS, b"") + _frame(HEADERS, _head(visit, method, headers), END_HEADERS, 1)
    sock.sendall(opening)
    told, begun = _Told(), False
    for kind, flags, stream, payload in _frames(sock, LISTENING):
        if kind in (RST_STREAM, GOAWAY):
            break
        if kind == SETTINGS and not flags & ACK:
            sock.sendall(_frame(SETTINGS, b"", ACK))
        told.take(kind, stream, payload)
        if kind == SETTINGS and not begun and told.window >= LITTLE:
            begun = True  # some servers open the windows when something has come
            sock.sendall(_frame(DATA, os.urandom(LITTLE), 0, 1))
    return told.window - LITTLE * begun


@dataclass
class _Told:
    """What a server has said of its windows."""

    initial: int = DEFAULT
    stream: int = 0  # beyond the initial one
    connection: int = DEFAULT

    def take(self, kind: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS:
            for at in range(0, len(payload) - 5, 6):
                name, value = struct.unpack_from("!HI", payload, at)
                self.initial = value if name == INITIAL_WINDOW_SIZE else self.initial
        elif kind == WINDOW_UPDATE and len(payload) == 4:
            more = int.from_bytes(payload, "big") & 0x7FFFFFFF
            if stream:
                self.stream += more
            else:
                self.connection += more

    @property
    def window(self) -> int:
        return max(1, min(self.initial + self.stream, self.connection))


def _frame(kind: int, payload: bytes, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _frames(sock: ssl.SSLSocket, seconds: float) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of what comes within this time."""
    end, received = time.monotonic() + seconds, b""
    while (left := end - time.monotonic()) > 0:
        if not sock.pending() and not select.select([sock], [], [], left)[0]:
            return
        data = sock.recv(1 << 16)
        if not data:
            return
        received += data
        while len(received) >= 9 and len(received) >= (size := 9 + int.from_bytes(received[:3], "big")):
            stream = int.from_bytes(received[5:9], "big") & 0x7FFFFFFF
            yield received[3], received[4], stream, received[9:size]
            received = received[size:]


def _head(visit: Visit, method: str, headers: Mapping[str, str]) -> bytes:
    """RFC 7541, 6.2.2: literals, without an index and without Huffman's code."""
    url = urlsplit(visit.upload)
    path = f"{url.path}?{url.query}" if url.query else url.path
    fields = {":method": method, ":scheme": url.scheme, ":authority": url.netloc, ":path": path}
    fields |= {name.lower(): value for name, value in headers.items()}
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields.items())


def _literal(text: str) -> bytes:
    data = text.encode()
    if (rest := len(data)) < 127:
        return bytes((rest,)) + data
    size, rest = [127], rest - 127
    while rest > 127:
        size.append(rest % 128 + 128)
        rest //= 128
    return bytes((*size, rest)) + data
