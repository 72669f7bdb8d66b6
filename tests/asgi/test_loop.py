"""The event loop has time for everybody while uploads are stored on something slow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import live, wire
from tests.conformance.client import Client

UPLOADS = 8
SIZE = 32 << 20
SOON = 0.02  # seconds
SECONDS = 4.0  # in which small requests come
BLOCK = os.urandom(1 << 20)
SMALL = b"0123456789" * 100
ATTEMPTS = 5  # of which the best counts: the machine has other things to do

WATCHED = live.Kind(
    "watched", live.coroutines("uvicorn", **live.UVICORN, application="tests.asgi.watched:application"), ("uvicorn",)
)


@contextmanager
def watched(home: Path, **environ: str) -> Iterator[Client]:
    if not os.path.exists("/proc/thread-self/schedstat"):
        pytest.skip("this kernel does not say how long a thread waits for a processor")
    server = live.Live(WATCHED, home, live.free_port(), {}, temporary=False, environ=environ)
    with server:
        server.start()
        yield Client(server, "")


def delays(tus: Client) -> tuple[float, float]:
    """That of 99 of 100 looks since the last call, in the loop and in a thread of its process."""
    answer = wire.ask(tus.server.address, "GET", "/delays", {"Host": "x", "Connection": "close"})
    loop, thread = (sorted(seen) or [0.0] for seen in json.loads(answer.body).values())
    return loop[len(loop) * 99 // 100], thread[len(thread) * 99 // 100]


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


def trifles(tus: Client, until: float) -> None:
    """One small request after the other, of every kind that the loop may take by itself."""
    while time.monotonic() < until:
        url = tus.create(2 * len(SMALL))
        assert tus.patch(url, 0, SMALL).status == 204
        assert tus.offset(url) == len(SMALL)


def eight(tus: Client, pool: ThreadPoolExecutor) -> None:
    for done in [pool.submit(upload, tus) for _ in range(UPLOADS)]:
        done.result()


def large_and_small(tus: Client, pool: ThreadPoolExecutor) -> None:
    until = time.monotonic() + SECONDS
    small = [pool.submit(trifles, tus, until) for _ in range(4)]
    eight(tus, pool)
    for done in small:
        done.result()


def best(tus: Client, act: Callable[[ThreadPoolExecutor], None]) -> float:
    """How much longer the loop waits than a thread of its process, while that is done: for what it does itself, and not
    for a machine that is busy."""
    found = []
    for _ in range(ATTEMPTS):
        delays(tus)
        with ThreadPoolExecutor(2 * UPLOADS) as pool:
            act(pool)
        loop, thread = delays(tus)
        found.append(loop - thread)
        if found[-1] < SOON:
            break
    print(f"p99 of the delay, beyond that of a thread: {[round(delay * 1000, 1) for delay in found]} ms")
    return min(found)


@pytest.mark.slow
def test_loop_is_free_beside_uploads_to_a_slow_store(tmp_path: Path) -> None:
    """Eight uploads at once, and each call of the store takes 50 ms: 99 of 100 looks of the loop come in 20 ms."""
    with watched(tmp_path) as tus:
        delay = best(tus, lambda pool: eight(tus, pool))

    assert delay < SOON


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 20])
def test_loop_is_free_beside_small_requests_to_a_slow_disk(tmp_path: Path, every: int) -> None:
    """They are the loop's own where the disk is quick; where each call takes 50 ms, or one of twenty, the loop waits
    for some of them at most, and eight uploads run beside them."""
    with watched(tmp_path, LATE_EVERY=str(every)) as tus:
        delay = best(tus, lambda pool: large_and_small(tus, pool))

    assert delay < SOON


@pytest.fixture
def slow_disk(tmp_path: Path) -> str:
    """What makes each write to a file, and each sync, wait in the system itself."""
    compiler, library = shutil.which("cc"), tmp_path / "slow_disk.so"
    if not compiler:
        pytest.skip("there is no C compiler (apt-get install gcc)")
    source = Path(__file__).with_name("slow_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    return str(library)


@pytest.mark.slow
def test_loop_is_free_while_the_system_waits_for_a_disk(tmp_path: Path, slow_disk: str) -> None:
    """Each write takes 50 ms in the kernel, and each sync, of eight uploads and of small requests beside them."""
    with watched(tmp_path, LATE_EVERY=str(1 << 40), LATE_DURABLE="finish", LD_PRELOAD=slow_disk) as tus:
        delay = best(tus, lambda pool: large_and_small(tus, pool))

    assert delay < SOON
