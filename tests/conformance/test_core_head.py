"""HEAD: how far is this upload? It must be true at any moment, and must never be refused without need."""

from __future__ import annotations

import time

import pytest

from tests import wire
from tests.conformance.client import Client, every_method

UNKNOWN = "0123456789abcdef0123456789abcdef"


@every_method
def test_head_tells_offset_zero(tus: Client) -> None:
    """A fresh upload has Upload-Offset 0, and the header is there."""
    url = tus.create(5)

    answer = tus.head(url)

    assert answer.status == 200
    assert answer["Upload-Offset"] == "0"


@every_method
def test_head_tells_the_offset_in_mid_upload(tus: Client) -> None:
    """The offset is the number of bytes that were stored."""
    url = tus.create(5)
    tus.patch(url, 0, b"abc")

    answer = tus.head(url)

    assert answer.status == 200
    assert answer["Upload-Offset"] == "3"


@every_method
def test_head_tells_the_offset_of_a_complete_upload(collection) -> None:
    """A complete upload still has its offset, which equals its length, whether or not its file is kept."""
    for cleanup in (True, False):
        tus = collection(cleanup=cleanup)
        url = tus.uploaded(b"hello")

        answer = tus.head(url)

        assert (answer.status, answer["Upload-Offset"], answer["Upload-Length"]) == (200, "5", "5")


@every_method
def test_head_tells_a_known_length(tus: Client) -> None:
    """Upload-Length is there, from the start to the end, when the client declared it."""
    url = tus.create(5)

    before = tus.head(url)
    tus.patch(url, 0, b"ab")
    after = tus.head(url)

    assert before["Upload-Length"] == after["Upload-Length"] == "5"
    assert "Upload-Defer-Length" not in before


@every_method
def test_head_of_an_unknown_upload_is_404_without_offset(tus: Client) -> None:
    """An id that was never given out is not found, and has no offset."""
    answer = tus.head(f"{tus.path}/{UNKNOWN}")

    assert answer.status == 404
    assert "Upload-Offset" not in answer


@every_method
@pytest.mark.parametrize(
    "name",
    [
        ".",
        "..",
        "../upload",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "a/b",
        "%00",
        UNKNOWN + ".info",
        UNKNOWN[:-1] + "%0a",
        "é",
        "x" * 5000,
    ],
)
def test_strange_ids_are_unknown(tus: Client, name: str) -> None:
    """No id leads out of the directory or into the server's own files; each is just not found."""
    url = tus.create(5)
    if UNKNOWN in name:
        name = name.replace(UNKNOWN, tus.id(url))

    for answer in (tus.head(f"{tus.path}/{name}"), tus.patch(f"{tus.path}/{name}", 0, b"abc")):
        # What lies outside of the collection is the application's, which answers 200 to anything.
        assert answer.status in (400, 404, 414) or "Upload-Offset" not in answer, answer
    assert tus.offset(url) == 0


@every_method
def test_head_must_not_be_cached(tus: Client) -> None:
    """The answer is true for a moment only."""
    answer = tus.head(tus.create(5))

    assert "no-store" in answer.list("Cache-Control")


@every_method
def test_head_has_no_body(tus: Client) -> None:
    """Nothing follows the headers, neither of a success nor of an error, and no length is claimed."""
    url = tus.create(5)
    tus.patch(url, 0, b"abc")

    for answer in (tus.head(url), tus.head(f"{tus.path}/{UNKNOWN}"), tus.head(url, version="0.2.2")):
        assert answer.body == b""
        assert answer.get("Content-Length") in (None, "0")
        assert "Transfer-Encoding" not in answer


@every_method
def test_head_needs_no_version(tus: Client) -> None:
    """A HEAD that says nothing about its version is answered."""
    url = tus.create(5)

    answer = tus.head(url, version=None)

    assert (answer.status, answer["Upload-Offset"]) == (200, "0")


@pytest.mark.every_server
@every_method
def test_head_is_answered_while_a_patch_hangs(tus: Client) -> None:
    """A client that comes back does not wait for its own dead connection, and what it hears stays true."""
    if not (tus.kind.streams and tus.kind.threads):
        pytest.skip(f"{tus.kind.name} runs no second request while one is open")
    url = tus.create(10)

    with tus.begin(url, 0, 10, b"abcd") as hanging:
        tus.arrived(url, 4)
        started = time.monotonic()
        first = tus.head(url)
        elapsed = time.monotonic() - started
        hanging.offer(b"efghij")
        second = tus.head(url)

    assert elapsed < 1
    assert first.status == second.status == 200
    assert first["Upload-Offset"] == str(tus.told(0, 4))
    assert second["Upload-Offset"] == first["Upload-Offset"]
    assert tus.handed() == []


@every_method
def test_head_seizes_so_that_the_client_can_go_on(tus: Client) -> None:
    """After a HEAD that interrupted a hanging PATCH, the next PATCH at that offset finishes the file."""
    if not tus.kind.streams:
        pytest.skip(f"{tus.kind.name} hands no part of a body on")
    url = tus.create(10)

    with tus.begin(url, 0, 10, b"abcd") as hanging:
        tus.arrived(url, 4)
        offset = tus.offset(url)
        answer = tus.patch(url, offset, b"abcdefghij"[offset:])
        hanging.offer(b"XXXXXX")

    assert answer.status == 204
    assert [handed.file for handed in tus.handed()] == [b"abcdefghij"]


def test_interrupted_patch_is_told_so(tus: Client) -> None:
    """The request that lost its upload to a newer one is ended, with an answer that invites a retry."""
    if not tus.kind.waits:
        pytest.skip(f"{tus.kind.name} cannot end another request")
    url = tus.create(10)

    with tus.begin(url, 0, 10, b"abcd") as hanging:
        tus.arrived(url, 4)
        assert tus.offset(url) == tus.told(0, 4)
        try:
            answer = hanging.answer()
        except wire.Broken:
            return  # closed without a word: clients retry that, too

    assert answer.status >= 500 or answer.status in (409, 423)


@every_method
def test_head_leaves_keep_alive_intact(tus: Client) -> None:
    """Two requests on one connection are two answers, also when the first is a HEAD that fails."""
    url = tus.create(5)
    missing = tus.request("HEAD", f"{tus.path}/{UNKNOWN}", {})[0].replace(b"Connection: close\r\n", b"")
    known = tus.request("HEAD", url, {})[0].replace(b"Connection: close\r\n", b"")

    with wire.Wire(tus.server.address) as connection:
        connection.send(missing)
        first = connection.answer(bodiless=True)
        connection.send(known)
        second = connection.answer(bodiless=True)

    assert first.status == 404
    assert (second.status, second["Upload-Offset"]) == (200, "0")
