"""Who sends, and how many bodies may arrive at once, in all and from one address: so that clients who send slowly lock
nobody out.

Those who are refused lose nothing: they are told when to come back.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
import time
from collections import Counter

from ..errors import Crowded
from .address import Facts, trusts

MOST = 20000  # connections
CONNECTED = 7 / 8  # of the open files may be connections; the requests on them need the others
AGAIN = Crowded.retry_after
SILENCE = 5.0  # seconds between two lines of the log that say the same
NETWORK = 64  # bits: what one customer of a provider has of IPv6

_FOR = re.compile(r'(?:^|[;,\s])for="?([^";,\s]+)', re.IGNORECASE)
_PORT = re.compile(r"(?<=\]):[0-9]+$|^([0-9.]+):[0-9]+$")  # some proxies add that of the connection


def connections(open_files: int) -> int:
    """How many connections fit into that many open files."""
    return max(10, min(MOST, int(open_files * CONNECTED)))


def room(connections: int) -> int:
    """How many bodies may arrive on so many connections: a fifth of these is for those who only ask."""
    return max(connections * 4 // 5, 1)


def share_of(room: int) -> int:
    """How many of them from one address: it takes four to keep others from uploading."""
    return max(room // 4, 1)


def sender(trusted: tuple[str, ...], facts: Facts) -> str:
    """The client's address: the nearest one that is not that of a proxy which we believe. Each proxy adds the one that
    it sees at the end, and what stands before may be the client's invention."""
    if not trusted or not trusts(trusted, facts.peer):
        return facts.peer
    known = tuple(word for word in trusted if word not in ("*", "unix"))
    told = _FOR.findall(facts.headers.get("forwarded", "")) or facts.headers.get("x-forwarded-for", "").split(",")
    addresses = [_PORT.sub(r"\1", word.strip()).strip("[]") for word in told if word.strip()]
    return next((one for one in reversed(addresses) if not trusts(known, one)), addresses[0] if addresses else "")


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


class Bodies:
    """Those that arrive, counted by the place that they come from."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._of: Counter[str] = Counter()
        self.count = 0
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def enter(self, place: str, *, in_all: int, of_one: int) -> bool:
        """Count one; false, and a line in the log, if there is no room for it."""
        with self._lock:
            if self.count >= in_all:
                return self._refused(place, "uploads_limit", in_all)
            if place and self._of[place] >= of_one:
                return self._refused(place, "uploads_per_address", of_one)
            self._of[place] += 1
            self.count += 1
        return True

    def leave(self, place: str) -> None:
        """One from there is over."""
        with self._lock:
            self.count -= 1
            self._of[place] -= 1
            if self._of[place] <= 0:
                del self._of[place]

    def _refused(self, place: str, option: str, limit: int) -> bool:
        now = time.monotonic()
        if now >= self._said.get(option, -SILENCE) + SILENCE:
            self._said[option] = now
            where = place or "this machine"
            self._logger.warning("An upload from %s is refused: %s is %d", where, option, limit)
        return False
