"""What goes past ASGI to send a 104 knows when an answer is on its way already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install 'tus[asgi,test]')")

from tests import live, wire  # noqa: E402
from tests.draft.client import NEWEST  # noqa: E402
from tus import TusASGI  # noqa: E402

pytestmark = pytest.mark.slow


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """The application."""


@contextmanager
def serving(app: Any) -> Iterator[wire.Address]:
    """uvicorn, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        live.until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(20)


def test_answer_of_a_middleware_stays_whole(tmp_path: Path) -> None:
    """One that gave up waiting has begun to answer, while the upload is created: no 104 comes in the middle."""
    tus = TusASGI(nothing, tmp_file_dir=str(tmp_path), upload_path="/files", interim_responses=True)

    async def unheard(message: Any) -> None:
        """The middleware has answered."""

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 504, "headers": headers})
        await send({"type": "http.response.body", "body": b"la", "more_body": True})
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(tus(scope, receive, unheard), 0.5)
        await send({"type": "http.response.body", "body": b"te"})

    head = {"Host": "localhost", "Upload-Draft-Interop-Version": str(NEWEST), "Upload-Complete": "?1"}
    with serving(impatient) as address, wire.Wire(address) as client:
        client.send(wire.head("POST", "/files", {**head, "Content-Length": "10"}))
        answer = client.answer()

    assert (answer.status, answer.body) == (504, b"late")
    assert list(tmp_path.glob("*.info"))  # it was created
