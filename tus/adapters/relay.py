"""A WSGI application for a server of ASGI: the site and the filter of `tus serve` as they are.

Where the filter asks for a body, the event loop waits for the client, as `TusASGI` does. Everything else runs in a
thread. No thread may wait for the client of an upload.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..talk import Talk
from .arriving import Arriving
from .asgi import nothing
from .fed import Asked
from .feeding import SMALL, Conversation
from .informing import inform
from .reply import Reply
from .scopes import Environ, Receive, Scope, Send, environ_of
from .steps import Threads
from .wsgi import framed

App = Callable[..., Iterable[bytes]]

_STEPS = 40  # threads; each waits for a disk, a lock or a hook, never for a client
_PAGES = 40  # threads; each waits for the application, and for the body of a form
_STOPPING = 10.0  # seconds that a stop waits for threads


class Relay:
    """The application, mounted at `prefix`."""

    def __init__(self, app: App, *, prefix: str = "") -> None:
        self._app, self._prefix = app, prefix
        self._steps, self._pages = Threads("tus", _STEPS), Threads("tus-pages", _PAGES)
        self._open: set[Arriving] = set()
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await nothing(scope, receive, send)
            return
        environ = self._environ(scope)
        length, _, _ = framed(environ)
        arriving, answer = Arriving(receive, length), Reply()
        inform(environ, answer, receive, send)
        self._open.add(arriving)
        if self._stopping:
            arriving.end(_stops())
        try:
            blocks = await self._answered(environ, arriving, answer)
        finally:
            self._open.discard(arriving)
        await answer.send(blocks, send, threads=self._steps, receive=receive, scope=scope)

    def _environ(self, scope: Scope) -> Environ:
        environ = environ_of({**scope, "root_path": self._prefix})
        target = scope.get("raw_path", b"").decode("latin-1") or environ["PATH_INFO"]
        environ.update(
            {
                "REQUEST_URI": "?".join(filter(None, (target, environ["QUERY_STRING"]))),
                "tus.asked": True,
                "tus.parks": True,
                "wsgi.version": (1, 0),
                "wsgi.errors": sys.stderr,
                "wsgi.multithread": True,
                "wsgi.multiprocess": True,
                "wsgi.run_once": False,
            }
        )
        return environ

    async def _answered(self, environ: Environ, arriving: Arriving, answer: Reply) -> Iterable[bytes]:
        # Nobody can resume what a POST begins before its answer, so its small body may be waited for without a thread.
        if environ["REQUEST_METHOD"] == "POST" and "HTTP_X_HTTP_METHOD_OVERRIDE" not in environ:
            while arriving.expects(SMALL):
                await arriving.gather()
        environ["wsgi.input"] = io.BufferedReader(_Input(arriving, asyncio.get_running_loop()))
        blocks = await self._pages.run(self._called, environ, answer)
        if not isinstance(blocks, Asked):
            arriving.rest()
            return blocks  # type: ignore[no-any-return]
        return await self._conversed(blocks, arriving)

    def _called(self, environ: Environ, answer: Reply) -> Iterable[bytes]:
        blocks = self._app(environ, answer.start)
        if isinstance(blocks, Asked | list) or answer.started:
            return blocks
        return _Begun(blocks)

    async def _conversed(self, asked: Asked, arriving: Arriving) -> Iterable[bytes]:
        later: list[Talk] = []

        def concluded(talk: Talk) -> Any:
            """The answer; unless the application has its say first, which must not keep others from their steps."""
            if talk.delivery or talk.exchange.also:
                later.append(talk)
                return None
            return asked.answer(talk)

        blocks = await Conversation(self._steps, asked.request, asked.engine, then=concluded).run(arriving)
        if later:
            blocks = await self._pages.run(asked.answer, later[0])
        return blocks  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Wait for no more bodies: what arrived is stored, and the clients hear how much that is."""
        self._stopping = True
        for arriving in tuple(self._open):
            arriving.end(_stops())

    def close(self) -> None:
        """Let the threads go, each with what it does."""
        until = time.monotonic() + _STOPPING
        for thread in (*self._steps.close(), *self._pages.close()):
            thread.join(max(0.0, until - time.monotonic()))


def _stops() -> Exception:
    return ConnectionAbortedError("the server stops")


class _Input(io.RawIOBase):
    """The body, for an application that reads it in a thread."""

    def __init__(self, arriving: Arriving, loop: asyncio.AbstractEventLoop) -> None:
        self._arriving, self._loop = arriving, loop
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (block := self._block()) is not None:
            self._rest = memoryview(block)
        if not self._rest and self._arriving.cut:
            raise self._arriving.cut
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def _block(self) -> bytes | None:
        """What came; None at the end."""
        arriving = self._arriving
        if not (blocks := arriving.taken()):
            if arriving.over:
                return None
            asyncio.run_coroutine_threadsafe(arriving.gather(), self._loop).result()
            blocks = arriving.taken()
        return b"".join(blocks)


class _Begun:
    """An answer whose first block was taken: an application may say its status as late as that."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._rest = blocks, iter(blocks)
        self._first = next(self._rest, b"")

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        yield from self._rest

    def close(self) -> None:
        if hasattr(self._blocks, "close"):
            self._blocks.close()
