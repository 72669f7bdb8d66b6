"""Where we are as a client sees us: proxies and what they say, Host, scheme, prefix, and which URLs are ours.

Everything follows from `Facts`, which an adapter takes from its framework. What a client or a proxy says is believed
only where an option says so; where something is a guess, the answer is a path, which is right for everybody.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from ..errors import BadRequest, NotFound
from ..upload import checked_id

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")
_SIGNS = frozenset((*FORWARDED, "x-real-ip", "via"))  # each of these shows that there is a proxy
HEADERS = ("host", "origin", *sorted(_SIGNS))  # all that `Facts` needs
PORTS = {"http": ":80", "https": ":443"}  # that a URL need not say

_HOST = re.compile(r"(?:([A-Za-z0-9._~-]+)|\[([0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?")
_LOCAL = re.compile(
    r"(?:(?:[a-z0-9.-]+\.)?localhost\.?|127\.[0-9.]+|0\.0\.0\.0|\[::1?\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])"
    r"(?::[0-9]+)?$",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+/?")
_GENERATED = re.compile(r"[0-9a-f]{32}")


class Facts(NamedTuple):
    """What a request shows of the way that it came."""

    path: str  # of the collection, as part of a URL, with the place where the application is mounted; "" for the root
    headers: Mapping[str, str]  # those of HEADERS that came, by their lower-case names
    scheme: str = "http"  # of the connection to us
    peer: str = ""  # the other end's address; "" on a unix socket
    version: str = "1.1"  # of HTTP, as the other end speaks it


class Rules(Protocol):
    """The options that decide."""

    public_url: str
    location: str
    trusted_proxies: tuple[str, ...]


class Address:
    """Where the collection of uploads is, as this request's client sees it. Most requests never ask."""

    __slots__ = ("_look", "_native", "_path", "_rules", "_url")

    def __init__(
        self, rules: Rules, look: Callable[[Any, str], Facts], native: Any, path: str, public: str = ""
    ) -> None:
        """`look` takes the facts from what the adapter has, and the collection's path there; `public` is its URL, if
        known."""
        self._rules, self._look, self._native, self._path = rules, look, native, path
        self._url = rules.public_url or public

    def facts(self) -> Facts:
        """What the request shows."""
        return self._look(self._native, self._path)

    def location(self, id: str) -> str:
        """The URL of an upload: absolute where that is certain to be right, else a path, which always is."""
        return f"{self.collection()}/{id}"

    def collection(self) -> str:
        rules, url = self._rules, self._url
        if url:
            return url if rules.location != "path" else urlsplit(url).path
        facts = self.facts()
        trusted = bool(rules.trusted_proxies) and trusts(rules.trusted_proxies, facts.peer)
        path = _prefix(facts) + facts.path if trusted else facts.path
        if rules.location == "path":
            return path
        return _origin(facts, trusted, rules.location != "url") + path

    def origin(self) -> str:
        """scheme://host of our own pages; "" where it is only a guess, unless `location = url` allows to guess."""
        return self._own(certain=self._rules.location != "url")

    def proxied(self) -> bool:
        """Whether anything hints at a proxy between us and the client."""
        return proxied(self.facts())

    def identify(self, url: str) -> str:
        """The id of one of our own uploads; nothing is ever fetched."""
        try:
            parts = urlsplit(url)
            collection, _, id = parts.path.rpartition("/")
            odd = parts.query or parts.fragment or parts.scheme not in ("", "http", "https")
            if not odd and self._is_ours(parts.netloc, collection):
                return checked_id(id)
        except (ValueError, NotFound):
            pass
        raise BadRequest(f"{url[:200]!a} is not an upload of this server")

    def _is_ours(self, host: str, collection: str) -> bool:
        """Whether uploads of this collection are ours: by its public address, or by its address in here."""
        if host:
            known = self._own(certain=True).partition("://")[2]
            if known and known.lower() != host.lower():
                return False
        inside, seen = self.facts().path, urlsplit(self.collection()).path
        return unquote_to_bytes(collection) in (unquote_to_bytes(inside), unquote_to_bytes(seen))

    def _own(self, *, certain: bool) -> str:
        if self._url:
            parts = urlsplit(self._url)
            return f"{parts.scheme}://{parts.netloc}"
        facts = self.facts()
        return _origin(facts, trusts(self._rules.trusted_proxies, facts.peer), certain)


