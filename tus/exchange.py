"""One request and all that its client can be told: three words, which each protocol says in its own language."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial

from .engine import Engine
from .engine.repeating import begin_once
from .engine.writer import Sink, Writer
from .errors import TusError
from .http.headers import idempotency_key
from .http.messages import Request, Response
from .upload import Result, Upload

# Yields what wants the body, once, if anything does; is resumed when that is filled, or with why the body was cut.
Conversation = Generator[Sink, BaseException | None, Response]


class Exchange:
    """What a protocol derives its own from. A driver calls `converse`; and then, if that finished an upload, `final`,
    with what the host said of it; or `failure`, where anything went wrong."""

    relays = False  # the client wants the host's whole answer, whatever it is
    renders = False  # the client understands what a view said only as `final` puts it
    patience = 0.0  # seconds that are worth waiting while another request hands the same upload over
    also: Sequence[Upload] = ()  # others, made of parts of which this request brought the last one

    def __init__(self, request: Request, engine: Engine) -> None:
        self.request, self.engine = request, engine

    def identify(self) -> Request:
        """The request, when something is to be done for it: only now it matters who makes it."""
        self.request = self.engine.identify(self.request)
        return self.request

    def beginner(self) -> Callable[..., Writer]:
        """What begins the upload that is asked for; if the client has a key for it, only where it has not yet."""
        key = idempotency_key(self.request.headers)
        return partial(begin_once, self.engine, key=key) if key else self.engine.begin

    def converse(self) -> Conversation:
        """The answer; what goes wrong is raised."""
        raise NotImplementedError

    def final(self, upload: Upload, result: Result) -> Response:
        """What the host answered to a complete upload, accepted or refused; or said while it may still take it."""
        raise NotImplementedError

    def shown(self, upload: Upload, response: Response, said: Result) -> Response:
        """The response to the request that finished the upload, with what a view said in it."""
        if self.renders:
            response = self.final(upload, said)
            return replace(response, headers={**response.headers, **dict(response.extra)}, extra=())
        status = 200 if response.status == 204 else response.status  # which has no room for a body
        return replace(response, status=status, headers={**response.headers, **dict(said.headers)}, body=said.body)

    def failure(self, error: TusError) -> Response:
        """What went wrong, for a program and for a person."""
        raise NotImplementedError

    def stored(self, upload: Upload) -> Response:
        """The answer to the request that brought the last byte: what the host said, each time it is asked."""
        response = self.final(upload, upload.result or Result())
        response.finished = upload if upload.pending else None
        return response
