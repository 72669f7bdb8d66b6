"""A client of the IETF draft for the tests: one collection on a live server, spoken to in one interop version.

It checks nothing by itself, and says nothing that a test did not tell it but which version it speaks.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import live, wire
from tests.shelves import Shelf, shelf
from tests.wire import Answer
from tus.protocols import draft

TYPE = "application/partial-upload"
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
VERSIONS = tuple(draft.VERSIONS)
NEWEST = draft.NEWEST.number
PROBLEMS = "https://iana.org/assignments/http-problem-types#"

Fields = Mapping[str, str | None]


class Wire(wire.Wire):
    """A connection that hands out interim answers one by one."""

    def interim(self) -> Answer:
        """The next answer, which has to be an interim one."""
        status, reason, fields = self._head()
        assert 100 <= status < 200, (status, fields)
        return Answer(status, reason, fields, b"")


@dataclass(frozen=True)
class Client:
    """Speaks to one collection; `version` None sends no interop version, as after the standard is finished."""

    server: live.Live
    name: str
    version: int | None = NEWEST

    def speaking(self, version: int | None) -> Client:
        return replace(self, version=version)

    @property
    def home(self) -> Path:
        return self.server.home / self.name

    @property
    def path(self) -> str:
        return self.server.path(self.name)

    @property
    def host(self) -> str:
        """The path of the application behind the filter."""
        return self.path.removesuffix("/upload")

    # What is asked

    def complete(self, complete: bool | None) -> dict[str, str]:
        """The completeness field, in the words of this version."""
        if complete is None:
            return {}
        if self.version == 3:
            return {"Upload-Incomplete": f"?{int(not complete)}"}
        return {"Upload-Complete": f"?{int(complete)}"}

    def request(
        self, method: str, url: str | None = None, headers: Fields | None = None, body: bytes | None = None
    ) -> bytes:
        """A request as bytes; with `Transfer-Encoding` the body is sent in chunks."""
        fields: dict[str, str | None] = {"Host": f"127.0.0.1:{self.server.port}", "Connection": "close"}
        if self.version is not None:
            fields["Upload-Draft-Interop-Version"] = str(self.version)
        fields |= headers or {}
        if "Transfer-Encoding" in fields:
            body = body and wire.chunk(body) + wire.last_chunk()
        elif body is not None:
            fields.setdefault("Content-Length", str(len(body)))
        said = {name: value for name, value in fields.items() if value is not None}
        return wire.head(method, self.target(url), said) + (body or b"")

    def target(self, url: str | None) -> str:
        if url is None:
            return self.path
        parts = urlsplit(url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def ask(
        self, method: str, url: str | None = None, headers: Fields | None = None, body: bytes | None = None
    ) -> Answer:
        with Wire(self.server.address) as connection:
            connection.offer(self.request(method, url, headers, body))
            return connection.answer(bodiless=method == "HEAD")

    def open(self, method: str, url: str | None, headers: Fields, length: int, sent: bytes) -> Wire:
        """A connection on which a body of that length was announced, and a part of it was sent."""
        connection = Wire(self.server.address)
        connection.send(self.request(method, url, {**headers, "Content-Length": str(length)}) + sent)
        return connection

    def create(
        self, body: bytes = b"", *, complete: bool | None = False, headers: Fields | None = None, method: str = "POST",
        url: str | None = None,
    ) -> Answer:  # fmt: skip
        return self.ask(method, url, {**self.complete(complete), **(headers or {})}, body)

    def created(self, body: bytes = b"", headers: Fields | None = None) -> str:
        """The URL of an upload that holds this much."""
        answer = self.create(body, headers=headers)
        assert answer.status == 201, answer
        return answer["Location"]

    def append_headers(self, offset: int | None, complete: bool | None) -> dict[str, str]:
        """What a PATCH of this version has."""
        kind = {"Content-Type": TYPE} if self.version is None or self.version >= 6 else {}
        return {**kind, **({} if offset is None else {"Upload-Offset": str(offset)}), **self.complete(complete)}

    def append(
        self, url: str, offset: int | None, body: bytes = b"", *, complete: bool | None = False,
        headers: Fields | None = None,
    ) -> Answer:  # fmt: skip
        return self.ask("PATCH", url, {**self.append_headers(offset, complete), **(headers or {})}, body)

    def head(self, url: str, headers: Fields | None = None) -> Answer:
        return self.ask("HEAD", url, headers)

    def offset(self, url: str) -> tuple[int, bool]:
        """How far it is, and whether it is complete."""
        answer = self.head(url)
        assert answer.status == 204, answer
        return int(answer["Upload-Offset"]), self.done(answer)

    def done(self, answer: Answer) -> bool:
        """What an answer says of completeness."""
        if self.version == 3:
            return {"?0": True, "?1": False}[answer["Upload-Incomplete"]]
        return {"?0": False, "?1": True}[answer["Upload-Complete"]]

    # The other protocol

    def tus(self, method: str, url: str | None, headers: Fields | None = None, body: bytes | None = None) -> Answer:
        """A request by tus 1.0."""
        return self.speaking(None).ask(method, url, {**TUS, **(headers or {})}, body)

    # What lies behind the server

    def plan(self, **plan: Any) -> None:
        """What the application answers from now on: status, headers, body, raises, waits."""
        (self.home / "plan.part").write_text(json.dumps(plan))
        (self.home / "plan.part").rename(self.home / "plan.json")

    def handed(self) -> list[dict[str, Any]]:
        """What the application got, the oldest first; body and file decoded."""
        records = [json.loads(file.read_text()) for file in sorted((self.home / "handed").glob("*.json"))]
        for record in records:
            for name in ("body", "file"):
                record[name] = None if record[name] is None else base64.b64decode(record[name])
            if record["upload"] and not self.server.kind.on_files:
                record["file"] = record["body"]  # it was handed over itself, not by its path
        return records

    def files(self) -> list[bytes]:
        """The contents that the application was handed."""
        return [record["file"] for record in self.handed()]

    @property
    def shelf(self) -> Shelf:
        return shelf(self.home / "uploads", self.server.kind.pair)

    def stored(self, url: str) -> bytes:
        """What is stored: unlike HEAD, looking here disturbs no one who writes."""
        return self.shelf.content(urlsplit(url).path.rpartition("/")[2])

    def arrived(self, url: str, length: int) -> None:
        """Wait until the server has that many bytes, though they may not be stored yet."""
        live.until(lambda: self.shelf.received(urlsplit(url).path.rpartition("/")[2]) >= length)

    def uploads(self) -> list[str]:
        """The ids of what is stored."""
        return [name.removesuffix(".info") for name in self.shelf.names() if name.endswith(".info")]


def limits(answer: Answer) -> dict[str, int]:
    """What Upload-Limit says."""
    return {key: int(value) for key, _, value in (member.partition("=") for member in answer.list("Upload-Limit"))}


def problem(answer: Answer) -> dict[str, Any]:
    """The problem document."""
    assert answer["Content-Type"] == "application/problem+json", answer
    return dict(json.loads(answer.body))


def digest(content: bytes, algorithm: str = "sha-256") -> str:
    """A digest field."""
    hash = hashlib.new({"sha": "sha1"}.get(algorithm, algorithm.replace("-", "")), content)
    return f"{algorithm}=:{base64.b64encode(hash.digest()).decode()}:"
