"""Checksums: bytes that are not what the client meant to send must never become part of the upload."""

from __future__ import annotations

import base64
import zlib

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client, checksum, every_body, every_manner, needs_cuts

DIGESTS = ["sha1", "md5", "sha256", "sha512"]


def crc32(body: bytes) -> str:
    return "crc32 " + base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


@pytest.mark.every_server
@every_manner
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_matching_checksum_is_204(tus: Client, algorithm: str) -> None:
    """Bytes that match are stored, with every algorithm."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello", {"Upload-Checksum": checksum(algorithm, b"hello")})

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert [handed.file for handed in tus.handed()] == [b"hello"]


@every_body
def test_cyclic_checksums_are_big_endian(tus: Client) -> None:
    """CRC-32 and CRC-32C are four bytes, the highest first; the check words of both are known."""
    for value in (crc32(b"123456789"), "crc32 y/Q5Jg==", "crc32c 4waSgw=="):
        assert tus.patch(tus.create(9), 0, b"123456789", {"Upload-Checksum": value}).status == 204
    for value in ("crc32 Jjn0yw==", "crc32c g5IG4w=="):
        assert tus.patch(tus.create(9), 0, b"123456789", {"Upload-Checksum": value}).status == 460


@pytest.mark.every_server
@every_manner
def test_mismatch_is_460_and_keeps_nothing(tus: Client) -> None:
    """The upload is as it was before, and the right bytes can follow."""
    url = tus.create(10)
    tus.patch(url, 0, b"hello")

    answer = tus.patch(url, 5, b"WORLX", {"Upload-Checksum": checksum("sha1", b"world")})

    assert answer.status == 460
    assert answer.get("Upload-Offset") in (None, "5")
    assert tus.offset(url) == 5
    assert tus.handed() == []
    tus.patch(url, 5, b"world", {"Upload-Checksum": checksum("sha1", b"world")})
    assert [handed.file for handed in tus.handed()] == [b"helloworld"]


@every_manner
def test_mismatch_declares_no_length(tus: Client) -> None:
    """A discarded piece does not leave its Upload-Length behind."""
    url = tus.create()

    answer = tus.patch(url, 0, b"hellO", {"Upload-Checksum": checksum("sha1", b"hello"), "Upload-Length": "5"})

    assert answer.status == 460
    head = tus.head(url)
    assert (head["Upload-Offset"], head.get("Upload-Length")) == ("0", None)


@every_manner
@pytest.mark.parametrize("value", ["rot13 AAAA", "sha3-512 AAAA", "sha-1 Lve95gjOVATpfV8EL5X4nxwjKHE="])
def test_unknown_algorithm_is_400_and_keeps_nothing(tus: Client, value: str) -> None:
    """What we cannot verify we do not take."""
    url = tus.create(5)

    assert tus.patch(url, 0, b"hello", {"Upload-Checksum": value}).status == 400
    assert tus.offset(url) == 0
    assert tus.handed() == []


@every_body
@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha1",
        "sha1 ",
        "sha1=qvTGHdzF6KLavt4PO0gs2a6pQ00=",
        "sha1  qvTGHdzF6KLavt4PO0gs2a6pQ00=",
        "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00",
        "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00= x",
        "sha1 aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
        "sha1 AAAA",
        "sha1 !!!!",
        "crc32 AAAAAAA=",
        "qvTGHdzF6KLavt4PO0gs2a6pQ00=",
        "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=,sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=",
    ],
)
def test_malformed_checksum_is_400_and_keeps_nothing(tus: Client, value: str) -> None:
    """A header that holds no digest of its algorithm's size is refused."""
    url = tus.create(5)

    assert tus.patch(url, 0, b"hello", {"Upload-Checksum": value}).status == 400
    assert tus.offset(url) == 0
    assert tus.handed() == []


@pytest.mark.every_server
@every_body
def test_cut_checksummed_body_keeps_nothing(tus: Client) -> None:
    """A part of a piece cannot be verified, so none of it stays."""
    needs_cuts(tus, half=True)
    url = tus.create(10)
    tus.patch(url, 0, b"abc")
    own = {"Upload-Checksum": checksum("sha1", b"defghij")}

    with tus.begin(url, 3, 7, b"defg", own) as connection:
        connection.half_close()
        answer = connection.answer()

    assert answer.status >= 500
    assert answer.get("Upload-Offset") in (None, "3")
    assert tus.offset(url) == 3
    tus.patch(url, 3, b"DEFGHIJ")
    assert [handed.file for handed in tus.handed()] == [b"abcDEFGHIJ"]


