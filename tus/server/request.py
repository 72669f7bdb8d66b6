"""One request as it arrives: decides whether the application is called before the body is whole.

It must never let bytes of a body be taken for a request, nor the reverse.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from ._waitress import (
    BadRequest,
    FixedStreamReceiver,
    HTTPRequestParser,
    OverflowableBuffer,
    ParsingError,
    RequestEntityTooLarge,
    unquote_bytes_to_wsgi,
)
from .body import BodyStream
from .chunks import ChunkedBody

if TYPE_CHECKING:
    from .task import Task

# RFC 9112: a request line and fields without anything unusual. Neither expression can backtrack.
PLAIN_LINE = re.compile(rb"([A-Z]+) (/(?!/)[!$-.0-9:;=@-~/]*)(?:\?([!$-~]*))? HTTP/1\.1")
PLAIN_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*\r\n")

# RFC 9112, 3.2: `Host` is a name or an address and perhaps a port; an empty one is right where a URL has none.
HOST = re.compile(
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~:]+\])"
    r"(?::[0-9]{0,5})?"
)
CONTROL = re.compile(r"[\x00-\x20\x7f]")
LATER = re.compile(
    rb"[^\r\n]* HTTP/1\.[2-9]\r\n"
)  # RFC 9110, 2.5: to be read as the highest minor version that we know
KNOWN = ("1.0", "1.1")

STREAMED = frozenset({"PATCH", "POST", "PUT"})  # the methods whose bodies can be long
SMALL = 65536  # bytes that the loop may collect before it calls the application: quicker than a thread


# waitress's expression for a field takes quadratic time over white space: minutes for 200 KB of it.
GAP = re.compile(rb"[ \t]{512}")
# RFC 9112, 6.1: anything but one `chunked` is framed differently by someone on the way.
OTHER_CODING = re.compile(rb"\r\ntransfer-encoding:(?![ \t]*chunked[ \t]*\r\n(?![ \t]))", re.IGNORECASE)
CODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
LENGTH = 18  # digits of a Content-Length: more is left to waitress


class UnknownVersion(BadRequest):
    """The client speaks another HTTP."""

    code = 505
    reason = "HTTP Version Not Supported"


class RequestTimeout(BadRequest):
    """The client took too long to say what it wants."""

    code = 408
    reason = "Request Timeout"


@lru_cache(512)
def environ_key(name: str) -> str:
    """``Content-Length`` as waitress keeps it: ``CONTENT_LENGTH``; nothing for names that could be mistaken."""
    return "" if "_" in name else name.upper().replace("-", "_")


def tokens(field: str) -> set[str]:
    """The words of a list, in small letters."""
    return {word.strip(" \t").lower() for word in field.split(",")}


def collected(body: FixedStreamReceiver | ChunkedBody) -> bytes:
    """What has come of a body; its buffer is closed."""
    buffer = body.getbuf()
    came = buffer.get(-1) if len(buffer) else b""
    buffer.close()
    return came


class ParsedRequest(HTTPRequestParser):
    """waitress's parser, complete as soon as the headers are when the body is worth streaming."""

    body_rcv: FixedStreamReceiver | ChunkedBody | None
    stream: BodyStream | None = None  # the body, when the application is called before it is whole
    since = 0.0  # when its head had come, by the monotonic clock
    held = False  # a small body that the loop collects for a moment
    due = 0.0  # when more of it must have come
    seen = 0  # bytes of the body that had come when that was decided
    collecting = False  # a body that does not stream
    task: Task | None = None  # what answers, where it stopped until the client has read what was sent

    def parse_header(self, header_plus: bytes) -> None:
        self.since = time.monotonic()
        if self._parse_plain(header_plus):
            return
        self.headers.clear()
        later = LATER.match(header_plus)
        if later:
            header_plus = header_plus[: later.end() - 3] + b"1" + header_plus[later.end() - 2 :]
        if GAP.search(header_plus):
            raise ParsingError("Too much white space in a header")
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # int() refuses thousands of digits
            raise ParsingError("Content-Length is invalid") from error
        wrong = self._ambiguity(header_plus) or self._wrong_target() or self._wrong_host()
        if wrong:
            self.close()
            self.body_rcv, self.expect_continue = None, False
            self.headers.pop("CONNECTION", None)  # waitress would say Keep-Alive, and close
            raise ParsingError(wrong)
        connection = tokens(self.headers.get("CONNECTION", ""))
        self.connection_close = "close" in connection or self.version == "1.0" and "keep-alive" not in connection
        if self.chunked and self.body_rcv is not None:
            self.body_rcv = ChunkedBody(self.body_rcv.getbuf())
            # RFC 9112, 6.3: Transfer-Encoding overrides Content-Length, which nothing downstream may see;
            # 6.1: a proxy may still have seen it, so that what follows could be a smuggled request.
            if self.headers.pop("CONTENT_LENGTH", None) is not None:
                self.connection_close = True

    def _ambiguity(self, header_plus: bytes) -> str:
        """What two readers of this head could understand differently; waitress lets it pass."""
        if not header_plus.startswith(self.first_line + b"\r\n"):
            return "White space behind the request line"
        if ", " in self.headers.get("HOST", ""):  # how repeated fields are joined; no host has a space
            return "More than one Host"
        if "TRANSFER_ENCODING" in self.headers:  # waitress removes it from HTTP/1.1 only
            return "Transfer-Encoding needs HTTP/1.1"
        if OTHER_CODING.search(header_plus) or len(CODING.findall(header_plus)) > 1:
            return "Transfer-Encoding is not chunked"
        return ""

    def _wrong_target(self) -> str:
        """RFC 9112, 3.2: a path, an URL, or the asterisk of OPTIONS; and a version that we speak."""
        if self.version not in KNOWN:
            return "Not a version of HTTP that this server speaks"
        if CONTROL.search(self.request_uri):
            return "A control character in the request target"
        if self.proxy_scheme:
            return self._wrong_url()
        if not self.request_uri.startswith("/") and (self.command, self.request_uri) != ("OPTIONS", "*"):
            return "The request target is not a path"
        return ""

    def _wrong_url(self) -> str:
        """A whole URL: what it says of the host counts, whatever Host says."""
        if self.proxy_scheme not in ("http", "https") or not self.proxy_netloc or not HOST.fullmatch(self.proxy_netloc):
            return "The request target is not a URL of this server"
        self.path = self.path or "/"
        if "HOST" in self.headers or self.version == "1.0":
            self.headers["HOST"] = self.proxy_netloc
        return ""

    def _wrong_host(self) -> str:
        host = self.headers.get("HOST")
        if host is None:
            return "" if self.version == "1.0" else "Host is missing"
        return "" if HOST.fullmatch(host) else "Host is invalid"

    def _parse_plain(self, header_plus: bytes) -> bool:
        """What nearly every request looks like, in half the time; false leaves the rest to waitress."""
        end = header_plus.find(b"\r\n")
        line = PLAIN_LINE.fullmatch(header_plus, 0, end) if end > 0 else None
        if line is None or not PLAIN_FIELDS.fullmatch(header_plus, end + 2):
            return False
        headers = self.headers
        for field in header_plus[end + 2 : -4].decode("latin-1").split("\r\n"):
            name, _, value = field.partition(":")
            key = environ_key(name)
            if key:
                value = value.strip(" \t")
                headers[key] = f"{headers[key]}, {value}" if key in headers else value
        if not HOST.fullmatch(headers.get("HOST", " ")):
            return False
        length = headers.get("CONTENT_LENGTH", "0")
        if "TRANSFER_ENCODING" in headers or not length.isascii() or not length.isdigit() or len(length) > LENGTH:
            return False
        self.first_line = header_plus[:end]
        self.command = line[1].decode("ascii")
        self.request_uri = header_plus[line.start(2) : end - len(" HTTP/1.1")].decode("ascii")
        self.path = unquote_bytes_to_wsgi(line[2]) if b"%" in line[2] else line[2].decode("ascii")
        self.query = line[3].decode("ascii") if line[3] else ""
        self.proxy_scheme = self.proxy_netloc = self.fragment = ""
        self.version, self.url_scheme = "1.1", self.adj.url_scheme
        self.expect_continue = headers.get("EXPECT", "").lower() == "100-continue"
        self.connection_close = "CONNECTION" in headers and "close" in tokens(headers["CONNECTION"])
        self.content_length = int(length)
        if self.content_length:
            buffer = OverflowableBuffer(self.adj.inbuf_overflow)
            self.body_rcv = FixedStreamReceiver(self.content_length, buffer)
        return True

    @property
    def streams(self) -> bool:
        """The application wants this body as it comes."""
        return (
            self.body_rcv is not None
            and self.command in STREAMED
            and self.path.startswith(getattr(self.adj, "stream_paths", "/"))
        )

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.error is not None and self.version not in KNOWN and self.version:
            self.error = UnknownVersion("this server speaks HTTP/1.1")
            self.version = "1.1"
        if self.body_rcv is None or self.stream is not None or not self.streams:
            return consumed
        if isinstance(self.error, RequestEntityTooLarge):
            # max_request_body_size is for bodies that waitress collects; the application limits those that stream.
            self.error, self.completed = None, self.body_rcv.completed
        if consumed == len(data) and not self.completed:
            self.held = self._small()
            if not self.held:
                self.start_stream()
        return consumed

    def _small(self) -> bool:
        """It is quicker, and costs no thread, to wait a moment for the rest; a client that asks is answered first."""
        hold = getattr(self.adj, "hold", False)
        return hold and not self.chunked and not self.expect_continue and self.content_length <= SMALL

    def start_stream(self) -> None:
        """Complete without the rest of the body, which the application reads from the socket."""
        body = self.body_rcv
        assert body is not None
        chunks = body.chunks if isinstance(body, ChunkedBody) else None
        remaining = 0 if isinstance(body, ChunkedBody) else body.remain
        self.stream = BodyStream(
            collected(body), remaining=remaining, chunks=chunks, expects_continue=self.expect_continue
        )
        # waitress must not answer 100 itself: send_continue() would also take `completed` back.
        self.held, self.expect_continue, self.completed = False, False, True

    def get_body_stream(self) -> BodyStream | BinaryIO:
        """``wsgi.input``: a BodyStream where that is possible without a copy of a large body."""
        if self.stream is not None:
            return self.stream
        body = self.body_rcv
        if body is None:
            return BodyStream()
        if len(body) > SMALL:
            file: BinaryIO = super().get_body_stream()
            return file
        return BodyStream(collected(body), trailers=body.chunks.trailers if isinstance(body, ChunkedBody) else None)

    def expire(self) -> None:
        """It took too long; what came of it is of no use."""
        self.close()
        self.body_rcv, self.expect_continue = None, False
        self.error, self.completed, self.version = RequestTimeout("the request took too long"), True, "1.1"

    def close(self) -> None:
        if self.stream is None:
            super().close()
