"""`tus serve` with a certificate speaks HTTP/2: the same uploads, the same page, and a stream each."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

for module in ("granian", "h2", "cryptography"):
    pytest.importorskip(module, reason=f"{module} is not installed (pip install 'tus[asgi,test]')")

from tests import live, wire  # noqa: E402
from tests.https.conftest import Secure, replace, trusted  # noqa: E402
from tests.https.frames import PATCH, TUS, Connection, Stream  # noqa: E402

SIZE = 1 << 20
NO_ERROR = 0
SOON = 1.0  # seconds, on a busy machine; without an end to the old request it would be a minute

pytestmark = pytest.mark.slow


def created(connection: Connection, *, size: int = SIZE, path: str = "/files") -> str:
    """The path of a new upload."""
    answer = connection.ask("POST", path, {**TUS, "upload-length": str(size)})
    assert answer.status == 201, answer
    return "/" + answer.headers["location"].split("/", 3)[3]


def begun(server: Secure, connection: Connection) -> tuple[str, Stream]:
    """A new upload, and the request that has sent half of it and says nothing more."""
    path = created(connection)
    stream = connection.begin("PATCH", path, {**PATCH, "content-length": str(SIZE)})
    connection.send(stream, os.urandom(SIZE // 2))
    live.until(lambda: server.stored(path) == SIZE // 2)
    return path, stream


def test_upload_and_page_come_over_http2(serve: Callable[..., Secure]) -> None:
    """The browser's page and the whole of an upload, on one connection that chose h2."""
    server = serve("--tls-self-signed")
    data = os.urandom(SIZE)
    with server.connect() as connection:
        path = created(connection)

        answer = connection.ask("PATCH", path, PATCH, body=data)
        page = connection.ask("GET", "/", {})

    assert connection.protocol == "h2"
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(SIZE))
    assert (server.files / path.rpartition("/")[2]).read_bytes() == data
    assert page.status == 200 and b"<script" in page.body


def test_http1_is_served_beside_it(serve: Callable[..., Secure], pair: Callable[[str], tuple[str, str]]) -> None:
    """A client that knows no h2 gets HTTP/1.1 over the same port, with the certificate that was given."""
    certificate, key = pair("first")
    server = serve("--tls-cert", certificate, "--tls-key", key)
    context = trusted(certificate)
    context.set_alpn_protocols(["http/1.1"])

    with wire.Wire(server.address) as client:
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.send(wire.head("OPTIONS", "/files", {"Host": "localhost"}))
        answer = client.answer()

    assert answer["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH"])