@pytest.mark.every_server
@every_body
@pytest.mark.parametrize("start", [0, 3])
def test_unverified_bytes_are_not_seen(tus: Client, start: int) -> None:
    """A HEAD in the middle of a checksummed piece tells the offset before it, and that stays so."""
    if not (tus.kind.streams and tus.kind.threads):
        pytest.skip(f"{tus.kind.name} runs no second request while one is open")
    url = tus.create(start + 7)
    tus.patch(url, 0, b"abc"[:start])
    own = {"Upload-Checksum": checksum("sha1", b"defghij")}

    for _ in range(tus.kind.processes * 2):  # so that it is asked of another process, too
        with tus.begin(url, start, 7, b"defg", own) as connection:
            tus.arrived(url, start + 4)
            during = tus.offset(url)
            connection.offer(b"hij")
        assert (during, tus.offset(url)) == (start, start)
    tus.patch(url, start, b"DEFGHIJ")
    assert [handed.file for handed in tus.handed()] == [b"abc"[:start] + b"DEFGHIJ"]


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 3])
def test_killed_server_forgets_unverified_bytes(start: int) -> None:
    """After kill -9 in the middle of a checksummed piece none of it is there."""
    with live.start() as server:
        tus = Client(server, server.collection())
        if not tus.kind.streams:
            pytest.skip(f"{tus.kind.name} hands no part of a body on")
        url = tus.create(start + 7)
        tus.patch(url, 0, b"abc"[:start])
        with tus.begin(url, start, 7, b"defg", {"Upload-Checksum": checksum("sha1", b"defghij")}):
            tus.arrived(url, start + 4)
            server.restart()

        assert tus.offset(url) == start
        tus.patch(url, start, b"DEFGHIJ")
        assert [handed.file for handed in tus.handed()] == [b"abc"[:start] + b"DEFGHIJ"]


@every_manner
def test_mismatch_of_the_last_piece_finishes_nothing(tus: Client) -> None:
    """The application never sees the file with the wrong end."""
    url = tus.create(5)
    tus.patch(url, 0, b"hell")

    assert tus.patch(url, 4, b"X", {"Upload-Checksum": checksum("md5", b"o")}).status == 460
    assert tus.handed() == []
    head = tus.head(url)
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("4", "5")


@every_manner
def test_checksum_is_of_this_request_only(tus: Client) -> None:
    """Each piece has its own; what was there before is no part of it."""
    url = tus.create(6)
    tus.patch(url, 0, b"abc")

    whole = tus.patch(url, 3, b"def", {"Upload-Checksum": checksum("sha1", b"abcdef")})
    piece = tus.patch(url, 3, b"def", {"Upload-Checksum": checksum("sha1", b"def")})

    assert (whole.status, piece.status) == (460, 204)


@pytest.mark.every_server
@every_body
def test_checksum_of_a_chunked_body(tus: Client) -> None:
    """The digest is of the bytes, not of their framing."""
    url = tus.create(20)

    good = tus.patch(url, 0, b"hello world", {"Upload-Checksum": checksum("sha1", b"hello world")}, chunked=True)
    bad = tus.patch(url, 11, b"hello world"[:9], {"Upload-Checksum": checksum("sha1", b"x")}, chunked=True)

    assert (good.status, good["Upload-Offset"]) == (204, "11")
    assert bad.status == 460
    assert tus.offset(url) == 11


@every_body
def test_chunked_overrun_with_a_checksum_keeps_nothing(tus: Client) -> None:
    """A body that goes too far cannot match, so that not even its beginning stays."""
    url = tus.create(5)
    own = {"Upload-Checksum": checksum("sha1", b"abcdefgh")}

    answer = tus.patch(url, 0, b"abcdefgh", own, chunked=True)

    assert answer.status in (413, 460)
    assert tus.offset(url) == 0
    assert tus.handed() == []


def test_checksum_of_nothing(tus: Client) -> None:
    """An empty piece has a checksum as well, right or wrong."""
    url = tus.create(5)

    assert tus.patch(url, 0, b"", {"Upload-Checksum": checksum("sha1", b"")}).status == 204
    assert tus.patch(url, 0, b"", {"Upload-Checksum": checksum("sha1", b"x")}).status == 460


@pytest.mark.every_server
def test_460_has_a_reason_that_can_be_read(tus: Client) -> None:
    """The code is in no official list, so the words have to come from us."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hellO", {"Upload-Checksum": checksum("sha1", b"hello")})

    assert answer.status == 460
    assert answer.reason.lower() == "checksum mismatch" or not tus.kind.reasons


def test_large_mismatch_leaves_the_old_bytes_alone(tus: Client) -> None:
    """Many blocks are taken back, and the bytes before them are still right."""
    url = tus.create(3_000_003)
    tus.patch(url, 0, b"abc")
    own = {"Content-Type": BYTES, "Upload-Offset": "3", "Upload-Checksum": checksum("sha1", b"x")}

    with wire.Wire(tus.server.address) as connection:
        connection.send(b"".join(tus.request("PATCH", url, own, bytes(3_000_000))))
        answer = connection.answer()

    assert answer.status == 460
    assert tus.offset(url) == 3
    assert tus.stored(url) == 3
