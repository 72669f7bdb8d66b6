"""Deferred length: an upload may begin before its end is known, and must not end before its length is."""

from __future__ import annotations

import pytest

from tests.conformance.client import Client, every_manner


@every_manner
def test_head_says_that_the_length_is_deferred(tus: Client) -> None:
    """As long as the length is unknown, every HEAD says so, and tells no length."""
    url = tus.create()

    for offset, piece in ((0, b"ab"), (2, b"c")):
        answer = tus.head(url)
        assert (answer["Upload-Defer-Length"], answer["Upload-Offset"]) == ("1", str(offset))
        assert "Upload-Length" not in answer
        tus.patch(url, offset, piece)
    assert tus.head(url)["Upload-Defer-Length"] == "1"


@every_manner
def test_length_comes_with_a_patch(tus: Client) -> None:
    """Once a PATCH brought the length it is as if it had always been known, and the upload can finish."""
    url = tus.create()
    tus.patch(url, 0, b"ab")

    answer = tus.patch(url, 2, b"c", {"Upload-Length": "5"})

    assert (answer.status, answer["Upload-Offset"]) == (204, "3")
    head = tus.head(url)
    assert head["Upload-Length"] == "5"
    assert "Upload-Defer-Length" not in head
    assert tus.handed() == []
    tus.patch(url, 3, b"de")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


@every_manner
def test_length_with_the_last_piece_finishes(tus: Client) -> None:
    """The PATCH that brings the length may be the one that reaches it."""
    url = tus.create()
    tus.patch(url, 0, b"abc")
    assert tus.handed() == []

    answer = tus.patch(url, 3, b"de", {"Upload-Length": "5"})

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


@every_manner
def test_length_alone_finishes(tus: Client) -> None:
    """A PATCH without bytes that says: this was all."""
    url = tus.create()
    tus.patch(url, 0, b"abcde")
    assert tus.handed() == []

    answer = tus.patch(url, 5, b"", {"Upload-Length": "5"})

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


@every_manner
def test_empty_deferred_upload_finishes(tus: Client) -> None:
    """A deferred upload that turns out to be empty is a file, too."""
    url = tus.create()

    assert tus.patch(url, 0, b"", {"Upload-Length": "0"}).status == 204
    assert [handed.file for handed in tus.handed()] == [b""]


@every_manner
def test_length_never_changes(tus: Client) -> None:
    """Another length than the one that is known is 400 and stores nothing; the same one is no fault."""
    url = tus.create()
    tus.patch(url, 0, b"a", {"Upload-Length": "5"})

    for length in ("4", "6", "0"):
        assert tus.patch(url, 1, b"X", {"Upload-Length": length}).status == 400
    head = tus.head(url)
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("1", "5")
    assert tus.patch(url, 1, b"b", {"Upload-Length": "5"}).status == 204
    assert tus.offset(url) == 2


@every_manner
def test_length_of_the_creation_never_changes(tus: Client) -> None:
    """It holds for a length that was there from the start."""
    url = tus.create(5)

    assert tus.patch(url, 0, b"X", {"Upload-Length": "1"}).status == 400
    assert tus.offset(url) == 0
    assert tus.patch(url, 0, b"hello", {"Upload-Length": "5"}).status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"]


@every_manner
def test_length_below_the_offset_is_400(tus: Client) -> None:
    """An upload cannot be shorter than what is there of it, and stays deferred."""
    url = tus.create()
    tus.patch(url, 0, b"abc")

    assert tus.patch(url, 3, b"", {"Upload-Length": "2"}).status == 400
    head = tus.head(url)
    assert (head["Upload-Offset"], head["Upload-Defer-Length"]) == ("3", "1")


@every_manner
def test_body_past_the_declared_length_is_413(tus: Client) -> None:
    """A body that does not fit into the length that comes with it is refused whole."""
    url = tus.create()

    assert tus.patch(url, 0, b"abcdef", {"Upload-Length": "5"}).status == 413
    assert tus.offset(url) == 0
    assert tus.handed() == []


@every_manner
def test_declared_length_above_the_maximum_is_413(collection) -> None:
    """Deferring is no way around the limit; the upload stays deferred."""
    tus = collection(max_size=10)
    url = tus.create()

    assert tus.patch(url, 0, b"abc", {"Upload-Length": "11"}).status == 413
    head = tus.head(url)
    assert (head["Upload-Offset"], head["Upload-Defer-Length"]) == ("0", "1")


@every_manner
def test_bytes_above_the_maximum_are_413(collection) -> None:
    """While the length is unknown the bytes themselves are limited."""
    tus = collection(max_size=10)
    url = tus.create()
    tus.patch(url, 0, b"12345678")

    assert tus.patch(url, 8, b"9ab").status == 413
    assert tus.offset(url) == 8
    assert tus.patch(url, 8, b"9a").status == 204


@pytest.mark.every_server
def test_chunked_bytes_above_the_maximum_are_413(collection) -> None:
    """A body that does not say how long it is gets no further than the limit."""
    tus = collection(max_size=10)
    url = tus.create()

    assert tus.patch(url, 0, b"0123456789abcdef", chunked=True).status == 413
    assert tus.stored(url) <= 10
    assert tus.offset(url) <= 10
    assert tus.handed() == []


@every_manner
def test_refused_patch_declares_no_length(tus: Client) -> None:
    """A PATCH that fails for another reason leaves the length as unknown as it was."""
    url = tus.create()

    tus.patch(url, 7, b"abc", {"Upload-Length": "10"})
    tus.patch(url, 0, b"abc", {"Upload-Length": "10", "Content-Type": "text/plain"})
    tus.patch(url, 0, b"abc", {"Upload-Length": "10", "Upload-Checksum": "rot13 AAAA"})
    tus.patch(url, 0, b"abc", {"Upload-Length": "10"}, version="0.2.2")
    tus.patch(url, 0, b"abc", {"Upload-Length": "ten"})

    head = tus.head(url)
    assert (head["Upload-Offset"], head["Upload-Defer-Length"]) == ("0", "1")
    assert "Upload-Length" not in head
