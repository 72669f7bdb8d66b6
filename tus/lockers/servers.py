"""What a server must do that keeps leases for many machines, and what a URL says to their locker."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote

from ..errors import OptionError
from .pool import Broken

if TYPE_CHECKING:
    from .network import Hold

log = logging.getLogger("tus")

START = 10.0  # seconds that one has which starts at the same time as we do
_AGAIN = 0.25  # seconds between two attempts
_SECONDS = re.compile(r"[1-9][0-9]?(?:\.[0-9]{1,3})?|[12][0-9]{2}")
_SETTINGS = {"ttl": _SECONDS, "patience": _SECONDS, "prefix": re.compile(r"[A-Za-z0-9_.-]{1,64}")}


class Verdict(NamedTuple):
    """What the server says to a request for a lease, share or claim, or for keeping it."""

    state: str  # "taken"; "busy"; "owned", so that the check comes first; "lost"
    token: int = 0
    epoch: int = 0  # shares of an older one are over
    other: str = ""  # the key of the lease that was lost, or would be
    wait: float = 0.0  # seconds until what keeps us out times out
    shares: bool = False  # whether some were ended
    before: int = 0  # the token of the lease before, if one is remembered


class Left(NamedTuple):
    """What was released, and the server may not know it yet."""

    id: str
    key: str
    forget: bool
    until: float  # then it has timed out


class Notices(Protocol):
    """A connection on which the server tells this process what it lost, and what is free."""

    def hear(self, seconds: float) -> list[str]:
        """What came within that time; raises StoreAway once the connection is dead."""

    def close(self) -> None: ...


class LeaseServer(Protocol):
    """What keeps it all. Each of these raises StoreAway, in bounded time, if there is no answer."""

    def take(self, hold: Hold, ttl: float, over: str | None) -> Verdict:
        """`over`: the key of the only lease that may be lost; None: any."""

    def keep(self, hold: Hold, ttl: float) -> Verdict: ...

    def leave(self, left: Sequence[Left], ttl: float) -> None: ...

    def renew(self, holds: Sequence[Hold], ttl: float) -> list[bool]:
        """Whether each is still held. One that the server knows nothing of is held again: it lost its memory. A claim
        that has timed out is, too, unless another request took something since."""

    def owner(self, id: str) -> str:
        """The process that has a lease; or ""."""

    def alive(self, process: str) -> bool:
        """Whether it listens."""

    def listen(self, process: str) -> Notices: ...

    def sweep(self, before: float, exists: Callable[[str], bool]) -> None:
        """Forget what is over for long, where the server does not do it by itself."""

    def forked(self) -> None:
        """We are a child: what was open is the parent's."""

    def close(self) -> None: ...


def settings(url: str) -> tuple[str, dict[str, Any]]:
    """The URL for the server, and what of its query is meant for the locker."""
    place, _, query = url.partition("?")
    found, rest = {}, []
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name in _SETTINGS:
            found[name] = _setting(name, unquote(value))
        else:
            rest.append(pair)
    return place + "?" * bool(rest) + "&".join(rest), found


def reach(probe: Callable[[], object], remedies: dict[str, str], otherwise: str) -> None:
    """Find out whether a server can be used. One that may only not be there yet is waited for; for all else, this
    raises OptionError at once, with what the operator can do about it."""
    end = time.monotonic() + START
    while True:
        try:
            probe()
            return
        except Broken as error:
            why = " ".join(str(error).split())
            remedy = next((remedy for word, remedy in remedies.items() if word in why), "")
            if remedy or time.monotonic() > end:
                raise OptionError(f"option locker: {why}; {remedy or otherwise}") from error
            log.info("the server of the leases does not answer yet: %s", why)
            time.sleep(_AGAIN)


def _setting(name: str, value: str) -> float | str:
    if not _SETTINGS[name].fullmatch(value):
        hint = "a name of letters and digits" if name == "prefix" else "seconds, from 1 to 299"
        raise OptionError(f"option locker: {name}={value} in its URL should be {hint}")
    return f"{value}:" if name == "prefix" else float(value)
