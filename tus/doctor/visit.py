"""One check of one server: what is known so far, and the requests that find out more.

It must never finish an upload, or the host behind the server would get a file that no user sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..client.link import Link
from ..client.wire import Answer, Bytes, Connection, located, same_host
from ..http.headers import OFFSET_TYPE
from .recognised import self_description

LENGTH = 5 * 10**9  # bytes of the upload that is announced, of which a few million are really sent
WHOLE = 4 << 20  # bytes of a request that is sent to its end
LARGE = 40 << 20  # bytes of another one, where the line is fast: servers that collect bodies have limits below
LITTLE = 1 << 10


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `ok`, worth a `note`, or a `fault`, with what to change."""

    name: str
    level: str
    text: str
    advice: str = ""


Findings = Iterator[Finding]
Probe = Callable[["Visit"], Findings]


class Stop(Exception):
    """Nothing further can be asked."""


@dataclass
class Visit:
    """One check of one server, and what is known so far."""

    client: Link
    origin: str
    length: int = LENGTH
    origin_matters: bool = False  # the user named the origin
    extensions: tuple[str, ...] = ()
    server: str = ""  # what the answers call themselves
    location: str = ""
    upload: str = ""  # where the upload can be reached, "" when there is none
    offset: int = 0
    override: bool = False  # PATCH gets through only in disguise
    rate: int = WHOLE  # bytes a second
    passes: int = WHOLE  # bytes that a request may announce
    stale: bool = False  # something answers HEAD from what was

    @property
    def url(self) -> str:
        return self.client.home

    @property
    def plain_headers(self) -> dict[str, str]:
        """Those of a request that is none of tus; with a login, if one was given."""
        return {"User-Agent": "tus-cli", "Accept": "*/*", **self.client.headers}

    def absolute(self, location: str) -> str:
        """The URL that was told, "" if it is none of this server."""
        try:
            url = located(self.url, location)
        except ValueError:
            return ""
        return url if location and same_host(self.url, url) else ""

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        plain: bool = False,
    ) -> Answer:
        """One request on a connection of its own; a plain one says nothing of tus."""
        content = Bytes(body) if body is not None else None
        if plain:
            return self._heard(self._plainly(method, url, headers or {}))
        try:
            answer = self.client.request(method, url, headers or {}, body=content)
        finally:
            self.client.close()
        return self._heard(answer)

    def ask_as_nobody(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """A request without any login, as a browser sends a preflight."""
        connection = self.client.connect(url)
        try:
            return self._heard(connection.request(method, url, {"Accept": "*/*", **headers}))
        finally:
            connection.close()

    def _plainly(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        own = self.plain_headers if same_host(self.url, url) else {}
        connection = self.client.connect(url)
        try:
            return connection.request(method, url, {**own, **headers})
        finally:
            connection.close()

    def _heard(self, answer: Answer) -> Answer:
        for word in self_description(answer).split():
            if word not in self.server.split():
                self.server = f"{self.server} {word}".strip()
        return answer

    def patch_request(self, offset: int, extra: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Method and headers of a PATCH, in disguise where that is needed."""
        headers = {"Content-Type": OFFSET_TYPE, "Upload-Offset": str(offset), **extra}
        if self.override:
            return "POST", {**headers, "X-HTTP-Method-Override": "PATCH"}
        return "PATCH", headers

    def patch(self, count: int, *, offset: int | None = None, **extra: str) -> Answer:
        """Send that many bytes; follows the offset that the answer tells."""
        start = self.offset if offset is None else offset
        headers = {name.replace("_", "-"): value for name, value in extra.items()}
        answer = self.ask(*self._patch_target(start, headers), os.urandom(count))
        if answer.ok and (told := answer.natural("Upload-Offset")) is not None:
            self.offset = told
        return answer

    def _patch_target(self, offset: int, headers: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
        method, headers = self.patch_request(offset, headers)
        return method, self.upload, headers

    def begin_patch(self, length: int | None, **extra: str) -> Connection:
        """A connection on which the head of a PATCH was sent; `length` None means chunked."""
        framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        method, headers = self.patch_request(self.offset, {**framing, **extra})
        connection = self.client.connect(self.upload)
        connection.begin(method, self.upload, self.client.headers_for(method, self.upload, headers))
        return connection

    def look(self) -> Answer:
        """HEAD; follows the offset."""
        answer = self.ask("HEAD", self.upload)
        if answer.ok and (told := answer.natural("Upload-Offset")) is not None:
            self.offset = told
        return answer


def elements(value: str) -> set[str]:
    """The elements of a comma-separated header, in lower case."""
    return {word.strip().lower() for word in value.split(",")}
