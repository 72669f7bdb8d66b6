"""`tus serve --tls-cert --http1`: our own server behind TLS."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

for module in ("granian", "h2", "cryptography"):
    pytest.importorskip(module, reason=f"{module} is not installed (pip install 'tus[asgi,test]')")

from tests import live, wire  # noqa: E402
from tests.https.conftest import Secure, replace  # noqa: E402
from tests.https.frames import PATCH, TUS, trusting  # noqa: E402
from tus.https import front  # noqa: E402
from tus.server import create_server  # noqa: E402

pytestmark = pytest.mark.slow

SIZE = 3_000_000
Serve = Callable[..., Secure]
Pair = Callable[[str], tuple[str, str]]


def connected(server: Secure) -> wire.Wire:
    """A connection with TLS that offers HTTP/2 as well."""
    client = wire.Wire(server.address)
    try:
        client.socket = trusting(protocols=("h2", "http/1.1")).wrap_socket(client.socket, server_hostname="localhost")
    except BaseException:
        client.close()
        raise
    return client


def ask(server: Secure, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> wire.Answer:
    with connected(server) as client:
        client.send(wire.head(method, path, {"Host": "localhost", "Content-Length": str(len(body)), **headers}) + body)
        return client.answer(bodiless=method == "HEAD")


def created(server: Secure) -> str:
    answer = ask(server, "POST", "/files", {**TUS, "Upload-Length": str(SIZE)})
    assert answer.status == 201, answer
    return "/" + answer["Location"].split("/", 3)[3]


def begun(server: Secure) -> tuple[str, wire.Wire]:
    """A new upload, and the connection whose request has sent half of it."""
    path = created(server)
    client = connected(server)
    client.send(wire.head("PATCH", path, {"Host": "localhost", "Content-Length": str(SIZE), **PATCH}))
    client.send(bytes(SIZE // 2))
    live.until(lambda: server.stored(path) == SIZE // 2)
    return path, client


def seen(server: Secure) -> bytes:
    """The certificate that a new connection gets."""
    with connected(server) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        return client.socket.getpeercert(binary_form=True) or b""


def test_upload_and_download_come_whole(serve: Serve) -> None:
    """HTTP/1.1 is chosen by a client that could do more, and the addresses are those of HTTPS and of the client."""
    server = serve("--tls-self-signed", "--http1", "--access-log", "-")
    data = os.urandom(SIZE)

    path = created(server)
    patched = ask(server, "PATCH", path, PATCH, data)
    with connected(server) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        protocol = client.socket.selected_alpn_protocol()
        client.send(wire.head("GET", path, {"Host": "localhost"}))
        got = client.answer()
        client.send(wire.head("HEAD", path, {"Host": "localhost", **TUS}))
        again = client.answer(bodiless=True)

    assert protocol == "http/1.1"
    assert (patched.status, got.body == data, again["Upload-Offset"]) == (204, True, str(SIZE))
    assert server.said(f"PATCH {path}").startswith("127.0.0.1 ")


def test_client_that_is_cut_leaves_what_came(serve: Serve) -> None:
    """A connection that is reset is at its end for the server at once, with all bytes that arrived."""
    server = serve("--tls-self-signed", "--http1")
    path, client = begun(server)

    client.reset()

    assert ask(server, "HEAD", path, TUS)["Upload-Offset"] == str(SIZE // 2)
    assert ask(server, "PATCH", path, {**PATCH, "upload-offset": str(SIZE // 2)}, bytes(SIZE // 2)).status == 204


def test_refusal_is_heard_while_the_body_is_still_sent(serve: Serve) -> None:
    """Though the server closes: what comes meanwhile does not reset the connection before the answer was read."""
    server = serve("--tls-self-signed", "--http1", "--max-size", "1000")

    with connected(server) as client:
        client.send(wire.head("POST", "/files", {"Host": "localhost", "Content-Length": str(SIZE), **PATCH,
                                                 "Upload-Length": str(SIZE)}))  # fmt: skip
        client.offer(bytes(SIZE // 10))
        answer = client.answer()

    assert answer.status == 413


def test_client_that_leaves_is_no_error(serve: Serve) -> None:
    """Which each one does in the end: the log says nothing of it."""
    server = serve("--tls-self-signed", "--http1")

    for _ in range(3):
        ask(server, "OPTIONS", "/files", {})
    server.stop()

    assert "Traceback" not in server.complaint, server.complaint


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stop_keeps_what_arrived_and_says_so(serve: Serve, workers: str) -> None:
    """SIGTERM: the answer that tells how much is stored reaches the client before the process ends."""
    server = serve("--tls-self-signed", "--http1", "--workers", workers)
    path, client = begun(server)

    with client:
        server.process.send_signal(signal.SIGTERM)
        answer = client.answer()

    assert (answer.status, server.process.wait(live.STOP), server.stored(path)) == (503, 0, SIZE // 2)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_renewed_certificate_cuts_nothing(serve: Serve, pair: Pair, workers: str) -> None:
    """New connections see it, with the signal that ACME's clients send or without; the process and an upload go on."""
    files, renewed = pair("first"), pair("second")
    server = serve("--tls-cert", files[0], "--tls-key", files[1], "--http1", "--workers", workers)
    old = seen(server)
    path, client = begun(server)

    replace(files, renewed)
    server.process.send_signal(signal.SIGHUP)
    live.until(lambda: seen(server) != old)
    with client:
        client.send(bytes(SIZE // 2))
        answer = client.answer()

    assert (answer.status, answer["Upload-Offset"]) == (204, str(SIZE))


def test_bad_certificate_leaves_the_old_one(serve: Serve, pair: Pair) -> None:
    """A renewal that went wrong stops nobody; the log says so."""
    files = pair("first")
    server = serve("--tls-cert", files[0], "--tls-key", files[1], "--http1")
    old = seen(server)

    Path(files[0]).write_text("nonsense")

    assert seen(server) == old
    assert "The old certificate stays: option tls_cert" in server.complaint


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system lets nobody say how long")
def test_client_that_reads_nothing_is_left(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the server has given it up, nothing of its connection stays open."""
    monkeypatch.setattr(front, "_UNREAD", 1.0)
    files = front.Pair(*pair("first"))
    tls = front.Deciphered(files)
    server = create_server(endless, listen="127.0.0.1:0", tls=tls, channel_timeout=1, cleanup_interval=1)
    running = threading.Thread(target=server.run)
    running.start()

    try:
        with wire.Wire(("127.0.0.1", server.effective_port)) as client:
            client.socket = trusting().wrap_socket(client.socket, server_hostname="localhost")
            client.send(wire.head("GET", "/", {"Host": "localhost"}))
            live.until(lambda: len(tls._carried) == 1)
            live.until(lambda: not server.listeners[0].active_channels, within=20)
            live.until(lambda: not tls._carried, within=20)
    finally:
        server.stop()
        running.join(20)


def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """More than buffers hold."""
    start_response("200 OK", [("Content-Length", str(1 << 30))])
    return itertools.repeat(bytes(1 << 20), 1 << 10)


def test_plain_text_and_silence_hold_up_nobody(serve: Serve) -> None:
    """One who speaks no TLS is cut off; one who says nothing keeps no other from being served."""
    server = serve("--tls-self-signed", "--http1")

    with socket.create_connection(server.address), wire.Wire(server.address) as plain:
        plain.send(wire.head("OPTIONS", "/files", {"Host": "localhost"}))

        assert b"HTTP/" not in plain.rest()
        assert ask(server, "OPTIONS", "/files", {})["Tus-Version"] == "1.0.0"


def test_crowd_waits_for_open_files_and_is_served(serve: Serve) -> None:
    """A connection takes three of them: those for which there are none wait to be accepted, and nobody is cut off."""
    server = serve("--tls-self-signed", "--http1", files=128)
    with ExitStack() as held, ThreadPoolExecutor(60) as crowd:
        for _ in range(30):
            held.enter_context(connected(server))

        answers = [crowd.submit(ask, server, "OPTIONS", "/files", {"Connection": "close"}) for _ in range(60)]

        assert {answer.result().status for answer in answers} == {200}
    assert "Traceback" not in server.complaint
