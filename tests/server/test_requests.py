"""Requests on raw sockets: what streams, what is answered when, and what the connection is good for afterwards."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import Any

import pytest

from tus.server import loop

from .conftest import until

PATCH = b"PATCH /file HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def respond(start_response: Any, body: bytes = b"", status: str = "200 OK") -> list[bytes]:
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


class Recorder:
    """Reads bodies as they come and remembers them; tells the digest, the trailers and how it ended."""

    def __init__(self) -> None:
        self.got = b""
        self.calls = 0
        self.ends: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls += 1
        body = environ["tus.input"]
        assert body is environ["wsgi.input"]
        assert environ["wsgi.input_terminated"]
        self.got = b""
        try:
            while data := body.read1(1 << 16):
                self.got += data
            self.ends.append("end")
        except OSError as error:
            self.ends.append(type(error).__name__)
        digest = hashlib.sha1(self.got).hexdigest()
        return respond(start_response, f"{environ['REQUEST_METHOD']} {digest} {body.trailers()}".encode())


def told(method: str, data: bytes, trailers: dict[str, str] | None = None) -> bytes:
    return f"{method} {hashlib.sha1(data).hexdigest()} {trailers or {}}".encode()


def test_the_application_is_called_while_the_body_arrives(served) -> None:
    """Half of a large body is in the application's hands before the other half is sent."""
    app = Recorder()
    client = served(app).connect()
    client.send(PATCH + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000)

    until(lambda: len(app.got) == 100_000)
    client.send(b"y" * 100_000)

    assert client.answer()[2] == told("PATCH", b"x" * 100_000 + b"y" * 100_000)


@pytest.mark.parametrize("how", ["FIN", "RST", "half"])
def test_a_cut_body_reaches_the_application_to_its_last_byte(how, served) -> None:
    """The connection breaks; the application gets every byte that came, then an error."""
    app = Recorder()
    client = served(app).connect()
    client.send(PATCH + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_001)
    until(lambda: len(app.got) == 100_001)
    client.send(b"y" * 10)
    if how == "RST":
        until(lambda: len(app.got) == 100_011)
        client.reset()
    elif how == "FIN":
        client.close()
    else:
        client.sock.shutdown(1)

    until(lambda: app.ends == ["ConnectionCut"])
    assert app.got == b"x" * 100_001 + b"y" * 10
    if how == "half":
        assert client.answer()[0] == 200


@pytest.mark.parametrize("how", ["FIN", "silence"])
def test_a_small_body_that_stays_incomplete_streams_as_well(how, served, monkeypatch) -> None:
    """The loop waits only a moment for the rest of a small body; what came is not lost."""
    monkeypatch.setattr(loop, "HOLD", 0.02)
    app = Recorder()
    client = served(app).connect()
    client.send(PATCH + b"Content-Length: 100\r\n\r\n" + b"x" * 60)
    if how == "FIN":
        client.close()
        until(lambda: app.ends == ["ConnectionCut"])
        assert app.got == b"x" * 60
    else:
        until(lambda: app.got == b"x" * 60)
        client.send(b"y" * 40)
        assert client.answer()[2] == told("PATCH", b"x" * 60 + b"y" * 40)


def test_any_fragmentation_of_requests_gives_the_same_answers(served) -> None:
    """Requests with and without bodies, pipelined and cut anywhere, are answered in order on one connection."""
    app = Recorder()
    server = served(app)
    data = os.urandom(1500)
    chunked = b"3e8\r\n" + data[:1000] + b"\r\n1f4\r\n" + data[1000:] + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
    requests = [
        (PATCH + b"Content-Length: 1500\r\n\r\n" + data, told("PATCH", data)),
        (GET, told("GET", b"")),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
            told("POST", data, {"x-sum": "1"}),
        ),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", told("PUT", b"")),
        (b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", told("DELETE", b"abc")),
    ]
    raw = b"".join(request for request, _ in requests)
    for size in (1, 7, 100, 999, 1600, 10_000):
        client = server.connect()
        thread = threading.Thread(
            target=client.send, args=[raw[at : at + size] for at in range(0, len(raw), size)] + [raw]
        )
        thread.start()

        for _, answer in requests * 2:
            assert client.answer()[2] == answer
        thread.join()


