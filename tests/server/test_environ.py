"""What the application is called with, and what it may answer."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from .test_requests import GET, respond

PROXY = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Port: 1\r\nVia: b\r\n\r\n"


class Keeper:
    """Keeps each environ as it came."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environs.append(dict(environ))
        environ.clear()  # the next request must not miss anything
        return respond(start_response)


def test_every_request_has_the_whole_environ(served) -> None:
    """All of PEP 3333, for the second request of a connection as well, and of another client."""
    app = Keeper()
    server = served(app, url_prefix="/p")
    client, other = server.connect(), server.connect()
    line, fields = b"POST //p/a%20b?c=d HTTP/1.1\r\n", b"Host: a:1\r\nX-Y: z\r\nX_Y: w\r\nContent-Type: t/u\r\n"
    raw = line + fields + b"Content-Length: 2\r\n\r\nxy"

    for one in (client, client, other):
        one.send(raw).answer()

    for environ, one in zip(app.environs, (client, client, other), strict=True):
        port = one.sock.getpeername()[1]
        expected = {
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "/p", "PATH_INFO": "/a b", "QUERY_STRING": "c=d",
            "REQUEST_URI": "//p/a%20b?c=d", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_PORT": str(port),
            "HTTP_HOST": "a:1", "HTTP_X_Y": "z", "CONTENT_TYPE": "t/u", "CONTENT_LENGTH": "2",
            "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": str(one.sock.getsockname()[1]), "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http", "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
            "wsgi.errors": sys.stderr, "wsgi.input_terminated": True,
        }  # fmt: skip
        assert {name: environ.get(name) for name in expected} == expected
        assert not environ["waitress.client_disconnected"]()


@pytest.mark.parametrize("logs", [False, True])
def test_what_a_proxy_says_is_only_kept_aside(logs, served) -> None:
    """The application must not believe it; the filter knows all the same that there is a proxy."""
    app = Keeper()
    client = served(app, log_untrusted_proxy_headers=logs).connect()

    client.send(PROXY).answer()

    assert not [name for name in app.environs[0] if name.startswith("HTTP_X_FORWARDED")]
    assert app.environs[0]["tus.forwarded"] == {"HTTP_X_FORWARDED_FOR": "1.2.3.4"}
    assert app.environs[0]["HTTP_VIA"] == "b"


def test_what_a_proxy_says_stays_where_that_is_wanted(served) -> None:
    """As in waitress: `clear_untrusted_proxy_headers = false`."""
    app = Keeper()
    client = served(app, clear_untrusted_proxy_headers=False).connect()

    client.send(PROXY).answer()

    assert app.environs[0]["HTTP_X_FORWARDED_FOR"] == "1.2.3.4"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK\r\nX: y", []),
        ("200 OK", [("X", "a\nb")]),
        ("200 OK", [("X", "a\rb")]),
        ("200 OK", [("X\r\nY", "a")]),
        (b"200 OK", []),
        ("200 OK", [("X", 1)]),
        ("200 OK", [(b"X", "a")]),
        ("200 OK", [("transfer-encoding", "chunked")]),
        ("200 OK", [("Connection", "close")]),
        ("200 OK", [("X", "a", "b")]),
    ],
    ids=repr,
)
def test_an_answer_that_is_none_is_an_error(status: Any, headers: Any, served, caplog) -> None:
    """Nothing of it reaches the client, who would take the rest for another answer."""
    caplog.set_level(logging.CRITICAL, "waitress")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Length", "0"), *headers])
        return [b""]

    client = served(app).connect()
    client.send(GET)

    assert client.answer()[0] == 500
    assert client.closed()


def test_names_and_lengths_of_an_answer_are_proper(served) -> None:
    """Each header once, by the name that everybody writes; the length of one block need not be said."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("x-aBC-d", "1"), ("X-Abc-D", "2"), ("server", "mine"), ("date", "today")])
        return [b"abc"]

    client = served(app).connect()
    client.send(GET)

    lines = [client.file.readline() for _ in range(8)]

    assert lines == [
        b"HTTP/1.1 200 OK\r\n", b"X-Abc-D: 1\r\n", b"X-Abc-D: 2\r\n", b"Server: mine\r\n", b"Date: today\r\n",
        b"Content-Length: 3\r\n", b"Via: tus\r\n", b"\r\n",
    ]  # fmt: skip
    assert client.file.read(3) == b"abc"
