"""The WSGI filter, and what every adapter for a WSGI framework shares: environ to Request, Response to WSGI.

No WebOb, no Paste: an environ is all that is needed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..downloads import LiveBody
from ..http.address import HEADERS, Address, Facts, below, guessed, proxied
from ..http.messages import Request, Response, status_line
from ..http.ranges import FileSlice
from ..options import Options
from ..protocols import begins, describe_limits, override, speaks
from ..talk import Talk, converse
from ..tus import Application
from ..upload import Target
from .body import Body
from .fed import Asked, Fed
from .handover import HandOver, call
from .targets import NAMES_VERSION, Interim, Targets, discovered, interim, remembered
from .virtual import unmasked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..keywords import OptionsDict

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


class EnvironHeaders(Mapping[str, str]):
    """The headers in an environ, by their lower-case names, without copying any."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    def get(self, name: str, default: Any = None) -> Any:
        return self._environ.get(_keys.get(name) or _key(name), default)

    def __getitem__(self, name: str) -> str:
        return self._environ[_keys.get(name) or _key(name)]  # type: ignore[no-any-return]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (_keys.get(name) or _key(name)) in self._environ

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


_SHOWN = tuple((name, _key(name)) for name in HEADERS)


def facts(environ: Environ, path: str) -> Facts:
    """What shows where the client sees us; `path` is that of the collection, below SCRIPT_NAME."""
    headers = {name: environ[key] for name, key in _SHOWN if key in environ}
    hidden = environ.get("tus.forwarded")  # our own server keeps them from the application
    if hidden:
        headers.update({name: hidden[key] for name, key in _SHOWN if key in hidden})
    return Facts(
        quoted(environ.get("SCRIPT_NAME", "") + path),
        headers,
        environ.get("wsgi.url_scheme", "http"),
        environ.get("REMOTE_ADDR", ""),
        environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
    )


@lru_cache(256)  # there is one for each place that the application is mounted at
def quoted(path: str) -> str:
    """A WSGI path as part of a URL, with what may stand there as it is: Zope's views begin with @@."""
    return quote(path.encode("latin-1", "replace").rstrip(b"/"), safe="/@:!$&'()*+,;=~")


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
    # By position, since Python takes longer to match this many names than to make the request.
    request = Request._make(
        (
            environ["REQUEST_METHOD"],
            id,
            EnvironHeaders(environ),
            length,
            body.chunked,
            said,
            environ.get("QUERY_STRING", ""),
            environ.get("REMOTE_ADDR", ""),
            Address(options, facts, environ, path, public),
            body.trailers,
            body.shows_cuts,
            body.arrived,
            body.collected,
            environ.get("tus.since"),
            _interim(environ, options.interim_responses),
            target,
            environ,
            environ.get("REMOTE_USER") or None,
            False,
        )
    )
    return request if target else override(request), body


def _interim(environ: Environ, wanted: bool | None) -> Interim | None:
    """What sends a 104 to a client that knows it, unless something in between may not."""
    if wanted is False or NAMES_VERSION not in environ:
        return None
    # A proxy that is not seen takes what follows a 104 for the answer to somebody else's request, so that no sign of
    # one is not enough. Few speak TLS to what is behind them, and phones offer nothing to be resumed without it.
    if wanted is None and (environ.get("wsgi.url_scheme") != "https" or proxied(facts(environ, ""))):
        return None
    return interim(environ)


def viewed(environ: Environ, options: Options, id: str | None) -> tuple[Request, Body]:
    """The same in a view, which is asked for more than the collection's path, and may know the id."""
    path, root = environ.get("PATH_INFO", ""), options.upload_path
    found = below(path, root)
    if id is None and found is not None:
        id = found
    elif id is None:
        root, id = guessed(path)
    elif found is None:
        root = path.rstrip("/").removesuffix("/" + id) if id else path.rstrip("/")
    return incoming(environ, options, id=id, path=root)


