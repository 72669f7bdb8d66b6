"""A server receives into the memory that a part is sent from: nothing is copied, and nothing is lost by it."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kinds, live, real, wire
from tests.s3.conftest import MIB
from tests.servers import CALM
from tus import TusFilter
from tus.server import create_server
from tus.stores.s3.draft import S3Draft

pytestmark = [pytest.mark.engines, pytest.mark.slow]
TUS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"}
SIZE = 17 * MIB + 333


def created(address: wire.Address, size: int) -> str:
    """The path of a new upload."""
    made = wire.ask(address, "POST", "/upload", {**TUS, "Upload-Length": str(size), "Content-Length": "0"})
    return "/upload" + made["Location"].partition("/upload")[2]


def patch(offset: int, size: int) -> dict[str, str]:
    """The headers of a request that goes on there."""
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return {**TUS, **kind, "Content-Length": str(size)}


@pytest.fixture(params=["ours", "gunicorn-gthread"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[live.Live]:
    """Those that can receive where they are told."""
    real.needed(real.USUAL)
    real.engine()
    if not live.available(request.param):
        pytest.skip(f"{request.param} is not installed")
    with live.start(request.param, home=tmp_path, environ=kinds.environ("s3"), hand_over="file", **CALM) as found:
        yield found


def test_request_that_is_cut_keeps_what_it_brought(server: live.Live) -> None:
    """In the middle of a part; and the next one goes on there, with the right file in the end."""
    data, sent = os.urandom(SIZE), 7 * MIB + 3
    path = created(server.address, len(data))

    with wire.Wire(server.address) as connection:
        connection.send(wire.head("PATCH", path, patch(0, len(data))) + data[:sent])
        connection.half_close()
        connection.answer()
    offset = int(wire.ask(server.address, "HEAD", path, TUS)["Upload-Offset"])
    wire.ask(server.address, "PATCH", path, patch(offset, len(data) - offset), data[offset:])

    handed = [json.loads(path.read_text()) for path in (server.home / "handed").glob("*.json")]
    assert [base64.b64decode(one["body"]) == data for one in handed if one["upload"]] == [True]
    assert offset == sent


def test_our_server_copies_next_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes first tells that the client is fast; the rest comes straight into the parts."""
    real.needed(real.USUAL)
    real.engine()
    copied: list[int] = []
    add = S3Draft.write
    monkeypatch.setattr(S3Draft, "write", lambda draft, block: (copied.append(len(block)), add(draft, block))[1])
    store, data = kinds.STORES["s3"](tmp_path), os.urandom(SIZE)
    app = TusFilter(None, store=store, locker="memory:", hand_over="none", sweep_interval="none")
    server = create_server(app, listen="127.0.0.1:0")
    thread = threading.Thread(target=server.run)
    thread.start()

    try:
        address = "127.0.0.1", server.effective_port
        path = created(address, len(data))
        answer = wire.ask(address, "PATCH", path, patch(0, len(data)), data)
    finally:
        server.stop()
        thread.join(20)

    assert answer.status == 204
    with store.open(path.rpartition("/")[2]) as file:
        assert file.read() == data
    assert sum(copied) < SIZE // 4