def _prefix(facts: Facts) -> str:
    prefix = _said(facts, "prefix")
    return prefix.rstrip("/") if _PREFIX.fullmatch(prefix) else ""


def _origin(facts: Facts, trusted: bool, certain: bool) -> str:
    """scheme://host, or "" where it is only a guess and a `certain` one is wanted."""
    scheme, host = facts.scheme, facts.headers.get("host", "")
    if trusted:
        said_scheme, said_host = _said(facts, "proto"), _said(facts, "host")
        if certain and not said_scheme:
            return ""
        scheme, host = said_scheme.lower() or scheme, said_host or host
    elif certain and proxied(facts):
        return ""
    if not _HOST.fullmatch(host) or scheme not in ("http", "https"):
        return ""
    origin = f"{scheme}://{host}"
    # A page of another origin, or a proxy that gives no other sign; a path serves both.
    return "" if certain and facts.headers.get("origin", origin) != origin else origin


def proxied(facts: Facts) -> bool:
    """Whether anything hints at a proxy in front: its headers, or its ways."""
    if not _SIGNS.isdisjoint(facts.headers):
        return True
    # nginx that was told nothing speaks HTTP/1.0; and nobody calls a public name from this very machine.
    here = facts.peer in ("127.0.0.1", "::1", "")
    return facts.version == "1.0" or here and not is_local(facts.headers.get("host", ""))


def trusts(trusted: tuple[str, ...], peer: str) -> bool:
    """Whether this is the address of a proxy that we believe."""
    if not trusted:
        return False
    if "*" in trusted:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return "unix" in trusted  # the peer on a unix socket has no address
    address = getattr(address, "ipv4_mapped", None) or address  # as a socket for both kinds shows an IPv4 address
    return any(address in ipaddress.ip_network(word, strict=False) for word in trusted if word != "unix")


def _said(facts: Facts, name: str) -> str:
    """What a proxy says: `Forwarded` before `X-Forwarded-*`; the nearest client's, if there are several."""
    found = re.search(rf'(?:^|[;,\s]){name}="?([^";,\s]+)', facts.headers.get("forwarded", ""), re.IGNORECASE)
    value = found[1] if found else facts.headers.get(f"x-forwarded-{name}", "")
    return value.partition(",")[0].strip()


def is_local(host: str) -> bool:
    """Whether only this very machine can be meant by this Host."""
    return _LOCAL.match(host) is not None


def is_known(host: str, names: Collection[str | None]) -> bool:
    """Whether this Host is an address, this very machine, or one of the names. The page of another site can have its
    own name lead to this machine, and then read what it likes from here; but it can do so with none of these."""
    if is_local(host):
        return True
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = found[1] or found[2]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in names
    return True


def is_same(host: str, origin: str) -> bool:
    """Whether a page of this origin came from this Host. Browsers leave the usual port out, and proxies put it in:
    `$host:$server_port`."""
    scheme, _, netloc = origin.lower().partition("://")
    return host.lower() in (netloc, netloc + PORTS.get(scheme, ""))


def below(path: str, root: str) -> str | None:
    """What follows the collection's path: "" for itself, None for what lies elsewhere."""
    if root == "/":
        return path.strip("/")
    if path == root:
        return ""
    if path.startswith(root) and path[len(root)] == "/":
        return path[len(root) + 1 :].rstrip("/")
    return None


def guessed(path: str) -> tuple[str, str]:
    """Collection and id, for a view at an address of its own: what looks like an id at the end is one."""
    path = path.rstrip("/")
    collection, _, last = path.rpartition("/")
    return (collection, last) if _GENERATED.fullmatch(last) else (path, "")
