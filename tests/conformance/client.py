"""A tus client for the conformance tests: one collection on a live server, spoken to in some manner.

It checks nothing by itself, and adds nothing to a request but what the manner and the protocol's basics need.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import live, wire
from tests.shelves import shelf

VERSION = "1.0.0"
BYTES = "application/offset+octet-stream"

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Manner:
    """How requests reach the wire: bodies at once or byte by byte, methods as they are or by override."""

    name: str
    bytewise: bool = False
    override: bool = False


WHOLE = Manner("whole")
MANNERS = (
    WHOLE,
    Manner("bytewise", bytewise=True),
    Manner("override", override=True),
    Manner("override-bytewise", bytewise=True, override=True),
)
OVERRIDDEN = frozenset(("PATCH", "DELETE", "HEAD"))

# Marks for a test, or for a module, that has to hold in each of these manners.
every_manner = pytest.mark.parametrize("manner", MANNERS, indirect=True, ids=lambda m: m.name)
every_body = pytest.mark.parametrize("manner", MANNERS[:2], indirect=True, ids=lambda m: m.name)
every_method = pytest.mark.parametrize("manner", (MANNERS[0], MANNERS[2]), indirect=True, ids=lambda m: m.name)


@dataclass(frozen=True)
class Handed:
    """One request that the application behind the filter got."""

    method: str
    path: str
    headers: dict[str, str]
    type: str
    body: bytes
    file: bytes | None
    upload: str | None


class Client:
    """Speaks to one collection."""

    def __init__(self, server: live.Live, name: str, manner: Manner = WHOLE) -> None:
        self.server = server
        self.kind = server.kind
        self.home: Path = server.home / name
        self.shelf = shelf(self.home / "uploads", server.kind.pair)
        self.path = server.path(name)
        self.manner = manner

    # What is asked

    def ask(
        self,
        method: str,
        url: str | None = None,
        headers: Fields | None = None,
        body: bytes | None = None,
        *,
        version: str | None = VERSION,
        chunked: bool = False,
        trailers: Fields | None = None,
        override: bool | None = None,
    ) -> wire.Answer:
        """One request on a connection of its own, in this client's manner."""
        with wire.Wire(self.server.address) as connection:
            first, rest = self.request(
                method,
                url,
                headers,
                body,
                version=version,
                chunked=chunked,
                trailers=trailers,
                override=override,
            )
            if self.manner.bytewise:
                connection.offer(first)
                connection.offer(rest, bytewise=True)
            else:
                connection.offer(first + rest)
            answer = connection.answer(bodiless=method == "HEAD")
            if method == "HEAD":
                # Whatever follows a HEAD is a fault; only the end of the connection tells that nothing does.
                answer = wire.Answer(answer.status, answer.reason, answer.fields, connection.rest(), answer.interim)
            return answer

    def request(
        self,
        method: str,
        url: str | None = None,
        headers: Fields | None = None,
        body: bytes | None = None,
        *,
        version: str | None = VERSION,
        chunked: bool = False,
        trailers: Fields | None = None,
        override: bool | None = None,
    ) -> tuple[bytes, bytes]:
        """The head and the body of such a request, as bytes."""
        fields: dict[str, str] = {"Host": f"127.0.0.1:{self.server.port}"}
        if version is not None:
            fields["Tus-Resumable"] = version
        if method in OVERRIDDEN and (self.manner.override if override is None else override):
            fields["X-HTTP-Method-Override"] = method
            method = "POST"
        fields |= headers or {}
        if "HEAD" in (method, fields.get("X-HTTP-Method-Override")):
            fields["Connection"] = "close"
        if chunked:
            fields["Transfer-Encoding"] = "chunked"
            size = 1 if self.manner.bytewise else 7
            pieces = [(body or b"")[at : at + size] for at in range(0, len(body or b""), size)]
            rest = b"".join(map(wire.chunk, pieces)) + wire.last_chunk(trailers or {})
        else:
            rest = body or b""
            if "Transfer-Encoding" not in fields and (body is not None or method in ("POST", "PATCH")):
                fields.setdefault("Content-Length", str(len(rest)))
        return wire.head(method, self.target(url), {n: v for n, v in fields.items() if v is not None}), rest

    def target(self, url: str | None) -> str:
        """What goes into the request line for a URL, a path or (None) the collection."""
        if url is None:
            return self.path
        parts = urlsplit(url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def post(self, headers: Fields, body: bytes | None = None, **how: Any) -> wire.Answer:
        return self.ask("POST", None, headers, body, **how)

    def patch(
        self, url: str, offset: int | None, body: bytes = b"", headers: Fields | None = None, **how: Any
    ) -> wire.Answer:
        own = {"Content-Type": BYTES} | ({} if offset is None else {"Upload-Offset": str(offset)})
        return self.ask("PATCH", url, own | dict(headers or {}), body, **how)

    def head(self, url: str, headers: Fields | None = None, **how: Any) -> wire.Answer:
        return self.ask("HEAD", url, headers, **how)

    def delete(self, url: str, **how: Any) -> wire.Answer:
        return self.ask("DELETE", url, **how)

    def get(self, url: str, headers: Fields | None = None, **how: Any) -> wire.Answer:
        return self.ask("GET", url, headers, **{"version": None} | how)

    def options(self, url: str | None = None, headers: Fields | None = None, **how: Any) -> wire.Answer:
        return self.ask("OPTIONS", url, headers, **{"version": None} | how)

    # What tests do again and again

    def create(self, length: int | None = None, headers: Fields | None = None) -> str:
        """A new upload, with a length or without."""
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        answer = self.post(size | dict(headers or {}))
        assert answer.status == 201, answer
        return answer["Location"]

    def uploaded(self, content: bytes, headers: Fields | None = None) -> str:
        """A finished upload with that content."""
        url = self.create(len(content), headers)
        if content:
            answer = self.patch(url, 0, content)
            assert answer.status == 204, answer
        return url

    def part(self, content: bytes, headers: Fields | None = None) -> str:
        """A finished partial upload."""
        return self.uploaded(content, {"Upload-Concat": "partial"} | dict(headers or {}))

    def final(self, *urls: str, headers: Fields | None = None, **how: Any) -> wire.Answer:
        return self.post({"Upload-Concat": f"final;{' '.join(urls)}"} | dict(headers or {}), **how)

    def offset(self, url: str) -> int:
        """How much the server says it has."""
        answer = self.head(url)
        assert answer.status == 200, answer
        return int(answer["Upload-Offset"])

    # Connections that are not over when the request is

    def open(self, method: str, url: str | None, headers: Fields, body: bytes = b"", **how: Any) -> wire.Wire:
        """A connection on which the head and perhaps a part of the body was sent; the caller closes it."""
        connection = wire.Wire(self.server.address)
        connection.send(self.request(method, url, headers, None, **how)[0])
        connection.offer(body, bytewise=self.manner.bytewise)
        return connection

    def begin(self, url: str, offset: int, length: int, body: bytes, headers: Fields | None = None) -> wire.Wire:
        """A PATCH that announces `length` bytes and has sent `body`."""
        own = {"Content-Type": BYTES, "Upload-Offset": str(offset), "Content-Length": str(length)}
        return self.open("PATCH", url, own | dict(headers or {}), body)

    # What lies behind the server

    def plan(self, **plan: Any) -> None:
        """What the application answers from now on: status, headers, body, raises."""
        (self.home / "plan.part").write_text(json.dumps(plan))
        (self.home / "plan.part").rename(self.home / "plan.json")

    def handed(self) -> list[Handed]:
        """What the application got, the oldest first."""
        found = sorted((self.home / "handed").glob("*.json")) if (self.home / "handed").exists() else []
        return [self._handed(json.loads(file.read_text())) for file in found]

    def _handed(self, record: dict[str, Any]) -> Handed:
        file, body = record.pop("file"), base64.b64decode(record.pop("body"))
        if record["upload"] and not self.kind.on_files:
            return Handed(body=body, file=body, **record)  # it was handed over itself, not by its path
        return Handed(body=body, file=None if file is None else base64.b64decode(file), **record)

    def files(self) -> list[str]:
        """The names of what is stored."""
        return self.shelf.names()

    def taken(self, url: str) -> None:
        """Come back when a request has begun to write to this upload."""
        live.until(lambda: self.shelf.leased(self.id(url)))

    def stored(self, url: str) -> int:
        """How many bytes are stored: unlike HEAD, looking here disturbs no one who writes."""
        return len(self.shelf.content(self.id(url)))

    def arrived(self, url: str, length: int) -> None:
        """Wait until the server has that many bytes, though they may not be stored yet."""
        live.until(lambda: self.shelf.received(self.id(url)) >= length)

    def told(self, began: int, arrived: int) -> int:
        """The offset that a client hears beside a request that began there, brought that much, and hangs: not every
        store stores what arrives at once."""
        return arrived if self.kind.on_files else began

    def id(self, url: str) -> str:
        return urlsplit(url).path.rpartition("/")[2]


def needs_cuts(tus: Client, *, half: bool = False) -> None:
    """Skip where nothing of a body is told before its end; with `half`, also where the client cannot listen after it
    has closed its half of the connection."""
    if not tus.kind.streams:
        pytest.skip(f"{tus.kind.name} calls the application only with a whole body")
    if half and not tus.kind.hears_halves:
        pytest.skip(f"{tus.kind.name} closes with a client that closes its half")


def metadata(**values: str | bytes) -> str:
    """An Upload-Metadata header."""
    pairs = ((n, v.encode() if isinstance(v, str) else v) for n, v in values.items())
    return ",".join(f"{name} {base64.b64encode(value).decode()}" for name, value in pairs)


def checksum(algorithm: str, body: bytes) -> str:
    """An Upload-Checksum header."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, body).digest()).decode()}"
