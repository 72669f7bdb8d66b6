"""Request and Response: all the HTTP that the core knows.

Adapters build requests and render responses; the core never sees an environ, a socket or a framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ..upload import Target, Upload
from .address import Address

Headers = Mapping[str, str]  # lower-case names


_NOTHING: Headers = MappingProxyType({})


class Request(NamedTuple):
    """One HTTP request, with its body still where the server has it. It never changes; `_replace` makes another one."""

    method: str
    id: str = ""  # what follows the collection's URL, unchecked; "" for the collection itself
    headers: Headers = _NOTHING
    length: int | None = 0  # bytes announced; None when only the end of the body will tell
    chunked: bool = False  # the server shows where such a body ends
    said: bool = True  # the client says that there is a body, or none; HTTP/2 need not
    query: str = ""  # what follows the question mark, as it came
    peer: str = ""  # the other end's address
    address: Address | None = None  # where the client sees the collection; None where that is not known
    trailers: Callable[[], Headers] | None = None  # call after the body; None where the server hides trailers
    shows_cuts: bool = True  # the server can tell a cut chunked body from a whole one
    arrived: bool = False  # the whole body is here already, and reading it waits for nothing
    collected: bool = False  # the server waits for the whole body before it calls the application
    since: float | None = None  # when its head had come, by the monotonic clock of this process; None: not known
    interim: Callable[[int, Headers], None] | None = None  # sends an answer before the answer; None where it must not
    target: Target | None = None  # the host's own resource that this request is for; None: the collection
    native: Any = None  # the adapter's own request, for hooks
    user: str | None = None  # as the server or the host authenticated it
    identified: bool = False  # the hook `user` has said who it is

    def about(self, id: str) -> Request:
        """The same request, for the upload by this id."""
        return Request._make((self.method, id, *self[2:]))

    def here(self) -> Request:
        """The same request, when its whole body has come."""
        return Request._make((*self[:11], True, *self[12:]))

    def by(self, user: str | None) -> Request:
        """The same request, made by the user whom the hook named."""
        return Request._make((*self[:-2], user, True))

    # A request is itself, and no other one that says the same. What it holds is not for logs: passwords, perhaps.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<Request {self.method!a} {self.id!a}>"

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

    def add_extra(self, headers: Iterable[tuple[str, str]]) -> None:
        """The host's own headers, but for those by names that are ours; we write each word with a capital."""
        self.extra = tuple(pair for pair in headers if pair[0].title() not in self.headers)


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


@lru_cache(256)
def status_line(status: int) -> str:
    """The status as WSGI wants it: a code and a reason, also for codes that have no official one."""
    return f"{status} {REASONS.get(status) or 'Unknown'}"
