"""Which thread does what: uploads have their own, and nobody waits for a slow one."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest

from tus.server import threads

from .conftest import until
from .test_requests import GET, PATCH, respond


def reader(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return respond(start_response, b"%d" % len(environ["wsgi.input"].read()))


def test_nobody_waits_for_stalled_uploads(served) -> None:
    """With fifty stalled uploads and one thread for short requests, a short request is answered at once."""
    server = served(reader, threads=1)
    uploads = [server.connect().send(PATCH + b"Content-Length: 100000\r\n\r\nx") for _ in range(50)]
    until(lambda: len(server.server.uploads.channels) == 50)
    client = server.connect()

    started = time.monotonic()
    for _ in range(20):
        assert client.send(GET).answer()[2] == b"0"
    assert time.monotonic() - started < 1

    for upload in uploads:
        upload.send(b"x" * 99_999)
    for upload in uploads:
        assert upload.answer()[2] == b"100000"


def test_more_uploads_than_threads_wait_and_are_served(served) -> None:
    """The limit holds, and those beyond it come later."""
    server = served(reader, upload_threads=2)
    clients = [server.connect().send(PATCH + b"Content-Length: 100000\r\n\r\nx") for _ in range(5)]
    until(lambda: len(server.server.uploads.channels) == 2 and len(server.server.uploads._queue) == 3)

    for client in clients:
        client.send(b"x" * 99_999)

    assert {client.answer()[2] for client in clients} == {b"100000"}
    assert server.server.uploads._threads <= 2


def test_an_upload_that_gets_no_thread_is_served_all_the_same(served, monkeypatch) -> None:
    """When the system refuses the only upload thread, a thread for short requests serves it, and a stop finds it."""
    begin = threads.start

    def refuse(*args: Any, name: str, **options: Any) -> None:
        if name == "tus-upload":
            raise RuntimeError("can't start new thread")
        begin(*args, name=name, **options)

    monkeypatch.setattr(threads, "start", refuse)
    server = served(reader)
    client = server.connect()
    for _ in range(2):
        client.send(PATCH + b"Content-Length: 100000\r\n\r\nx")
        until(lambda: len(server.server.uploads.channels) == 1)
        client.send(b"x" * 99_999)
        assert client.answer()[2] == b"100000"
        until(lambda: not server.server.uploads.busy)
    client.send(PATCH + b"Content-Length: 100000\r\n\r\nx")
    until(lambda: server.server.crew.running == 1)
    server.stop()


def test_idle_upload_threads_end(served, monkeypatch) -> None:
    """Threads are started when needed, used again, and end when there is nothing to do."""
    monkeypatch.setattr(threads, "IDLE", 0.05)
    server = served(reader)
    client = server.connect()
    for _ in range(3):
        client.send(PATCH + b"Content-Length: 100000\r\n\r\n", b"x" * 100_000)
        assert client.answer()[2] == b"100000"

    until(lambda: not server.server.uploads._threads)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "tus-upload"])


def test_an_upload_thread_has_a_small_stack_that_is_deep_enough(served) -> None:
    """Python's recursion limit is reached before the stack is, also through C; the process keeps its stack size."""
    before = threading.stack_size()

    def deep(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def down(depth: int) -> int:
            return max([depth], key=lambda _: down(depth + 1))

        try:
            down(0)
        except RecursionError:
            environ["wsgi.input"].read()
            return respond(start_response, b"survived")
        raise AssertionError

    client = served(deep).connect()
    client.send(PATCH + b"Content-Length: 100000\r\n\r\n", b"x" * 100_000)

    assert client.answer()[2] == b"survived"
    until(lambda: threading.stack_size() == before)  # set back by the thread that started this one
    assert sys.getrecursionlimit() >= 1000


def test_a_slow_request_does_not_hold_the_loop(served) -> None:
    """The loop calls the application itself; when that is slow, another thread leads on within milliseconds."""
    release = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            release.wait(10)
        return respond(start_response, environ["PATH_INFO"].encode())

    server = served(app)
    slow = [server.connect().send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(3)]
    started = time.monotonic()

    assert server.connect().send(GET).answer()[2] == b"/"
    assert time.monotonic() - started < 1
    release.set()
    for client in slow:
        assert client.answer()[2] == b"/slow"
        assert client.send(GET).answer()[2] == b"/"


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_requests_run_at_once_than_there_are_threads(limit, served) -> None:
    """Whoever runs them, the loop or another thread: ``threads`` is the limit."""
    lock, now, most, full = threading.Lock(), [0], [0], threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == limit:
                full.set()
        full.wait(10)
        time.sleep(0.02)  # in which others could come that should not
        with lock:
            now[0] -= 1
        return respond(start_response)

    server = served(app, threads=limit)
    clients = [server.connect() for _ in range(8)]
    for client in clients:
        client.send(GET + GET)
    for client in clients:
        assert [client.answer()[0], client.answer()[0]] == [200, 200]

    assert most == [limit]


def test_body_timeout_frees_the_thread_and_keeps_what_came(served) -> None:
    """A client that falls silent is ended; the application gets what it sent and may answer."""
    got: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        got.append(environ["wsgi.input"].read())
        with pytest.raises(TimeoutError):
            environ["wsgi.input"].read()
        return respond(start_response, b"late", "408 Request Timeout")

    server = served(app, body_timeout="0.1")
    client = server.connect().send(PATCH + b"Content-Length: 100000\r\n\r\nabc")

    assert client.answer()[0] == 408
    assert client.closed()
    assert got == [b"abc"]
    until(lambda: not server.server.uploads.channels)


def test_connections_beyond_the_limit_wait(served) -> None:
    """connection_limit holds, and a closed connection makes room at once."""
    server = served(reader, connection_limit=4)  # the listener and its trigger count
    clients = [server.connect().send(GET) for _ in range(3)]
    assert clients[0].answer()[0] == clients[1].answer()[0] == 200
    clients[2].sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        clients[2].sock.recv(1)
    clients[0].close()
    clients[2].sock.settimeout(5)

    assert clients[2].sock.recv(12) == b"HTTP/1.1 200"


@pytest.mark.slow
def test_idle_connections_are_closed(served) -> None:
    """channel_timeout and cleanup_interval work as in waitress."""
    server = served(reader, channel_timeout=1, cleanup_interval=1)
    client = server.connect().send(GET)
    client.answer()

    assert client.closed()


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_holds_no_thread_for_ever(served) -> None:
    """An answer that is not taken for channel_timeout ends the connection and frees the thread."""
    closed = threading.Event()

    class Endless:
        def __iter__(self) -> Any:
            while True:
                yield b"x" * 1_000_000

        def close(self) -> None:
            closed.set()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return Endless()

    server = served(app, threads=1, channel_timeout=1, cleanup_interval=1)
    server.connect().send(GET)

    assert closed.wait(8)
    until(lambda: not server.server.crew.busy)


def test_a_small_body_behind_a_chunked_one_is_not_forgotten(served) -> None:
    """Pipelined behind an upload and incomplete: it streams after a moment, as any other."""
    seen: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"]
        while data := body.read1():
            seen.append(data)
        return respond(start_response)

    client = served(app).connect()
    client.send(PATCH + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")
    until(lambda: seen == [b"a"])
    client.send(b"0\r\n\r\n" + PATCH + b"Content-Length: 2\r\n\r\nb")

    assert client.answer()[0] == 200
    until(lambda: seen == [b"a", b"b"])
    client.send(b"c")
    assert client.answer()[0] == 200