def outgoing(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Give the answer to the server."""
    if isinstance(response.body, LiveBody):
        response = _shown(response, response.body, environ)
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


def _shown(response: Response, body: LiveBody, environ: Environ) -> Response:
    """The answer that waits for bytes, if the client will see whether it was cut; and if it may have a thread, where it
    needs one."""
    shows = body.framed or environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    if shows and (environ.get("tus.parks") or body.hold()):
        return response
    body.close()
    reason = b"too many read what still arrives\n" if shows else b"without a length, HTTP/1.0 shows no cut\n"
    return Response(503, {"Content-Type": "text/plain", "Cache-Control": "no-store", "Retry-After": "5"}, reason)


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
        self.options = self._given.options
        self.engine = self._given.engine
        self._root = parsed.upload_path
        self._hand_over = HandOver(self._given, self.app)
        self._targets = Targets(parsed.draft_targets) if parsed.draft_targets else None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        found = self.addressed(environ)
        if found is None:
            return self.passed_on(environ, start_response)
        request, body, root = found
        if "tus.asked" in environ:
            return Asked(request, body, self.engine, lambda talk: self.concluded(talk, body, root, start_response))
        if body.parks and self.parks:
            return Fed(Talk(request, self.engine), body, lambda talk: self.concluded(talk, body, root, start_response))
        return self.concluded(converse(request, body, self.engine), body, root, start_response)

    @property
    def parks(self) -> bool:
        """Our own server need not keep a thread for an upload whose client sends nothing. One thread receives for all
        of these, so it must not wait for the host, nor for a network."""
        return self.engine.disk is not None and not self.engine.reports

    def addressed(self, environ: Environ) -> tuple[Request, Body, str] | None:
        """The request, its body, and the path of the collection; None: it is not for us."""
        path, root, public = environ.get("PATH_INFO", ""), self._root, ""
        if monster := unmasked(path, root):
            root, public, path = monster
        id = below(path, self._root)
        if id is None:
            return self.targeted(environ) if self._targets else None
        return self.spoken(environ, id, root, public)

    def spoken(self, environ: Environ, id: str, root: str, public: str = "") -> tuple[Request, Body, str] | None:
        """The same for a path of ours, where the request may still be the application's."""
        request, body = incoming(environ, self.options, id=id, path=root, public=public)
        return (request, body, root) if speaks(request, self.engine) else None

    def targeted(self, environ: Environ) -> tuple[Request, Body, str] | None:
        """A request to a resource of the application that takes resumable uploads, if the client offers one."""
        if environ["REQUEST_METHOD"] == "OPTIONS" or not self._targets or not self._targets.has(environ):
            return None
        target = remembered(environ, EnvironHeaders(environ))
        # Looked at without its body, which is the application's if the offer turns out to be none.
        if not begins(Request(target.method, headers=EnvironHeaders(environ), target=target)):
            return None
        request, body = incoming(environ, self.options, id="", path=self._root, target=target)
        return request, body, self._root

    def discovers(self, environ: Environ) -> bool:
        """Whether a client asks what can be uploaded to a resource of the application."""
        targets = self._targets
        return targets is not None and environ["REQUEST_METHOD"] == "OPTIONS" and targets.has(environ)

    def passed_on(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """What is the application's. Where it takes resumable uploads, its answer to OPTIONS says so."""
        environ["tus.engine"] = self.engine  # for what of the application looks after the uploads
        if "tus.input" in environ:
            environ["tus.input"].patience = None  # only we ourselves can do without a thread
        if not self.discovers(environ):
            return self.app(environ, start_response)
        request, _ = incoming(environ, self.options, id="", path=self._root)
        response = discovered(call(self.app, environ), environ)
        describe_limits(request, self.engine, response)
        return outgoing(response, environ, start_response)

    def concluded(self, talk: Talk, body: Body, root: str, start_response: StartResponse) -> Iterable[bytes]:
        """The answer, once the application has its say on what the conversation finished."""
        request, response = talk.exchange.request, talk.answer
        environ: Environ = request.native
        self._given.sweeper.start()
        if talk.delivery:
            response = self._hand_over(talk.exchange, root, response, talk.delivery)
        for upload in talk.exchange.also:
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
