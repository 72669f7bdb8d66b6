"""Request and Response: all the HTTP that the core knows.

Adapters build requests and render responses; the core never sees an environ, a socket or a framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..upload import Target, Upload
from .address import Address

Headers = Mapping[str, str]  # lower-case names


class Request:
    """One HTTP request, with its body still where the server has it."""

    __slots__ = (
        "address",
        "arrived",
        "chunked",
        "collected",
        "headers",
        "id",
        "identified",
        "interim",
        "length",
        "method",
        "native",
        "peer",
        "query",
        "said",
        "shows_cuts",
        "since",
        "target",
        "trailers",
        "user",
    )

    def __init__(
        self,
        method: str,
        id: str = "",
        headers: Headers | None = None,
        *,
        length: int | None = 0,
        chunked: bool = False,
        said: bool = True,
        address: Address | None = None,
        user: str | None = None,
        peer: str = "",
        trailers: Callable[[], Headers] | None = None,
        native: Any = None,
        shows_cuts: bool = True,
        arrived: bool = False,
        collected: bool = False,
        interim: Callable[[int, Headers], None] | None = None,
        target: Target | None = None,
        query: str = "",
        since: float | None = None,
    ) -> None:
        self.method = method
        self.id = id  # what follows the collection's URL, unchecked; "" for the collection itself
        self.headers: Headers = headers if headers is not None else {}
        self.length = length  # bytes announced; None when only the end of the body will tell
        self.chunked = chunked  # the server shows where such a body ends
        self.said = said  # the client says that there is a body, or none; HTTP/2 need not
        self.address = address  # where the client sees the collection; None where nobody knows
        self.user = user  # as the server or the host authenticated it
        self.identified = False  # the hook `user` has said who it is
        self.peer = peer  # the other end's address
        self.trailers = trailers  # call after the body; None where the server hides trailers
        self.native = native  # the adapter's own request, for hooks
        self.shows_cuts = shows_cuts  # the server can tell a cut chunked body from a whole one
        self.since = since  # when its head had come, by the monotonic clock of this process; None where nobody says
        self.arrived = arrived  # the whole body is here already, so that nobody has to wait for it
        self.collected = collected  # the server waits for the whole body before it calls anybody
        self.interim = interim  # sends an answer before the answer; None where the server cannot, or must not
        self.query = query  # what follows the question mark, as it came
        self.target = target  # the host's own resource that this request is for; None: the collection

    @property
    def has_body(self) -> bool:
        """Whether any byte may follow."""
        return self.length is None or self.length > 0

    def location(self, id: str) -> str:
        """The URL of an upload, for the client."""
        return self.address.location(id) if self.address else id

    def identify(self, url: str) -> str:
        """The id in a URL that a client sent; BadRequest unless it is that of one of our uploads."""
        return self.address.identify(url) if self.address else url

    def origin(self) -> str:
        """scheme://host of our own pages; "" where that is not certain."""
        return self.address.origin() if self.address else ""


@dataclass(slots=True)
class Response:
    """What the client gets."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    extra: tuple[tuple[str, str], ...] = ()  # the host's own headers, of which some may come twice
    finished: Upload | None = None  # a complete upload that the host has not been told of


REASONS = {
    100: "Continue",
    104: "Upload Resumption Supported",
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    303: "See Other",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    423: "Locked",
    429: "Too Many Requests",
    460: "Checksum Mismatch",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}


def interim_head(status: int, headers: Headers) -> bytes:
    """An answer before the answer, as HTTP/1.1 has it."""
    lines = [f"HTTP/1.1 {status_line(status)}", *(f"{name}: {value}" for name, value in headers.items()), "\r\n"]
    return "\r\n".join(lines).encode("latin-1")


def status_line(status: int) -> str:
    """The status as WSGI wants it: a code and a reason, also for codes that have no official one."""
    return f"{status} {REASONS.get(status) or 'Unknown'}"
