"""A connection that breaks in the middle of a body: what arrived is kept, and nothing is finished."""

from __future__ import annotations

import random

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, checksum
from tests.faults.conftest import Client, everywhere

SIZE = 300_000  # bytes that are announced: enough for the fastest road of every server
SENT = 150_001  # bytes that are sent: no multiple of any block
CONTENT = random.Random(2).randbytes(SIZE)


def resumed(tus: Client, url: str, offset: int) -> None:
    """The rest is sent, and the file is whole."""
    answer = tus.patch(url, offset, CONTENT[offset:])
    assert answer.status == 204, answer
    assert [handed.file for handed in tus.handed()] == [CONTENT]


@everywhere
def test_cut_by_fin(tus: Client) -> None:
    """A client that closes in mid-body finds every byte that it sent."""
    url = tus.create(SIZE)

    tus.begin(url, 0, SIZE, CONTENT[:SENT]).close()

    live.until(lambda: tus.stored(url) == SENT)
    assert tus.offset(url) == SENT
    assert tus.handed() == []
    resumed(tus, url, SENT)


@everywhere
def test_cut_by_half_close(tus: Client) -> None:
    """A client that stops sending and listens on is told, by an answer that lets it try again, what was kept."""
    url = tus.create(SIZE)

    with tus.begin(url, 0, SIZE, CONTENT[:SENT]) as connection:
        connection.half_close()
        answer = connection.answer()

    assert answer.status >= 500 and answer["Upload-Offset"] == str(SENT)
    resumed(tus, url, SENT)


@everywhere
def test_reset(tus: Client) -> None:
    """After a reset, what the server's application got to see stays."""
    url = tus.create(SIZE)

    connection = tus.begin(url, 0, SIZE, CONTENT[:SENT])
    tus.arrived(url, SENT)  # a reset also drops what the kernel has not delivered
    connection.reset()

    assert tus.offset(url) == SENT
    resumed(tus, url, SENT)


@everywhere
def test_reset_at_any_moment(tus: Client) -> None:
    """However much of it came, it is the beginning of what was sent, and the client can go on."""
    url = tus.create(SIZE)

    tus.begin(url, 0, SIZE, CONTENT[:SENT]).reset()

    def gone_on() -> bool:
        # The broken request may be seen after a HEAD that was sent later; then a 409 sends the client back.
        offset = tus.offset(url)
        assert offset <= SENT and tus.bytes_stored(url)[:offset] == CONTENT[:offset]
        return tus.patch(url, offset, CONTENT[offset:]).status == 204

    live.until(gone_on)
    assert [handed.file for handed in tus.handed()] == [CONTENT]


@everywhere
@pytest.mark.parametrize("sent", [1, 999])
def test_cut_of_a_small_body(tus: Client, sent: int) -> None:
    """A server may wait for the rest of a small body; it must not lose what it waits with."""
    url = tus.create(1000)

    tus.begin(url, 0, 1000, CONTENT[:sent]).close()

    live.until(lambda: tus.stored(url) == sent)
    assert tus.patch(url, tus.offset(url), CONTENT[sent:1000]).status == 204
    assert [handed.file for handed in tus.handed()] == [CONTENT[:1000]]