def test_trailers_of_a_body_that_came_whole_are_there(served) -> None:
    """A chunked body in one packet has its trailers like any other."""
    client = served(Recorder()).connect()
    client.send(PATCH + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nUpload-Checksum: sha1 x\r\n\r\n")

    assert client.answer()[2] == told("PATCH", b"abc", {"upload-checksum": "sha1 x"})


def test_a_length_beside_chunks_is_hidden_and_ends_nothing(served) -> None:
    """Transfer-Encoding overrides Content-Length, and the application never sees the latter."""
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ.get("CONTENT_LENGTH"))
        return respond(start_response, environ["wsgi.input"].read())

    client = served(app).connect()
    head = b"PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head, b"3\r\nabc\r\n")
    until(lambda: seen)
    client.send(b"0\r\n\r\n")

    assert client.answer()[2] == b"abc"
    assert seen == [None]


@pytest.mark.parametrize("path", [b"/file", b"/elsewhere"])
def test_a_length_beside_chunks_ends_the_connection(path, served) -> None:
    """What follows could be smuggled past a proxy that believed the length: it is never a request."""
    app = Recorder()
    client = served(app, stream_paths="/file").connect()
    head = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + b"0\r\n\r\n" + GET)

    status, headers, body = client.answer()
    assert (status, headers["connection"], body) == (200, "close", told("POST", b""))
    assert client.closed()
    assert app.calls == 1


@pytest.mark.parametrize("length", [b"", b"Content-Length: 3\r\n"])
def test_chunks_in_http_1_0_are_refused(length, served) -> None:
    """HTTP/1.0 has no chunks: the bytes behind the head are no request, whatever they look like."""
    app = Recorder()
    client = served(app).connect()
    head = b"POST / HTTP/1.0\r\n" + length + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + GET)

    status, headers, _ = client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert client.closed()
    assert not app.calls


