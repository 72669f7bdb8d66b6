"""Workers of both kinds on one directory: a client that comes back to the other one waits for nobody."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client

SOON = 0.05  # seconds
SIZE = 1 << 20
ATTEMPTS = 5  # of which the best counts: the machine has other things to do

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """A worker of `tus.server` and one of uvicorn, each with a client."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install uvicorn)")
    home: Path = tmp_path_factory.mktemp("both")
    servers = [live.start(kind, home=home, durable="none") for kind in ("ours", "asgi")]
    yield {server.kind.name: Client(server, "") for server in servers}
    for server in servers:
        server.close()


@pytest.mark.parametrize("old, new", [("ours", "asgi"), ("asgi", "ours"), ("asgi", "asgi")])
def test_upload_is_taken_over_at_once(workers: dict[str, Client], old: str, new: str) -> None:
    """A HEAD at one worker hears at once how far the upload at the other one is, and that one is answered 503."""
    waited = [taken_over(workers[old], workers[new]) for _ in range(ATTEMPTS)]

    assert min(waited) < SOON


def test_stopped_server_keeps_what_arrived(tmp_path: Path) -> None:
    """uvicorn cancels a request that does not end in time; the upload goes on after the start."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install uvicorn)")
    with live.start("asgi", home=tmp_path, durable="none") as server:
        tus = Client(server, "")
        url = tus.create(SIZE)
        with tus.begin(url, 0, SIZE, bytes(SIZE // 2)):
            tus.arrived(url, SIZE // 2)
            server.stop()
        server.start()

        answer = tus.patch(url, tus.offset(url), bytes(SIZE // 2))

        assert (answer.status, answer["Upload-Offset"]) == (204, str(SIZE))


def taken_over(old: Client, new: Client) -> float:
    """Seconds that the client waited."""
    url = old.create(SIZE)
    file = old.home / "uploads" / old.id(url)
    with wire.Wire(old.server.address) as stalled:
        headers = {"Host": "x", "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": BYTES}
        first = wire.head("PATCH", old.path + "/" + old.id(url), {**headers, "Content-Length": str(SIZE)})
        stalled.send(first + os.urandom(SIZE // 2))
        live.until(lambda: file.stat().st_size == SIZE // 2)
        begun = time.monotonic()
        head = new.head(new.server.origin + new.path + "/" + old.id(url))
        waited = time.monotonic() - begun
        assert (head.status, head["Upload-Offset"]) == (200, str(SIZE // 2))
        assert stalled.answer().status == 503
    return waited
