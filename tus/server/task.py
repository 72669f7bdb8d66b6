"""One request's way through the application and back.

It must never keep a connection alive whose next bytes could belong to this request's body.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..messages import interim_head
from ._waitress import BadRequest, ErrorTask, WSGITask, build_http_date
from .body import BodyStream
from .chunks import BadBody

FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_PREFIX",
)
JOINED = 65536  # bytes of a first block that are sent together with the headers: one system call instead of two


@lru_cache(256)
def proper(name: str) -> str:
    """``content-type`` as waitress writes it: ``Content-Type``."""
    return "-".join([part.capitalize() for part in name.split("-")])


@lru_cache(2)
def http_date(second: int) -> str:
    return str(build_http_date(second))


class Task(WSGITask):
    """waitress's task with a streamed body, and with connections that live on after 204 and 304."""

    def service(self) -> None:
        stream = self.request.stream
        if stream is None:
            return super().service()
        try:
            super().service()
        except BadBody:
            pass  # the application left it to us
        finally:
            self._part(stream)
        if stream.malformed and not self.wrote_header:
            self.request.error = BadRequest(stream.malformed)
            ErrorTask(self.channel, self.request).service()

    def _part(self, stream: BodyStream) -> None:
        """The request and its body are over: what came behind a chunked body is the next request."""
        if not stream.finished:
            self.close_on_finish = True
        elif stream.leftover and not self.close_on_finish:
            self.channel.received(stream.leftover)

    def get_environment(self) -> dict[str, Any]:
        if self.environ is None:
            environ = super().get_environment()
            if isinstance(environ["wsgi.input"], BodyStream):
                environ["tus.input"] = environ["wsgi.input"]
            # waitress is about to remove what it does not trust; that a proxy is there is worth knowing all the same.
            forwarded = {name: environ[name] for name in FORWARDED if name in environ}
            if forwarded:
                environ["tus.forwarded"] = forwarded
            if self.version == "1.1":
                environ["tus.interim"] = self.interim
            environ["wsgi.multiprocess"] = getattr(self.channel.adj, "workers", 1) > 1
        return self.environ

    def interim(self, status: int, headers: Mapping[str, str]) -> None:
        """Send an answer before the answer, while there is none yet."""
        if not self.wrote_header:
            self.channel.write_soon(interim_head(status, headers))

    def build_response_header(self) -> bytes:
        """As waitress does it, except that a response without a body needs no length to keep the connection."""
        self._close_unless_read()
        length = self._normalise()
        self._choose_framing(length)
        lines = [f"HTTP/{self.version} {self.status}"]
        lines += [f"{name}: {value}" for name, value in self.response_headers]
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def _close_unless_read(self) -> None:
        """Decide whether this connection carries another request."""
        stream = self.request.stream
        if stream is not None:
            stream.refuse_continue()
            stream.settle()
            if not stream.finished:
                self.set_close_on_finish()
        if self.request.connection_close or getattr(self.channel.server, "closing", False):
            self.set_close_on_finish()

    def _normalise(self) -> str | None:
        """Proper names, Server and Date; returns the length that the application gave."""
        headers, names, length, has_body = [], set(), None, self.has_body
        for name, value in self.response_headers:
            name = proper(name)
            if name == "Content-Length":
                if not has_body:
                    continue
                length = value
            names.add(name)
            headers.append((name, value))
        if length is None and self.content_length is not None and has_body:
            length = str(self.content_length)
            headers.append(("Content-Length", length))
        ident = self.channel.adj.ident
        if "Server" in names:
            headers.append(("Via", ident or "waitress"))
        elif ident:
            headers.append(("Server", ident))
        if "Date" not in names:
            headers.append(("Date", http_date(int(self.start_time or time.time()))))
        self.response_headers = headers
        return length

    def _choose_framing(self, length: str | None) -> None:
        connection = self.request.headers.get("CONNECTION", "").lower()
        framed = length is not None or not self.has_body or self.request.command == "HEAD"
        if self.version == "1.0":
            if connection != "keep-alive" or not framed:
                self.set_close_on_finish()
            elif not self.close_on_finish:
                self.response_headers.append(("Connection", "Keep-Alive"))
            return
        if not framed:
            self.response_headers.append(("Transfer-Encoding", "chunked"))
            self.chunked_response = True
        if connection == "close" or not framed:
            self.set_close_on_finish()

    def write(self, data: bytes) -> None:
        """The headers and a first block in one piece; no body for HEAD, whatever the application returns."""
        if self.request.command == "HEAD":
            self.content_bytes_written += len(data)
            data = b""
        if self.wrote_header or not self._joins(data):
            return super().write(data)
        header = self.build_response_header()
        self.wrote_header = True
        if self.chunked_response:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        else:
            self.content_bytes_written = len(data)
        self.channel.write_soon(header + data)

    def _joins(self, data: bytes) -> bool:
        """waitress's own way is for what is long, unusual or wrong."""
        fits = self.content_length is None or len(data) <= self.content_length
        return bool(data) and self.complete and self.has_body and fits and len(data) <= JOINED
