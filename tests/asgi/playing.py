"""An ASGI server in this process, for tests that decide when each message comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tus import TusASGI

DATA = b"0123456789" * 10_000
HALF = len(DATA) // 2
PATCH = {"upload-offset": "0", "content-type": "application/offset+octet-stream"}


def played(act: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(act, 60))


def scope_for(method: str, path: str, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **more,
    }


class Client:
    """One request, as a server would pass it on."""

    def __init__(self, app: Any, method: str, path: str, headers: dict[str, str], **more: Any) -> None:
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.status, self.headers, self.body = 0, {}, b""
        self.asking = self.most = 0  # calls of `receive` that wait now, and at most
        self.on_receive: Callable[[], None] = lambda: None
        self.app, self.scope = app, scope_for(method, path, headers, **more)

    def send(self, body: bytes, *, more: bool = True) -> None:
        self.coming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.coming.put_nowait({"type": "http.disconnect"})

    async def run(self) -> Client:
        await self.app(self.scope, self.receive, self.told)
        return self

    async def receive(self) -> dict[str, Any]:
        self.on_receive()
        self.asking += 1
        self.most = max(self.most, self.asking)
        try:
            return await self.coming.get()
        finally:
            self.asking -= 1

    async def told(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")


class Site:
    """A `TusASGI` under test, and what is stored by it."""

    def __init__(self, directory: Path, app: Any = None, *, path: str = "/upload", **options: Any) -> None:
        self.directory, self.path = directory, path
        self.app = TusASGI(
            app,
            tmp_file_dir=str(directory),
            **({"upload_path": path} if path else {}),
            **{"durable": "none", **options},
        )
        self.engine = self.app.engine

    def client(self, method: str, path: str, headers: dict[str, str], **more: Any) -> Client:
        return Client(self.app, method, path, {"tus-resumable": "1.0.0", **headers}, **more)

    async def ask(self, method: str, path: str = "", *, body: bytes = b"", **headers: str) -> Client:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if body or method == "PATCH":
            fields["content-length"] = str(len(body))
        client = self.client(method, path or self.path, fields)
        client.send(body, more=False)
        return await client.run()

    async def created(self, size: int = len(DATA)) -> str:
        return (await self.ask("POST", upload_length=str(size))).headers["location"]

    async def whole(self, data: bytes = DATA) -> Client:
        """The answer to the request that finishes a new upload."""
        return await self.ask("PATCH", await self.created(len(data)), body=data, **PATCH)

    async def begun(self) -> tuple[str, Client, asyncio.Task[Client]]:
        """The path of a new upload, and a request for it that has sent its first half and says nothing more."""
        path = await self.created()
        client = self.client("PATCH", path, {**PATCH, "content-length": str(len(DATA))})
        client.send(DATA[:HALF])
        task = asyncio.ensure_future(client.run())
        await self.stored(path, HALF)
        return path, client, task

    async def stored(self, path: str, size: int) -> None:
        while self.file(path).stat().st_size < size:  # what is played has an end
            await asyncio.sleep(0.002)

    def file(self, path: str) -> Path:
        return self.directory / path.rpartition("/")[2]

    async def offset(self, path: str) -> int:
        return int((await self.ask("HEAD", path)).headers["upload-offset"])
