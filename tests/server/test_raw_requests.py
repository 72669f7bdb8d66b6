"""Requests as bytes, right and wrong, and what RFC 9112 wants a server to do with each; on real sockets."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Client
from .test_requests import GET, respond

H = b"Host: a\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
BODY = b"3\r\nabc\r\n0\r\n\r\n"


def line(target: bytes, method: bytes = b"GET", version: bytes = b" HTTP/1.1") -> bytes:
    return method + b" " + target + version + b"\r\n" + H + b"\r\n"


def host(value: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET / HTTP/" + version + b"\r\nHost:" + value + b"\r\n\r\n"


def field(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + H + b"".join(one + b"\r\n" for one in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + H + b"".join(one + b"\r\n" for one in lines) + b"\r\n" + body


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HOSTS_RIGHT = (
    b" a", b"a", b"\ta ", b" a.example", b" a.example:80", b" a.example:", b" a_b", b" 127.0.0.1",
    b" 127.0.0.1:8080",
    b" [::1]", b" [::1]:8080", b" [v1.x]", b" xn--bcher-kva.example", b" A.Example", b" a%41",
    b" ~a!$&'()*+;=", b"",
    b" ", b" a.", b" 1",
)  # fmt: skip
HOSTS_WRONG = (
    b" a b", b" a/b", b" a@b", b" x:port", b" a:80:80", b" a:-1", b" a:8 0", b" a\\b", b" a?b", b" a#b",
    b" http://a",
    b" a\x00b", b" a\x7f", b" b\xc3\xbccher", b" [::1", b" ::1", b" [::1]x", b" [g]", b" a%4", b" a%zz",
    b" \"a\"",
    b" a<b>", b" a\tb", b" a:123456", b" user:pw@a", b" a, b", b" a^", b" {a}", b" a|b", b" []",
)  # fmt: skip
TARGETS_RIGHT = (
    b"/", b"/a", b"/a?b", b"/?", b"/a/b/", b"//", b"//a/b", b"/%00", b"/%2e%2e", b"/a;b=c", b"/a,b",
    b"/a:b", b"/@a",
    b"/a[b]", b"/a|b", b"/a{b}", b"/\"a\"", b"/a?b?c", b"/~a", b"/%zz", b"http://a/", b"http://a",
    b"http://a:80/b?c",
    b"https://a/b", b"http://[::1]/b", b"HTTP://a/b",
)  # fmt: skip
TARGETS_WRONG = (
    b"a", b"a/b", b"*", b"?a", b"a:80", b"a?/", b".", b"../", b"%2f", b"\\", b"/a\x00b", b"/\x00",
    b"/a\x01", b"/a\x7f",
    b"/a\tb", b"/a\x1b", b"/a b", b"/ ", b"", b" /", b"ftp://a/b", b"http:/a", b"http:a", b"http:///a",
    b"http://a@b/",
    b"http://a b/", b"http://a:b/", b"file:///a", b"javascript:x", b"/a\x0bb", b"/a\x0c",
    b"http://a/\x00", b"#a", b"/b\xc3\xbccher",
)  # fmt: skip
FIELDS_RIGHT = (
    b"X: y", b"X:y", b"X:", b"X: \xc3\xbc", b"X:\ty\t", b"X: a, b", b"x-y: z", b"!#$%&'*+-.^_`|~: y",
    b"X: a\tb",
    b"Content-Length: 0", b"Content-Length: 00", b"Connection: keep-alive", b"Upgrade: h2c",
    b"X: " + b"y" * 9000,
    b"X: (a; b=\"c\")", b"1: 2",
)  # fmt: skip
FIELDS_WRONG = (
    b"X : y", b" X: y", b"\tX: y", b": y", b"X", b"X y", b"X: a\x00b", b"X\x00: y", b"X: a\rb",
    b"X: a\nb", b"X\xfc: y",
    b"X(y): z", b"X: \x01", b"Host: a", b"Host: b", b"host: a", b"Content-Length: -1", b"Content-Length: +1",
    b"Content-Length: 1 1", b"Content-Length: 0x1", b"Content-Length: 1,1", b"Content-Length: a",
    b"Content-Length: 1.0",
    b"Content-Length: 1e1", b"Content-Length: \xd9\xa3", b"Content-Length: 1\x00", b"X: a\r",
)  # fmt: skip
CODINGS_WRONG = (
    b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity", b"", b"xchunked",
    b"chunked;a",
    b"\x0bchunked", b"chunk ed",
)  # fmt: skip
CHUNKS_WRONG = (
    b"g\r\nabc\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n", b" 3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n",
    b"11111111111111111\r\nabc", b"3;a\x00\r\nabc\r\n0\r\n\r\n", b"\r\n", b"3\r\nabc\r\n0\r\nX\r\n\r\n",
    b"3\r\nabc\r\n0\r\n X: y\r\n\r\n",
)  # fmt: skip

RIGHT = (
    *map(host, HOSTS_RIGHT), *map(line, TARGETS_RIGHT), *map(field, FIELDS_RIGHT),
    b"GET / HTTP/1.0\r\n\r\n", host(b" a", b"1.0"), b"GET / HTTP/1.2\r\n" + H + b"\r\n",
    line(b"/", version=b" HTTP/1.9"),
    line(b"*", b"OPTIONS"), line(b"http://a", b"OPTIONS"), line(b"/", b"M-SEARCH"), line(b"/", b"X"),
    b"\r\n" + GET, b"\r\n\r\n" + GET, post(b"Content-Length: 3", body=b"abc"), post(TE.strip(), body=BODY),
    post(b"transfer-encoding:  CHUNKED ", body=BODY),
    post(TE.strip(), body=b"3;a=b\r\nabc\r\n0;c\r\nX: y\r\n\r\n"),
    post(TE.strip(), body=b"00003\r\nabc\r\n000\r\n\r\n"), post(TE.strip(), body=b"3\r\nabc\r\n0\r\n\r\n"),
)  # fmt: skip
WRONG = (
    *map(host, HOSTS_WRONG), *(host(value, b"1.0") for value in HOSTS_WRONG), *map(line, TARGETS_WRONG),
    *map(field, FIELDS_WRONG), *(post(b"Transfer-Encoding: " + coding, body=BODY) for coding in CODINGS_WRONG),
    *(post(TE.strip(), body=body) for body in CHUNKS_WRONG),
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", b"GET / HTTP/1.2\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n", b"GET\r\n\r\n", b"GET / \r\n\r\n", b"GET / HTTP/1.1 \r\n" + H + b"\r\n",
    b"GET  / HTTP/1.1\r\n" + H + b"\r\n",
    b"GET /  HTTP/1.1\r\n" + H + b"\r\n", b"GET\t/\tHTTP/1.1\r\n" + H + b"\r\n", line(b"/", b"get"),
    line(b"/", b"G\x00T"),
    line(b"/", b"G(T"), line(b"/", b""), line(b"/", version=b" http/1.1"), line(b"/", version=b" HTTP/1"),
    line(b"/", version=b" HTTP/11"), line(b"/", version=b" HTTP/1.10"), line(b"/", version=b" HTTP/1.x"),
    line(b"/", version=b" HTTP/ 1.1"), line(b"/", version=b" HTTPS/1.1"), line(b"/", version=b" HTTP/-1.1"),
    line(b"/", version=b" SIP/2.0"), line(b"a:80", b"CONNECT"), line(b"*", b"POST"),
    b"\x16\x03\x01\x02\x00\r\n\r\n",
    b"SSH-2.0-x\r\n\r\n", b"GET / HTTP/1.1\r\r\n" + H + b"\r\n", b"GET / HTTP/1.1\r\n" + H + H + b"\r\n",
    b"POST / HTTP/1.0\r\n" + TE + b"\r\n" + BODY,
    post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"), post(b"Content-Length: 3",
    b"Content-Length: 3", body=b"abc"),
    post(TE.strip(), TE.strip(), body=BODY),
)  # fmt: skip
OTHER_HTTP = (
    PREFACE, line(b"/", version=b" HTTP/2.0"), line(b"/", version=b" HTTP/3.0"),
    line(b"/", version=b" HTTP/0.9"),
    line(b"/", version=b" HTTP/0.0"), line(b"/", version=b" HTTP/9.9"), b"GET / HTTP/2.0\r\n\r\n",
)  # fmt: skip
CLOSING = (
    b"close", b"Close", b"CLOSE", b"foo, Close", b"close, foo", b"foo ,\tclose", b"keep-alive, close",
    b",close,",
    b"close\r\nConnection: foo", b"foo\r\nConnection: close",
)  # fmt: skip
STAYING = (b"foo", b"keep-alive", b"closed", b"not-close", b"clo se", b"", b"keep-alive, foo")


class Heard:
    """What the application was called with."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None, bytes]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_HOST"), body))
        return respond(start_response, b"heard")


