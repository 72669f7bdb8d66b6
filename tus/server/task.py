"""One request's way through the application and back.

It must never keep a connection alive whose next bytes could belong to this request's body.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..http.address import FORWARDED
from ..http.messages import interim_head
from ._waitress import BadRequest, ErrorTask, ReadOnlyFileBasedBuffer, WSGITask, build_http_date, hop_by_hop
from .body import BodyStream
from .chunks import BadBody

if TYPE_CHECKING:
    from .request import ParsedRequest

_FORWARDED = tuple("HTTP_" + name.upper().replace("-", "_") for name in FORWARDED)
TURN = 1 << 18  # bytes of an answer that can pause after which others get their turn
INTERIM = 65536  # bytes that a client has not read, after which it is told nothing in between: that could wait for it
JOINED = 65536  # bytes of a first block that are sent together with the headers: one system call instead of two


def checked(what: str, text: Any) -> None:
    """Nothing that an application puts into a head may end its line."""
    if not isinstance(text, str):
        raise AssertionError(f"{what} {text!r} is not a string")
    if "\n" in text or "\r" in text:
        raise ValueError(f"carriage return/line feed character present in {what}")


@lru_cache(256)
def proper(name: str) -> str:
    """``content-type`` as waitress writes it: ``Content-Type``."""
    return "-".join([part.capitalize() for part in name.split("-")])


@lru_cache(2)
def date_value(second: int) -> str:
    return str(build_http_date(second))


class Pause(BaseException):
    """The client has to read before it gets more, or to send; waitress must not take it for an error."""

    def __init__(self, task: Task) -> None:
        self.task = task


class Task(WSGITask):
    """waitress's task with a streamed body, with connections that live on after 204 and 304, and with answers that
    keep no thread while the client does not read."""

    request: ParsedRequest
    _body: Any = None  # what the application returned
    _blocks: Iterator[bytes] | None = None  # of it; None before the application was called

    def service(self) -> None:
        stream = self.request.stream
        if stream is None:
            return super().service()
        over = True
        try:
            super().service()
        except BadBody:
            pass  # the application left it to us
        except Pause:
            over = False
            raise
        finally:
            if over:
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
        environ = self.environ
        if environ is None:
            environ = super().get_environment()  # which keeps it
            environ["tus.since"] = self.request.since
            if isinstance(environ["wsgi.input"], BodyStream):
                environ["tus.input"] = environ["wsgi.input"]
            # waitress is about to remove what it does not trust; whether a proxy is there is still worth knowing.
            forwarded = {name: environ[name] for name in _FORWARDED if name in environ}
            if forwarded:
                environ["tus.forwarded"] = forwarded
            if self.version == "1.1":
                environ["tus.interim"] = self.interim
            environ["wsgi.multiprocess"] = getattr(self.channel.adj, "workers", 1) > 1
        return environ

    # -- the application's answer

    def execute(self) -> None:
        """Call the application and send what it returns; and go on with that after a pause."""
        if self._blocks is None and self._called():
            return
        try:
            if self._paused():
                raise Pause(self)
            self._check_length()
        except Pause:
            raise
        except BaseException:
            self.end_body()
            raise
        self.end_body()

    def _called(self) -> bool:
        """Call the application; true if its answer is a file, which the connection sends and closes."""
        self._body = body = self.channel.server.application(self.get_environment(), self.start_response)
        try:
            if isinstance(body, ReadOnlyFileBasedBuffer) and self._send_file(body):
                return True
            self._blocks = iter(body)
        except BaseException:
            self.end_body()
            raise
        return False

    def feed(self, buffer: memoryview) -> bool:
        """Give the application what has come of the body; true when that is over."""
        return bool(self._body.feed(buffer))

    def rest(self) -> None:
        """Tell the application to hold no file open until more of the body comes."""
        if hasattr(self._body, "rest"):
            self._body.rest()

    def end_body(self) -> None:
        """Close what the application returned."""
        body, self._body, self._blocks = self._body, None, iter(())
        if hasattr(body, "close"):
            body.close()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """As PEP 3333 has it."""
        if exc_info:
            try:
                if self.wrote_header:
                    raise exc_info[1]
            finally:
                exc_info = None
            self.response_headers, self.content_length = [], None
        elif self.complete:
            raise AssertionError("start_response called a second time without providing exc_info.")
        self.complete = True
        checked("status", status)
        self.status = status
        for name, value in headers:
            checked("header name", name)
            checked(name, value)
            lower = name.lower()
            if lower == "content-length":
                self.content_length = int(value)
            elif lower in hop_by_hop:
                raise AssertionError(f"{name} is hop-by-hop, so that a WSGI application cannot send it (PEP 3333)")
        self.response_headers.extend(headers)
        return self.write

    def _send_file(self, file: ReadOnlyFileBasedBuffer) -> bool:
        """From where it stands, and at most Content-Length; false if that is nothing, or cannot be known."""
        size = file.prepare(self.content_length)
        if not size:
            return False
        if size != self.content_length:
            self.remove_content_length_header()
            self.content_length = size
        self.write(b"")
        if self.request.command == "HEAD" or not self.has_body:
            self.end_body()
        else:
            self.channel.write_soon(file)
        return True

    def _paused(self) -> bool:
        """Send blocks; true if the client has to read before there can be more, or to send, or if it is the turn of
        others."""
        body, blocks, channel, sent = self._body, self._blocks, self.channel, 0
        assert blocks is not None
        stream = self.request.stream
        pauses = stream is None and getattr(body, "pauses", False)
        feeds = stream is not None and stream.parks and hasattr(body, "feed")
        for block in blocks:
            if self.content_length is None and not self.wrote_header and hasattr(body, "__len__") and len(body) == 1:
                self.content_length = len(block)
            if block:
                self.write(block)
                sent += len(block)
                if self.request.command == "HEAD":
                    return False
            elif feeds and not self.complete:
                return True
            if pauses and (channel.total_outbufs_len or sent >= TURN):
                return True
        return False

    def _check_length(self) -> None:
        length = self.content_length
        if length is not None and self.content_bytes_written != length and self.request.command != "HEAD":
            self.set_close_on_finish()  # the client must not wait for the rest
            self.logger.warning("the application sent %s bytes of %s", self.content_bytes_written, length)

    def interim(self, status: int, headers: Mapping[str, str]) -> None:
        """Send an answer before the answer, while there is none yet."""
        if not self.wrote_header and self.channel.total_outbufs_len < INTERIM:
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
            headers.append(("Date", date_value(int(self.start_time or time.time()))))
        self.response_headers = headers
        return length

    def _choose_framing(self, length: str | None) -> None:
        framed = length is not None or not self.has_body or self.request.command == "HEAD"
        if not framed:
            self.set_close_on_finish()
        if self.version == "1.0":
            if not self.close_on_finish:
                self.response_headers.append(("Connection", "Keep-Alive"))
        elif not framed:
            self.response_headers.append(("Transfer-Encoding", "chunked"))
            self.chunked_response = True

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
