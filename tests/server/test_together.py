"""Answers to several who ask at once are sent together: nobody gets another's, and nobody waits for a slow one."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tus.server import channel, loop

from .test_requests import respond

LONG = b"long" * 10_000  # more than may wait for others


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The path; for one that ends in `/long` with a long tail."""
    path = environ["PATH_INFO"]
    return respond(start_response, path.encode() + (LONG if path.endswith("/long") else b""))


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: together\r\n\r\n".encode()


@pytest.fixture
def postponed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers were sent together, each time."""
    counts: list[int] = []
    send = loop.Loop._send

    def counted(self: loop.Loop) -> None:
        if self._unsent:
            counts.append(len(self._unsent))
        send(self)

    monkeypatch.setattr(loop.Loop, "_send", counted)
    return counts


def test_everybody_gets_his_own_answers_in_order(served, postponed) -> None:
    """Forty connections at once, three requests each without waiting for an answer, some of the answers long."""
    server = served(echo)
    clients = {str(number): server.connect() for number in range(40)}

    for turn in range(10):
        for name, client in clients.items():
            client.send(get(f"/{name}/{turn}") + get(f"/{name}/{turn}/long") + get(f"/{name}/{turn}/end"))
        for name, client in clients.items():
            bodies = [client.answer()[2] for _ in range(3)]
            start = f"/{name}/{turn}".encode()
            assert bodies == [start, start + b"/long" + LONG, start + b"/end"]

    assert max(postponed) > 1  # otherwise this has tested nothing


@pytest.mark.parametrize("computes", [False, True], ids=["blocks", "computes"])
def test_nobody_waits_for_a_slow_one_that_asked_at_once(computes, served, postponed) -> None:
    """What was answered before the slow request began goes out while it runs."""
    release = threading.Event()

    def sometimes_slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        until = time.monotonic() + 3
        if environ["PATH_INFO"].startswith("/slow"):
            while time.monotonic() < until and not (release.is_set() if computes else release.wait(3)):
                pass
        return echo(environ, start_response)

    server = served(sometimes_slow)
    quick, slow = [server.connect() for _ in range(12)], server.connect()
    for turn in range(5):
        release.clear()
        started = time.monotonic()
        for number, client in enumerate(quick):
            client.send(get(f"/quick{number}"))
            if number == len(quick) // 2:
                slow.send(get(f"/slow{turn}"))  # another kind each time: none is known to be slow
        answers = [client.answer()[2] for client in quick]
        took = time.monotonic() - started
        release.set()

        assert answers == [f"/quick{number}".encode() for number in range(len(quick))]
        assert took < 1.5
        assert slow.answer()[2] == f"/slow{turn}".encode()


def test_whoever_left_takes_no_answer_along(served, postponed) -> None:
    """Half of those who ask at once are gone before they are answered; the others are served."""
    server = served(echo)

    for _ in range(10):
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            client.send(get("/a"))
        for client in clients[::2]:
            client.reset()
        assert [client.answer()[2] for client in clients[1::2]] == [b"/a"] * 10


def test_an_interim_answer_comes_before_the_answer(served, postponed) -> None:
    """Also where both wait for others, and where together they are too much for that."""

    def twice(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["tus.interim"](104, {"X-First": "x" * (channel.TOGETHER - 100)})
        return respond(start_response, b"last")

    server = served(twice)
    clients = [server.connect() for _ in range(10)]

    for _ in range(5):
        for client in clients:
            client.send(get("/"))
        for client in clients:
            assert (client.headers()[0], client.answer()[2]) == (104, b"last")


def gathered(server, *requests: bytes) -> list[Any]:
    """These requests, each on a connection of its own, come while the loop is busy: so in one round."""
    first, *clients = [server.connect() for _ in range(len(requests) + 1)]
    for client in (first, *clients):
        client.send(get("/warm")).answer()
    first.send(get("/nap"))
    time.sleep(0.0005)
    for client, request in zip(clients, requests, strict=True):
        client.send(request)
    return clients


def nap(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Long enough for others to come, and too short to lose the loop."""
    if environ["PATH_INFO"] == "/nap":
        time.sleep(0.003)
    environ["wsgi.input"].read()
    return respond(start_response, environ["PATH_INFO"].encode())


def test_continue_is_said_after_the_answer_before_it(served, postponed) -> None:
    """A request that asks whether to go on waits behind one whose answer waits."""
    server = served(nap, stream_paths="/elsewhere")
    asks = b"DELETE /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

    for _ in range(10):
        client, other = gathered(server, get("/a") + asks, get("/c"))
        assert client.answer()[2] == b"/a"
        assert client.headers()[0] == 100
        assert client.send(b"hello").answer()[2] == b"/b"
        assert other.answer()[2] == b"/c"


def test_whoever_was_served_is_answered_when_all_stops_at_once(served, postponed) -> None:
    """What was done is said, also if the one who asks in the same moment ends it all."""
    stopping: list[Any] = []

    def last(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stop":
            stopping[0].stop(at_once=True)
            time.sleep(0.1)
        return nap(environ, start_response)

    server = served(last)
    stopping.append(server.server)
    a, b, _ = gathered(server, get("/a"), get("/b"), get("/stop"))

    assert (a.answer()[2], b.answer()[2]) == (b"/a", b"/b")


def test_early_answers_wait_for_moments_only(served, postponed) -> None:
    """Not for all the others, if those take their time."""

    def slowish(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        time.sleep(0.004)
        return echo(environ, start_response)

    server = served(slowish)
    clients = [server.connect() for _ in range(15)]
    waits = []
    for _ in range(3):
        started = time.monotonic()
        for client in clients:
            client.send(get("/a"))
        clients[0].answer()
        first = time.monotonic() - started
        for client in clients[1:]:
            client.answer()
        waits.append(first / (time.monotonic() - started))

    assert min(waits) < 0.6


def test_one_that_cannot_be_answered_takes_nobody_along(served, postponed, monkeypatch) -> None:
    """The others have their answers, and the loop goes on."""
    send = channel.Channel.send_postponed

    def sometimes(self: channel.Channel) -> None:
        if b"/bad" in self._postponed:
            self._postponed = b""
            raise MemoryError
        send(self)

    monkeypatch.setattr(channel.Channel, "send_postponed", sometimes)
    server = served(nap)
    good, _, other = gathered(server, get("/a"), get("/bad"), get("/c"))

    assert (good.answer()[2], other.answer()[2]) == (b"/a", b"/c")
    assert server.connect().send(get("/d")).answer()[2] == b"/d"