@pytest.fixture
def client(served: Any) -> Client:
    return served(Heard()).connect()


def test_there_are_as_many_cases_as_were_tried() -> None:
    """No table lost its rows."""
    assert len(RIGHT) + len(WRONG) + len(OTHER_HTTP) + len(CLOSING) + len(STAYING) > 200


@pytest.mark.parametrize("raw", RIGHT, ids=repr)
def test_what_is_right_is_served(client: Client, raw: bytes) -> None:
    """And leaves the connection good for another request, where its version has that."""
    client.send(raw)

    status, headers, body = client.answer()

    assert (status, body) == (200, b"heard")
    if b"HTTP/1.0" not in raw:
        assert client.send(GET).answer()[0] == 200


@pytest.mark.parametrize("raw", WRONG, ids=repr)
def test_what_is_wrong_is_refused(client: Client, raw: bytes) -> None:
    """400, or 501 of a coding that nobody knows, and the connection is closed: what follows is never a request."""
    client.send(raw + GET)

    status, headers, _ = client.answer()

    assert status in (400, 501) and headers["connection"] == "close"
    assert client.closed()


@pytest.mark.parametrize("raw", OTHER_HTTP, ids=repr)
def test_another_http_is_refused(client: Client, raw: bytes) -> None:
    """505, the preface of HTTP/2 too, and the connection is closed."""
    client.send(raw)

    status, headers, _ = client.answer()

    assert (status, headers["connection"]) == (505, "close")
    assert client.closed()


