"""The filter for ASGI: uploads for FastAPI, Starlette, Django and every other application of that kind.

Nothing that blocks runs in the event loop. The parts are those of the WSGI filter; only who waits for the client is
different.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engine import Engine
from ..hooks import LOOP
from ..http.address import below
from ..http.messages import status_line
from ..options import Options
from ..talk import Talk
from .arriving import GATHERED, Arriving
from .feeding import Conversation
from .informing import inform
from .reply import Reply
from .scopes import AsgiApp, Environ, Message, Receive, Scope, Send, environ_of, places, scope_of
from .steps import Threads
from .wsgi import Filter

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..keywords import OptionsDict

_STEPS = 40  # threads; each waits for a disk, a lock or a hook, never for a client
_HANDING = 40  # threads; each waits for the application behind, which may need one of the others
_STOPPING = 10.0  # seconds that a stop waits until what arrived is stored


class TusASGI:
    """Takes uploads at `upload_path`, and hands each finished one to the application as one ordinary request. Without
    an application it takes them where it is mounted."""

    def __init__(self, app: AsgiApp | None = None, **options: Unpack[OptionsDict]) -> None:
        self._steps, self._handing = Threads("tus", _STEPS), Threads("tus-hand-over", _HANDING)
        self._app = app or nothing
        if app is None and "TUS_UPLOAD_PATH" not in os.environ:
            options.setdefault("upload_path", "/")
        self._filter = Filter(Behind(app, self._steps) if app else None, **options)
        self._root = self.options.upload_path
        self._open: set[Arriving] = set()
        self._stops, self._stopped = False, asyncio.Event()

    @property
    def engine(self) -> Engine:
        return self._filter.engine

    @property
    def options(self) -> Options:
        return self._filter.options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            place = places(scope)
            id = below(place[1], self._root)
            if id is None and not self.options.draft_targets:
                await self._app(scope, receive, send)
                return
            await self._answered(environ_of(scope, place), id, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, self._watched(receive), send)
        else:
            await self._app(scope, receive, send)

    async def _answered(self, environ: Environ, id: str | None, scope: Scope, receive: Receive, send: Send) -> None:
        filter, answer = self._filter, Reply()
        environ["tus.parks"] = True
        inform(environ, answer, receive, send)
        if _collects(send):
            environ["tus.collected"] = True
        found = filter.targeted(environ) if id is None else filter.spoken(environ, id, self._root)
        if found:
            blocks = await self._conversed(found, receive, answer)
        elif filter.discovers(environ):
            blocks = await self._handing.run(filter.passed_on, environ, answer.start)
        else:
            await self._app(scope, receive, send)
            return
        await answer.send(blocks, send, threads=self._steps, receive=receive, scope=scope)

    async def _conversed(self, found: Any, receive: Receive, answer: Reply) -> Iterable[bytes]:
        request, body, root = found
        arriving = Arriving(receive, request.length)
        later: list[Talk] = []

        def concluded(talk: Talk) -> Any:
            """The answer; unless the application has its say first, which must not keep others from their steps."""
            if talk.delivery or talk.exchange.also:
                later.append(talk)
                return None
            return self._filter.concluded(talk, body, root, answer.start)

        self._open.add(arriving)
        try:
            conversation = Conversation(self._steps, request, self.engine, then=concluded)
            blocks = await conversation.run(arriving)
        finally:
            self._open.discard(arriving)
            if self._stops and not self._open:
                self._stopped.set()
        if later:
            blocks = await self._handing.run(self._filter.concluded, later[0], body, root, answer.start)
        return blocks  # type: ignore[no-any-return]

    def _watched(self, receive: Receive) -> Receive:
        """The same, but when the server stops, what has arrived is stored first."""

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._stop()
            return message

        return watched

    async def _stop(self) -> None:
        for arriving in tuple(self._open):
            arriving.end(ConnectionAbortedError("the server stops"))
        self._stops = True
        if self._open:
            await asyncio.wait({asyncio.ensure_future(self._stopped.wait())}, timeout=_STOPPING)
        self._steps.close()
        self._handing.close()


def _collects(send: Send) -> bool:
    """Whether the server calls the application with a whole body only: daphne, which shows itself nowhere else."""
    return isinstance(send, partial) and any(type(one).__module__.startswith("daphne.") for one in send.args)


class Behind:
    """An ASGI application, as WSGI knows applications: called in a thread, which waits for the whole answer."""

    def __init__(self, app: AsgiApp, threads: Threads) -> None:
        self._app, self._threads = app, threads

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        loop = LOOP.get()
        assert loop, "only a step of a request calls this"
        call = _Call(environ, self._threads)
        asyncio.run_coroutine_threadsafe(call.run(self._app), loop).result()
        start_response(status_line(call.status), call.headers)
        return [b"".join(call.body)]


class _Call:
    """One request for the application, with the body that `wsgi.input` has, and its answer."""

    def __init__(self, environ: Environ, threads: Threads) -> None:
        self._environ, self._threads = environ, threads
        self._left = int(environ.get("CONTENT_LENGTH") or 0)
        self._asked = False
        self.status, self.headers = 0, [("", "")]
        self.body: list[bytes] = []

    async def run(self, app: AsgiApp) -> None:
        self._answered = asyncio.Event()
        scope = scope_of(self._environ)
        await app(scope, self._receive, self._send)
        if not self.status:
            raise RuntimeError("the application did not answer")
        if scope.get("tus.undone"):
            self._environ["tus.undone"] = True

    async def _receive(self) -> Message:
        if self._asked and not self._left:
            await self._answered.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        body = await self._threads.run(self._read)
        self._left = self._left - len(body) if body else 0
        return {"type": "http.request", "body": body, "more_body": self._left > 0}

    def _read(self) -> bytes:
        return self._environ["wsgi.input"].read(min(self._left, GATHERED))  # type: ignore[no-any-return]

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self.body.append(bytes(message.get("body", b"")))
            if not message.get("more_body"):
                self._answered.set()


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind a filter that stands alone."""
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
    else:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"Not found\n" if scope["method"] != "HEAD" else b""})
