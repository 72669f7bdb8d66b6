"""Requests that take for ever to arrive, and a system without room for more: nobody else notices."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import live, wire

from .conftest import Client
from .test_requests import GET, respond

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
EITHER = pytest.mark.parametrize("poll", [True, False], ids=["epoll", "without"])


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return respond(start_response, b"hello")


def dripped(client: Client, start: bytes, drop: bytes) -> float:
    """Send a few bytes again and again until the server says something; the seconds that it took."""
    client.send(start)
    began = time.monotonic()
    while not select.select([client.sock], [], [], 0.02)[0]:
        client.send(drop)
    return time.monotonic() - began


@pytest.mark.slow
@EITHER
def test_a_head_has_its_time_however_it_comes(poll: bool, served) -> None:
    """A byte now and then does not make it longer: 408, and the connection is closed."""
    client = served(hello, head_timeout=0.5, asyncore_use_poll=poll).connect()

    took = dripped(client, HEAD, b"X: y\r\n")

    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (408, "close")
    assert 0.4 < took < 5


@pytest.mark.slow
@EITHER
def test_a_head_that_stops_has_its_time(poll: bool, served) -> None:
    """The same for a client that falls silent in the middle of it."""
    client = served(hello, head_timeout=0.5, asyncore_use_poll=poll).connect()

    client.send(HEAD)

    assert client.answer()[0] == 408
    assert client.closed()


@pytest.mark.slow
def test_a_connection_between_two_requests_may_be_idle(served) -> None:
    """Longer than a head may take; and so may one that has not asked yet."""
    server = served(hello, head_timeout=0.3)
    used, unused = server.connect(), server.connect()
    used.send(GET).answer()

    dripped(server.connect(), HEAD, b"X: y\r\n")

    assert used.send(GET).answer()[0] == unused.send(GET).answer()[0] == 200


@pytest.mark.slow
def test_the_time_counts_while_the_server_reads(served) -> None:
    """A head behind a request that the application takes long for is not late."""
    release = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        release.wait(10)
        return respond(start_response, b"done")

    server = served(app, head_timeout=0.3)
    client = server.connect().send(GET + HEAD)
    dripped(server.connect(), HEAD, b"X: y\r\n")

    release.set()

    assert client.answer()[2] == b"done"
    assert client.send(b"\r\n").answer()[2] == b"done"


@pytest.mark.slow
@EITHER
def test_a_body_that_does_not_stream_has_to_come_on(poll: bool, served) -> None:
    """By the rate that bodies that stream are held to."""
    options = {"body_timeout": 0.3, "body_min_rate": 100_000, "asyncore_use_poll": poll}
    server = served(hello, **options)

    client = server.connect()
    dripped(client, HEAD + b"Content-Length: 1000000\r\n\r\n", b"x")
    quick = server.connect().send(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x" * 1_000_000)

    assert client.answer()[0] == 408
    assert quick.answer()[0] == 200


FILES = 64  # descriptors


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int], Path]]:
    """A server with few descriptors and no limit of connections, and what it logs."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tus", "serve", str(tmp_path / "up"), "--port", "0", "--no-page"]
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [*command, "--set", "connection_limit=1000"],
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
    assert process.stdout
    found = re.search(rb"127\.0\.0\.1:(\d+)", process.stdout.readline())
    assert found
    yield process, ("127.0.0.1", int(found[1])), log
    process.terminate()
    process.wait(15)
    process.stdout.close()


def processor(process: subprocess.Popen[bytes]) -> float:
    """Seconds of computing."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asks(connection: wire.Wire) -> int:
    connection.send(b"OPTIONS /files HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return connection.answer().status


@pytest.mark.slow
def test_a_server_without_a_free_descriptor_rests(crowded) -> None:
    """It goes on with the connections that it has, says so once, computes nothing, and accepts when there is room."""
    process, address, log = crowded
    first = wire.Wire(address)
    assert asks(first) == 200
    crowd = [socket.create_connection(address) for _ in range(2 * FILES)]
    live.until(lambda: b"No more connections" in log.read_bytes())

    before, began = processor(process), time.monotonic()
    while time.monotonic() - began < 2:
        assert asks(first) == 200
        select.select([], [], [], 0.1)
    spent = processor(process) - before
    for one in crowd:
        one.close()
    with contextlib.closing(wire.Wire(address)) as late:
        answer = asks(late)
    first.close()

    assert answer == 200
    assert spent < 0.5
    assert log.read_bytes().count(b"\n") <= 4
