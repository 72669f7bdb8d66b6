"""The event loop has time for everybody while uploads are stored on something slow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests import live, wire
from tests.conformance.client import Client

UPLOADS = 8
SIZE = 32 << 20
SOON = 0.02  # seconds
BLOCK = os.urandom(1 << 20)
ATTEMPTS = 5  # of which the best counts: the machine has other things to do

WATCHED = live.Kind(
    "watched", live.coroutines("uvicorn", **live.UVICORN, application="tests.asgi.watched:application"), ("uvicorn",)
)


@pytest.fixture
def tus(tmp_path: Path) -> Iterator[Client]:
    if not os.path.exists("/proc/thread-self/schedstat"):
        pytest.skip("this kernel does not say how long a thread waits for a processor")
    server = live.Live(WATCHED, tmp_path, live.free_port(), {}, temporary=False, environ={})
    with server:
        server.start()
        yield Client(server, "")


def delays(tus: Client) -> list[float]:
    answer = wire.ask(tus.server.address, "GET", "/delays", {"Host": "x", "Connection": "close"})
    return sorted(json.loads(answer.body))


def upload(tus: Client) -> None:
    """To the end, though every third part fails once, and may fail for all attempts."""
    url, offset = tus.create(SIZE), 0
    while offset < SIZE:
        with tus.begin(url, offset, SIZE - offset, b"") as connection:
            connection.socket.settimeout(120)
            with suppress(OSError, wire.Broken):
                for start in range(offset, SIZE, len(BLOCK)):
                    connection.send(BLOCK[: SIZE - start])
                connection.answer()
        offset = tus.offset(url)


@pytest.mark.slow
def test_loop_is_free_beside_uploads_to_a_slow_store(tus: Client) -> None:
    """Eight uploads at once, and each call of the store takes 50 ms: 99 of 100 looks of the loop come in 20 ms."""
    found = []

    for _ in range(ATTEMPTS):
        delays(tus)
        with ThreadPoolExecutor(UPLOADS) as pool:
            list(pool.map(lambda _: upload(tus), range(UPLOADS)))
        seen = delays(tus)
        found.append(seen[len(seen) * 99 // 100])
        if found[-1] < SOON:
            break

    print(f"p99 of the delay: {[round(delay * 1000, 1) for delay in found]} ms")
    assert min(found) < SOON
