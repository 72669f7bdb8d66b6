"""The client for programs with an event loop: the same one, in a thread, so that the loop waits for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, BinaryIO, TypeVar

from .brake import Brake
from .download import Fetched
from .failures import Stopped
from .uploading import Client, OnProgress, Source, Uploaded

T = TypeVar("T")


class AsyncClient:
    """As `Client`, whose arguments it takes. A task that is cancelled stops its upload, which can be resumed then."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Client(url, **options)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.close()

    async def put(
        self,
        source: Source | AsyncIterable[bytes],
        *,
        name: str = "",
        metadata: Mapping[str, str | bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        checksum: str | None = None,
        parallel: int = 1,
        resume: bool = True,
        progress: OnProgress | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Uploaded:
        """As `Client.put`; also what gives its blocks asynchronously. The callbacks run in the loop."""
        loop, brake = asyncio.get_running_loop(), Brake()
        given = _awaited(source, loop, brake) if isinstance(source, AsyncIterable) else source
        call = partial(
            self.client.put, given, name=name, metadata=metadata, headers=headers, checksum=checksum,
            parallel=parallel, resume=resume, progress=_in(loop, progress), say=_in(loop, say), brake=brake,
        )  # fmt: skip
        return await _stoppable(call, brake)

    async def get(
        self,
        url: str,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        resume: bool = True,
        replace: bool | None = None,
        progress: OnProgress | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Fetched:
        """As `Client.get`."""
        loop, brake = asyncio.get_running_loop(), Brake()
        call = partial(
            self.client.get,
            url,
            to,
            resume=resume,
            replace=replace,
            progress=_in(loop, progress),
            say=_in(loop, say),
            brake=brake,
        )
        return await _stoppable(call, brake)


async def _stoppable(call: Callable[[], T], brake: Brake) -> T:
    thread = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        brake.pull()
        with contextlib.suppress(Exception):
            await thread  # it ends at once, and nothing of it goes on
        raise


def _in(loop: asyncio.AbstractEventLoop, callback: Callable[..., None] | None) -> Callable[..., None] | None:
    """The callback, called in the loop."""
    if callback is None:
        return None

    def call(*arguments: Any) -> None:
        loop.call_soon_threadsafe(callback, *arguments)

    return call


class _Next:
    """A block that the loop makes."""

    def __init__(self, blocks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        async def following() -> bytes | None:
            return await anext(blocks, None)

        self._coming = asyncio.run_coroutine_threadsafe(following(), loop)

    def abort(self) -> None:
        self._coming.cancel()

    def block(self) -> bytes | None:
        try:
            return self._coming.result()
        except CancelledError:
            raise Stopped("stopped") from None


def _awaited(blocks: AsyncIterable[bytes], loop: asyncio.AbstractEventLoop, brake: Brake) -> Iterator[bytes]:
    """The blocks, for a thread; the loop makes them meanwhile."""
    found = aiter(blocks)
    while True:
        with brake.on(_Next(found, loop)) as following:
            block = following.block()
        if block is None:
            return
        yield block