@pytest.mark.parametrize("value", CLOSING, ids=repr)
@pytest.mark.parametrize("extra", [b"", b"X: a\r\n b\r\n"], ids=["plain", "folded"])
def test_a_connection_that_is_to_close_is_closed(client: Client, value: bytes, extra: bytes) -> None:
    """`close` anywhere in the list, in any spelling; RFC 9112, 9.6."""
    client.send(b"GET / HTTP/1.1\r\n" + H + extra + b"Connection: " + value + b"\r\n\r\n")

    status, headers, _ = client.answer()

    assert (status, headers["connection"]) == (200, "close")
    assert client.closed()


@pytest.mark.parametrize("value", STAYING, ids=repr)
def test_a_connection_stays_otherwise(client: Client, value: bytes) -> None:
    """Words that only look like it close nothing."""
    client.send(b"GET / HTTP/1.1\r\n" + H + b"Connection: " + value + b"\r\n\r\n", GET)

    assert client.answer()[0] == client.answer()[0] == 200


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive, foo"])
def test_a_connection_of_http_1_0_stays_when_it_asks(client: Client, value: bytes) -> None:
    """`keep-alive` is one word of a list as well."""
    raw = b"GET / HTTP/1.0\r\nConnection: " + value + b"\r\n\r\n"
    client.send(raw, raw)

    assert client.answer()[0] == client.answer()[0] == 200


def test_the_host_of_a_url_counts(served) -> None:
    """RFC 9112, 3.2.2: whatever Host says; and an empty path is the root."""
    app = Heard()
    client = served(app).connect()

    client.send(b"GET http://b.example:81 HTTP/1.1\r\nHost: a\r\n\r\n").answer()

    assert app.requests == [("GET", "/", "b.example:81", b"")]
