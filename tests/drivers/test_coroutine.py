"""A coroutine drives a conversation: no thread waits for a client, and the loop waits for no disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.asgi import Asgi
from tus import Hooks, TusFilter

DATA = b"0123456789" * 1000
PATCH = {"tus-resumable": "1.0.0", "upload-offset": "0", "content-type": "application/offset+octet-stream"}


class Client:
    """One request in this process, as a server would pass it on."""

    def __init__(self, app: Asgi, method: str, path: str, headers: dict[str, str]) -> None:
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status, self.headers = 0, {}
        self.asked = asyncio.Event()  # for more of the body
        self._app, self._scope = app, {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": b"",
            "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }  # fmt: skip
        self.on_receive: Callable[[], None] = lambda: None

    def send(self, body: bytes, *, more: bool = True) -> None:
        self.coming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.coming.put_nowait({"type": "http.disconnect"})

    async def run(self) -> Client:
        await self._app(self._scope, self._receive, self._told)
        return self

    async def _receive(self) -> dict[str, Any]:
        self.on_receive()
        self.asked.set()
        return await self.coming.get()

    async def _told(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}


class Site:
    """A filter that stands alone, under ASGI."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        filter = TusFilter(None, tmp_file_dir=str(directory), durable="none", **options)
        self.engine = filter.engine
        self.app = Asgi(lambda environ: filter)

    async def ask(self, method: str, path: str = "/upload", **headers: str) -> Client:
        fields = {"tus-resumable": "1.0.0", **{name.replace("_", "-"): value for name, value in headers.items()}}
        client = Client(self.app, method, path, fields)
        client.send(b"", more=False)
        return await client.run()

    async def begun(self) -> tuple[str, Client, asyncio.Task[Client]]:
        """The path of a new upload, and a request for it that has sent its first half and says nothing more."""
        created = await self.ask("POST", upload_length=str(len(DATA)))
        path = created.headers["location"]
        client = Client(self.app, "PATCH", path, {**PATCH, "content-length": str(len(DATA))})
        client.send(DATA[: len(DATA) // 2])
        task = asyncio.ensure_future(client.run())
        await self.stored(path, len(DATA) // 2)
        return path, client, task

    async def stored(self, path: str, size: int) -> None:
        file = self.directory / path.rpartition("/")[2]
        while file.stat().st_size < size:  # what is played has an end
            await asyncio.sleep(0.002)


def played(act: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(act, 10))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "uploads")


def test_upload_arrives(site: Site) -> None:
    """Two blocks, an answer, and the offset."""

    async def play() -> None:
        path, client, task = await site.begun()
        client.send(DATA[len(DATA) // 2 :], more=False)
        assert (await task).status == 204
        head = await site.ask("HEAD", path)
        assert head.headers["upload-offset"] == str(len(DATA))

    played(play())


def test_nothing_is_asked_for_before_the_last_block_is_stored(site: Site) -> None:
    """Each time the server is asked for more, what it gave before is in the file."""

    async def play() -> None:
        created = await site.ask("POST", upload_length=str(len(DATA)))
        path = created.headers["location"]
        file = site.directory / path.rpartition("/")[2]
        client = Client(site.app, "PATCH", path, {**PATCH, "content-length": str(len(DATA))})
        sizes: list[int] = []
        client.on_receive = lambda: sizes.append(file.stat().st_size)
        for at in range(0, len(DATA), 1000):
            client.send(DATA[at : at + 1000], more=at + 1000 < len(DATA))
        await client.run()
        assert sizes == list(range(0, len(DATA), 1000))

    played(play())


def test_client_that_leaves_finds_what_it_sent(site: Site) -> None:
    """A disconnect in the middle of a body is a cut: the upload goes on from there."""

    async def play() -> None:
        path, client, task = await site.begun()
        client.leave()
        await task
        head = await site.ask("HEAD", path)
        assert head.headers["upload-offset"] == str(len(DATA) // 2)
        assert not site.engine.locker.writing(path.rpartition("/")[2])

    played(play())


def test_cancelled_request_keeps_what_arrived(site: Site) -> None:
    """A server that stops cancels its requests: nothing that came is lost, and no lease stays."""

    async def play() -> None:
        path, client, task = await site.begun()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not site.engine.locker.writing(path.rpartition("/")[2])
        head = await site.ask("HEAD", path)
        assert head.headers["upload-offset"] == str(len(DATA) // 2)

    played(play())


def test_newer_request_ends_the_wait_for_the_older_ones_body(site: Site) -> None:
    """A client that comes back hears its offset at once, and the request that waited is answered."""

    async def play() -> None:
        path, client, task = await site.begun()
        head = await site.ask("HEAD", path)
        older = await task
        assert (head.status, head.headers["upload-offset"]) == (200, str(len(DATA) // 2))
        assert older.status >= 400

    played(play())


def test_loop_goes_on_while_a_hook_blocks(tmp_path: Path) -> None:
    """What waits for a disk, a lock or the host does so in another thread."""
    begun, free = threading.Event(), threading.Event()

    class Slow(Hooks):
        def before_create(self, request: Any, upload: Any) -> None:
            begun.set()
            assert free.wait(5)

    site = Site(tmp_path / "uploads", hooks=Slow())

    async def play() -> None:
        creating = asyncio.ensure_future(site.ask("POST", upload_length="10"))
        while not begun.is_set():
            await asyncio.sleep(0.002)
        options = await site.ask("OPTIONS")  # answered meanwhile
        free.set()
        assert (options.status, (await creating).status) == (204, 201)

    played(play())
