"""AsyncTus: uploads in a coroutine of FastAPI, Starlette, Litestar and other ASGI frameworks.

It is `tus.Tus` with another way to wait: what blocks runs in threads, and the event loop waits for the client.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

from ..http.messages import Request, Response
from ..options import Options
from ..tus import Tus
from ..upload import Upload
from .arriving import Arriving
from .body import Body
from .feeding import Conversation
from .reply import Reply
from .scopes import Receive, Scope, Send, environ_of
from .steps import Threads
from .wsgi import outgoing, viewed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..keywords import OptionsDict

_threads = Threads("tus-endpoint", 40)  # each waits for a disk, a lock or a hook, never for a client


class AsyncTus:
    """One request to a coroutine, and what came of it."""

    def __init__(
        self,
        request: Any,
        receive: Receive | None = None,
        *,
        upload_id: str | None = None,
        **options: Unpack[OptionsDict],
    ) -> None:
        """`request` is the framework's, or ASGI's scope together with `receive`. A framework that has read the body,
        as Django has, is asked for it by `request.read`. The id is what follows `upload_path`; an endpoint elsewhere
        says which `upload_id` its route found."""
        self._receive = receive or getattr(request, "receive", None)
        file = None if self._receive else request
        self._adapter = ScopeAdapter(getattr(request, "scope", request), upload_id=upload_id, file=file)
        self._tus = Tus(self._adapter, **options)

    @property
    def valid(self) -> bool:
        """Whether the request is for us."""
        return self._tus.valid

    @property
    def upload_finished(self) -> bool:
        """Whether this request has brought the last byte."""
        return self._tus.upload_finished

    @property
    def upload(self) -> Upload | None:
        """The finished upload."""
        return self._tus.upload

    @property
    def response(self) -> AsgiResponse:
        """The answer, for the endpoint to return: an ASGI application, and a response of Starlette where there is one.
        To say something to the client whose upload is finished, set its `body`."""
        return self._adapter.resp

    async def handle(self) -> None:
        """Do what the request asks for."""
        request = self._adapter.request
        if self._receive is None:
            await _threads.run(self._tus.handle)
            return
        conversation = Conversation(_threads, request, self._tus.engine, then=self._tus.conclude)
        await conversation.run(Arriving(self._receive, request.length))

    async def get_filepath(self) -> str:
        """Where the finished file lies. The endpoint may move it; if it then fails, the upload is still there."""
        return await _threads.run(self._tus.get_filepath)  # type: ignore[no-any-return]

    async def open(self) -> BinaryIO:
        """The finished file, to read in a thread and then to close, from whatever store."""
        return await _threads.run(self._tus.open_file)  # type: ignore[no-any-return]

    async def get_url(self) -> str:
        """Where anybody can fetch the finished file for a while, from a store such as `s3:`."""
        return await _threads.run(self._tus.get_url)  # type: ignore[no-any-return]

    async def cleanup(self) -> None:
        """Remove the file. The record stays for a while, so that a client that lost the answer can ask again."""
        await _threads.run(self._tus.cleanup_file)


class ScopeAdapter:
    """What `Tus` needs to know of a scope."""

    undoes = False

    def __init__(self, scope: Scope, *, upload_id: str | None, file: Any) -> None:
        self._environ = environ_of(scope)
        if file is not None:
            self._environ.update({"wsgi.input": file, "tus.collected": True})
        self._id = upload_id
        self.handed_over = "tus.upload" in scope
        self.request: Request
        self.body: Body
        self.resp: AsgiResponse

    def prepare(self, options: Options) -> None:
        self.request, self.body = viewed(self._environ, options, self._id)

    def once(self, name: str, act: Callable[[], Any]) -> Any:
        return act()

    def give(self, tus: Tus) -> None:
        """Endpoints ask `tus.get_filepath()`."""

    def answer(self, response: Response, sent: Callable[..., None]) -> None:
        reply = Reply()
        blocks = outgoing(response, self._environ, reply.start)
        self.resp = _response(sys.modules.get("starlette.responses"))(reply, blocks, sent)


class AsgiResponse:
    """An answer that says when it was sent, which only happens if the endpoint returned it."""

    background: Callable[[], Awaitable[None]] | None = None  # what FastAPI does after the answer

    def __init__(self, reply: Reply, blocks: Iterable[bytes], sent: Callable[..., None]) -> None:
        self.status_code = reply.status
        self.raw_headers = reply.headers
        self._reply, self._blocks, self._sent = reply, blocks, sent

    @property
    def body(self) -> bytes:
        """What is known of it before it is sent: nothing of a file."""
        return b"".join(self._blocks) if isinstance(self._blocks, list) else b""

    @body.setter
    def body(self, body: bytes) -> None:
        self._blocks = [body]
        if self.status_code == 204:
            self.status_code = 200  # 204 has no room for it
        others = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self.raw_headers[:] = [*others, (b"content-length", b"%d" % len(body))]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._reply.status, self._reply.headers = self.status_code, self.raw_headers
        try:
            await self._reply.send(self._blocks, send, threads=_threads, receive=receive, scope=scope)
        finally:
            await _threads.run(self._sent, True)
        if self.background is not None:
            await self.background()


@lru_cache(2)
def _response(starlette: Any) -> type[AsgiResponse]:
    """A class whose objects Starlette and FastAPI take for their own, if they are there."""
    return type("StarletteResponse", (AsgiResponse, starlette.Response), {}) if starlette else AsgiResponse
