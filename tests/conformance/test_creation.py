"""Creation: a POST makes an upload, and must make nothing when it is refused."""

from __future__ import annotations

import re

import pytest

from tests.conformance.client import BYTES, Client, metadata


@pytest.mark.every_server
def test_creation_is_201_with_a_location(tus: Client) -> None:
    """The answer says where the upload is, and it is there, empty."""
    answer = tus.post({"Upload-Length": "5"})

    assert answer.status == 201
    assert len(answer.all("Location")) == 1
    assert tus.offset(answer["Location"]) == 0
    assert answer.body == b""


def test_locations_cannot_be_guessed(tus: Client) -> None:
    """Each upload has an id of 128 random bits, below the collection."""
    urls = [tus.create(5) for _ in range(5)]

    assert all(re.fullmatch(r"[0-9a-f]{32}", tus.id(url)) for url in urls)
    assert len(set(urls)) == 5
    assert all(tus.target(url) == f"{tus.path}/{tus.id(url)}" for url in urls)


def test_uploads_do_not_mix(tus: Client) -> None:
    """Two uploads at the same time are two files."""
    first, second = tus.create(5), tus.create(6)

    tus.patch(first, 0, b"ab")
    tus.patch(second, 0, b"uvwxyz")
    tus.patch(first, 2, b"cde")

    assert sorted(handed.file for handed in tus.handed()) == [b"abcde", b"uvwxyz"]


def test_creation_without_any_length_is_400(tus: Client) -> None:
    """The client has to give a length, or to say that it comes later."""
    answer = tus.post({})

    assert answer.status == 400
    assert "Location" not in answer
    assert tus.files() == []


def test_creation_with_both_lengths_is_400(tus: Client) -> None:
    """A length that is there cannot come later."""
    answer = tus.post({"Upload-Length": "5", "Upload-Defer-Length": "1"})

    assert answer.status == 400
    assert tus.files() == []


@pytest.mark.parametrize("value", ["0", "2", "true", "01", "1,1", ""])
def test_defer_length_has_one_value(tus: Client, value: str) -> None:
    """Anything but 1 is refused, with a length beside it and without."""
    for extra in ({}, {"Upload-Length": "5"}):
        answer = tus.post({"Upload-Defer-Length": value, **extra})

        assert answer.status == 400
    assert tus.files() == []


def test_length_above_the_maximum_is_413_and_creates_nothing(collection) -> None:
    """One byte too many is refused at once; the maximum itself is not."""
    tus = collection(max_size=10)

    answer = tus.post({"Upload-Length": "11"})

    assert answer.status == 413
    assert "Location" not in answer
    assert tus.files() == []
    assert tus.post({"Upload-Length": "10"}).status == 201


@pytest.mark.every_server
def test_empty_file_is_complete_at_once(tus: Client) -> None:
    """A length of 0 needs no PATCH: the application gets the empty file while the POST is answered."""
    answer = tus.post({"Upload-Length": "0", "Upload-Metadata": metadata(filename="empty")})

    assert answer.status == 201
    assert [(handed.file, handed.headers["filename"]) for handed in tus.handed()] == [(b"", "empty")]
    head = tus.head(answer["Location"])
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("0", "0")
    assert tus.patch(answer["Location"], 0).status == 204
    assert len(tus.handed()) == 1


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_body_of_another_type_is_ignored(tus: Client, type: str) -> None:
    """HTTP libraries send types and bodies on their own; those are no bytes of the file."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": type}, b"hello")

    assert answer.status == 201
    assert tus.offset(answer["Location"]) == 0
    assert tus.handed() == []


def test_form_without_version_goes_to_the_application(tus: Client) -> None:
    """An ordinary form that posts to the same address is none of our business, and arrives as it was sent."""
    for type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = tus.post({"Content-Type": type}, b"a=1", version=None)

        assert (answer.status, answer.body) == (200, b"from the application")
    assert [(h.method, h.body, h.upload) for h in tus.handed()] == [("POST", b"a=1", None)] * 2
    assert tus.files() == []


def test_get_of_the_collection_goes_to_the_application(tus: Client) -> None:
    """The page with the form may live at the same address."""
    answer = tus.get(tus.path)

    assert (answer.status, answer.body) == (200, b"from the application")
    assert [(h.method, h.path) for h in tus.handed()] == [("GET", tus.path)]


def test_other_addresses_go_to_the_application(tus: Client) -> None:
    """The filter takes its own path and what is below, not what merely begins alike."""
    for url in (tus.path + "s", tus.path + "-other/x", tus.path.replace("/upload", "/page")):
        assert tus.ask("PUT", url, {}, b"x", version=None).body == b"from the application"
    assert [handed.method for handed in tus.handed()] == ["PUT"] * 3


def test_methods_that_a_collection_has_not_are_405(tus: Client) -> None:
    """PATCH and DELETE need an upload; the answer names what is possible."""
    for answer in (tus.patch(tus.path, 0, b"x"), tus.delete(tus.path), tus.ask("PUT", None, {}, b"x")):
        assert answer.status == 405
        assert "POST" in answer.list("Allow")


def test_creation_answer_may_not_be_taken_for_progress(tus: Client) -> None:
    """Without bytes in the POST the client starts at 0: no other offset is mentioned."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": "text/plain"}, b"hello")

    assert answer.get("Upload-Offset") in (None, "0")


@pytest.mark.on_files("it looks at the modes of files")
def test_files_are_private(tus: Client) -> None:
    """Nobody else on the machine can read what is uploaded."""
    tus.patch(tus.create(5), 0, b"abc")

    directory = tus.home / "uploads"
    assert directory.stat().st_mode & 0o077 == 0
    assert tus.files()
    assert not [name for name in tus.files() if (directory / name).stat().st_mode & 0o077]


def test_empty_file_in_an_empty_body(tus: Client) -> None:
    """The type of the protocol and no bytes, announced or chunked: an empty file is still handed over once."""
    own = {"Upload-Length": "0", "Content-Type": BYTES}

    answers = [tus.post(own, b""), tus.post(own, b"", chunked=True)]

    assert [(a.status, a["Upload-Offset"]) for a in answers] == [(201, "0")] * 2
    assert [handed.file for handed in tus.handed()] == [b"", b""]


def test_repeated_creation_makes_another_upload(tus: Client) -> None:
    """Two creations that look the same are two uploads."""
    assert tus.create(5) != tus.create(5)


def test_refused_creation_leaves_nothing(tus: Client) -> None:
    """Whatever is wrong with it, no file stays behind."""
    for bad in (
        {"Upload-Length": "5", "Upload-Metadata": "a b c"},
        {"Upload-Length": "-5"},
        {"Upload-Length": "5", "Upload-Concat": "whole"},
        {"Upload-Length": "5", "Content-Type": BYTES, "Upload-Checksum": "rot13 AAAA"},
    ):
        assert tus.post(bad, b"hello").status == 400
    assert tus.files() == []
    assert tus.handed() == []
