"""An upload task as an iPhone's URLSession runs it: it learns the address from a 104, and resumes by itself.

It knows what a phone knows: nothing but the answers. `cut_after` is where the network breaks.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests import wire
from tests.draft.client import TYPE, Wire
from tests.wire import Address, Answer

Fields = dict[str, str]


def at_once() -> None:
    """The network breaks when the last byte was given to it."""


@dataclass
class Phone:
    """iOS 17 speaks interop 3, 18.0 speaks 5, 18.1 and all that came up to 2026 speak 6."""

    address: Address
    version: int
    tls: ssl.SSLContext | None = None
    location: str | None = None  # what `cancel(byProducingResumeData:)` would give
    asked: list[str] = field(default_factory=list)  # the methods of its requests
    offsets: list[int] = field(default_factory=list)  # where it resumed
    own: Fields = field(default_factory=dict)  # the headers of its first request, which it repeats
    patience: float = 10.0  # seconds for the first answer; one whose network breaks does not wait for it
    breaks: Callable[[], Any] = at_once  # waits until the network may break

    def upload(
        self, method: str, target: str, content: bytes, *, cut_after: int | None = None, headers: Fields
    ) -> Answer | None:
        """One upload task; None if its connection broke."""
        self.own = headers
        fields = {**headers, **self._complete(), "Content-Length": str(len(content))}
        if self.version >= 8:
            fields["Upload-Length"] = str(len(content))
        return self._send(method, target, fields, content, cut_after)

    def resume(self, content: bytes, *, cut_after: int | None = None) -> Answer | None:
        """Ask how far it was, and send the rest."""
        assert self.location
        answer = self._ask("HEAD", self.location, {**self.own, "Content-Length": "0"})
        assert 200 <= answer.status < 300, answer
        offset = int(answer["Upload-Offset"])
        self.offsets.append(offset)
        kind = {"Content-Type": TYPE} if self.version >= 6 else {}
        fields = {
            **self.own,
            **kind,
            **self._complete(),
            "Upload-Offset": str(offset),
            "Content-Length": str(len(content) - offset),
        }
        return self._send("PATCH", self.location, fields, content[offset:], cut_after)

    def options(self, target: str) -> Answer:
        """Whether uploads there can be resumed, as PhotoKit asks before the first: without credentials."""
        return self._ask("OPTIONS", target, {})

    def _complete(self) -> Fields:
        return {"Upload-Incomplete": "?0"} if self.version == 3 else {"Upload-Complete": "?1"}

    def _own(self, method: str, fields: Fields) -> Fields:
        self.asked.append(method)
        version = {"Upload-Draft-Interop-Version": str(self.version)}
        return {**version, "User-Agent": "Photos/1 CFNetwork/1494", "Accept": "*/*", **fields}

    def _learn(self, answer: dict[str, str]) -> None:
        """The address from a 104; one of another version would be ignored."""
        if answer.get("upload-draft-interop-version") == str(self.version):
            self.location = answer["location"]

    # Over HTTP/1.1

    def _connect(self) -> Wire:
        wire = Wire(self.address)
        if self.tls:
            wire.socket = self.tls.wrap_socket(wire.socket, server_hostname="localhost")
        return wire

    def _head(self, method: str, target: str, fields: Fields) -> bytes:
        host = {"Host": "{}:{}".format(*self.address)}
        return wire.head(method, path_of(target), {**host, **self._own(method, fields)})

    def _ask(self, method: str, target: str, fields: Fields) -> Answer:
        with self._connect() as connection:
            connection.send(self._head(method, target, fields))
            return connection.answer(bodiless=method == "HEAD")

    def _send(self, method: str, target: str, fields: Fields, content: bytes, cut_after: int | None) -> Answer | None:
        with self._connect() as connection:
            connection.send(self._head(method, target, fields) + content[:cut_after])
            if method != "PATCH":
                self._listen(connection)
            if cut_after is not None:
                self.breaks()
                return None
            return connection.answer()

    def _listen(self, connection: Wire) -> None:
        """Until the first answer, which may be a 104."""
        connection.socket.settimeout(self.patience)
        with suppress(TimeoutError):
            while b"\r\n\r\n" not in connection.received and connection._receive():
                pass
        connection.socket.settimeout(wire.TIMEOUT)
        if connection.received.startswith(b"HTTP/1.1 104 "):
            self._learn({name.lower(): value for name, value in connection.interim().fields})


class Phone2(Phone):
    """One that speaks HTTP/2."""

    def _ask(self, method: str, target: str, fields: Fields) -> Answer:
        answer = self._send(method, target, fields, b"", None)
        assert answer
        return answer

    def _send(self, method: str, target: str, fields: Fields, content: bytes, cut_after: int | None) -> Answer | None:
        from tests.https.frames import Connection  # late, since h2 may be missing

        own = {name.lower(): value for name, value in self._own(method, fields).items()}
        with Connection(self.address, self.tls) as connection:
            stream = connection.begin(method, path_of(target), own, end=not content)
            connection.send(stream, content[:cut_after], end=bool(content) and cut_after is None)
            if content and method != "PATCH":
                with suppress(AssertionError):
                    connection.until(lambda: stream.interim or stream.headers, within=self.patience)
                for interim in stream.interim:
                    self._learn(interim)
            if cut_after is not None:
                self.breaks()
                return None
            connection.until(lambda: stream.over)
            interim = tuple(int(each[":status"]) for each in stream.interim)
            return Answer(stream.status, "", tuple(stream.headers.items()), stream.body, interim)


def path_of(target: str) -> str:
    return urlsplit(target).path
