"""Which protocol a request speaks, and the answer to what goes wrong in any of them.

A conversation is a generator: it yields a Writer once, if it wants the body, and is resumed when the writer is filled
(or with the reason why the body was cut). It returns the Response.
"""

from __future__ import annotations

import logging
from collections.abc import Generator

from ..engine import Engine
from ..errors import Locked, TusError
from ..messages import Request, Response
from ..writer import Writer
from . import tus1

log = logging.getLogger("tus")

Conversation = Generator[Writer, BaseException | None, Response]

_OVERRIDES = frozenset(("PATCH", "DELETE", "HEAD", "POST"))


def override(request: Request) -> None:
    """X-HTTP-Method-Override, where a client or its network cannot send PATCH. Only a POST may carry it: other
    methods promise caches and crawlers what they do."""
    method = request.headers.get("x-http-method-override") if request.method == "POST" else None
    if method:
        # Anything else means nothing here; above all it is no creation.
        request.method = method.upper() if method.upper() in _OVERRIDES else f"{method[:20]!a} by override"


def speaks(request: Request, engine: Engine) -> bool:
    """Whether the request is for us; otherwise it is the application's."""
    return tus1.speaks(request, engine)


def respond(request: Request, engine: Engine) -> Conversation:
    """Talk to a client, in the protocol that it speaks. Whatever happens, it gets an answer that it understands."""
    try:
        response = yield from tus1.converse(request, engine)
    except Exception as error:
        response = failure(request, error)
    tus1.sign(response)
    return response


def failure(request: Request, error: Exception) -> Response:
    """The error, for a program and for a person."""
    if not isinstance(error, TusError):
        log.error("%s %s failed", request.method, request.id or "on the collection", exc_info=error)
        # 423 and not 500 on HEAD: a client keeps the upload and asks again.
        error = Locked("try again") if request.method == "HEAD" else TusError("internal error")
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    if error.offset is not None:
        headers["Upload-Offset"] = str(error.offset)
    if isinstance(error, Locked):
        headers["Retry-After"] = "1"
    headers.update(error.headers)
    if error.status == 412:
        headers["Tus-Version"] = tus1.VERSION
    body = b"" if request.method == "HEAD" else f"{error}\n".encode("utf-8", "replace")
    if not body:
        del headers["Content-Type"]
    return Response(error.status, headers, body)
