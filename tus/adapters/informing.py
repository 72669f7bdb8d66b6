"""Answers before the answer, 104 for one, through servers of ASGI that can send them.

ASGI has no message for these. So beside servers that offer one we know two by name, and go past ASGI there; with any
other, and behind a middleware that puts itself between, none is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..http.messages import interim_head
from .reply import Reply
from .scopes import Environ, Receive, Scope, Send
from .targets import NAMES_VERSION, Interim

_OFFER = "http.response.informational"
Saying = Callable[[int, Mapping[str, str]], Awaitable[None]]


def inform(environ: Environ, answer: Reply, receive: Receive, send: Send) -> None:
    """Put into the environ what sends one, from a thread; nothing is sent once the answer itself is on its way."""
    if NAMES_VERSION not in environ:
        return
    scope = environ["asgi.scope"]
    say = _offered(scope, send) or _uvicorn(scope, receive) or _hypercorn(scope, send)
    if say is not None:
        environ["tus.interim"] = _from_threads(say, answer)


def _from_threads(say: Saying, answer: Reply) -> Interim:
    loop = asyncio.get_running_loop()

    async def tell(status: int, headers: Mapping[str, str]) -> None:
        if not answer.sent:
            await say(status, headers)

    def told(status: int, headers: Mapping[str, str]) -> None:
        asyncio.run_coroutine_threadsafe(tell(status, headers), loop)

    return told


def _offered(scope: Scope, send: Send) -> Saying | None:
    if _OFFER not in (scope.get("extensions") or ()):
        return None

    async def say(status: int, headers: Mapping[str, str]) -> None:
        await send({"type": _OFFER, "status": status, "headers": _pairs(headers)})

    return say


def _uvicorn(scope: Scope, receive: Receive) -> Saying | None:
    """Its request has the connection; it speaks HTTP/1 only, where an answer is what was written."""
    cycle = _owner(receive, "uvicorn")
    transport = getattr(cycle, "transport", None)
    if transport is None or scope["http_version"] != "1.1":
        return None

    async def say(status: int, headers: Mapping[str, str]) -> None:
        begun = getattr(cycle, "response_started", False)  # somebody in between has answered
        if not (begun or transport.is_closing()):
            transport.write(interim_head(status, headers))

    return say


def _hypercorn(scope: Scope, send: Send) -> Saying | None:
    """Its stream sends any status as such, over HTTP/1.1 and HTTP/2."""
    stream = _owner(send, "hypercorn")
    if stream is None or scope["http_version"] == "1.0":
        return None

    async def say(status: int, headers: Mapping[str, str]) -> None:
        # Here, so that a version that has another place for it costs a 104, and no request.
        from hypercorn.protocol.events import Response

        await stream.send(Response(stream_id=stream.stream_id, headers=_pairs(headers), status_code=status))

    return say


def _owner(method: Any, package: str) -> Any:
    """The server's object behind `receive` or `send`; None if it is another's, or there is none."""
    owner = getattr(method, "__self__", None)
    return owner if type(owner).__module__.startswith(package + ".") else None


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
