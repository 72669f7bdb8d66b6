"""How many bodies may arrive at once under ASGI, and how slowly: those who send slowly lock nobody out, and who is
refused loses nothing."""

from __future__ import annotations

import asyncio
import logging
import select
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.asgi.playing import DATA, HALF, PATCH, Client, Site, played
from tests.conformance.client import Client as Tus
from tests.servers import slowly
from tus import OptionError, events
from tus.adapters import feeding
from tus.cli.serve import _limits
from tus.errors import Crowded
from tus.http.address import Facts
from tus.http.senders import Bodies, connections, room, sender, share_of
from tus.options import Options

AGAIN = str(Crowded.retry_after)
SIZE = 200_000
SERVERS = ["asgi-uvloop", *map(slowly, ("asgi", "asgi-hypercorn", "asgi-granian", "asgi-relay"))]
PHONE, OTHER = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}


@pytest.fixture(autouse=True)
def bodies(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """None of other tests."""
    monkeypatch.setattr(feeding, "bodies", Bodies(events.log))
    return feeding.bodies


def served(kind: str, home: Path, **options: Any) -> Tus:
    """A client of a real server with these limits."""
    if not live.available(kind):
        pytest.skip(f"{kind} needs {' and '.join(live.KINDS[kind].needs)} (pip install -e .[test])")
    return Tus(live.start(kind, home=home, durable="none", sweep_interval="none", **options), "")


# On real servers


@pytest.mark.parametrize("kind", SERVERS)
def test_upload_beyond_the_limit_is_told_when_to_come_back(kind: str, tmp_path: Path) -> None:
    """The others go on; it has lost nothing, finds room later, and the log names the option."""
    tus = served(kind, tmp_path, uploads_limit=2)
    with tus.server, ExitStack() as stack:
        urls = [tus.create(SIZE) for _ in range(2)]
        begun = [stack.enter_context(tus.begin(url, 0, SIZE, b"x" * (SIZE // 2))) for url in urls]
        for url in urls:
            tus.arrived(url, SIZE // 2)
        late = tus.create(SIZE)
        refused = stack.enter_context(tus.begin(late, 0, SIZE, b"x" * (SIZE // 2)))

        refusal, offset = refused.answer(), tus.offset(late)
        small = tus.uploaded(b"hello")
        for connection in begun:
            connection.send(b"x" * (SIZE // 2))
        others = [connection.answer().status for connection in begun]
        again = tus.patch(late, 0, b"x" * SIZE).status

        assert (refusal.status, refusal["Retry-After"], offset) == (503, AGAIN, 0)
        assert tus.offset(small) == 5
        assert (others, again, tus.offset(late)) == ([204, 204], 204, SIZE)
        assert "uploads_limit is 2" in tus.server.output


@pytest.mark.parametrize("kind", SERVERS)
def test_phone_behind_a_proxy_counts_by_its_own_address(kind: str, tmp_path: Path) -> None:
    """One address leaves room for others; what a client itself writes into the header moves nobody."""
    tus = served(kind, tmp_path, uploads_per_address=1, trusted_proxies="127.0.0.1")
    with tus.server, ExitStack() as stack:
        first, second, third = (tus.create(SIZE) for _ in range(3))
        stack.enter_context(tus.begin(first, 0, SIZE, b"x", PHONE))
        tus.arrived(first, 1)

        forged = {"X-Forwarded-For": "198.51.100.7, 192.0.2.1"}
        refusal = stack.enter_context(tus.begin(second, 0, SIZE, b"x", forged)).answer()
        other = stack.enter_context(tus.begin(third, 0, SIZE, b"x" * SIZE, OTHER)).answer()

        assert (refusal.status, refusal["Retry-After"], other.status) == (503, AGAIN, 204)
        assert "192.0.2.1 is refused: uploads_per_address is 1" in tus.server.output


@pytest.mark.parametrize("kind", SERVERS)
def test_body_that_is_too_slow_ends_with_what_arrived(kind: str, tmp_path: Path) -> None:
    """Its client is answered, goes on where it was, and the log says why; one that is fast enough is left alone."""
    tus = served(kind, tmp_path, body_timeout=1, body_min_rate=20_000)
    with tus.server:
        url = tus.create(SIZE)
        with tus.begin(url, 0, SIZE, b"") as slow:
            sent = _trickled(slow, 1000)
            answer = slow.answer()

        offset = tus.offset(url)
        rest = tus.patch(url, offset, b"x" * (SIZE - offset)).status

        assert (answer.status, rest) == (503, 204)
        assert 0 < offset <= sent < SIZE


@pytest.mark.parametrize("kind", SERVERS)
def test_silent_body_ends_with_what_arrived(kind: str, tmp_path: Path) -> None:
    """It gives its place back."""
    tus = served(kind, tmp_path, body_timeout=0.5, uploads_limit=1)
    with tus.server:
        url = tus.create(SIZE)
        with tus.begin(url, 0, SIZE, b"x" * 1000) as silent:
            answer = silent.answer()

        rest = tus.patch(url, tus.offset(url), b"x" * (SIZE - 1000)).status

        assert (answer.status, rest) == (503, 204)


def _trickled(connection: Any, size: int) -> int:
    """Send so much at a time, until the server has had enough; how much that was."""
    sent = 0
    while sent < SIZE // 2 and not select.select([connection.socket], [], [], 0.1)[0]:
        connection.send(b"x" * size)
        sent += size
    return sent


# By themselves


def test_what_arrives_at_once_needs_no_place(site: Site) -> None:
    """A HEAD and a small body are answered where no other body may come."""
    site.app.options.uploads_limit = 1

    async def play() -> None:
        path, *_ = await site.begun()

        small = await site.whole(b"hello")

        assert (small.status, await site.offset(path)) == (204, HALF)

    played(play())


def test_small_body_that_takes_its_time_needs_a_place(site: Site, caplog: Any) -> None:
    """A client that announces five bytes and sends four is a slow one, too."""
    site.app.options.uploads_limit = 1

    async def play() -> None:
        path = await site.created(5)
        await site.begun()
        client = site.client("PATCH", path, {**PATCH, "content-length": "5"})

        with caplog.at_level(logging.INFO, "tus"):
            await client.run()

        assert (client.status, client.headers["retry-after"]) == (503, AGAIN)
        assert "An upload from this machine is refused: uploads_limit is 1" in caplog.text

    played(play())


@pytest.mark.parametrize("how", ["leave", "cancel", "finish"])
def test_body_that_is_over_leaves_its_place(site: Site, bodies: Bodies, how: str) -> None:
    """However it ends, the next one finds room."""
    site.app.options.uploads_limit = 1

    async def play() -> list[int]:
        counts = []
        for _ in range(3):
            _, client, task = await site.begun()
            counts.append(bodies.count)
            if how == "cancel":
                task.cancel()
            else:
                client.leave() if how == "leave" else client.send(DATA[HALF:], more=False)
            await asyncio.wait({task})
            counts.append(bodies.count)
        return counts

    assert played(play()) == [1, 0] * 3


@pytest.mark.parametrize("http", ["1.1", "2"])
def test_browser_of_another_origin_may_read_the_refusal(site: Site, http: str) -> None:
    """The answer is one of ours, with its version, and what a page needs to see it."""
    site.app.options.uploads_limit = 1

    async def play() -> Client:
        await site.begun()
        path = await site.created()
        headers = {**PATCH, "content-length": str(len(DATA)), "origin": "https://a.example"}
        return await site.client("PATCH", path, headers, http_version=http).run()

    answer = played(play())

    assert (answer.status, answer.headers["tus-resumable"]) == (503, "1.0.0")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_silence_of_a_body_that_never_came_ends_it(site: Site) -> None:
    """Its client had announced one."""
    site.app.options.body_timeout = 0.2

    async def play() -> int:
        path = await site.created()
        return (await site.client("PATCH", path, {**PATCH, "content-length": str(len(DATA))}).run()).status

    assert played(play()) == 503


@pytest.mark.parametrize(
    ("trusted", "headers", "address"),
    [
        ("", {"x-forwarded-for": "192.0.2.1"}, "127.0.0.1"),
        ("10.0.0.0/8", {"x-forwarded-for": "192.0.2.1"}, "127.0.0.1"),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}, "192.0.2.1"),
        ("127.0.0.1", {"x-forwarded-for": "6.6.6.6, 192.0.2.1"}, "192.0.2.1"),
        ("127.0.0.1 10.0.0.0/8", {"x-forwarded-for": "6.6.6.6, 192.0.2.1, 10.0.0.9"}, "192.0.2.1"),
        ("127.0.0.1 10.0.0.0/8", {"x-forwarded-for": "10.0.0.7, 10.0.0.9"}, "10.0.0.7"),
        ("*", {"x-forwarded-for": "6.6.6.6, 192.0.2.1"}, "192.0.2.1"),
        ("127.0.0.1", {"forwarded": 'for="[2001:db8::1]:80";proto=https'}, "2001:db8::1"),
        ("127.0.0.1", {"forwarded": "for=6.6.6.6, for=192.0.2.1:4711"}, "192.0.2.1"),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1", "x-forwarded-for": "6.6.6.6"}, "192.0.2.1"),
        ("127.0.0.1 unix", {"x-forwarded-for": "unknown"}, "unknown"),
        ("127.0.0.1", {"x-forwarded-for": " , "}, ""),
        ("127.0.0.1", {}, ""),
    ],
)
def test_sender_is_the_nearest_address_that_is_no_proxy(trusted: str, headers: Any, address: str) -> None:
    """What stands before that may be the client's invention."""
    assert sender(tuple(trusted.split()), Facts("/upload", headers, peer="127.0.0.1")) == address


def test_limits_follow_from_the_files_that_may_be_open() -> None:
    """A fifth of the connections is for those who only ask, and one address does not fill the rest."""
    most = room(connections(1024))

    assert (connections(1024), most, share_of(most)) == (896, 716, 179)


@pytest.mark.parametrize(
    ("name", "value"),
    [("uploads_limit", "0"), ("uploads_per_address", "-1"), ("uploads_limit", "many"), ("body_timeout", "none"),
     ("body_timeout", "0"), ("body_min_rate", "-5")],
)  # fmt: skip
def test_limit_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    """When the application is built, with the name of the option."""
    with pytest.raises(OptionError, match=f"option {name}: "):
        Options({name: value}, environ={})


def test_our_own_server_takes_the_limits_of_the_application() -> None:
    """`tus serve --uploads-limit 5` is the same under both servers; what nobody chose is the server's to choose."""
    options = Options({"uploads_limit": "5", "body_timeout": "2min", "body_min_rate": "none"}, environ={})

    assert _limits(options) == {"uploads_limit": 5, "body_timeout": 120, "body_min_rate": 0}
    assert _limits(Options({}, environ={})) == {}
