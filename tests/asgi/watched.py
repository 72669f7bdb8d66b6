"""`TusASGI` over a slow store, in a loop whose delay is measured. GET /delays tells what there was since the last; and
what a thread of the same process saw, which waits for the interpreter and for processors as the loop does, but for no
step that the loop takes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from tests.apps import HOME
from tests.slow_store import SlowStore
from tus import TusASGI, Upload
from tus.stores import Fence, Store
from tus.stores.drafts import FileDraft, NewDraft
from tus.stores.file import FileStore
from tus.stores.infos import FileRecord

LATE = 0.05  # seconds that each call of the store takes
GLANCE = 0.002  # seconds between two looks


class Watched:
    """An application that knows how long its loop was busy with something else."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.delays: list[float] = []
        self.others: list[float] = []
        self.watch: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.watch:
            self.watch = asyncio.ensure_future(self.watching())
            threading.Thread(target=self.comparing, daemon=True).start()
        if scope.get("path") != "/delays":
            return await self.app(scope, receive, send)
        body = json.dumps({"loop": self.delays, "thread": self.others}).encode()
        self.delays, self.others = [], []
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

    def comparing(self) -> None:
        """The same in a thread."""
        while True:
            due, waited = time.monotonic() + GLANCE, queued()
            time.sleep(GLANCE)
            self.others.append(time.monotonic() - due - (queued() - waited))


def queued() -> float:
    """Seconds that this thread could have run and had no processor."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


class LateFiles(FileStore):
    """A directory on a disk where every so many calls, or each one, takes its time."""

    every = int(os.environ.get("LATE_EVERY", "0"))
    calls = itertools.count(1)

    def _wait(self) -> None:
        if next(self.calls) % self.every == 0:
            time.sleep(LATE)

    def create(self, upload: Upload, *, fence: Fence) -> NewDraft:
        self._wait()
        return super().create(upload, fence=fence)

    def hold(self, id: str) -> FileRecord:
        self._wait()
        return super().hold(id)

    def append(
        self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None
    ) -> FileDraft:
        self._wait()
        return super().append(id, offset, fence=fence, exact=exact, known=known)

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        self._wait()
        super().save(upload, since=since, durable=durable)


directory = Path(os.environ[HOME]) / "uploads"
slow: Store = LateFiles(str(directory)) if LateFiles.every else SlowStore(directory, late=LATE)
durable = os.environ.get("LATE_DURABLE", "none")
application = Watched(TusASGI(store=slow, upload_path="/upload", durable=durable))
