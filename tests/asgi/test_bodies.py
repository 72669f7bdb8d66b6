"""How a body reaches the store under ASGI: as it comes, never lost, and never waited for by a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.asgi.playing import DATA, HALF, PATCH, Client, Site, played


def test_upload_arrives(site: Site) -> None:
    """Two blocks, an answer, and the offset."""

    async def play() -> None:
        path, client, task = await site.begun()
        client.send(DATA[HALF:], more=False)

        answer = await task

        assert (answer.status, await site.offset(path)) == (204, len(DATA))
        assert site.file(path).read_bytes() == DATA

    played(play())


def test_many_small_messages_arrive_in_order(site: Site) -> None:
    """What the server hands out while a block is stored is the next block."""

    async def play() -> None:
        path = await site.created()
        client = site.client("PATCH", path, {**PATCH, "content-length": str(len(DATA))})
        task = asyncio.ensure_future(client.run())
        for at in range(0, len(DATA), 700):
            client.send(DATA[at : at + 700], more=at + 700 < len(DATA))
            await asyncio.sleep(0)

        await task

        assert site.file(path).read_bytes() == DATA

    played(play())


def test_body_without_a_length_arrives(site: Site) -> None:
    """Its end is the last message."""

    async def play() -> None:
        path = await site.created()
        client = site.client("PATCH", path, {**PATCH, "transfer-encoding": "chunked"})
        client.send(DATA[:HALF])
        client.send(DATA[HALF:])
        client.send(b"", more=False)

        answer = await client.run()

        assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(DATA)))

    played(play())


def test_request_of_http2_without_a_word_about_a_body_is_answered(site: Site) -> None:
    """Neither a length nor a coding: its first message says that there is nothing."""

    async def play() -> None:
        path = await site.created()
        head = site.client("HEAD", path, {}, http_version="2")
        head.send(b"", more=False)

        answer = await head.run()

        assert (answer.status, answer.headers["upload-offset"]) == (200, "0")

    played(play())


def test_what_is_there_is_stored_before_more_is_waited_for(site: Site) -> None:
    """A thousand bytes of a slow client are in the file, though a block is far larger."""

    async def play() -> None:
        path = await site.created()
        client = site.client("PATCH", path, {**PATCH, "content-length": str(len(DATA))})
        client.send(DATA[:1000])
        task = asyncio.ensure_future(client.run())

        await site.stored(path, 1000)

        client.leave()
        await task

    played(play())


def test_one_message_is_asked_for_at_a_time(site: Site) -> None:
    """A fast client is slowed down by the disk: at most one message is ahead of what is stored."""

    async def play() -> None:
        asked = 0
        ahead: list[int] = []

        def count() -> None:
            nonlocal asked
            ahead.append(asked * 1000 - site.file(path).stat().st_size)
            asked += 1

        size = 300 * 1000  # more than is gathered for one step
        path = await site.created(size)
        client = site.client("PATCH", path, {**PATCH, "content-length": str(size)})
        client.on_receive = count
        for at in range(0, size, 1000):
            client.send(bytes(1000), more=at + 1000 < size)

        await client.run()

        assert client.most == 1
        assert max(ahead) <= (1 << 18) + 2000

    played(play())


def test_nothing_is_asked_for_before_the_body_is_wanted(site: Site) -> None:
    """A large body that is refused is not looked at: the server need not even send 100 Continue."""

    async def play() -> None:
        path = await site.created()
        client = site.client(
            "PATCH", path, {**PATCH, "upload-offset": "7", "content-length": str(len(DATA)), "expect": "100-continue"}
        )

        answer = await client.run()

        assert (answer.status, client.most) == (409, 0)

    played(play())


def test_client_that_leaves_finds_what_it_sent(site: Site) -> None:
    """A disconnect in the middle of a body is a cut: the upload goes on from there."""

    async def play() -> None:
        path, client, task = await site.begun()
        client.send(DATA[HALF : HALF + 77])
        client.leave()

        await task

        assert await site.offset(path) == HALF + 77
        assert not site.engine.locker.writing(path.rpartition("/")[2])

    played(play())


def test_cancelled_request_keeps_what_arrived(site: Site) -> None:
    """Also what the server has just handed out. No lease stays."""

    async def play() -> None:
        path, client, task = await site.begun()
        client.send(DATA[HALF : HALF + 77])
        await asyncio.sleep(0)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        assert not site.engine.locker.writing(path.rpartition("/")[2])
        assert await site.offset(path) in (HALF, HALF + 77)
        assert await site.offset(path) + client.coming.qsize() * 77 == HALF + 77

    played(play())


def test_shutdown_keeps_what_arrived_and_ends_the_request(site: Site) -> None:
    """The server says in `lifespan` that it stops: requests end, and then it hears that we are done."""

    async def play() -> None:
        path, _, task = await site.begun()
        said: list[str] = []
        words = iter(("startup", "shutdown"))

        async def receive() -> dict[str, str]:
            return {"type": f"lifespan.{next(words)}"}

        async def send(message: dict[str, str]) -> None:
            said.append(message["type"] + (" after the request" if task.done() else ""))

        await site.app({"type": "lifespan"}, receive, send)

        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete after the request"]
        assert (await task).status == 503
        assert await site.offset(path) == HALF

    played(play())


def test_newer_request_ends_the_wait_for_the_older_ones_body(site: Site) -> None:
    """A client that comes back hears its offset at once, and the request that waited is answered."""

    async def play() -> None:
        path, _, task = await site.begun()

        head = await site.ask("HEAD", path)
        older = await task

        assert (head.status, head.headers["upload-offset"]) == (200, str(HALF))
        assert older.status == 503

    played(play())


def test_waiting_bodies_have_no_threads(site: Site) -> None:
    """A hundred clients that say nothing more, and only the threads of the few steps that were taken."""

    async def play() -> None:
        before = threading.active_count()
        waiting = [await site.begun() for _ in range(100)]

        assert threading.active_count() - before <= 45

        for _, client, _ in waiting:
            client.leave()
        await asyncio.gather(*(task for _, _, task in waiting))

    played(play())


def test_download_stops_when_the_client_leaves(site: Site) -> None:
    """The rest of the file is not read for nobody."""

    async def play() -> None:
        path = await site.created(len(DATA) * 40)
        await site.ask("PATCH", path, body=DATA * 40, **PATCH)
        client = site.client("GET", path, {})
        client.send(b"", more=False)
        told, seen = client.told, []

        async def slow(message: dict[str, object]) -> None:
            seen.append(message)
            if len(seen) == 2:
                client.leave()
                await asyncio.sleep(0.01)
            await told(message)

        client.told = slow  # type: ignore[method-assign]
        await client.run()

        assert len(client.body) < len(DATA) * 40

    played(play())


def test_upload_below_a_mount_has_its_location_there(tmp_path) -> None:
    """`root_path` is part of every URL; whether the server repeats it in the path or not."""
    site = Site(tmp_path / "uploads", path="")

    async def play(path: str) -> str:
        client = site.client("POST", path, {"upload-length": "5"}, root_path="/files")
        return (await client.run()).headers["location"]

    assert played(play("/files/")).startswith("/files/")
    assert played(play("/")).startswith("/files/")


def test_header_with_an_underscore_is_nobody_elses(site: Site) -> None:
    """A client cannot say in `x_forwarded_host` what it may not say in `X-Forwarded-Host`."""

    async def play() -> Client:
        return await site.client("POST", "/upload", {"upload_length": "5"}).run()

    assert played(play()).status == 400
