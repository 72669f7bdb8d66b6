"""The operators' page: every upload, with its progress; stop it, remove it, sweep what has expired. `tus ls`, `show`,
`rm`, `sweep` and `watch` ask here, too.

It shows everybody's uploads. So it is off by default, answers only operators, and acts through the engine of the filter
that it stands behind: with its options and its hooks.
"""

from __future__ import annotations

import hmac
import json
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..adapters.wsgi import EnvironHeaders, outgoing
from ..engine import Engine
from ..engine.admission import word
from ..engine.known import being_written, known, link_for_all
from ..errors import Locked, OptionError, Refused, TusError
from ..hooks import overridden
from ..http.address import is_known
from ..http.messages import Request, Response
from ..upload import Upload, checked_id
from ..visitors import foreign
from .pages import ROOM, Environ, Pages, StartResponse, reply_json, texts

PATH = ROOM + "operators/"
_COOKIE = "tus-operators"
_FORM = 10_000  # bytes that a form of ours may have
_MOST = 1000  # uploads that are shown at once
_SOUGHT = 200  # characters of a name that is looked for
_RUNNING = 5.0  # seconds after its last byte for which an upload counts as running
_LINES = 200  # records that are sent at once
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


def token(engine: Engine) -> str:
    """What lets an operator in, where no hook does. It belongs to the directory of the uploads: all processes know it,
    and it outlives them."""
    return word(engine, "operators")


def operators_link(app: object) -> str:
    """Where the operators' page behind this filter is, with the token, from the start page; "" if there is none."""
    engine = getattr(app, "engine", None)
    if engine is None or not getattr(getattr(app, "app", None), "operators", None):
        return ""
    return f"{PATH[1:]}?token={token(engine)}"


def check_operator(environ: Environ, engine: Engine) -> None:
    """An operator shows the token, or is one to whom the hook `authorise` says True; anybody else is refused."""
    known = token(engine).encode()
    if any(hmac.compare_digest(known, shown.encode("utf-8", "replace")) for shown in _shown_tokens(environ)):
        return
    hooks = engine.hooks
    if overridden(hooks, "authorise"):
        request = engine.identify(_request(environ))
        # A hook that never heard of operators refuses strangers and says nothing of the others.
        if hooks.authorise(request, "operate", None) is True:
            return
    raise Refused("for operators only")


def _request(environ: Environ) -> Request:
    return Request(
        environ["REQUEST_METHOD"],
        "",
        EnvironHeaders(environ),
        user=environ.get("REMOTE_USER") or None,
        peer=environ.get("REMOTE_ADDR", ""),
        native=environ,
    )


def _shown_tokens(environ: Environ) -> list[str]:
    found = parse_qs(environ.get("QUERY_STRING", "")).get("token", [])[:1]
    scheme, _, word = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(word.strip())
    with suppress(CookieError):
        cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_COOKIE)
        found += [cookie.value] if cookie else []
    return found


def _names(public_url: str) -> set[str | None]:
    """What this machine is called."""
    here = socket.gethostname().lower()
    return {urlsplit(public_url).hostname, here, f"{here}.local"}


def _owners(method: str, upload: Upload, environ: Environ) -> Request:
    """A request in the name of an upload's owner, not of the user whom the hook names."""
    return _request(environ)._replace(method=method, id=upload.id).by(upload.owner)


