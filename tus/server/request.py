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
    TransferEncodingNotImplemented,
    unquote_bytes_to_wsgi,
)
from .body import BodyStream
from .chunks import ChunkedBody

if TYPE_CHECKING:
    from .task import Task

# RFC 9112, 3: method, target and version. No expression here can backtrack.
LINE = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Z]+) ([!-~]+) HTTP/([0-9]\.[0-9])")
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9112, 3.2: `Host` is a name or an address and perhaps a port; an empty one is right where a URL has none.
HOST = re.compile(
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~:]+\])"
    r"(?::[0-9]{0,5})?"
)
FOLD = re.compile(r"\r\n(?=[ \t])")
FOLDED_CODING = re.compile(r"\ntransfer-encoding:[^\r]*\r\n[ \t]", re.IGNORECASE)
WRONG = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")  # what may not be in a head
KNOWN = ("1.0", "1.1")

STREAMED = frozenset({"PATCH", "POST", "PUT"})  # the methods whose bodies can be long
SMALL = 65536  # bytes that the loop may collect before it calls the application: quicker than a thread
LONGEST = 4000  # digits of a Content-Length: Python reads no number with many more
EMPTY = BodyStream()  # of every request that has no body: nothing in it can change


class UnknownVersion(BadRequest):
    """The client speaks another HTTP."""

    code = 505
    reason = "HTTP Version Not Supported"


class RequestTimeout(BadRequest):
    """The client took too long to say what it wants."""

    code = 408
    reason = "Request Timeout"


@lru_cache(512)
def field_key(name: str) -> str:
    """``Content-Length`` as waitress keeps it: ``CONTENT_LENGTH``; nothing for names that could be mistaken."""
    if not NAME.fullmatch(name):
        raise ParsingError("Invalid header")
    return "" if "_" in name else name.upper().replace("-", "_")


@lru_cache(512)
def is_host(host: str) -> bool:
    return HOST.fullmatch(host) is not None


def tokens(field: str) -> set[str]:
    """The words of a list, in small letters."""
    return {word.strip(" \t").lower() for word in field.split(",")}


def unfolded(text: str) -> str:
    """Each field on one line: the beginning of a further line is white space and no more (RFC 9112, 5.2)."""
    if FOLDED_CODING.search(text):
        raise ParsingError("Transfer-Encoding is folded")  # others read it differently
    return FOLD.sub("", text)


def collected(body: FixedStreamReceiver | ChunkedBody) -> bytes:
    """What has come of a body; its buffer is closed."""
    buffer = body.getbuf()
    came = buffer.get(-1) if len(buffer) else b""
    buffer.close()
    return came


