"""Stopping: what is short finishes, what is long is saved, and it does not take for ever."""

from __future__ import annotations

import threading
import time
from typing import Any

from .conftest import until
from .test_requests import GET, PATCH, Recorder, respond


def test_uploads_are_ended_with_everything_that_came(served) -> None:
    """A stop is a cut for every running upload; the application may still answer."""
    app = Recorder()
    server = served(app)
    client = server.connect().send(PATCH + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000)
    until(lambda: len(app.got) == 100_000)

    server.server.stop()

    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (200, "close")
    client.close()
    server.thread.join(3)
    assert not server.thread.is_alive()
    assert app.ends == ["ConnectionCut"]
    assert app.got == b"x" * 100_000


def test_short_requests_finish_and_idle_connections_close(served) -> None:
    """A request in the application is answered after the stop; a connection between requests ends."""
    inside, release = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        inside.set()
        release.wait(5)
        return respond(start_response, b"done")

    server = served(app)
    idle = server.connect()
    client = server.connect().send(GET)
    inside.wait(5)
    server.server.stop()
    assert idle.closed()
    assert server.thread.is_alive()
    release.set()

    status, headers, body = client.answer()
    assert (status, headers["connection"], body) == (200, "close", b"done")
    server.thread.join(3)
    assert not server.thread.is_alive()


def test_what_waits_to_be_accepted_is_answered(served) -> None:
    """A connection that the kernel took before the stop is served."""
    server = served(lambda environ, start: respond(start, b"hi"))
    clients = [server.connect().send(GET) for _ in range(20)]
    server.server.stop()

    assert {client.answer()[2] for client in clients} == {b"hi"}


def test_a_request_that_never_ends_is_left_behind(served) -> None:
    """shutdown_timeout is the end, whatever the application does."""
    release = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        release.wait(20)
        return respond(start_response)

    server = served(app, shutdown_timeout=0.2)
    server.connect().send(GET)
    until(lambda: server.server.crew.busy)
    started = time.monotonic()
    server.stop()

    assert 0.1 < time.monotonic() - started < 2
    release.set()
