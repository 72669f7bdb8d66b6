"""Tus in views of Zope and Plone: `Zope2RequestAdapter(request)`, and `UploadView` to subclass.

What a view did is final when its transaction is committed; before that, nothing may be recorded or removed. The adapter
can be imported without Zope.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from ..http.address import guessed
from ..http.headers import bare_utf8
from ..http.messages import REASONS, Request, Response
from ..options import Options
from ..tus import Tus
from ..upload import Result
from .body import Body
from .wsgi import incoming, quoted

if TYPE_CHECKING:
    from .zope2_view import UploadView as UploadView

TAKEN = "tus.upload_id"  # in `request.other`: the id, where it was taken off the path before Zope saw it
_ABOUT_BODY = ("content-type", "content-length", "location")
_MEMORY = "tus.zope2"  # in the WSGI environ, which outlives the request when a ConflictError has Zope repeat it


def __getattr__(name: str) -> Any:
    """UploadView needs Zope, and is looked for when it is asked for."""
    if name != "UploadView":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .zope2_view import UploadView

    return UploadView


class Zope2RequestAdapter:
    """The request of one view. The answer is put into its response; return "" from the view, or what you like."""

    undoes = True

    def __init__(self, request: Any, *, upload_id: str | None = None) -> None:
        self.req = request
        self.resp = request.response
        self._id = upload_id
        self._given = False
        self._shown: Callable[[Response, Result], Response]
        self._shows = False  # what the view returns
        self.request: Request
        self.body: Body

    def prepare(self, options: Options) -> None:
        self._options = options
        url = urlsplit(self.req["ACTUAL_URL"])
        path, id = guessed(url.path)
        told = self.req.other.get(TAKEN, self._id)
        if told is not None:
            path, id = url.path.rstrip("/").removesuffix(f"/{told}"), told
        below = unquote_to_bytes(path).decode("latin-1")
        # Behind the VirtualHostMonster Zope was told the public URL; otherwise it guesses like everybody.
        public = f"{url.scheme}://{url.netloc}{quoted(below)}" if "VIRTUAL_URL" in self.req.other else ""
        request, self.body = incoming(self._environ(), options, id=id, path=below, public=public)
        user = self.req.other.get("AUTHENTICATED_USER")
        name = user.getId() if user is not None else None  # the anonymous user has no id
        self.request = request._replace(native=self.req, user=name)

    @property
    def handed_over(self) -> bool:
        return "tus.upload" in self.req._orig_env

    def _environ(self) -> dict[str, Any]:
        """The environ, with the body where it is now."""
        environ = {**self.req.environ, "SCRIPT_NAME": ""}  # ACTUAL_URL has that already
        file = self.req._file
        if file is not None and file is not environ["wsgi.input"]:
            # Zope up to 5.8 copies each body into a temporary file, and the server's own input is at its end.
            environ = {key: value for key, value in environ.items() if not key.startswith(("tus.", "gunicorn."))}
            environ["wsgi.input"] = file
        return environ

    def once(self, name: str, act: Callable[[], Any]) -> Any:
        memory = self.req._orig_env.setdefault(_MEMORY, {})
        if name not in memory:
            memory[name] = act()
            # Zope rewinds the input before it repeats a request, which not every server's can. It was read anyway.
            self.req.stdin = io.BytesIO()
        found = memory[name]
        return replace(found, headers=dict(found.headers)) if isinstance(found, Response) else found

    def give(self, tus: Tus) -> None:
        """The file, or its path, as the request's body; and its name as the header FILENAME."""
        assert tus.upload is not None
        self._given = True
        self._shown = partial(tus.exchange.shown, tus.upload)
        self._shows = tus.exchange.renders or self._options.pass_body
        if tus.send_file:
            self.req._file = tus.open_file()
        else:
            self.req._file = io.BytesIO(tus.get_filepath().encode())
        self.req.other.pop("BODYFILE", None)
        # A client that gives no name in the metadata may send it as a header, as Plone's pages did.
        sent = bare_utf8(self.req.environ.get("HTTP_FILENAME", ""))
        named = tus.upload.metadata.filename or sent.replace("\\", "/").rpartition("/")[2]
        self.req.environ["HTTP_FILENAME"] = named or tus.upload.id

    def answer(self, response: Response, sent: Callable[..., None]) -> None:
        for name, value in response.extra:
            self.resp.addHeader(name, value)
        self._put(response)
        if self._given:
            self._watch(response, sent)

    def _put(self, response: Response) -> None:
        resp = self.resp
        self._set_status(response.status)
        for name in _ABOUT_BODY:
            resp.headers.pop(name, None)
        for name, value in response.headers.items():
            resp.setHeader(name, value)
        if not response.body and response.status == 200:
            resp.setHeader("Content-Length", "0")  # or Zope makes it a 204
        resp.body = b""
        resp.setBody(response.body if isinstance(response.body, bytes) else StreamedBody(response.body))

    def _set_status(self, status: int) -> None:
        self.resp.setStatus(status)
        if self.resp.status != status:  # Zope knows no 460
            self.resp.status, self.resp.errmsg = status, REASONS.get(status, "Unknown")

    def _watch(self, response: Response, sent: Callable[..., None]) -> None:
        """Tell the engine what became of the view's work when Zope knows it, which is after the view has returned."""
        import transaction

        def committed(good: bool) -> None:
            if good and self.resp.status < 400:
                said = self._said(response)
                self._put(self._shown(response, said) if said else response)
                sent(True, said)
            else:
                undone()

        def undone() -> None:
            if self.resp.status < 400:  # plone.protect rolls back, and leaves the answer as it is
                location = {name: response.headers[name] for name in ("Location",) if name in response.headers}
                self._put(Response(503, {"Retry-After": "1", **location}))
            if self.request.method == "HEAD":  # it asks how far the upload is; at anything else a client starts anew
                self._put(Response(423, {"Retry-After": "1"}))
            sent(False)

        transaction.get().addAfterCommitHook(committed)
        transaction.get().addAfterAbortHook(undone)

    def _said(self, response: Response) -> Result | None:
        """What the view returned, if the client gets to see it: tus wants an answer without a body."""
        body = self.resp.body
        if not self._shows or not isinstance(body, bytes) or body == response.body or self.request.method == "HEAD":
            return None
        return Result(200, (("Content-Type", self.resp.headers.get("content-type", "text/plain")),), body)


def exempt(request: Any) -> None:
    """Tell plone.protect that nobody forged this request, so that it looks for no token."""
    try:
        from plone.protect.interfaces import IDisableCSRFProtection
    except ImportError:
        return
    from zope.interface import alsoProvides

    alsoProvides(request, IDisableCSRFProtection)


class StreamedBody:
    """A body that Zope passes to the server as it is."""

    def __init__(self, body: Iterable[bytes]) -> None:
        from zope.interface import alsoProvides
        from ZPublisher.Iterators import IUnboundStreamIterator

        self._body = body
        alsoProvides(self, IUnboundStreamIterator)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()
