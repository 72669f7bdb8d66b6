"""`TusASGI` over a slow store, in a loop whose delay is measured. GET /delays tells what there was since the last."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.apps import HOME
from tests.slow_store import SlowStore
from tus import TusASGI

LATE = 0.05  # seconds that each call of the store takes
GLANCE = 0.002  # seconds between two looks


class Watched:
    """An application that knows how long its loop was busy with something else."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.delays: list[float] = []
        self.watch: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.watch = self.watch or asyncio.ensure_future(self.watching())
        if scope.get("path") != "/delays":
            return await self.app(scope, receive, send)
        body, self.delays = json.dumps(self.delays).encode(), []
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def watching(self) -> None:
        """Seconds that each look came too late, but for those in which the machine had others to serve."""
        loop = asyncio.get_running_loop()
        while True:
            due, waited = loop.time() + GLANCE, queued()
            await asyncio.sleep(GLANCE)
            self.delays.append(loop.time() - due - (queued() - waited))


def queued() -> float:
    """Seconds that this thread could have run and had no processor."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


slow = SlowStore(Path(os.environ[HOME]) / "uploads", late=LATE)
application = Watched(TusASGI(store=slow, upload_path="/upload", durable="none"))
