"""How many bodies may arrive at once: `http.senders`, for requests as waitress has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..http.senders import AGAIN, Bodies, of_one
from ._waitress import BadRequest, parse_proxy_headers

if TYPE_CHECKING:
    from .channel import Channel
    from .settings import Settings


class TooManyBodies(BadRequest):
    """503 and not 429: clients of tus do not repeat what was answered 4xx."""

    code = 503
    reason = "Service Unavailable"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, body = super().to_response(ident)
        return status, [*headers, ("Retry-After", str(AGAIN))], body


class Limits:
    """The bodies that stream, each in its place."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.bodies = Bodies(logging.getLogger("tus.server"))

    def enter(self, channel: Channel) -> TooManyBodies | None:
        """Count the body of the next request; or say why there is no room for it."""
        request, settings = channel.requests[0], self._settings
        place = self._place(channel.addr, request.headers)
        if not self.bodies.enter(place, in_all=settings.uploads_limit, of_one=settings.uploads_per_address):
            return TooManyBodies("too many uploads arrive at once; this one goes on where it is, in a while")
        request.place = place
        return None

    def leave(self, place: str) -> None:
        """The body of a request from there is over."""
        self.bodies.leave(place)

    def _place(self, addr: tuple[str, int] | str, headers: Mapping[str, str]) -> str:
        """Where a request comes from; nothing, if that says nothing about who sends it."""
        peer = addr[0] if isinstance(addr, tuple) else ""
        trusted = self._settings.trusted_proxy
        if trusted and trusted in ("*", peer):
            peer = self._forwarded(headers) or peer
        return of_one(peer)

    def _forwarded(self, headers: Mapping[str, str]) -> str:
        """The client, as the proxy tells of it."""
        environ = {f"HTTP_{name}": headers[name] for name in ("X_FORWARDED_FOR", "FORWARDED") if name in headers}
        settings = self._settings
        try:
            parse_proxy_headers(environ, settings.trusted_proxy_count, settings.trusted_proxy_headers)
        except Exception:  # the request is refused as a whole, in the application's thread
            return ""
        return environ.get("REMOTE_ADDR", "")
