"""How many bodies may arrive at once, in all and from one address, so that clients who send slowly lock nobody out.

Those who are refused lose nothing: they are told when to come back.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._waitress import BadRequest, parse_proxy_headers

if TYPE_CHECKING:
    from .channel import Channel
    from .settings import Settings

logger = logging.getLogger("tus.server")
AGAIN = 10  # seconds after which a client that was refused may find room
SILENCE = 5.0  # seconds between two lines that say the same
NETWORK = 64  # bits: what one customer of a provider has of IPv6


class TooManyBodies(BadRequest):
    """503 and not 429: clients of tus do not repeat what was answered 4xx."""

    code = 503
    reason = "Service Unavailable"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, body = super().to_response(ident)
        return status, [*headers, ("Retry-After", str(AGAIN))], body


class Limits:
    """Counts the bodies that stream, by the address that they come from."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._in_all = settings.uploads_limit
        self._of_one = settings.uploads_per_address
        self._bodies: Counter[str] = Counter()
        self._count = 0
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def enter(self, channel: Channel) -> TooManyBodies | None:
        """Count the body of the next request; or say why there is no room for it."""
        request = channel.requests[0]
        place = self._place(channel.addr, request.headers)
        with self._lock:
            if self._count >= self._in_all:
                return self._refused(place, "uploads_limit", self._in_all)
            if place and self._bodies[place] >= self._of_one:
                return self._refused(place, "uploads_per_address", self._of_one)
            self._bodies[place] += 1
            self._count += 1
        request.place = place
        return None

    def leave(self, place: str) -> None:
        """The body of a request from there is over."""
        with self._lock:
            self._count -= 1
            self._bodies[place] -= 1
            if self._bodies[place] <= 0:
                del self._bodies[place]

    def _refused(self, place: str, option: str, limit: int) -> TooManyBodies:
        now = time.monotonic()
        if now >= self._said.get(option, -SILENCE) + SILENCE:
            self._said[option] = now
            logger.warning("An upload from %s is refused: %s is %d", place or "this machine", option, limit)
        return TooManyBodies("too many uploads arrive at once; this one goes on where it is, in a while")

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


def of_one(address: str) -> str:
    """What stands for all addresses that one customer may have. On the machine itself that may be a proxy."""
    try:
        ip = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return address if address not in ("localhost", "") else ""
    if ip.version == 6 and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return ""
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, NETWORK), strict=False))
