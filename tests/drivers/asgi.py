"""The filter under ASGI, as small as it can be: a coroutine feeds the conversation, and threads do what blocks.

It proves that `tus.talk` needs no thread behind a body. Left out: trailers, interim answers, draining, and the
bodies of requests that are for the application behind the filter.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tus import TusFilter
from tus.engine.writer import Sink
from tus.talk import Filling, Talk

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BLOCK = 1 << 20


async def step(act: Callable[..., Any], *args: Any) -> Any:
    """What blocks, in a worker thread. A step that began ends first, also if we are cancelled."""
    running = asyncio.get_running_loop().run_in_executor(None, act, *args)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        raise


def environ_of(scope: Scope) -> dict[str, Any]:
    """The request as the filter, and the application behind it, know requests."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        headers[key] = f"{headers[key]},{value.decode('latin-1')}" if key in headers else value.decode("latin-1")
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{name}" in headers:
            headers[name] = headers.pop(f"HTTP_{name}")
    nothing = io.BufferedReader(io.BytesIO())  # type: ignore[type-var]  # a BytesIO would mean that the body is here
    host, port = scope.get("server") or ("localhost", None)
    return {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or ""),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("", 0))[0],
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": nothing,
        "wsgi.input_terminated": True,
        **headers,
    }


class Asgi:
    """An ASGI application; `find` gives the filter that a request is for, and may shift its path."""

    def __init__(self, find: Callable[[dict[str, Any]], TusFilter]) -> None:
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        environ = environ_of(scope)
        filter = await step(self._find, environ)
        found = await step(filter.addressed, environ)
        answer = Answer()
        if found is None:
            blocks = await step(filter, environ, answer.start)
        else:
            request, body, root = found
            talk = Talk(request._replace(shows_cuts=True), filter.engine)  # a client that left is an http.disconnect
            await conversed(talk, request.length, receive)
            blocks = await step(filter.concluded, talk, body, root, answer.start)
        await answer.send(blocks, send)


async def conversed(talk: Talk, length: int | None, receive: Receive) -> None:
    """The whole conversation, up to the host's turn."""
    try:
        sink = await step(talk.begin)
        if sink is not None:
            try:
                cut = await filled(sink, length, receive)
            except Exception as error:
                await step(talk.fail, error)
            else:
                await step(talk.end, cut)
    except asyncio.CancelledError as error:
        await step(talk.end, error)  # what arrived is kept
        raise
    await step(talk.deliver)


async def filled(sink: Sink, length: int | None, receive: Receive) -> BaseException | None:
    """Nothing is received before what came last is stored: that is what slows a fast client down."""
    filling, lost, loop = Filling(length), asyncio.Event(), asyncio.get_running_loop()
    filling.into(sink)
    if sink.lease:
        await step(sink.lease.on_lost, lambda: loop.call_soon_threadsafe(lost.set))
    over = asyncio.ensure_future(lost.wait())
    try:
        while filling.wants(BLOCK):
            coming = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({coming, over}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                coming.cancel()
            message = coming.result() if coming.done() else {"type": "http.disconnect"}
            if message["type"] == "http.disconnect":
                return filling.stop(ConnectionResetError("the client left, or asked again"))
            await step(filling.feed, message.get("body", b""))
            if not message.get("more_body"):
                filling.take(b"")
    finally:
        over.cancel()
    return None


class Answer:
    """What WSGI's start_response was told, and its way out."""

    status, headers = 500, []

    def start(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
        self.status, self.headers = int(status[:3]), headers

    async def send(self, blocks: Any, send: Send) -> None:
        try:
            rest = iter(blocks)
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            while (block := await step(next, rest, None)) is not None:
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            if hasattr(blocks, "close"):
                await step(blocks.close)
