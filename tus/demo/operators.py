"""The operators' page: every upload, with its progress; stop it, remove it, sweep what has expired.

It shows what belongs to everybody. So it is off unless asked for, the hook `authorise` decides about each request, and
where no hook is given only this very machine gets in.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from ..adapters.wsgi import EnvironHeaders
from ..engine import Engine, open_engine
from ..errors import NotFound, OptionError, Refused, TusError
from ..hooks import overridden
from ..messages import Request
from ..options import Options
from ..upload import Upload
from .pages import ROOM, Environ, Pages, StartResponse, same_origin, texts, told

_HERE = frozenset(("127.0.0.1", "::1"))
_PROXIES = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA", "HTTP_X_FORWARDED_HOST",
            "HTTP_X_FORWARDED_PROTO", "tus.forwarded")  # fmt: skip
_FORM = 10_000  # bytes that a form of ours may have
_MOST = 1000  # uploads that are shown


class _Owner(Request):
    """A request in the name of an upload's owner, whoever the hook says that the operator is."""

    __slots__ = ("_owner",)

    def __init__(self, method: str, upload: Upload, environ: Environ) -> None:
        self._owner = upload.owner
        super().__init__(
            method, upload.id, EnvironHeaders(environ), peer=environ.get("REMOTE_ADDR", ""), native=environ
        )

    @property
    def user(self) -> str | None:  # type: ignore[override]
        return self._owner

    @user.setter
    def user(self, value: str | None) -> None:
        """Stays the owner."""


class Operators:
    """The page, the list that it asks for each second, and three deeds."""

    def __init__(self, pages: Pages, engine: Engine) -> None:
        self._pages, self._engine = pages, engine

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            self._authorise(environ)
        except TusError as error:
            return self._pages.message(environ, start_response, error.status, "forbidden")
        action = environ["PATH_INFO"][len(ROOM + "operators") :].strip("/")
        method = environ["REQUEST_METHOD"]
        if method == "POST" and action in ("stop", "remove", "sweep"):
            return self._act(environ, start_response, action)
        if method in ("GET", "HEAD") and action == "uploads":
            return told(environ, start_response, self._uploads())
        if method in ("GET", "HEAD") and action == "" and environ["PATH_INFO"].endswith("/"):
            return self._page(environ, start_response)
        return self._pages.message(environ, start_response, 404, "not_found")

    def _authorise(self, environ: Environ) -> None:
        hooks = self._engine.hooks
        if not overridden(hooks, "authorise"):
            if environ.get("REMOTE_ADDR") not in _HERE or any(name in environ for name in _PROXIES):
                raise Refused("only from this machine, unless a hook authorises")
            return
        request = Request(
            environ["REQUEST_METHOD"],
            "",
            EnvironHeaders(environ),
            user=environ.get("REMOTE_USER") or None,
            peer=environ.get("REMOTE_ADDR", ""),
            native=environ,
        )
        request.user = hooks.user(request)
        hooks.authorise(request, "look", None)

    def _page(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        language = self._pages.language(environ)
        words = texts(language)
        body = self._pages.fill("operators", language, texts=self._pages.texts(language, ["operators.js"]))
        return self._pages.page(
            environ,
            start_response,
            body,
            title=words["operators_title"],
            language=language,
            scripts=[self._pages.script(environ, "operators.js")],
        )

    def _uploads(self) -> dict[str, Any]:
        now = time.time()
        found = sorted(self._engine.uploads(), key=lambda upload: (upload.complete, -upload.touched))
        return {"total": len(found), "uploads": [_shown(upload, now) for upload in found[:_MOST]]}

    def _act(self, environ: Environ, start_response: StartResponse, action: str) -> Iterable[bytes]:
        if not same_origin(environ):
            return told(environ, start_response, {"error": "from another site"}, 403)
        try:
            if action == "sweep":
                return told(environ, start_response, {"removed": len(list(self._engine.sweep()))})
            upload = self._named(environ)
            if action == "stop":
                # Whoever writes is ended. A client that is still there goes on.
                self._engine.seize(_Owner("HEAD", upload, environ), finish=False)
            else:
                self._engine.terminate(_Owner("DELETE", upload, environ))
        except TusError as error:
            return told(environ, start_response, {"error": str(error)}, error.status)
        return told(environ, start_response, {})

    def _named(self, environ: Environ) -> Upload:
        with suppress(ValueError):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            form = parse_qs(environ["wsgi.input"].read(min(length, _FORM)).decode("latin-1"))
            for upload in self._engine.uploads():
                if [upload.id] == form.get("id"):
                    return upload
        raise NotFound("no such upload")


def _shown(upload: Upload, now: float) -> dict[str, Any]:
    return {
        "id": upload.id,
        "name": upload.metadata.filename or upload.id,
        "owner": upload.owner or "",
        "offset": upload.offset,
        "length": upload.length,
        "complete": upload.complete,
        "age": max(0, now - upload.created),  # seconds
        "idle": max(0, now - upload.touched),  # seconds
    }


def operators_of(pages: Pages, directory: str) -> Operators:
    """The page over a directory of uploads that somebody else fills."""
    if not directory:
        raise OptionError("option operators: say with tmp_file_dir where the uploads are")
    return Operators(pages, open_engine(Options({"tmp_file_dir": directory})))
