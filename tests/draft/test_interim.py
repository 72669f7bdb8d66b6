"""104 (Upload Resumption Supported): where the upload is, before its body has come, and how far it is (section 9)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests import live
from tests.draft.client import NEWEST, VERSIONS, Client, Wire, digest, limits
from tus import TusFilter
from tus.adapters.targets import interim

SILENCE = 0.15  # seconds in which a server that wants to say something would have said it
ABLE = (
    "ours", "ours-workers", "gunicorn-gthread", "gunicorn-sync", "gunicorn-workers", "asgi", "asgi-uvloop",
    "asgi-hypercorn",
)  # fmt: skip


@pytest.fixture
def able(kind: live.Kind) -> None:
    if kind.name not in ABLE:
        pytest.skip(f"{kind.name} can send nothing before the answer")


def begun(client: Client, headers: dict[str, str | None] | None = None, *, version: str = "HTTP/1.1") -> Wire:
    """A creation of ten bytes of which none was sent."""
    connection = Wire(client.server.address)
    fields = {**client.complete(True), "Content-Length": "10", **(headers or {})}
    connection.send(client.request("POST", None, fields).replace(b"HTTP/1.1\r\n", f"{version}\r\n".encode(), 1))
    return connection


def silent(connection: Wire) -> bool:
    """Whether nothing comes before the body."""
    connection.socket.settimeout(SILENCE)
    try:
        return connection.socket.recv(1) == b""
    except TimeoutError:
        return True


@pytest.mark.every_server
@pytest.mark.usefixtures("able")
def test_address_before_the_body(collection: Any) -> None:
    """The 104 names the upload, its limits and the version; the final answer comes when the body has come."""
    client = collection(interim_responses=True, max_size=100)

    with begun(client) as connection:
        first = connection.interim()
        # A request that asks takes the upload over, and this one is at its end.
        asked = client.offset(first["Location"]) if client.server.kind.threads else (0, False)
        connection.send(b"0123456789")
        ended = connection.answer()

    assert first.status == 104
    assert first.reason == "Upload Resumption Supported" or not client.server.kind.reasons
    assert first["Upload-Draft-Interop-Version"] == str(NEWEST)
    assert limits(first)["max-size"] == 100
    assert asked == (0, False)
    assert client.done(ended) == (not client.server.kind.threads)


@pytest.mark.usefixtures("able")
def test_append_takes_over_from_the_creation(collection: Any) -> None:
    """A client that appends while its creation still runs has lost that connection."""
    client = collection(interim_responses=True)

    with begun(client) as connection:
        url = connection.interim()["Location"]
        answer = client.append(url, 0, b"0123456789", complete=True)

    assert client.done(answer)
    assert client.files() == [b"0123456789"]


@pytest.mark.slow
@pytest.mark.usefixtures("able")
def test_address_in_each_version(collection: Any) -> None:
    """The number is the client's, and the final answer names the same address where it names one."""
    for version in VERSIONS:
        client = collection(version, interim_responses=True)
        with begun(client) as connection:
            first = connection.interim()
            connection.send(b"0123456789")
            answer = connection.answer()

        assert first["Upload-Draft-Interop-Version"] == str(version)
        assert client.done(answer)
        assert answer.get("Location") in ({first["Location"]} if version <= 6 else {None})


def test_same_address_in_all_answers(collection: Any) -> None:
    """A part: the 104 and the 201 agree."""
    client = collection(interim_responses=True)

    with begun(client, {**client.complete(False)}) as connection:
        first = connection.interim()
        connection.send(b"0123456789")
        answer = connection.answer()

    assert (answer.status, answer["Location"]) == (201, first["Location"])


def test_cut_creation_goes_on_at_the_address(collection: Any) -> None:
    """The phone's case: nothing but the 104 ever came."""
    client = collection(interim_responses=True)

    with begun(client) as connection:
        url = connection.interim()["Location"]
        connection.send(b"01234")
        client.arrived(url, 5)
        connection.reset()

    assert client.offset(url) == (5, False)
    assert client.done(client.append(url, 5, b"56789", complete=True))
    assert client.files() == [b"0123456789"]


def test_real_100_is_not_dropped(collection: Any) -> None:
    """Who expects to be asked for the body is asked, too."""
    client = collection(interim_responses=True)

    with begun(client, {"Expect": "100-continue"}) as connection:
        interim = {connection.interim().status, connection.interim().status}
        connection.send(b"0123456789")

        assert interim == {100, 104}
        assert client.done(connection.answer())


@pytest.mark.every_server
def test_none_over_plain_http_unless_switched_on(client: Client) -> None:
    """Proxies that know no 104 make a security hole of it."""
    with begun(client) as connection:
        assert silent(connection)


