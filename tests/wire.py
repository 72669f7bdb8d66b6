"""A raw HTTP/1.1 client for tests: it says exactly what it is told, also what no good client would say.

It must never hide, repair or guess anything of what came back.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Address = tuple[str, int]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]

TIMEOUT = 10.0  # seconds; a test that waits longer has found a hanging server
HEAD_LIMIT = 65536  # bytes; no server of ours sends more header than that


class Broken(Exception):
    """The other side closed, reset or sent what is not HTTP before an answer was complete."""


@dataclass(frozen=True)
class Answer:
    """One final response, with the interim ones that came before it."""

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    interim: tuple[int, ...] = ()

    def get(self, name: str) -> str | None:
        """The value of the header; several lines of it are joined as a list."""
        values = self.all(name)
        return ", ".join(values) if values else None

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(f"no {name} in {self}")
        return value

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def list(self, name: str) -> list[str]:
        """The elements of a comma-separated header, none if it is absent."""
        return [element.strip() for element in (self.get(name) or "").split(",") if element.strip()]

    def __str__(self) -> str:
        lines = [f"{self.status} {self.reason}", *(f"{name}: {value}" for name, value in self.fields)]
        return "\n  ".join([*lines, repr(self.body[:200])])


def head(method: str, target: str, headers: Headers, *, version: str = "HTTP/1.1") -> bytes:
    """The bytes of a request line and its headers, sent as they are given (latin-1)."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def last_chunk(trailers: Headers = ()) -> bytes:
    pairs = trailers.items() if isinstance(trailers, Mapping) else trailers
    return b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1") + b"\r\n"


class Wire:
    """One TCP connection to a server under test."""

    def __init__(self, address: Address, *, timeout: float = TIMEOUT) -> None:
        self.socket = socket.create_connection(address, timeout=timeout)
        # Without this the kernel would glue the single bytes together that a test takes care to send apart.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_each(self, pieces: Iterable[bytes]) -> None:
        """Every piece by its own, so that the server may see them one after the other."""
        for piece in pieces:
            self.socket.sendall(piece)

    def offer(self, data: bytes, *, bytewise: bool = False) -> None:
        """Send as much as the server takes: one that has answered already may close on the rest."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_each(data[at : at + 1] for at in range(len(data))) if bytewise else self.send(data)

    def half_close(self) -> None:
        """Say that nothing more comes, and go on listening."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close with FIN (or with RST, by the kernel, when something unread is left)."""
        self.socket.close()

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self, *, bodiless: bool = False) -> Answer:
        """Read the next final response; `bodiless` is for HEAD, where Content-Length announces nothing."""
        interim: list[int] = []
        while True:
            status, reason, fields = self._head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        body = b"" if bodiless or status in (204, 304) else self._body(fields)
        return Answer(status, reason, fields, body, tuple(interim))

    def rest(self) -> bytes:
        """Everything that still comes, to the end of the connection."""
        while self._receive():
            pass
        rest = bytes(self.received)
        self.received.clear()
        return rest

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.received:
            if len(self.received) > HEAD_LIMIT or not self._receive():
                raise Broken(f"no answer, only {bytes(self.received[:200])!r}")
        line, _, rest = bytes(self.received).partition(mark)
        self.received[:] = rest
        return line

    def _exactly(self, length: int) -> bytes:
        while len(self.received) < length:
            if not self._receive():
                raise Broken(f"{length} bytes announced, {len(self.received)} came")
        data = bytes(self.received[:length])
        del self.received[:length]
        return data

    def _head(self) -> tuple[int, str, tuple[tuple[str, str], ...]]:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.[01] (\d{3})(?: (.*))?", first)
        if match is None:
            raise Broken(f"not a status line: {first!r}")
        fields = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        return int(match[1]), match[2] or "", fields

    def _body(self, fields: Sequence[tuple[str, str]]) -> bytes:
        values = {name.lower(): value for name, value in fields}
        if values.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        if "content-length" in values:
            return self._exactly(int(values["content-length"]))
        return self.rest()

    def _chunks(self) -> bytes:
        data = b""
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            data += self._exactly(size)
            self._exactly(2)
        while self._until(b"\r\n"):
            pass
        return data


def ask(
    address: Address,
    method: str,
    target: str,
    headers: Headers = (),
    body: bytes = b"",
    *,
    bytewise: bool = False,
    version: str = "HTTP/1.1",
    timeout: float = TIMEOUT,
) -> Answer:
    """One request on a connection of its own; the headers are sent as given, `body` follows as it is."""
    with Wire(address, timeout=timeout) as wire:
        first = head(method, target, headers, version=version)
        if bytewise:
            wire.offer(first)
            wire.offer(body, bytewise=True)
        else:
            wire.offer(first + body)
        return wire.answer(bodiless=method == "HEAD")