class ParsedRequest(HTTPRequestParser):
    """waitress's request with a parser of our own, complete with its head when the body is worth streaming."""

    body_rcv: FixedStreamReceiver | ChunkedBody | None
    stream: BodyStream | None = None  # the body, when the application is called before it is whole
    since = 0.0  # when its head had come, by the monotonic clock
    place: str | None = None  # where its body comes from, while that counts
    held = False  # a small body that the loop collects for a moment
    _authority = ""  # the host of a target that is a whole URL
    due = 0.0  # when more of it must have come
    seen = 0  # bytes of the body that had come when that was decided
    collecting = False  # a body that does not stream
    task: Task | None = None  # what answers, where it stopped until the client has read what was sent

    def parse_header(self, header_plus: bytes) -> None:
        """Read a head. What two readers could understand differently is refused (RFC 9112, 11.2)."""
        self.since = time.monotonic()
        try:
            self._read_head(header_plus)
        except (ParsingError, TransferEncodingNotImplemented):
            self.headers.pop("CONNECTION", None)  # waitress would say Keep-Alive, and close
            raise

    def _read_head(self, head: bytes) -> None:
        text = head.decode("latin-1")
        folds = "\r\n " in text or "\r\n\t" in text
        lines = (unfolded(text) if folds else text).removesuffix("\r\n").removesuffix("\r\n").split("\r\n")
        self._read_line(lines[0])
        if not "".join(lines).isprintable() and (wrong := WRONG.search(head)):
            raise ParsingError("Bare CR or LF found in HTTP message" if wrong[0] in b"\r\n" else "A control character")
        self._read_fields(lines)
        self._check_host()
        connection = tokens(self.headers["CONNECTION"]) if "CONNECTION" in self.headers else ()
        self.connection_close = "close" in connection or self.version == "1.0" and "keep-alive" not in connection
        self._find_body()

    def _read_line(self, line: str) -> None:
        """RFC 9112, 3.2: a path, an URL, or the asterisk of OPTIONS; and a version that we speak."""
        found = LINE.fullmatch(line)
        if not found:
            raise ParsingError("Start line is invalid")
        self.command, target, version = found.groups()
        # RFC 9110, 2.5: to be read as the highest minor version that we know.
        self.version = "1.1" if version > "1.1" and version < "2" else version
        if self.version not in KNOWN:
            raise ParsingError("Not a version of HTTP that this server speaks")
        self.request_uri, self.url_scheme = target, self.adj.url_scheme
        if target[0] != "/":
            target = self._inside(target)
        if "#" in target:
            target = target.partition("#")[0]
        path, _, self.query = target.partition("?")
        self.path = unquote_bytes_to_wsgi(path.encode("ascii")) if "%" in path else path

    def _inside(self, target: str) -> str:
        """The path and query of a whole URL. What it says of the host counts, whatever Host says."""
        if (self.command, target) == ("OPTIONS", "*"):
            return target
        scheme, separator, rest = target.partition("://")
        end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
        if scheme.lower() not in ("http", "https") or not is_host(rest[:end]) or not end:
            raise ParsingError("The request target is neither a path nor a URL of this server")
        self._authority = rest[:end]
        return rest[end:] if rest[end : end + 1] == "/" else "/" + rest[end:]

    def _read_fields(self, lines: list[str]) -> None:
        headers = self.headers
        for at in range(1, len(lines)):
            name, colon, value = lines[at].partition(":")
            if not colon:
                raise ParsingError("Invalid header")
            key = field_key(name)
            if key:
                value = value.strip(" \t")
                headers[key] = f"{headers[key]}, {value}" if key in headers else value

    def _check_host(self) -> None:
        host = self.headers.get("HOST")
        if host is None:
            if self.version != "1.0":
                raise ParsingError("Host is missing")
        elif not is_host(host):  # how repeated fields are joined: no host has a space
            raise ParsingError("More than one Host" if ", " in host else "Host is invalid")
        if self._authority:
            self.headers["HOST"] = self._authority

    def _find_body(self) -> None:
        """RFC 9112, 6: how long it is, or that its chunks say so."""
        headers = self.headers
        if "TRANSFER_ENCODING" in headers:
            self._find_chunks(headers.pop("TRANSFER_ENCODING"))
        elif "CONTENT_LENGTH" in headers:
            length = headers["CONTENT_LENGTH"]
            if not length.isascii() or not length.isdigit() or len(length) > LONGEST:
                raise ParsingError("Content-Length is invalid")
            self.content_length = int(length)
            if self.content_length:
                self.body_rcv = FixedStreamReceiver(self.content_length, OverflowableBuffer(self.adj.inbuf_overflow))
        if "EXPECT" in headers:
            self.expect_continue = self.version == "1.1" and headers["EXPECT"].lower() == "100-continue"

    def _find_chunks(self, coding: str) -> None:
        # RFC 9112, 6.1: anything but one `chunked` is framed differently by someone on the way.
        if self.version == "1.0":
            raise ParsingError("Transfer-Encoding needs HTTP/1.1")
        if coding.lower() != "chunked":
            raise TransferEncodingNotImplemented("Transfer-Encoding is not chunked")
        self.chunked = True
        self.body_rcv = ChunkedBody(OverflowableBuffer(self.adj.inbuf_overflow))
        # RFC 9112, 6.3: Transfer-Encoding overrides Content-Length, which nothing downstream may see;
        # 6.1: a proxy may still have seen it, so that what follows could be a smuggled request.
        if self.headers.pop("CONTENT_LENGTH", None) is not None:
            self.connection_close = True

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
            return EMPTY
        if len(body) > SMALL:
            file: BinaryIO = super().get_body_stream()
            return file
        return BodyStream(collected(body), trailers=body.chunks.trailers if isinstance(body, ChunkedBody) else None)

    def refuse(self, why: BadRequest) -> None:
        """The application will not be called, and the body does not matter."""
        self.stream, self.body_rcv, self.error = None, None, why

    def expire(self) -> None:
        """It took too long; what came of it is of no use."""
        self.close()
        self.body_rcv, self.expect_continue = None, False
        self.error, self.completed, self.version = RequestTimeout("the request took too long"), True, "1.1"

    def close(self) -> None:
        if self.stream is None:
            super().close()