@pytest.mark.parametrize(
    "field",
    [b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding:", b"Host: b"],
)
def test_an_ambiguous_head_is_refused(field, served) -> None:
    """A second Host or another coding: an error, and the end of the connection."""
    app = Recorder()
    client = served(app).connect().send(PATCH + field + b"\r\n\r\n0\r\n\r\n" + GET)

    status, headers, _ = client.answer()
    assert (status in (400, 501), headers["connection"]) == (True, "close")
    assert client.closed()
    assert not app.calls


def test_malformed_chunks_are_answered_with_400(served) -> None:
    """When the application lets the error pass, the client learns what was wrong, and the connection ends."""
    client = served(lambda environ, start: respond(start, b"".join(environ["wsgi.input"]))).connect()
    client.send(PATCH + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\nzz\r\n")

    status, headers, body = client.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert b"Invalid chunk size" in body
    assert client.closed()


# -- Expect: 100-continue


def test_continue_is_said_when_the_application_reads(served) -> None:
    """The client waits for 100, which comes with the first read and not before."""
    go = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        go.wait(5)
        return respond(start_response, environ["wsgi.input"].read())

    client = served(app).connect()
    client.send(PATCH + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    client.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sock.recv(1)
    client.sock.settimeout(10)
    go.set()

    assert client.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert client.file.readline() == b"\r\n"
    client.send(b"abc" + GET)
    assert client.answer()[2] == b"abc"
    assert client.answer()[0] == 200


def test_a_refusal_needs_no_body(served) -> None:
    """An application that refuses without reading: no 100, the answer at once, then the end."""
    client = served(lambda environ, start: respond(start, b"too large", "413 Too Large")).connect()
    client.send(PATCH + b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n")

    status, headers, body = client.answer()
    assert (status, headers["connection"], body) == (413, "close", b"too large")
    assert client.closed()


def test_a_refused_body_is_drained_so_that_the_answer_arrives(served) -> None:
    """A client that sends everything before it reads gets the answer, not a reset."""
    server = served(lambda environ, start: respond(start, b"no", "409 Conflict"))
    for _ in range(5):
        client = server.connect()
        client.send(PATCH + b"Content-Length: 20000000\r\n\r\n", b"x" * 20_000_000)

        assert client.answer()[0] == 409
        assert client.closed()
        client.close()


def test_draining_has_an_end(served) -> None:
    """A client that never stops sending is thrown out after drain_timeout."""
    server = served(lambda environ, start: respond(start, b"no", "409 Conflict"), drain_timeout=0.1)
    client = server.connect()
    client.send(PATCH + b"Content-Length: 2000000000000\r\n\r\n")

    with pytest.raises(OSError):
        while True:
            client.send(b"x" * 100_000)


# -- what the connection is good for


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
def test_responses_without_a_body_keep_the_connection(status, served) -> None:
    """waitress closes after every 204; a PATCH must not cost a connection."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response(status, [] if status[0] != "2" or status[:3] == "204" else [("Content-Length", "0")])
        return [b""]

    client = served(app).connect()
    for _ in range(3):
        client.send(PATCH + b"Content-Length: 3\r\n\r\n", b"abc")
        code, headers, body = client.answer()
        assert (str(code), body) == (status[:3], b"")
        assert "connection" not in headers
        assert "transfer-encoding" not in headers


def test_head_never_gets_a_body(served) -> None:
    """Whatever the application returns: the length stays, the bytes do not, the connection lives."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")] if environ["PATH_INFO"] == "/known" else [])
        return [b"hello", b""] if environ["PATH_INFO"] == "/parts" else [b"hello"]

    client = served(app).connect()
    for path in (b"/known", b"/unknown", b"/parts"):
        client.send(b"HEAD " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        status, headers = client.headers()
        assert status == 200
        assert path == b"/parts" or headers["content-length"] == "5"
        assert "connection" not in headers


def test_http_1_0_is_answered_in_its_own_way(served) -> None:
    """Without keep-alive the connection ends; with it, it is said."""
    server = served(lambda environ, start: respond(start, b"hi"))
    client = server.connect().send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.answer()[1]["connection"] == "close"
    assert client.closed()
    client = server.connect().send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert client.answer()[1]["connection"] == "Keep-Alive"
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert client.answer()[2] == b"hi"


def test_a_body_without_length_is_chunked(served) -> None:
    """A generator's output is framed, and no part of it is lost."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return (part for part in [b"hello, ", b"world"])

    client = served(app).connect().send(GET)
    status, headers = client.headers()
    assert headers["transfer-encoding"] == "chunked"
    assert client.file.read() == b"7\r\nhello, \r\n5\r\nworld\r\n0\r\n\r\n"


def test_a_large_answer_to_a_slow_reader_arrives_whole(served) -> None:
    """More than the socket holds, more than waitress's watermark: the loop sends on while the application waits."""
    answer = os.urandom(1 << 20) * 4
    server = served(lambda environ, start: respond(start, answer), outbuf_high_watermark=100_000)
    client = server.connect().send(GET + GET)

    time.sleep(0.05)
    assert client.answer()[2] == answer
    assert client.answer()[2] == answer


def test_an_error_in_the_application_is_a_500(served) -> None:
    """Also while a body streams; the connection ends because the body was not read."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise RuntimeError("broken")

    server = served(app)
    assert server.connect().send(GET).answer()[0] == 500
    client = server.connect().send(PATCH + b"Content-Length: 1000000\r\n\r\n")
    assert client.answer()[0] == 500
    assert client.closed()


def test_a_length_of_thousands_of_digits_is_a_400(served) -> None:
    """int() refuses it with an error of its own, which must not end anything else."""
    client = served(Recorder()).connect()
    client.send(PATCH + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")

    assert client.answer()[0] == 400


def test_elsewhere_waitress_collects_the_body(served) -> None:
    """Outside stream_paths the application is called when the body is whole, as under waitress."""
    calls: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ["wsgi.input"].read())
        return respond(start_response)

    server = served(app, stream_paths="/upload /files")
    client = server.connect().send(PATCH + b"Content-Length: 100000\r\n\r\n" + b"x" * 99_999)
    server.connect().send(GET).answer()
    assert calls == [b""]
    client.send(b"x")

    assert client.answer()[0] == 200
    assert calls[1] == b"x" * 100_000
    assert server.connect().send(PATCH + b"Content-Length: 2000000000\r\n\r\n").answer()[0] == 413


@pytest.mark.parametrize("lookahead", [0, 5])
@pytest.mark.parametrize("poll", [True, False])
def test_uploads_work_in_waitress_s_own_loop_too(poll, lookahead, served) -> None:
    """Without epoll and with waitress's lookahead: streams, keep-alive and pipelining are the same."""
    app = Recorder()
    server = served(app, asyncore_use_poll=poll, channel_request_lookahead=lookahead)
    client = server.connect()
    client.send(PATCH + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000)
    until(lambda: len(app.got) == 100_000)
    client.send(b"y" * 100_000 + GET)

    assert client.answer()[2] == told("PATCH", b"x" * 100_000 + b"y" * 100_000)
    assert client.answer()[2] == told("GET", b"")