@pytest.mark.parametrize("same", [True, False], ids=["same connection", "other connection"])
def test_request_that_takes_over_resets_the_old_stream(serve: Callable[..., Secure], method: str, same: bool) -> None:
    """At once: it is answered with what arrived, the old stream with 503, and closed so that its client sends no more.
    Other streams of that connection go on."""
    server = serve("--tls-self-signed")
    with server.connect() as old, server.connect() as other:
        path, stream = begun(server, old)
        new = old if same else other
        headers = {**PATCH, "upload-offset": str(SIZE // 2)} if method == "PATCH" else TUS

        answer = new.ask(method, path, headers, body=b"rest" if method == "PATCH" else b"", within=SOON)
        old.until(lambda: stream.reset is not None, within=SOON)

        assert answer.status == (200 if method == "HEAD" else 204)
        assert (stream.status, stream.reset) == (503, NO_ERROR)
        assert old.ask("OPTIONS", "/files").headers["tus-version"] == "1.0.0"


def test_client_that_resets_its_stream_loses_nothing(serve: Callable[..., Secure]) -> None:
    """What a browser does when an upload is paused; the connection stays, and the upload goes on."""
    server = serve("--tls-self-signed")
    with server.connect() as connection:
        path, stream = begun(server, connection)

        connection.reset(stream)
        head = connection.ask("HEAD", path)
        rest = {**PATCH, "upload-offset": head.headers["upload-offset"]}
        answer = connection.ask("PATCH", path, rest, body=bytes(SIZE // 2))

    assert head.headers["upload-offset"] == str(SIZE // 2)
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(SIZE))


def test_stalled_upload_does_not_hold_up_others_on_its_connection(serve: Callable[..., Secure]) -> None:
    """Streams have windows of their own: twenty that say nothing, and one that is sent whole."""
    server = serve("--tls-self-signed")
    with server.connect() as connection:
        for _ in range(20):
            connection.begin("PATCH", created(connection), {**PATCH, "content-length": str(SIZE)})

        answer = connection.ask("PATCH", created(connection), PATCH, body=bytes(SIZE))

    assert answer.status == 204


def test_renewed_certificate_is_taken_at_a_signal_and_cuts_no_upload(
    serve: Callable[..., Secure], pair: Callable[[str], tuple[str, str]]
) -> None:
    """SIGHUP: new connections see the new one, and a request that has begun comes to its end beside it."""
    files, renewed = pair("first"), pair("second")
    server = serve("--tls-cert", files[0], "--tls-key", files[1])
    with server.connect() as connection:
        _, stream = begun(server, connection)
        replace(files, renewed)

        server.process.send_signal(signal.SIGHUP)
        live.until(lambda: seen(server) != connection.certificate, within=10)
        connection.send(stream, bytes(SIZE // 2), end=True)
        connection.until(lambda: stream.over)

    assert (stream.status, stream.headers["upload-offset"]) == (204, str(SIZE))
    with Connection(server.address, trusted(renewed[0])) as new:
        assert new.protocol == "h2"


def seen(server: Secure) -> bytes:
    """The certificate that a new connection gets. One that is being made when the signal comes may be cut."""
    while True:
        with suppress(ssl.SSLError, ConnectionError), server.connect() as connection:
            return connection.certificate


def test_bad_certificate_at_a_signal_leaves_the_old_one(
    serve: Callable[..., Secure], pair: Callable[[str], tuple[str, str]]
) -> None:
    """A renewal that went wrong stops nobody; the log says so."""
    files = pair("first")
    server = serve("--tls-cert", files[0], "--tls-key", files[1])
    before = seen(server)
    Path(files[0]).write_text("nonsense")

    server.process.send_signal(signal.SIGHUP)
    live.until(lambda: "The old certificate stays: option tls_cert" in server.complaint)

    assert seen(server) == before


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stop_keeps_what_arrived(serve: Callable[..., Secure], workers: str) -> None:
    """SIGTERM: a running upload is stored as far as it came, its client is told so, and the process ends by itself."""
    server = serve("--tls-self-signed", "--workers", workers)
    with server.connect() as connection:
        path, stream = begun(server, connection)

        server.process.send_signal(signal.SIGTERM)
        connection.until(lambda: connection.closed)
        status = server.process.wait(live.STOP)

    assert (stream.status, status, server.stored(path)) == (503, 0, SIZE // 2)


def test_workers_renew_their_certificate_together(
    serve: Callable[..., Secure], pair: Callable[[str], tuple[str, str]]
) -> None:
    """Each one at the signal to the process that was started, and without ending."""
    files, renewed = pair("first"), pair("second")
    server = serve("--tls-cert", files[0], "--tls-key", files[1], "--workers", "2")
    old = seen(server)
    replace(files, renewed)

    server.process.send_signal(signal.SIGHUP)

    live.until(lambda: all(seen(server) != old for _ in range(8)), within=10)
    assert server.stop() == 0


def test_login_and_access_log_are_those_of_the_other_server(serve: Callable[..., Secure]) -> None:
    """A password is asked for before a byte of the body is stored, and each request has its line with its status."""
    server = serve("--tls-self-signed", "--password", "sesame sesame", "--access-log", "-")
    login = {"authorization": "Basic " + b64encode(b"x:sesame sesame").decode()}
    with server.connect() as connection:
        refused = connection.ask("POST", "/files", {**TUS, "upload-length": "5", "upload-offset": "0"}, body=b"hello")
        made = connection.ask("POST", "/files", {**TUS, **login, "upload-length": "5"})
        path = "/" + made.headers["location"].split("/", 3)[3]
        answer = connection.ask("PATCH", path, {**PATCH, **login}, body=b"hello")

    assert (refused.status, made.status, answer.status) == (401, 201, 204)
    assert '"POST /files HTTP/2" 401' in server.said("401")
    assert f'"PATCH {path} HTTP/2" 204' in server.said("204")
    assert len(list(server.files.glob("*.info"))) == 1


def test_operators_page_opens_by_its_link(serve: Callable[..., Secure]) -> None:
    """Once, for the browser that opened it, and only over HTTPS."""
    server = serve("--tls-self-signed", "--operators")
    link = server.said("operators open").split()[-1]
    token = link.partition("token=")[2]
    with server.connect() as connection:
        opened = connection.ask("GET", "/~tus/operators/?token=" + token, {})
        cookie = opened.headers["set-cookie"].partition(";")[0]

        page = connection.ask("GET", "/~tus/operators/", {"cookie": cookie})

    assert "Secure" in opened.headers["set-cookie"]
    assert page.status == 200 and b"Remove</button>" in page.body


def test_asgi_without_a_certificate_is_http(serve: Callable[..., Secure], tmp_path: Path) -> None:
    """`--asgi` alone: behind a proxy, at a unix socket and below a path."""
    place = str(tmp_path / "s")
    server = serve("--asgi", "--set", f"unix_socket={place}", "--set", "url_prefix=/base")
    server.said("open")

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(live.STOP)
        client.connect(place)
        client.sendall(wire.head("POST", "/base/files", {"Host": "h", **TUS, "Upload-Length": "5"}))
        answer = client.recv(4096).decode().lower()

    assert answer.startswith("http/1.1 201") and "location: /base/files/" in answer
    assert server.stop() == 0
