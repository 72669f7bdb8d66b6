"""The WSGI filter, and what every adapter for a WSGI framework shares: environ to Request, Response to WSGI.

No WebOb, no Paste: an environ is all that is needed here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ..errors import BadRequest, NotFound
from ..http.messages import Request, Response, status_line
from ..http.ranges import FileSlice
from ..options import Options
from ..protocols import draft, override, speaks
from ..tus import Application, converse
from ..upload import Target, checked_id
from ..visitors import LOCAL
from .handover import HandOver, call
from .sources import Body
from .targets import Targets, discovered, interim, remembered
from .virtual import unmasked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..keywords import OptionsDict

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_GENERATED = re.compile(r"[0-9a-f]{32}")
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO",
              "HTTP_X_FORWARDED_PREFIX", "HTTP_X_REAL_IP", "HTTP_VIA")  # fmt: skip
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class EnvironHeaders(Mapping[str, str]):
    """The headers in an environ, by their lower-case names, without copying any."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    def get(self, name: str, default: Any = None) -> Any:
        return self._environ.get(_keys.get(name) or _key(name), default)

    def __getitem__(self, name: str) -> str:
        return self._environ[_key(name)]  # type: ignore[no-any-return]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._environ

    def __iter__(self) -> Iterator[str]:
        for key in self._environ:
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                yield key.removeprefix("HTTP_").replace("_", "-").lower()

    def __len__(self) -> int:
        return sum(1 for _ in self)


_MANY = 256  # names of headers that are kept ready
_keys: dict[str, str] = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


def _key(name: str) -> str:
    key = _keys.get(name)
    if key is None:
        key = "HTTP_" + name.upper().replace("-", "_")
        if len(_keys) < _MANY:  # clients send what names they like
            _keys[name] = key
    return key


class Place:
    """Where the collection of uploads is, as this request's client sees it."""

    def __init__(self, environ: Environ, options: Options, path: str, public: str = "") -> None:
        self._environ, self._options = environ, options
        self._path = path  # of the collection, below SCRIPT_NAME
        self._public = options.public_url or public  # the URL, where somebody knows it

    def location(self, id: str) -> str:
        """The URL of an upload: absolute where that is certain to be right, else a path, which always is."""
        return f"{self.collection()}/{id}"

    def collection(self) -> str:
        options = self._options
        if self._public:
            return self._public if options.location != "path" else urlsplit(self._public).path
        path = self._prefix() + quoted(self._environ.get("SCRIPT_NAME", "") + self._path)
        if options.location == "path":
            return path
        base = self._base(certain=options.location == "auto")
        return base + path

    def _trusted(self) -> bool:
        return trusts(self._options.trusted_proxies, self._environ.get("REMOTE_ADDR", ""))

    def _forwarded(self, name: str) -> str:
        """What a trusted proxy says: `Forwarded` before `X-Forwarded-*`; the nearest client's, if there are several."""
        said = self._environ.get("tus.forwarded") or self._environ
        found = re.search(rf'(?:^|[;,\s]){name}="?([^";,\s]+)', said.get("HTTP_FORWARDED", ""), re.IGNORECASE)
        value = found[1] if found else said.get(f"HTTP_X_FORWARDED_{name.upper()}", "")
        return str(value).partition(",")[0].strip()

    def _prefix(self) -> str:
        prefix = self._forwarded("prefix") if self._trusted() else ""
        return prefix.rstrip("/") if re.fullmatch(r"(/[A-Za-z0-9._~-]+)+/?", prefix) else ""

    def _base(self, *, certain: bool) -> str:
        """scheme://host, or "" where it is only a guess and a `certain` one is wanted."""
        environ = self._environ
        scheme, host = environ.get("wsgi.url_scheme", "http"), environ.get("HTTP_HOST", "")
        if self._trusted():
            said_scheme, said_host = self._forwarded("proto"), self._forwarded("host")
            host = said_host or host
            scheme = said_scheme.lower() or scheme
            if certain and not said_scheme:
                return ""
        elif certain and _proxied(environ):
            return ""
        if not _HOST.fullmatch(host) or scheme not in ("http", "https"):
            return ""
        base = f"{scheme}://{host}"
        origin = environ.get("HTTP_ORIGIN")
        if certain and origin is not None and origin != base:
            return ""  # a page of another origin, or a proxy that gives no other sign; a path serves both
        return base

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
            base = self._public or self._base(certain=True)
            if base and urlsplit(base).netloc.lower() != host.lower():
                return False
        inside = _native(self._environ.get("SCRIPT_NAME", "") + self._path).rstrip(b"/")
        return unquote_to_bytes(collection) in (inside, unquote_to_bytes(urlsplit(self.collection()).path))