@everywhere
@pytest.mark.parametrize("way", ["fin", "reset"])
def test_half_a_chunk(tus: Client, way: str) -> None:
    """A chunked body that breaks within a chunk leaves its beginning, and nothing that was not sent."""
    url = tus.create(SIZE)
    headers = {"Content-Type": BYTES, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    pieces = wire.chunk(CONTENT[:1000]) + wire.chunk(CONTENT[1000:])[: SENT - 1000]

    connection = tus.open("PATCH", url, headers, pieces)
    tus.taken(url)
    if way == "fin":
        connection.close()
        live.until(lambda: tus.stored(url) > 1000)  # the first chunk, and some of the second
    else:
        connection.reset()

    def gone_on() -> bool:
        offset = tus.offset(url)
        assert offset <= SENT and tus.bytes_stored(url)[:offset] == CONTENT[:offset]
        return tus.patch(url, offset, CONTENT[offset:]).status == 204

    assert tus.handed() == []
    live.until(gone_on)
    assert [handed.file for handed in tus.handed()] == [CONTENT]


@everywhere
def test_cut_when_all_but_the_end_is_there(tus: Client) -> None:
    """A chunked body with every byte and without its last chunk is not called finished by a lost connection."""
    url = tus.create(None)
    headers = {"Content-Type": BYTES, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}

    tus.open("PATCH", url, headers, wire.chunk(CONTENT)).close()
    live.until(lambda: tus.stored(url) == SIZE)

    answer = tus.head(url)
    assert (answer["Upload-Offset"], answer["Upload-Defer-Length"]) == (str(SIZE), "1")
    assert tus.handed() == []


@everywhere
@pytest.mark.parametrize("way", ["fin", "reset"])
def test_cut_with_a_checksum_keeps_nothing(tus: Client, way: str) -> None:
    """What cannot be verified any more is dropped, and the offset is where it was."""
    url = tus.create(SIZE)
    tus.patch(url, 0, CONTENT[:1000])

    connection = tus.begin(
        url, 1000, SIZE - 1000, CONTENT[1000:SENT], {"Upload-Checksum": checksum("sha1", CONTENT[1000:])}
    )
    tus.arrived(url, 2000)
    connection.close() if way == "fin" else connection.reset()

    assert tus.offset(url) == 1000
    live.until(lambda: tus.stored(url) == 1000)
    resumed(tus, url, 1000)


@everywhere
def test_cut_while_creating_with_upload(tus: Client) -> None:
    """An upload whose creation broke off can be gone on with, if the client learned its name; here it is on disk."""
    headers = {"Upload-Length": str(SIZE), "Content-Type": BYTES, "Content-Length": str(SIZE)}

    tus.open("POST", None, headers, CONTENT[:SENT]).close()

    (id,) = live.until(lambda: [name.removesuffix(".info") for name in tus.files() if name.endswith(".info")])
    url = f"{tus.path}/{id}"
    live.until(lambda: tus.stored(url) == SENT)
    live.until(lambda: tus.head(url).status == 200)  # the server has heard of the cut, and its record is there
    resumed(tus, url, tus.offset(url))


@everywhere
def test_stall(tus: Client) -> None:
    """A client that falls silent has lost nothing, and may go on when it wakes."""
    url = tus.create(SIZE)

    with tus.begin(url, 0, SIZE, CONTENT[:SENT]) as connection:
        tus.arrived(url, SENT)
        connection.send(CONTENT[SENT:])
        answer = connection.answer()

    assert (answer.status, answer["Upload-Offset"]) == (204, str(SIZE))
    assert [handed.file for handed in tus.handed()] == [CONTENT]


def test_stall_for_too_long() -> None:
    """Our own server ends a silent body by itself, and keeps what came."""
    with live.start("ours", settings={"body_timeout": 0.2, "drain_timeout": 0.1}, durable="none") as server:
        tus = Client(server, "")
        url = tus.create(SIZE)

        with tus.begin(url, 0, SIZE, CONTENT[:SENT]) as connection:
            answer = connection.answer()

        assert answer.status >= 500 and answer["Upload-Offset"] == str(SENT)
        resumed(tus, url, SENT)


def test_head_right_after_a_cut_tells_an_offset_that_holds(tus: Client) -> None:
    """What the dead connection had sent and nobody had begun to store does not come behind the answer."""
    for number in range(100):
        url = tus.create(SIZE)
        connection = tus.begin(url, 0, SIZE, CONTENT[: (1, 5_000, SENT)[number % 3]])
        connection.close() if number % 2 else connection.reset()

        offset = tus.offset(url)

        assert tus.patch(url, offset, CONTENT[offset : offset + 1000]).status == 204
