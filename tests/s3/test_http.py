"""Two servers that share nothing but a bucket and their leases: each takes any request of any upload."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kinds, live, real, wire
from tests.servers import CALM

pytestmark = [pytest.mark.engines, pytest.mark.slow]
MIB = 1 << 20
TUS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[live.Live, live.Live]]:
    """Two processes, as on two machines."""
    real.needed(real.USUAL)
    real.engine()
    both = [
        live.start("ours", home=tmp_path / "same", environ=kinds.environ("s3"), hand_over="file", **CALM)
        for _ in range(2)
    ]
    yield both[0], both[1]
    for server in both:
        server.close()


def test_upload_goes_on_at_another_machine(pair: tuple[live.Live, live.Live]) -> None:
    """Every other request goes elsewhere, and one of the servers is killed and comes back."""
    data = os.urandom(17 * MIB + 333)
    made = wire.ask(pair[0].address, "POST", "/upload", {**TUS, "Upload-Length": str(len(data)), "Content-Length": "0"})
    path = "/upload" + made["Location"].partition("/upload")[2]
    offset, steps = 0, iter((3 * MIB, 5 * MIB, MIB, 6 * MIB, len(data)))

    for turn, step in enumerate(steps):
        server = pair[turn % 2]
        if turn == 2:
            server.kill()
            server.start()
        told = wire.ask(server.address, "HEAD", path, TUS)
        assert int(told["Upload-Offset"]) == offset
        body = data[offset : offset + step]
        kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        size = {"Content-Length": str(len(body))}
        answer = wire.ask(server.address, "PATCH", path, {**TUS, **kind, **size}, body)
        assert answer.status < 300, server.output[-3000:]
        offset += len(body)

    assert offset == len(data)
    for server in pair:
        assert int(wire.ask(server.address, "HEAD", path, TUS)["Upload-Offset"]) == len(data)
    handed = [json.loads(path.read_text()) for path in (pair[0].home / "handed").glob("*.json")]
    assert [base64.b64decode(one["body"]) == data for one in handed if one["upload"]] == [True]  # by one of them
    store = kinds.STORES["s3"](pair[0].home / "uploads")
    assert [store.load(id).complete for id in store.ids()] == [True]
