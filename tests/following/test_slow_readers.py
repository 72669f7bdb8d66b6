"""Readers of an upload that still arrives, who take nothing of what they asked for."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import wire
from tests.server.test_slow_readers import Process, drained

READERS = 60  # for four threads
CONTENT = os.urandom(12 << 20)  # bytes; more than lies between two sockets
HALF = len(CONTENT) // 2
TUS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0", "Connection": "close"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    running = Process(str(tmp_path / "up"), "--download", "live", "--durable", "none")
    yield running
    running.close()


def patch(server: Process, path: str, offset: int, data: bytes) -> wire.Answer:
    kind = {"Content-Type": "application/offset+octet-stream", "Content-Length": str(len(data))}
    return wire.ask(server.address, "PATCH", path, TUS | kind | {"Upload-Offset": str(offset)}, data)


@pytest.mark.slow
def test_slow_live_readers_hold_no_thread(server: Process) -> None:
    """Fifteen for each thread are stuck, and the writer, a HEAD and another reader are served as if nobody was."""
    created = wire.ask(server.address, "POST", "/files/", TUS | {"Upload-Length": str(len(CONTENT))})
    path = urlsplit(created["Location"]).path
    patch(server, path, 0, CONTENT[:HALF])
    before = server.threads

    stuck = [server.reader(path) for _ in range(READERS)]
    for reader in stuck:
        assert select.select([reader], [], [], 60)[0]  # its answer has begun
    head = wire.ask(server.address, "HEAD", path, TUS)
    during = server.threads
    rest = patch(server, path, HALF, CONTENT[HALF:])
    other = wire.ask(server.address, "GET", path, {"Host": "127.0.0.1", "Connection": "close"})
    late = drained(stuck[-1])
    for reader in stuck:
        reader.close()

    assert (head.status, head["Upload-Offset"], rest.status, other.status) == (200, str(HALF), 204, 200)
    assert during < before + READERS // 4
    assert other.body == CONTENT
    assert late == CONTENT
