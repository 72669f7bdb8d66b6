"""Thousands of conversations at a time: each is looked at now and then, holds no files meanwhile, and loses nothing."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest

from tests.asgi.playing import DATA, HALF, PATCH, Site, played
from tus.adapters import feeding
from tus.adapters.collecting import CROWD, FROZEN
from tus.adapters.crowded import AT_ONCE, HELD, LATEST, PASSED, WORTH, Conversations, turns

UPLOADS = 300


class Crowd(Conversations):
    """As if so many more were there, in a process that may open few files."""

    def __init__(self, pause: float) -> None:
        super().__init__(lambda: 8)
        self._pause = pause

    def pause(self, brought: int, took: float) -> float:
        return self._pause if brought < WORTH else 0.0


def crowd(count: int) -> Conversations:
    found = Conversations()
    for _ in range(count):
        found.enter()
    return found


def test_crowd_arrives_bit_by_bit_without_open_files(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds trickle at once; each has every byte, and while all of them wait none has a file open."""
    monkeypatch.setattr(feeding, "crowd", Crowd(0.02))
    contents = [os.urandom(8) * 10_000 for _ in range(UPLOADS)]

    async def play() -> int:
        paths = [await site.created(80_000) for _ in range(UPLOADS)]
        clients = [site.client("PATCH", path, {**PATCH, "content-length": "80000"}) for path in paths]
        tasks = [asyncio.ensure_future(client.run()) for client in clients]
        for start in range(0, 60_000, 20_000):
            for client, content in zip(clients, contents, strict=True):
                client.send(content[start : start + 20_000])
        for path in paths:
            await site.stored(path, 60_000)
        while (files := len([fd for fd in os.listdir("/proc/self/fd") if _leads(fd, site)])) > 8:
            await asyncio.sleep(0.01)
        for client, content in zip(clients, contents, strict=True):
            client.send(content[60_000:], more=False)
        assert {(await task).status for task in tasks} == {204}
        assert [site.file(path).read_bytes() for path in paths] == contents
        return files

    assert played(play()) <= 8


def _leads(fd: str, site: Site) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(f"{site.directory}/")
    except OSError:
        return False


def test_newer_request_ends_the_pause_of_an_older_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that comes back waits for no pause; this one would last longer than the test."""
    monkeypatch.setattr(feeding, "crowd", Crowd(600))

    async def play() -> None:
        path, _, task = await site.begun()

        head = await site.ask("HEAD", path)

        assert (head.headers["upload-offset"], (await task).status) == (str(HALF), 503)

    played(play())


def test_cancelled_request_in_a_pause_keeps_what_arrived(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server has handed out already, too."""
    monkeypatch.setattr(feeding, "crowd", Crowd(600))

    async def play() -> None:
        path, client, task = await site.begun()
        client.send(DATA[HALF : HALF + 77])
        while client.coming.qsize():
            await asyncio.sleep(0.002)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        assert await site.offset(path) == HALF + 77

    played(play())


def test_fast_body_is_not_held_up_by_a_crowd(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in large blocks is stored as it comes."""
    monkeypatch.setattr(feeding, "crowd", Crowd(600))
    data = os.urandom(8 * WORTH)

    async def play() -> None:
        path = await site.created(len(data))
        client = site.client("PATCH", path, {**PATCH, "content-length": str(len(data))})
        task = asyncio.ensure_future(client.run())
        for start in range(0, len(data), WORTH):
            client.send(data[start : start + WORTH])

        assert (await task).status == 204
        assert site.file(path).read_bytes() == data

    played(play())


@pytest.mark.parametrize("comes", [True, False], ids=["while they come", "afterwards"])
def test_new_connections_go_before_what_a_crowd_brought(comes: bool) -> None:
    """One of them may be somebody else's, behind thousands that a server accepts one by one."""
    count = 10 * PASSED

    async def play() -> int:
        loop, found = asyncio.get_running_loop(), turns()
        waiting = [found.turn(0) for _ in range(AT_ONCE * count)]
        for _ in range(count):
            ended = loop.create_future()
            loop.call_soon(ended.set_result, None)
            await ended
            if comes:
                waiting.append(found.turn(0))
        return sum(turn.done() for turn in waiting)

    had = played(play())

    if comes:
        assert had <= 3 * count // PASSED  # a round here is two turns of the loop
    else:
        assert had > count


class Block(bytes):
    """What a server hands out, counted while it lies in memory."""

    alive = 0

    def __new__(cls, data: bytes) -> Block:
        cls.alive += 1
        return super().__new__(cls, data)

    def __del__(self) -> None:
        type(self).alive -= 1


def test_stored_block_does_not_lie_in_memory_until_the_next_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand clients that would be half of all memory."""
    monkeypatch.setattr(feeding, "crowd", Crowd(600))

    async def play() -> None:
        path = await site.created()
        client = site.client("PATCH", path, {**PATCH, "content-length": str(len(DATA))})
        client.send(Block(DATA[:HALF]))
        task = asyncio.ensure_future(client.run())
        await site.stored(path, HALF)
        while Block.alive:  # what is played has an end
            await asyncio.sleep(0.002)
        client.leave()
        await site.ask("HEAD", path)
        await task

    played(play())


def test_collector_leaves_a_crowd_alone_until_it_is_gone() -> None:
    """It would look at all of it again and again, and stop the loop for half a second each time."""
    gc.unfreeze()
    found = crowd(CROWD + FROZEN)
    frozen = gc.get_freeze_count()

    for _ in range(FROZEN):
        found.leave(0)

    assert (frozen > 0, gc.get_freeze_count()) == (True, 0)


@pytest.mark.parametrize(
    ("count", "brought", "seconds"),
    [(1, 10, 0), (40, 10, 0), (4000, 10, 2), (10_000, 10, LATEST), (100_000, 10, LATEST), (100_000, WORTH, 0)],
)
def test_pause_grows_with_the_crowd(count: int, brought: int, seconds: float) -> None:
    """A few have none, and what is worth a step has none."""
    assert crowd(count).pause(brought, 60) == seconds


@pytest.mark.parametrize(
    ("brought", "took", "seconds"),
    [(WORTH // 2, 0.001, 0), (WORTH // 2, 0.1, 0.2), (4096, 1, LATEST), (WORTH - 1, 0.004, 0)],
)
def test_fast_body_does_not_pause_for_a_small_block(brought: int, took: float, seconds: float) -> None:
    """It is looked at again when there should be enough, however large the crowd."""
    assert crowd(10_000).pause(brought, took) == pytest.approx(seconds)


def test_pause_shrinks_where_much_is_held() -> None:
    """The memory for what waits has an end."""
    found = crowd(10_000)

    for _ in range(10_000):
        found.brought(0, WORTH // 2)

    assert found.pause(10, 60) == pytest.approx(LATEST * HELD / (10_000 * WORTH // 2))


def test_crowd_that_has_left_is_forgotten() -> None:
    """Also what it brought last."""
    found = crowd(10_000)
    found.brought(0, HELD * 2)

    for number in range(10_000):
        found.leave(HELD * 2 if number == 0 else 0)

    assert (found.pause(10, 60), found.lack_files) == (0, False)
