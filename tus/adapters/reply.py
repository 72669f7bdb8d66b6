"""An answer on its way out, in the words of ASGI."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from ..http.ranges import FileSlice
from .scopes import Receive, Scope, Send
from .steps import Threads

_PATHS = "http.response.pathsend"  # the server sends a file by itself


class Reply:
    """What WSGI's start_response was told, and its way out."""

    def __init__(self) -> None:
        self.status, self.started = 500, False
        self.sent = False  # nothing may come before it any more
        self.headers: list[tuple[bytes, bytes]] = []

    def start(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
        self.status, self.started = int(status[:3]), True
        self.headers = [(_name(name), value.encode("latin-1")) for name, value in headers]

    async def send(
        self, blocks: Iterable[bytes], send: Send, *, threads: Threads, receive: Receive, scope: Scope
    ) -> None:
        self.sent = True
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if isinstance(blocks, list):
            await send({"type": "http.response.body", "body": b"".join(blocks)})
            return
        left = asyncio.ensure_future(_left(receive))
        try:
            if _PATHS in (scope.get("extensions") or ()) and (path := await threads.run(_path, blocks)):
                await send({"type": _PATHS, "path": path})
                return
            parks = hasattr(blocks, "park")
            rest = blocks.park() if parks else iter(blocks)  # type: ignore[attr-defined]
            while not left.done() and (block := await threads.run(_next, rest)) is not None:
                if parks and not block:
                    await _more(blocks, left)
                else:
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()
            if hasattr(blocks, "close"):
                await threads.run(blocks.close)


@lru_cache(256)
def _name(name: str) -> bytes:
    """The name of a header, as ASGI has it."""
    return name.lower().encode("latin-1")


def _path(blocks: Iterable[bytes]) -> str:
    """Where the whole file lies that is to be sent; "" if it is none, or a part of one, or goes by no name any more."""
    if isinstance(blocks, FileSlice) and not blocks.start:
        with suppress(OSError, ValueError):  # it is no file of the system, or this one does not tell its name
            file = blocks.file.fileno()
            path, found = os.readlink(f"/proc/self/fd/{file}"), os.fstat(file)
            # By a name in UTF-8, since servers want text.
            if found.st_size == blocks.size and os.path.samestat(os.stat(path.encode()), found):
                return path
    return ""


def _next(blocks: Iterator[bytes]) -> bytes | None:
    return next(blocks, None)


async def _more(blocks: Any, left: asyncio.Future[Any]) -> None:
    """Until there may be another block, or the client is gone."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()
    blocks.call(lambda: loop.call_soon_threadsafe(woken.set))
    waiting: asyncio.Future[Any] = asyncio.ensure_future(woken.wait())
    try:
        await asyncio.wait({waiting, left}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _left(receive: Receive) -> None:
    """Until the client is gone: some servers take what is sent to nobody."""
    while (await receive())["type"] != "http.disconnect":
        pass
