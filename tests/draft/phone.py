"""An upload task as an iPhone's URLSession runs it: it learns the address from a 104, and resumes by itself.

It knows what a phone knows: nothing but the answers. `cut_after` is where the network breaks.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from tests import wire
from tests.draft.client import TYPE, Wire
from tests.wire import Address, Answer


@dataclass
class Phone:
    """iOS 17 speaks interop 3, 18.0 speaks 5, 18.1 and all that came up to 2026 speak 6."""

    address: Address
    version: int
    tls: ssl.SSLContext | None = None
    location: str | None = None  # what `cancel(byProducingResumeData:)` would give
    asked: list[str] = field(default_factory=list)  # the methods of its requests
    own: dict[str, str] = field(default_factory=dict)  # the headers of its first request, which it repeats

    def upload(
        self, method: str, target: str, content: bytes, *, cut_after: int | None = None, headers: dict[str, str]
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
        with self._connect() as connection:
            connection.send(self._head("HEAD", self.location, {**self.own, "Content-Length": "0"}))
            answer = connection.answer(bodiless=True)
        assert 200 <= answer.status < 300, answer
        offset = int(answer["Upload-Offset"])
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
        with self._connect() as connection:
            connection.send(self._head("OPTIONS", target, {}))
            return connection.answer()

    def _connect(self) -> Wire:
        wire = Wire(self.address)
        if self.tls:
            wire.socket = self.tls.wrap_socket(wire.socket, server_hostname="localhost")
        return wire

    def _complete(self) -> dict[str, str]:
        return {"Upload-Incomplete": "?0"} if self.version == 3 else {"Upload-Complete": "?1"}

    def _head(self, method: str, target: str, fields: dict[str, str]) -> bytes:
        self.asked.append(method)
        path = "/" + target.split("/", 3)[3] if target.startswith("http") else target
        own = {"Host": "{}:{}".format(*self.address), "Upload-Draft-Interop-Version": str(self.version)}
        return wire.head(method, path, {**own, "User-Agent": "Photos/1 CFNetwork/1494", "Accept": "*/*", **fields})

    def _send(
        self, method: str, target: str, fields: dict[str, str], content: bytes, cut_after: int | None
    ) -> Answer | None:
        with self._connect() as connection:
            connection.send(self._head(method, target, fields) + content[:cut_after])
            if method != "PATCH":
                self._listen(connection)
            if cut_after is not None:
                connection.half_close()
                return None
            return connection.answer()

    def _listen(self, connection: Wire) -> None:
        """The 104 with the address; one of another version would be ignored."""
        connection.socket.settimeout(5)
        while b"\r\n\r\n" not in connection.received and connection._receive():
            pass
        if not connection.received.startswith(b"HTTP/1.1 104 "):
            return
        answer = connection.interim()
        if answer.get("Upload-Draft-Interop-Version") == str(self.version):
            self.location = answer["Location"]