def _proxied(environ: Environ) -> bool:
    """Whether anything hints at a proxy: its headers, or its ways."""
    if environ.get("tus.forwarded") or any(name in environ for name in _FORWARDED):
        return True
    # nginx that was told nothing speaks HTTP/1.0; and nobody calls a public name from this very machine.
    here = environ.get("REMOTE_ADDR", "") in ("127.0.0.1", "::1", "")
    return environ.get("SERVER_PROTOCOL") == "HTTP/1.0" or here and not LOCAL.match(environ.get("HTTP_HOST", ""))


def trusts(trusted: tuple[str, ...], address: str) -> bool:
    """Whether this is the address of a proxy that we believe."""
    if not trusted:
        return False
    if "*" in trusted:
        return True
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return "unix" in trusted  # the peer on a unix socket has no address
    peer = getattr(peer, "ipv4_mapped", None) or peer  # as a socket for both kinds shows an IPv4 address
    return any(peer in ipaddress.ip_network(word, strict=False) for word in trusted if word != "unix")


@lru_cache(256)  # there is one for each place that the application is mounted at
def quoted(path: str) -> str:
    """A WSGI path as part of a URL, with what may stand there as it is: Zope's views begin with @@."""
    return quote(_native(path).rstrip(b"/"), safe="/@:!$&'()*+,;=~")


def _native(text: str) -> bytes:
    """A WSGI string as the bytes that it stands for."""
    return text.encode("latin-1", "replace")


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


def framed(environ: Environ) -> tuple[int | None, bool, bool]:
    """The length of the body, None if it is not known; whether its end tells; and whether the client said anything."""
    announced = environ.get("CONTENT_LENGTH")
    # Our own server has decoded the framing already; a body without a length can be nothing else there.
    coded = not environ["tus.input"].finished if "tus.input" in environ else "HTTP_TRANSFER_ENCODING" in environ
    if announced:
        # A server that lets anything else through would have its body read as far as it goes: not at all.
        length = int(announced) if _NUMBER.fullmatch(announced) else None
        if not coded or length != 0:  # Paste says 0 of a body in chunks
            return length, False, True
    if coded:
        return None, True, True
    # RFC 9112, 6.3: in HTTP/1 that means no body. HTTP/2 and 3 have frames, and need no header to send some.
    if environ.get("SERVER_PROTOCOL", "").startswith(("HTTP/2", "HTTP/3")) and "tus.input" not in environ:
        return None, True, False
    return 0, False, True


def incoming(
    environ: Environ, options: Options, *, id: str, path: str, public: str = "", target: Target | None = None
) -> tuple[Request, Body]:
    """A request and its body; `path` is that of the collection, below SCRIPT_NAME, and `public` its URL, if known."""
    length, chunked, said = framed(environ)
    body = Body(environ, length, chunked)
    place = Place(environ, options, path, public)
    request = Request(
        environ["REQUEST_METHOD"],
        id,
        EnvironHeaders(environ),
        length=length,
        chunked=body.chunked,
        said=said,
        location=place.location,
        identify=place.identify,
        user=environ.get("REMOTE_USER") or None,
        peer=environ.get("REMOTE_ADDR", ""),
        query=environ.get("QUERY_STRING", ""),
        trailers=body.trailers,
        native=environ,
        shows_cuts=body.shows_cuts,
        arrived=body.arrived,
        collected=body.collected,
        since=environ.get("tus.since"),
        interim=interim(environ) if options.interim_responses else None,
        target=target,
    )
    if target is None:
        override(request)
    return request, body


