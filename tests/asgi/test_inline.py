"""What the event loop does by itself, since it is quick; and what it never does."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.asgi.playing import DATA, PATCH, Site, played
from tests.slow_store import SlowStore
from tus import Hooks, TusASGI, Upload
from tus.adapters.watch import SHORTEST

SMALL = b"0123456789"
CREATED = {"upload_length": "20", "content_type": PATCH["content-type"]}
ROUNDS = 20  # of which one must do: a step that had to wait sends the next ones to threads


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """The threads that other tests have left are not looked at."""
    strangers.update(threads())
    yield
    strangers.clear()


strangers: set[threading.Thread] = set()


def threads() -> set[threading.Thread]:
    """Those for steps."""
    found = {thread for thread in threading.enumerate() if re.fullmatch(r"tus-\d+", thread.name)}
    return found - strangers


async def stopped(site: Site) -> None:
    """Every thread of its steps has ended; it goes on, and makes new ones where it needs them."""
    words = iter(("startup", "shutdown"))

    async def receive() -> dict[str, str]:
        return {"type": f"lifespan.{next(words)}"}

    async def send(message: dict[str, str]) -> None:
        pass

    old = threads()
    await site.app({"type": "lifespan"}, receive, send)
    for thread in old:
        await asyncio.to_thread(thread.join, 5)


async def took_threads(site: Site, act: Callable[[], Any]) -> bool:
    """Whether it takes a thread, also when it was quick just before."""
    await act()
    await stopped(site)
    before = threads()
    await act()
    return bool(threads() - before)


async def can_do_without(site: Site, act: Callable[[], Any]) -> bool:
    """Whether there is a time when it takes no thread."""
    for _ in range(ROUNDS):
        if not await took_threads(site, act):
            return True
        await asyncio.sleep(SHORTEST)
    return False


async def cannot_do_without(site: Site, act: Callable[[], Any]) -> bool:
    """Whether it takes one each time."""
    return all([await took_threads(site, act) for _ in range(3)])


async def created_with_a_body(site: Site) -> str:
    return (await site.ask("POST", body=SMALL, **CREATED)).headers["location"]


@pytest.mark.parametrize("kind", ["HEAD", "POST", "PATCH"])
def test_small_request_takes_no_thread(site: Site, kind: str) -> None:
    """A HEAD, a creation with a body, and a PATCH of some bytes, in a directory that answers quickly."""

    async def play() -> bool:
        path = await created_with_a_body(site)

        async def patch() -> None:
            await site.ask("PATCH", await created_with_a_body(site), body=SMALL, **{**PATCH, "upload-offset": "10"})

        acts = {"HEAD": lambda: site.ask("HEAD", path), "POST": lambda: created_with_a_body(site), "PATCH": patch}
        return await can_do_without(site, acts[kind])

    assert played(play())


def test_last_byte_is_synced_in_a_thread(tmp_path: Path) -> None:
    """With `durable`, which waits for the disk; the HEAD of the same upload needs none."""
    site = Site(tmp_path / "uploads", durable="finish")

    async def play() -> None:
        async def whole() -> None:
            await site.ask("POST", body=SMALL, **{**CREATED, "upload_length": "10"})

        assert await cannot_do_without(site, whole)

    played(play())


def test_parts_are_joined_in_a_thread(site: Site) -> None:
    """However small they are; an empty upload, and a removal, are not the loop's either."""

    async def play() -> None:
        part = await site.ask("POST", body=SMALL, **{**CREATED, "upload_length": "10", "upload_concat": "partial"})

        async def join() -> None:
            concat = "final;" + part.headers["location"]
            name = f"n{os.urandom(4).hex()}"  # or it is the same upload again
            assert (await site.ask("POST", upload_concat=concat, upload_metadata=name)).status == 201

        async def remove() -> None:
            await site.ask("DELETE", await created_with_a_body(site))

        assert await cannot_do_without(site, join)
        assert await cannot_do_without(site, lambda: site.ask("POST", upload_length="0"))
        assert await cannot_do_without(site, remove)

    played(play())


@pytest.mark.parametrize("hook", ["user", "authorise", "before_create", "created", "before_finish", "finished"])
def test_hook_never_runs_in_the_loop(tmp_path: Path, hook: str) -> None:
    """A plain function may wait for what it likes."""
    seen: list[int] = []

    def called(*args: Any) -> Any:
        seen.append(threading.get_ident())
        return None

    hooks = type("Some", (Hooks,), {hook: staticmethod(called)})()
    site = Site(tmp_path / "uploads", hooks=hooks)

    async def play() -> None:
        for _ in range(3):
            answer = await site.ask("POST", body=SMALL, **{**CREATED, "upload_length": "10"})
            await site.ask("HEAD", answer.headers["location"])

    played(play())

    assert len(seen) >= 3
    assert threading.get_ident() not in seen


def test_store_of_another_kind_is_never_called_in_the_loop(tmp_path: Path) -> None:
    """Only one that says so is quick."""
    seen: list[int] = []

    class Known(SlowStore):
        def load(self, id: str, *, durable: bool = False) -> Upload:
            seen.append(threading.get_ident())
            return super().load(id, durable=durable)

    app = TusASGI(store=Known(tmp_path, late=0), locker="memory:", upload_path="/upload", durable="none")

    async def play() -> None:
        site = Site(tmp_path / "unused")
        site.app = app
        path = await created_with_a_body(site)
        for _ in range(3):
            await site.ask("HEAD", path)

    played(play())

    assert len(seen) >= 3
    assert threading.get_ident() not in seen


def test_loop_does_not_wait_for_a_lock(site: Site) -> None:
    """Somebody else has the upload for a moment; the loop goes on meanwhile."""

    async def play() -> None:
        path = await created_with_a_body(site)
        await site.ask("HEAD", path)
        with held(site.file(path)) as file:
            task = asyncio.ensure_future(site.ask("PATCH", path, body=SMALL, **{**PATCH, "upload-offset": "10"}))
            for _ in range(5):
                await asyncio.sleep(0.002)
            assert not task.done()
            fcntl.flock(file, fcntl.LOCK_UN)

        assert (await task).status == 204

    played(play())


def held(path: Path) -> BinaryIO:
    """The file, locked as a request of another process locks it."""
    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_small_upload_in_the_loop_is_like_any_other(site: Site) -> None:
    """What it stores is there, byte by byte, whichever thread stored it."""

    async def play() -> None:
        path = await site.created(len(DATA))
        for at in range(0, len(DATA), 10_000):
            answer = await site.ask("PATCH", path, body=DATA[at : at + 10_000], **{**PATCH, "upload-offset": str(at)})
            assert (answer.status, answer.headers["upload-offset"]) == (204, str(at + 10_000))

        assert site.file(path).read_bytes() == DATA
        assert (await site.ask("PATCH", path, body=b"x", **{**PATCH, "upload-offset": "7"})).status == 409

    played(play())
