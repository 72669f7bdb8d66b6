"""The threads that do what blocks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from tests.asgi.playing import played
from tests.live import until
from tus.adapters import steps
from tus.adapters.steps import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads("tested", 3)
    yield made
    for thread in made.close():
        thread.join(5)


def named() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tested")]


def test_results_and_errors_come_back(threads: Threads) -> None:
    """Also an error that a future would not take."""

    def stops() -> None:
        raise StopIteration

    async def play() -> None:
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 7, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(stops)

    played(play())


def test_no_more_threads_than_allowed_and_no_fewer_than_needed(threads: Threads) -> None:
    """Three work at once; the fourth waits for one of them."""
    barrier = threading.Barrier(3)

    async def play() -> None:
        await asyncio.gather(*(threads.run(barrier.wait, 5) for _ in range(6)))

    played(play())

    assert len(named()) == 3


def test_threads_without_work_end_but_for_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds who asked at once leave no threads behind; later steps make new ones."""
    monkeypatch.setattr(steps, "IDLE", 0.05)
    threads, barrier = Threads("tested", 20), threading.Barrier(20)

    async def play() -> None:
        await asyncio.gather(*(threads.run(barrier.wait, 20) for _ in range(20)))

    for _ in range(2):
        played(play())
        most = len(named())
        until(lambda: len(named()) == steps.KEPT, within=20)
        assert most > steps.KEPT

    for thread in threads.close():
        thread.join(5)
    assert not named()


def test_step_of_a_cancelled_request_comes_to_its_end(threads: Threads) -> None:
    """However often it is cancelled; the request ends after it."""
    begun, free, done = threading.Event(), threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        free.wait(5)
        done.set()

    async def play() -> bool:
        task = asyncio.ensure_future(threads.run(act))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return done.is_set()

    assert played(play())


def test_closed_threads_end_and_new_ones_are_made(threads: Threads) -> None:
    """A request that comes while the server stops is answered, too."""

    async def play() -> int:
        await threads.run(time.monotonic)
        for thread in threads.close():
            thread.join(5)
        assert named() == []
        return int(await threads.run(int, "7"))

    assert played(play()) == 7
