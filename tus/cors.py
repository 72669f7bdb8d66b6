"""Which other origins may call, and what they may send and read. Applied last, to every answer."""

from __future__ import annotations

import re

from .http.messages import Request, Response
from .options import Options

_METHODS = "POST, PUT, HEAD, PATCH, DELETE, GET, OPTIONS"
_SENT = (
    "Authorization, Content-Type, Origin, X-Requested-With, X-Request-ID, X-HTTP-Method-Override, Tus-Resumable, "
    "Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Checksum, "
    "Upload-Complete, Upload-Incomplete, Upload-Draft-Interop-Version, Content-Disposition, Content-Encoding, "
    "Content-Digest, Repr-Digest, Want-Repr-Digest, Incremental, Upload-Name, Cache-Control, "
    "Idempotency-Key, Upload-Whole"
)
_READ = (
    "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Expires, "
    "Upload-Checksum, Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, Retry-After, "
    "Upload-Complete, Upload-Incomplete, Upload-Draft-Interop-Version, Upload-Limit, Accept-Patch, Repr-Digest"
)
_MAX_AGE = "86400"  # seconds; browsers cap it lower


class Cors:
    """The rules of one application, worked out once."""

    def __init__(self, options: Options) -> None:
        self._on = options.cors
        self._all = "*" in options.cors_origins
        self._allowed = re.compile("|".join(map(_pattern, options.cors_origins)) or "(?!)")
        self._credentials = options.cors_credentials
        self._sent = ", ".join((_SENT, *options.cors_headers))
        self._read = ", ".join((_READ, *options.cors_expose))

    def apply(self, request: Request, response: Response) -> Response:
        """The answer, with what a browser has to know before it shows it to a page of another origin."""
        if not self._on:
            return response
        headers = response.headers
        if response.extra:  # one voice: a browser refuses an answer that says it twice
            response.extra = tuple(p for p in response.extra if not p[0].lower().startswith("access-control-"))
        headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"
        origin = request.headers.get("origin")
        if origin is None or not (self._all or self._allowed.fullmatch(origin.lower())):
            return response
        headers["Access-Control-Allow-Origin"] = "*" if self._all else origin
        if self._credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = self._read
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = _METHODS
            headers["Access-Control-Allow-Headers"] = self._sent
            headers["Access-Control-Max-Age"] = _MAX_AGE
        return response


def is_listed(origins: tuple[str, ...], origin: str) -> bool:
    """Whether pages of this origin may call."""
    return "*" in origins or any(re.fullmatch(_pattern(one), origin.lower()) for one in origins)


def _pattern(origin: str) -> str:
    """An origin, in which a star stands for part of a host name."""
    return re.escape(origin.lower().rstrip("/")).replace(r"\*", "[a-z0-9.-]+")
