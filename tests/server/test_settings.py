"""Options: waitress's own all work, ours beside them, and unknown ones are refused as waitress refuses them."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tus.server import create_server, paste_main, serve, serving
from tus.server.settings import Settings, connections

from .conftest import Running
from .test_requests import GET, respond


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    keys = ("REMOTE_ADDR", "wsgi.url_scheme", "SCRIPT_NAME", "SERVER_NAME", "wsgi.multiprocess")
    return respond(start_response, " ".join(str(environ[key]) for key in keys).encode())


def test_unknown_options_are_refused() -> None:
    """With the one that was probably meant."""
    with pytest.raises(ValueError, match="unknown option upload_thread; did you mean upload_threads"):
        create_server(echo, upload_thread=5)


@pytest.mark.parametrize(
    "option",
    [
        {"upload_threads": "0"},
        {"body_timeout": "-1"},
        {"body_timeout": "nan"},
        {"workers": 0},
        {"body_min_rate": -5},
        {"shutdown_timeout": "inf"},
    ],
)
def test_impossible_values_are_refused(option: dict[str, Any]) -> None:
    """At start, and not when the first upload comes."""
    with pytest.raises(ValueError):
        Settings(listen="127.0.0.1:0", **option)


def test_no_application_is_told_at_once() -> None:
    """The usual mistake of a factory that returns nothing."""
    with pytest.raises(ValueError, match="None"):
        create_server(None)
    with pytest.raises(ValueError, match="None"):
        serve(None)


def test_options_may_be_strings() -> None:
    """As an ini file has them."""
    settings = Settings(
        listen="127.0.0.1:0",
        threads="7",
        upload_threads="50",
        body_timeout="2.5",
        body_min_rate="0",
        stream_paths="/a\n/b",
        asyncore_use_poll="false",
        workers="2",
    )

    assert (settings.threads, settings.upload_threads, settings.body_timeout) == (7, 50, 2.5)
    assert settings.stream_paths == ("/a", "/b")
    assert settings.asyncore_use_poll is False


def test_the_limit_of_open_files_is_raised_and_used() -> None:
    """As many files as the system lets us open, and no more connections than that allows."""
    settings = Settings(listen="127.0.0.1:0")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert soft == hard
    assert settings.connection_limit == connections(hard)
    assert Settings(listen="127.0.0.1:0", connection_limit=50).connection_limit == 50
    assert (connections(sys.maxsize), connections(1024), connections(10)) == (20000, 896, 10)


def test_proxy_headers_are_trusted_as_in_waitress(served) -> None:
    """trusted_proxy and its companions change what the application sees; others' headers do not."""
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n"
    trusting = served(
        echo, trusted_proxy="127.0.0.1", trusted_proxy_headers="x-forwarded-for x-forwarded-proto", url_prefix="/p"
    )
    assert trusting.connect().send(request).answer()[2].startswith(b"192.0.2.7 https /p")
    assert served(echo).connect().send(request).answer()[2].startswith(b"127.0.0.1 http ")


def test_a_unix_socket_is_served(served, tmp_path: Path) -> None:
    """With the permissions that were asked for."""
    path = str(tmp_path / "socket")
    server = served(echo, unix_socket=path, unix_socket_perms="660")

    assert server.connect().send(GET).answer()[2].startswith(b"localhost http")
    assert os.stat(path).st_mode & 0o777 == 0o660
    assert server.server.urls == [f"unix:{path}"]


def test_inherited_sockets_are_served(served) -> None:
    """``sockets``, as waitress has it for systemd."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = served(echo, sockets=[sock])

    assert server.connect().send(GET).answer()[0] == 200


def test_systemd_passes_its_sockets(monkeypatch) -> None:
    """LISTEN_FDS is obeyed when it is meant for us and nothing else is said."""
    sock = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(serving, "FIRST_PASSED", os.dup(sock.fileno()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert serving.passed_by_systemd({}) == {}
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert serving.passed_by_systemd({"port": 1}) == {"port": 1}

    (passed,) = serving.passed_by_systemd({})["sockets"]

    assert passed.getsockname() == sock.getsockname()
    assert "LISTEN_FDS" not in os.environ
    passed.close()
    sock.close()


def test_several_addresses_are_served() -> None:
    """``listen`` with two of them: each answers, and each is told."""
    server = Running(echo, listen="127.0.0.1:0 127.0.0.1:0")
    try:
        assert len(set(server.server.urls)) == 2
        for url in server.server.urls:
            server.where = ("127.0.0.1", int(url.rpartition(":")[2]))
            assert server.connect().send(GET).answer()[0] == 200
    finally:
        server.finish()


def test_the_main_thread_serves_until_a_signal() -> None:
    """serve() tells where, serves, returns after SIGTERM, and gives the signal back."""
    urls: list[str] = []

    def listening(found: list[str]) -> None:
        urls.extend(found)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()

    before = signal.getsignal(signal.SIGTERM)
    serve(echo, listen="127.0.0.1:0", on_listening=listening)

    assert urls[0].startswith("http://127.0.0.1:")
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ini_file_serves() -> None:
    """The entry point takes what PasteDeploy gives."""
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    assert paste_main(echo, {}, listen="127.0.0.1:0", threads="2") == 0
    timer.join()
