"""Which protocol a request speaks, and the answer to what goes wrong in any of them.

A conversation is a generator: it yields a Writer once, if it wants the body, and is resumed when the writer is filled
(or with the reason why the body was cut). It returns the Response.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from importlib import import_module
from typing import Protocol

from .. import events
from ..engine import Engine
from ..engine.writer import Sink
from ..errors import Damaged, Locked, StoreBroken, TusError
from ..http.messages import Request, Response
from . import draft, tus1

log = logging.getLogger("tus")

Conversation = Generator[Sink, BaseException | None, Response]

# Names below the collection that are no uploads, and which module answers there.
_PLACES = {"chunks": ".chunks", "filepond": ".filepond", "form": ".form", "progress": ".form"}
_OVERRIDES = frozenset(("PATCH", "DELETE", "HEAD", "POST"))


def override(request: Request) -> None:
    """X-HTTP-Method-Override, where a client or its network cannot send PATCH. Only a POST may carry it: other
    methods promise caches and crawlers what they do."""
    method = request.headers.get("x-http-method-override") if request.method == "POST" else None
    if method:
        # Anything else means nothing here; above all it is no creation.
        request.method = method.upper() if method.upper() in _OVERRIDES else f"{method[:20]!a} by override"


class Exchange(Protocol):
    """A request in another protocol than tus 1.0."""

    def converse(self) -> Conversation: ...
    def failure(self, error: TusError) -> Response: ...


def exchange(request: Request, engine: Engine) -> Exchange | None:
    """The protocol of the request; None for tus 1.0."""
    # tus first: libraries of iPhones add the fields of the draft to its requests, too.
    if "tus-resumable" in request.headers:
        return None
    if request.id in _PLACES and request.id in engine.options.uploaders:
        # Late: most applications serve none of these.
        return import_module(_PLACES[request.id], __name__).exchange(request, engine)  # type: ignore[no-any-return]
    if engine.options.legacy:
        legacy = import_module(".legacy", __name__)
        if legacy.speaks(request):
            return legacy.exchange(request, engine)  # type: ignore[no-any-return]
    return draft.exchange(request, engine)


def speaks(request: Request, engine: Engine) -> bool:
    """Whether the request is for us; otherwise it is the application's."""
    if request.id in _PLACES and request.id in engine.options.uploaders:
        return True
    return tus1.speaks(request, engine)


def respond(request: Request, engine: Engine) -> Conversation:
    """Talk to a client, in the protocol that it speaks. Whatever happens, it gets an answer that it understands."""
    spoken = exchange(request, engine)
    try:
        if spoken:
            return (yield from spoken.converse())
        response = yield from tus1.converse(request, engine)
        _complement(request, engine, response)
    except Exception as error:
        return failure(request, error, spoken)
    tus1.sign(response)
    return response


def _complement(request: Request, engine: Engine, response: Response) -> None:
    """Who asks what we can do, or how far an upload is, and does not say in which protocol, is told in both."""
    if request.method == "OPTIONS":
        draft.describe(request, engine, response)
    elif request.method == "HEAD" and "tus-resumable" not in request.headers:
        draft.complement(request, engine, response)
        if engine.options.legacy and "Upload-Offset" in response.headers:
            response.headers["Offset"] = response.headers["Upload-Offset"]


def failure(request: Request, error: Exception, exchange: Exchange | None = None) -> Response:
    """The error, for a program and for a person."""
    events.failed(request, error)
    if not isinstance(error, TusError):
        where = events.shown(request.id) or "on the collection"
        log.error("%s %s failed", request.method, where, exc_info=error)
        error = StoreBroken("internal error")
    # 423 and not 500 on HEAD: a client keeps the upload and asks again.
    if request.method == "HEAD" and isinstance(error, StoreBroken) and not isinstance(error, Damaged):
        error = Locked("try again")
    if exchange:
        return exchange.failure(error)
    response = _failure(request, error)
    tus1.sign(response)
    return response


def _failure(request: Request, error: TusError) -> Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    if error.offset is not None:
        headers["Upload-Offset"] = str(error.offset)
    headers.update(error.headers)
    if error.status == 412:
        headers["Tus-Version"] = tus1.VERSION
    body = b"" if request.method == "HEAD" else f"{error}\n".encode("utf-8", "replace")
    if not body:
        del headers["Content-Type"]
    return Response(error.status, headers, body)