@pytest.mark.parametrize(
    "headers", [{"Upload-Draft-Interop-Version": value} for value in (None, "x", "8, 8", "2", str(NEWEST + 1))]
)
def test_none_without_a_version_that_we_speak(collection: Any, headers: dict[str, str | None]) -> None:
    """A missing or a wrong number: the client would have to ignore it, and others would be confused."""
    client = collection(interim_responses=True)

    with begun(client, headers) as connection:
        answer = connection.answer() if headers["Upload-Draft-Interop-Version"] == "2" else None

        assert answer.interim == () if answer else silent(connection)


@pytest.mark.every_server
def test_none_under_http_1_0(collection: Any) -> None:
    """That version knows no interim responses."""
    client = collection(interim_responses=True)

    with begun(client, version="HTTP/1.0") as connection:
        assert silent(connection)


def test_none_for_tus(collection: Any) -> None:
    """Another protocol, even with all the fields that a phone adds."""
    client = collection(interim_responses=True)

    with begun(client, {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}) as connection:
        assert connection.answer().interim == ()


def test_none_for_an_empty_body(collection: Any) -> None:
    """The final answer is as quick."""
    assert collection(interim_responses=True).create(b"").interim == ()


def test_digest_of_a_cut_creation(collection: Any) -> None:
    """What cannot be verified is not kept, but the upload is, since the client knows of it."""
    client = collection(interim_responses=True)

    with begun(client, {"Content-Digest": digest(b"0123456789")}) as connection:
        url = connection.interim()["Location"]
        connection.send(b"01234")
        client.arrived(url, 5)
        connection.half_close()
        connection.rest()

    assert client.offset(url) == (0, False)


@pytest.mark.slow
@pytest.mark.every_server
@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_progress(collection: Any, method: str) -> None:
    """Every few seconds the client is told how far it is; never with an address on a PATCH."""
    client = collection(interim_responses=True, durable="always")
    url = client.created(b"") if method == "PATCH" else None
    headers = client.append_headers(0, False) if method == "PATCH" else client.complete(False)

    with client.open(method, url, headers, 1000, b"0") as connection:
        first = connection.interim() if method == "POST" else None
        stop = threading.Event()
        slow = threading.Thread(target=trickle, args=(connection, stop))
        slow.start()
        try:
            told = connection.interim()
        finally:
            stop.set()
            slow.join()

    assert first is None or "Location" in first
    assert told.status == 104
    assert int(told["Upload-Offset"]) > 1
    assert "Location" not in told
    assert told["Upload-Draft-Interop-Version"] == str(NEWEST)


def trickle(connection: Wire, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        connection.offer(b"x")


def test_none_under_http_2() -> None:
    """Its connection is shared by others; gunicorn says so in two ways."""
    socket = object()

    assert interim({"SERVER_PROTOCOL": "HTTP/1.1", "gunicorn.socket": socket}) is not None
    assert interim({"SERVER_PROTOCOL": "HTTP/1.1", "HTTP_VERSION": "2", "gunicorn.socket": socket}) is None
    assert interim({"SERVER_PROTOCOL": "HTTP/2", "gunicorn.socket": socket}) is None
    assert interim({"SERVER_PROTOCOL": "HTTP/1.1"}) is None


def test_client_that_left_before_the_104(tmp_path: Any) -> None:
    """Nobody to tell: its body shows that, and no exception does."""

    class Gone:
        def sendall(self, data: bytes) -> None:
            raise BrokenPipeError

    send = interim({"SERVER_PROTOCOL": "HTTP/1.1", "gunicorn.socket": Gone()})
    assert send
    send(104, {})


def test_progress_is_durable_where_all_is(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset that was told is a promise; bytes that a digest may throw away are not told of."""
    monkeypatch.setattr("tus.protocols.draft._EVERY", 0.0)

    plain, digested = (
        sent(tmp_path / name, headers)
        for name, headers in (("a", {}), ("b", {"HTTP_CONTENT_DIGEST": digest(b"0123456789")}))
    )

    assert [headers.get("Upload-Offset") for headers in plain] == [None, "10"]
    assert [headers.get("Upload-Offset") for headers in digested] == [None]


def sent(home: Any, more: dict[str, str]) -> list[dict[str, str]]:
    """The interim answers to one creation."""
    import io

    told: list[dict[str, str]] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/upload",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": "10",
        "HTTP_HOST": "x",
        "HTTP_UPLOAD_COMPLETE": "?0",
        "HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "8",
        "wsgi.input": io.BytesIO(b"0123456789"),
        "tus.interim": lambda status, headers: told.append(dict(headers)),
        **more,
    }
    app = TusFilter(None, tmp_file_dir=str(home), interim_responses=True, durable="always", sweep_interval="none")
    b"".join(app(environ, lambda status, headers: None))
    return told
