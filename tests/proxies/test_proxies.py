"""Uploads through real proxies, configured as `deploy/proxies` and `docs/proxies.rst` say."""

from __future__ import annotations

import asyncio
import hashlib
import os
from base64 import b64encode
from contextlib import suppress

import pytest

for module in ("h2", "aioquic"):
    pytest.importorskip(module, reason=f"{module} is not installed (pip install 'tus[http3,test]')")

import h2.exceptions  # noqa: E402

from tests import live, wire  # noqa: E402
from tests.fronts import FRONTS  # noqa: E402
from tests.https.datagrams import connected  # noqa: E402
from tests.https.frames import Connection  # noqa: E402
from tests.proxies.conftest import Way  # noqa: E402

pytestmark = pytest.mark.slow

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
MIB = 1 << 20
HTTP2 = [front.name for front in FRONTS.values() if front.http2]
HTTP3 = [front.name for front in FRONTS.values() if front.http3]
PREFIXED = [front.name for front in FRONTS.values() if front.prefix]
HUGE = 3 * 10**9  # bytes; above every limit that a proxy has by default


def created(way: Way, length: int, collection: str = "/files") -> str:
    """The path of a new upload."""
    answer = way.ask("POST", collection, {**TUS, "Upload-Length": str(length), "Content-Length": "0"})
    assert answer.status == 201, answer
    return "/" + answer["Location"].removeprefix(way.origin).lstrip("/")


def begin(line: wire.Wire, path: str, length: int, *, offset: int = 0, **more: str) -> None:
    """Send the head of a PATCH."""
    fields = {"Host": "localhost", **PATCH, "Upload-Offset": str(offset), "Content-Length": str(length), **more}
    line.send(wire.head("PATCH", path, fields))


