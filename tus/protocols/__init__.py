"""Which protocol a request speaks, and the answer to what goes wrong in any of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from .. import events
from ..engine import Engine
from ..errors import Damaged, Locked, StoreBroken, TusError
from ..exchange import Conversation, Exchange
from ..http.messages import Request, Response
from ..options import Options
from . import draft, tus1

log = logging.getLogger("tus")


def _at(*places: str) -> Callable[[Request, Options], bool]:
    """Spoken at places of its own, below the collection."""
    return lambda request, options: request.id in places and request.id in options.uploaders


# Modules whose `exchange` is asked, one after the other, whether it is for them to answer a request that does not say
# that it is tus 1.0; and when that can be, since most applications serve none of the first, and need not import them.
_PROTOCOLS: dict[str, Callable[[Request, Options], bool]] = {
    "chunks": _at("chunks"),
    "filepond": _at("filepond"),
    "form": _at("form", "progress"),
    "legacy": lambda request, options: options.legacy,
    "draft": lambda request, options: True,
}
_OVERRIDES = frozenset(("PATCH", "DELETE", "HEAD", "POST"))


def override(request: Request) -> Request:
    """The request, with the method that X-HTTP-Method-Override names, where a client or its network cannot send PATCH.
    Only a POST may carry it: other methods promise caches and crawlers what they do."""
    method = request.headers.get("x-http-method-override") if request.method == "POST" else None
    if not method:
        return request
    # Anything else means nothing here; above all it is no creation.
    return request._replace(method=method.upper() if method.upper() in _OVERRIDES else f"{method[:20]!a} by override")


@lru_cache(None)
def _module(name: str) -> Any:
    return import_module(f".{name}", __name__)


def exchange(request: Request, engine: Engine) -> Exchange:
    """The request, in the protocol that it speaks."""
    # tus first: libraries of iPhones add the fields of the draft to its requests, too.
    if "tus-resumable" in request.headers:
        return Polyglot(request, engine) if request.method == "OPTIONS" else tus1.TusExchange(request, engine)
    for name, possible in _PROTOCOLS.items():
        spoken: Exchange | None = None
        if possible(request, engine.options):
            spoken = _module(name).exchange(request, engine)
        if spoken:
            return spoken
    return Polyglot(request, engine)


def speaks(request: Request, engine: Engine) -> bool:
    """Whether the request is for us; otherwise it is the application's."""
    return request.id in engine.options.uploaders or tus1.is_ours(request, engine)


def begins(offer: Request) -> bool:
    """Whether a request for a resource of the host's own begins an upload that can be resumed."""
    return draft.version_of(offer) is not None


def describe_limits(request: Request, engine: Engine, response: Response) -> None:
    """Add to the host's own answer to OPTIONS what can be uploaded there."""
    draft.add_limits(request, engine, response)


class Polyglot(tus1.TusExchange):
    """tus 1.0. A client that asks what we can do, or how far an upload is, and names no protocol, is told in all."""

    _more: dict[str, str] | None = None  # looked for once

    def signed(self, response: Response) -> Response:
        request = self.request
        if request.method == "OPTIONS":
            draft.add_limits(request, self.engine, response)
        elif request.method == "HEAD":
            if self._more is None:
                self._more = draft.complement(request, self.engine)
            response.headers = {**self._more, **response.headers}
            if self.engine.options.legacy and "Upload-Offset" in response.headers:
                response.headers["Offset"] = response.headers["Upload-Offset"]
        return super().signed(response)


def respond(exchange: Exchange) -> Conversation:
    """Talk to a client. Whatever happens, it gets an answer that it understands."""
    try:
        return (yield from exchange.converse())
    except Exception as error:
        return failure(exchange, error)


def failure(exchange: Exchange, error: Exception) -> Response:
    """The error, for a program and for a person."""
    request = exchange.request
    events.failed(request, error)
    if not isinstance(error, TusError):
        where = events.shown(request.id) or "on the collection"
        log.error("%s %s failed", request.method, where, exc_info=error)
        error = StoreBroken("internal error")
    # 423 and not 500 on HEAD: a client keeps the upload and asks again.
    if request.method == "HEAD" and isinstance(error, StoreBroken) and not isinstance(error, Damaged):
        error = Locked("try again")
    return exchange.failure(error)
