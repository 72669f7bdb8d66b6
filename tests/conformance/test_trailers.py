"""Checksums behind the body: announced where the server shows trailers, and then obeyed."""

from __future__ import annotations

import pytest

from tests.conformance.client import Client, checksum, every_body


@pytest.fixture
def trailing(tus: Client) -> Client:
    """A client of a server that announces checksum-trailer."""
    if "checksum-trailer" not in tus.options().list("Tus-Extension"):
        pytest.skip(f"{tus.kind.name} shows no trailers")
    return tus


DECLARED = {"Trailer": "Upload-Checksum"}


@pytest.mark.every_server
@every_body
def test_matching_trailer_is_204(trailing: Client) -> None:
    """The right digest behind the body is as good as one before it."""
    url = trailing.create(9)
    trailers = {"Upload-Checksum": checksum("sha1", b"hello all")}

    answer = trailing.patch(url, 0, b"hello all", DECLARED, chunked=True, trailers=trailers)

    assert (answer.status, answer["Upload-Offset"]) == (204, "9")
    assert [handed.file for handed in trailing.handed()] == [b"hello all"]


@pytest.mark.every_server
@every_body
def test_mismatching_trailer_is_460_and_keeps_nothing(trailing: Client) -> None:
    """The bytes that came before the bad news are taken back, and the upload does not finish."""
    url = trailing.create(9)
    trailers = {"Upload-Checksum": checksum("sha1", b"something else")}

    answer = trailing.patch(url, 0, b"hello all", DECLARED, chunked=True, trailers=trailers)

    assert answer.status == 460
    assert trailing.offset(url) == 0
    assert trailing.handed() == []


@pytest.mark.every_server
@every_body
@pytest.mark.parametrize("value", ["rot13 AAAA", "sha1 AAAA", "sha1"])
def test_trailer_that_cannot_be_verified_is_400_and_keeps_nothing(trailing: Client, value: str) -> None:
    """An unknown algorithm or a broken digest spoils the piece, late as it comes."""
    url = trailing.create(9)

    answer = trailing.patch(url, 0, b"hello all", DECLARED, chunked=True, trailers={"Upload-Checksum": value})

    assert answer.status == 400
    assert trailing.offset(url) == 0
    assert trailing.handed() == []


@pytest.mark.every_server
@every_body
def test_promised_trailer_that_does_not_come_is_400_and_keeps_nothing(trailing: Client) -> None:
    """Bytes whose checksum was promised are not taken without it."""
    url = trailing.create(9)

    answer = trailing.patch(url, 0, b"hello all", DECLARED, chunked=True)

    assert answer.status == 400
    assert trailing.offset(url) == 0
    assert trailing.handed() == []


@pytest.mark.every_server
def test_trailer_that_would_not_be_seen_is_400_at_once(tus: Client) -> None:
    """A server that cannot read it says so, and takes no bytes whose checksum nobody will compare."""
    if "checksum-trailer" in tus.options().list("Tus-Extension"):
        pytest.skip(f"{tus.kind.name} shows trailers")
    url = tus.create(9)
    trailers = {"Upload-Checksum": checksum("sha1", b"hello all")}

    answer = tus.patch(url, 0, b"hello all", DECLARED, chunked=True, trailers=trailers)

    assert answer.status == 400
    assert tus.offset(url) == 0


def test_trailers_are_not_announced_behind_a_proxy(tus: Client, collection) -> None:
    """Most proxies drop them; where one does not, an option says so."""
    passes = collection(trailers=True)

    said = [client.options(headers={"X-Forwarded-For": "192.0.2.1"}).list("Tus-Extension") for client in (tus, passes)]

    assert ["checksum-trailer" in names for names in said] == [False, True]


@every_body
def test_header_and_trailer_must_both_match(trailing: Client) -> None:
    """One wrong digest out of two is one too many."""
    right, wrong = checksum("sha1", b"hello all"), checksum("sha1", b"hello")

    for header, trailer, expected in (
        (right, checksum("md5", b"hello all"), 204),
        (right, wrong, 460),
        (wrong, right, 460),
    ):
        url = trailing.create(9)
        headers = DECLARED | {"Upload-Checksum": header}
        answer = trailing.patch(url, 0, b"hello all", headers, chunked=True, trailers={"Upload-Checksum": trailer})
        assert answer.status == expected
        assert trailing.offset(url) == (9 if expected == 204 else 0)


@every_body
def test_trailer_in_the_creation(trailing: Client) -> None:
    """A creation with bytes is verified the same way, and leaves nothing when it fails."""
    own = DECLARED | {"Upload-Length": "9", "Content-Type": "application/offset+octet-stream"}
    good = trailing.post(own, b"hello all", chunked=True, trailers={"Upload-Checksum": checksum("sha1", b"hello all")})
    before = trailing.files()
    bad = trailing.post(own, b"hello all", chunked=True, trailers={"Upload-Checksum": checksum("sha1", b"x")})

    assert good.status == 201
    assert bad.status == 460
    assert "Location" not in bad
    assert trailing.files() == before


@pytest.mark.every_server
def test_trailers_that_mean_nothing_are_ignored(tus: Client) -> None:
    """Other trailers do no harm, on any server."""
    url = tus.create(9)

    answer = tus.patch(url, 0, b"hello all", {"Trailer": "X-Other"}, chunked=True, trailers={"X-Other": "1"})

    assert (answer.status, answer["Upload-Offset"]) == (204, "9")