def test_huge_body_streams_and_its_cut_resumes(way: Way) -> None:
    """A body above every default limit is on the disk while it is sent; once cut, every byte of it counts."""
    data = os.urandom(2 * MIB)
    path = created(way, HUGE)

    with way.line() as line:
        begin(line, path, HUGE)
        line.send(data)
        live.until(lambda: way.stored(path) >= len(data) * 3 // 4, within=30.0)
    told = live.until(lambda: _offset(way, path))
    rest = data[told:] + b"more"
    with way.line() as line:
        begin(line, path, len(rest), offset=told)
        line.send(rest)
        answer = line.answer()

    assert told >= len(data) * 3 // 4
    assert (answer.status, answer["Upload-Offset"]) == (204, str(len(data) + 4)), answer


def _offset(way: Way, path: str) -> int:
    answer = way.ask("HEAD", path, TUS)
    assert answer.status == 200, answer
    return int(answer["Upload-Offset"])


def test_whole_upload_comes_back(way: Way) -> None:
    """What was sent can be fetched."""
    data = os.urandom(3 * MIB)
    path = created(way, len(data))

    with way.line() as line:
        begin(line, path, len(data))
        line.send(data)
        sent = line.answer()
    fetched = way.ask("GET", path, {})

    assert sent.status in (200, 204), sent
    assert hashlib.sha256(fetched.body).digest() == hashlib.sha256(data).digest()


def test_location_is_where_the_client_came(way: Way) -> None:
    """Scheme, host and port are those of the proxy, or it is a path."""
    answer = way.ask("POST", "/files", {**TUS, "Upload-Length": "9", "Content-Length": "0"})

    start = f"{way.origin}/files/" if way.front.marks else "/files/"
    assert answer["Location"].startswith(start)


@pytest.mark.parametrize("way", PREFIXED, indirect=True)
def test_location_has_the_prefix(way: Way) -> None:
    """Under a prefix that the server does not know, Location has it, and the upload is there."""
    path = created(way, 9, "/cloud/files")

    assert path.startswith("/cloud/files/")
    assert way.ask("HEAD", path, TUS)["Upload-Offset"] == "0"


def test_forged_prefix_is_dropped(way: Way) -> None:
    """What a client says of proxies is no truth about us."""
    forged = {"X-Forwarded-Prefix": "/evil", "Forwarded": "host=evil.example;proto=http"}

    answer = way.ask("POST", "/files", {**TUS, **forged, "Upload-Length": "9", "Content-Length": "0"})

    assert "evil" not in answer["Location"]


@pytest.mark.parametrize("right", [True, False])
def test_trailers_are_checked_or_their_lack_is(way: Way, right: bool) -> None:
    """Behind a proxy that drops trailers, a checksum in one is refused with nothing kept; elsewhere it is compared."""
    data = b"some bytes" * 1000
    path = created(way, 2 * len(data))
    checksum = b64encode(hashlib.sha1(data if right else b"other").digest()).decode()
    fields = {"Host": "localhost", **PATCH, "Upload-Offset": "0"}
    framing = {"Transfer-Encoding": "chunked", "Trailer": "Upload-Checksum", "TE": "trailers"}

    with way.line() as line:
        line.send(wire.head("PATCH", path, {**fields, **framing}))
        line.send(wire.chunk(data) + wire.last_chunk({"Upload-Checksum": f"sha1 {checksum}"}))
        answer = line.answer()

    expected = (204 if right else 460) if way.front.trailers else 400
    assert answer.status == expected, answer
    assert _offset(way, path) == (len(data) if expected == 204 else 0)


def test_interim_response_comes_as_the_table_says(way: Way) -> None:
    """A client that learns by a 104 where its upload is has it before its body, after it, or never."""
    creation = {"Host": "localhost", "Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"}
    body = bytes(MIB)

    with way.line() as line:
        line.send(wire.head("POST", "/files", {**creation, "Content-Length": str(len(body))}))
        line.send(body[:-1])
        early = _first_status(line, within=5.0) == 104
        line.send(body[-1:])
        answer = line.answer()
    right = answer.status == 201 and (not way.front.http2 or _is_answered_over_http2(way, creation, body))

    found = "at once" if early else "late" if 104 in answer.interim else "never"
    assert (found if right else "broken") == way.front.interim


def _is_answered_over_http2(way: Way, creation: dict[str, str], body: bytes) -> bool:
    """Whether what follows the 104 is an answer there, too."""
    fields = {name.lower(): value for name, value in creation.items() if name != "Host"}
    with Connection(way.address) as connection, suppress(h2.exceptions.ProtocolError):
        return connection.ask("POST", "/files", {**fields, "content-length": str(len(body))}, body=body).status == 201
    return False


def _first_status(line: wire.Wire, *, within: float) -> int | None:
    """The status that comes next, interim or not, if it comes in time; it stays to be read."""
    line.socket.settimeout(within)
    with suppress(TimeoutError):
        while b"\r\n" not in line.received and line._receive():
            pass
    line.socket.settimeout(wire.TIMEOUT)
    return int(line.received[9:12] or 0)


@pytest.mark.parametrize("way", HTTP2, indirect=True)
def test_http2_carries_an_upload(way: Way) -> None:
    """Over HTTP/2, an upload whose stream is reset resumes where it was."""
    data = os.urandom(MIB)
    path = created(way, len(data))
    head = {"tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream"}

    with Connection(way.address) as connection:
        stream = connection.begin("PATCH", path, {**head, "upload-offset": "0", "content-length": str(len(data))})
        connection.send(stream, data[: MIB // 2])
        live.until(lambda: way.stored(path) >= MIB // 4, within=30.0)
        connection.reset(stream)
        told = int(connection.ask("HEAD", path).headers["upload-offset"])
        rest = {**head, "upload-offset": str(told), "content-length": str(len(data) - told)}
        last = connection.ask("PATCH", path, rest, body=data[told:])

    assert told >= MIB // 4
    assert last.status in (200, 204)
    assert way.ask("GET", path, {}).body == data


@pytest.mark.parametrize("way", HTTP3, indirect=True)
def test_http3_carries_an_upload(way: Way) -> None:
    """Over HTTP/3, too."""
    data = os.urandom(MIB)
    path = created(way, len(data))

    async def act() -> int:
        async with connected(way.address) as quic:
            fields = {k.lower(): v for k, v in PATCH.items()} | {"upload-offset": "0", "content-length": str(MIB)}
            return (await quic.ask("PATCH", path, fields, body=data)).status

    status = asyncio.run(asyncio.wait_for(act(), 60))

    assert status in (200, 204)
    assert way.ask("GET", path, {}).body == data
