"""`TusASGI` alone, on files. GET /held tells how much of what came lay in uvicorn's memory: the bytes for each look at
each request."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from tests.apps import HOME
from tus import TusASGI

GLANCE = 0.005  # seconds between two looks


class Held:
    """An application that looks at what the server holds for it."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cycles: set[Any] = set()
        self.looks = self.bytes = 0
        self.watch: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.watch = self.watch or asyncio.ensure_future(self.watching())
        if scope.get("path") == "/held":
            body = b"%d" % (self.bytes // max(1, self.looks))
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        cycle = getattr(receive, "__self__", None)
        self.cycles.add(cycle)
        try:
            await self.app(scope, receive, send)
        finally:
            self.cycles.discard(cycle)

    async def watching(self) -> None:
        while True:
            await asyncio.sleep(GLANCE)
            held = [len(cycle.body) for cycle in self.cycles if hasattr(cycle, "body")]
            self.looks += len(held)
            self.bytes += sum(held)


application = Held(TusASGI(tmp_file_dir=str(Path(os.environ[HOME]) / "up"), upload_path="/files", durable="none"))