class Operators:
    """The page, the list that it asks for each second, what the command line asks for, and three deeds."""

    def __init__(self, pages: Pages, *, hosts: Iterable[str] = ()) -> None:
        self._pages, self._hosts = pages, frozenset(host.lower() for host in hosts if host)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        engine: Engine | None = environ.get("tus.engine")
        if engine is None:
            return self._pages.message(environ, start_response, 503, "operators_alone")
        if not is_known(environ.get("HTTP_HOST", ""), self._hosts | _names(engine.options.public_url)):
            return self._pages.message(environ, start_response, 421, "operators_host")
        try:
            check_operator(environ, engine)
        except TusError as error:
            return self._pages.message(environ, start_response, error.status, "operators_only", error.headers)
        return self._answer(environ, start_response, engine)

    def _answer(self, environ: Environ, start_response: StartResponse, engine: Engine) -> Iterable[bytes]:
        action = environ["PATH_INFO"][len(PATH) :]
        method = environ["REQUEST_METHOD"]
        if method == "POST" and action in ("stop", "remove", "sweep"):
            return self._act(environ, start_response, engine, action)
        if method in ("GET", "HEAD") and action == "uploads":
            return reply_json(environ, start_response, _listed(engine, parse_qs(environ.get("QUERY_STRING", ""))))
        if method == "GET" and action == "records":
            headers = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
            return outgoing(Response(200, headers, _records(engine)), environ, start_response)
        if method == "GET" and action in ("record", "link"):
            return self._one(environ, start_response, engine, action)
        if method in ("GET", "HEAD") and action == "" and environ["PATH_INFO"].endswith("/"):
            return self._page(environ, start_response, engine)
        return self._pages.message(environ, start_response, 404, "not_found")

    def _page(self, environ: Environ, start_response: StartResponse, engine: Engine) -> Iterable[bytes]:
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
            headers=_cookie(environ, engine),
        )

    def _one(self, environ: Environ, start_response: StartResponse, engine: Engine, action: str) -> Iterable[bytes]:
        try:
            upload = _called(engine, parse_qs(environ.get("QUERY_STRING", "")))
            said = {"url": link_for_all(engine, upload)} if action == "link" else known(engine, upload).full()
        except OptionError as error:
            return reply_json(environ, start_response, {"error": str(error)}, 409)
        except TusError as error:
            return reply_json(environ, start_response, {"error": str(error)}, error.status)
        return reply_json(environ, start_response, said)

    def _act(self, environ: Environ, start_response: StartResponse, engine: Engine, action: str) -> Iterable[bytes]:
        if foreign(_request(environ)):
            return reply_json(environ, start_response, {"error": "from another site"}, 403)
        try:
            if action == "sweep":
                swept = [known(engine, upload).full() for upload in engine.sweep()]
                return reply_json(environ, start_response, {"removed": len(swept), "uploads": swept})
            form = _form(environ)
            upload = _called(engine, form)
            if form.get("unless") == ["written"] and being_written(engine, upload):
                raise Locked("the upload is being written")
            if action == "stop":
                # A request that writes is ended. A client that is still there resumes.
                engine.seize(_owners("HEAD", upload, environ), finish=False)
            else:
                engine.terminate(_owners("DELETE", upload, environ))
        except TusError as error:
            return reply_json(environ, start_response, {"error": str(error)}, error.status)
        return reply_json(environ, start_response, {})


def _cookie(environ: Environ, engine: Engine) -> dict[str, str]:
    """Remembers the token of the address. It names no path: the browser takes that of the page, as it sees it."""
    if not parse_qs(environ.get("QUERY_STRING", "")).get("token"):
        return {}
    secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
    cookie = f"{_COOKIE}={token(engine)}; HttpOnly; SameSite=Strict{secure}"
    return {"Set-Cookie": cookie, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def _form(environ: Environ) -> dict[str, list[str]]:
    with suppress(ValueError):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return parse_qs(environ["wsgi.input"].read(min(length, _FORM)).decode("latin-1"))
    return {}


def _called(engine: Engine, said: dict[str, list[str]]) -> Upload:
    return engine.store.load(checked_id(said.get("id", [""])[0]))


def _records(engine: Engine) -> Iterator[bytes]:
    """A line of JSON for each upload; the last line says how many there are, so that a cut is seen."""
    bad: list[str] = []
    lines: list[str] = []
    count = 0
    for upload in engine.uploads(bad):
        count += 1
        lines.append(json.dumps(known(engine, upload).full()) + "\n")
        if len(lines) == _LINES:
            yield "".join(lines).encode()
            lines.clear()
    yield ("".join(lines) + json.dumps({"count": count, "unreadable": bad}) + "\n").encode()


def _listed(engine: Engine, query: dict[str, list[str]]) -> dict[str, Any]:
    """Those that still run first, and of them those that had a byte last; `from` one on, and only those that `find`
    fits."""
    now = time.time()
    sought = query.get("find", [""])[0][:_SOUGHT].casefold()
    found = [upload for upload in engine.uploads() if _fits(upload, sought)]
    found.sort(key=lambda upload: (upload.complete, -upload.touched))
    said = query.get("from", ["0"])[0]
    start = min(int(said) if _NUMBER.fullmatch(said) else 0, max(len(found) - 1, 0) // _MOST * _MOST)
    return {
        "total": len(found),
        "running": sum(not upload.complete and now - upload.touched < _RUNNING for upload in found),
        "start": start,
        "most": _MOST,
        "uploads": [_shown(upload, now) for upload in found[start : start + _MOST]],
    }


def _fits(upload: Upload, sought: str) -> bool:
    return any(sought in text.casefold() for text in (upload.metadata.filename, str(upload.owner or ""), upload.id))


def _refusal(upload: Upload) -> dict[str, Any] | None:
    result = upload.result
    return {"status": result.status, "text": result.reason} if result and upload.refused else None


def _shown(upload: Upload, now: float) -> dict[str, Any]:
    return {
        "id": upload.id,
        "name": upload.metadata.filename or upload.id,
        "owner": upload.owner or "",
        "offset": upload.offset,
        "length": upload.length,
        "complete": upload.complete,
        "refused": _refusal(upload),
        "age": max(0, now - upload.created),  # seconds
        "idle": max(0, now - upload.touched),  # seconds
    }