def outgoing(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Give the answer to the server."""
    headers = [*response.headers.items(), *response.extra]
    body = response.body
    if isinstance(body, bytes):
        if response.status not in (204, 304) and "Content-Length" not in response.headers:
            headers.append(("Content-Length", str(len(body))))
        start_response(status_line(response.status), headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]  # never an empty list: hypercorn fails on it
    start_response(status_line(response.status), headers)
    wrapper = environ.get("wsgi.file_wrapper")
    if not wrapper or not isinstance(body, FileSlice):
        return body
    # Most servers send such a file to its end. waitress, and so our own server, stops where Content-Length says.
    if response.status != 200 and getattr(wrapper, "__module__", "") != "waitress.buffers":
        return body
    body.file.seek(body.start)
    return wrapper(body.file, 1 << 18)  # type: ignore[no-any-return]


class Filter:
    """Takes uploads at `upload_path`, and hands each finished one to the application as one ordinary request."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]] | None = None,
        global_conf: Mapping[str, str] | None = None,
        **options: Unpack[OptionsDict],
    ) -> None:
        """`global_conf` is what Paste gives a `filter_app_factory`; it says nothing to us."""
        self.app = app or nothing_here
        parsed = Options(options)
        if app is None:
            parsed.hand_over = "none"
        self._given = Application(parsed, delivers=parsed.hand_over != "none")
        self.options = parsed
        self.engine = self._given.engine
        self._root = parsed.upload_path
        self._hand_over = HandOver(self._given, self.app)
        self._targets = Targets(parsed.draft_targets) if parsed.draft_targets else None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, root, public = environ.get("PATH_INFO", ""), self._root, ""
        if monster := unmasked(path, root):
            root, public, path = monster
        id = below(path, self._root)
        if id is None:
            if self._targets and self._targets.has(environ):
                return self._targeted(environ, start_response)
            environ["tus.engine"] = self.engine  # for what of the application looks after the uploads
            return self.app(environ, start_response)
        request, body = incoming(environ, self.options, id=id, path=root, public=public)
        if not speaks(request, self.engine):
            return self.app(environ, start_response)
        return self._answered(request, body, root, start_response)

    def _targeted(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """A resource of the application that takes resumable uploads: begin one, if the client offers it."""
        target = remembered(environ, EnvironHeaders(environ))
        # Looked at without its body, which is the application's if the offer turns out to be none.
        offer = Request(target.method, headers=EnvironHeaders(environ), target=target)
        if target.method != "OPTIONS" and not draft.spoken(offer):
            return self.app(environ, start_response)
        request, body = incoming(environ, self.options, id="", path=self._root, target=target)
        if target.method != "OPTIONS":
            return self._answered(request, body, self._root, start_response)
        response = discovered(call(self.app, environ), environ)
        draft.describe(request, self.engine, response)
        return outgoing(response, environ, start_response)

    def _answered(self, request: Request, body: Body, root: str, start_response: StartResponse) -> Iterable[bytes]:
        environ: Environ = request.native
        self._given.sweeper.start()
        exchange, response, delivery = converse(request, body, self.engine)
        if delivery:
            response = self._hand_over(exchange, root, response, delivery)
        for upload in exchange.also:
            self._hand_over.besides(request, root, upload)
        body.drain()
        return outgoing(self._given.cors.apply(request, response), environ, start_response)


def nothing_here(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The application behind a filter that stands alone."""
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"Not found\n"]


def filter_factory(global_conf: Mapping[str, str], **local_conf: Any) -> Callable[[Any], Filter]:
    """`[filter:tus] use = egg:tus#main`"""
    Options(local_conf)  # complain at once, and not when the pipeline is put together
    return lambda app: Filter(app, **local_conf)


def app_factory(global_conf: Mapping[str, str], **local_conf: Any) -> Filter:
    """`[app:uploads] use = egg:tus#main`: uploads alone, with nothing behind them."""
    return Filter(None, **local_conf)
