"""Creation with upload: bytes in the POST. It is a creation and a PATCH, and must be nothing if it fails."""

from __future__ import annotations

import os

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client, checksum, every_body, metadata, needs_cuts


@pytest.mark.every_server
@every_body
def test_whole_file_in_the_creation(tus: Client) -> None:
    """A POST with all the bytes is a finished upload, handed over once, and still has its address."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (201, "5")
    assert [handed.file for handed in tus.handed()] == [b"hello"]
    assert tus.offset(answer["Location"]) == 5


@every_body
def test_first_piece_in_the_creation(tus: Client) -> None:
    """A POST with some of the bytes tells the offset, and PATCH goes on from there."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"abc")

    assert (answer.status, answer["Upload-Offset"]) == (201, "3")
    assert tus.offset(answer["Location"]) == 3
    assert tus.handed() == []
    tus.patch(answer["Location"], 3, b"de")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


def test_creation_with_an_empty_body_tells_offset_zero(tus: Client) -> None:
    """The type alone says that there could be bytes; there are none."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"")

    assert answer.status == 201
    assert answer["Upload-Offset"] == "0"
    assert tus.offset(answer["Location"]) == 0


@pytest.mark.every_server
@every_body
def test_chunked_body_in_the_creation(tus: Client) -> None:
    """The bytes may come without a length in advance."""
    answer = tus.post({"Upload-Length": "9", "Content-Type": BYTES}, b"hello all", chunked=True)

    assert (answer.status, answer["Upload-Offset"]) == (201, "9")
    assert [handed.file for handed in tus.handed()] == [b"hello all"]


@every_body
def test_deferred_creation_with_bytes(tus: Client) -> None:
    """Neither the length nor the rest need be known."""
    answer = tus.post({"Upload-Defer-Length": "1", "Content-Type": BYTES}, b"abc")

    assert (answer.status, answer["Upload-Offset"]) == (201, "3")
    head = tus.head(answer["Location"])
    assert (head["Upload-Offset"], head["Upload-Defer-Length"]) == ("3", "1")
    assert tus.handed() == []


@every_body
def test_body_beyond_the_length_is_413_and_creates_nothing(tus: Client) -> None:
    """A Content-Length that does not fit is refused before anything is made."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"abcdef")

    assert answer.status == 413
    assert "Location" not in answer
    assert tus.files() == []
    assert tus.handed() == []


@every_body
def test_body_beyond_the_maximum_is_413_and_creates_nothing(collection) -> None:
    """A deferred length does not hide a body that is too large."""
    tus = collection(max_size=10)

    answer = tus.post({"Upload-Defer-Length": "1", "Content-Type": BYTES}, b"12345678901")

    assert answer.status == 413
    assert "Location" not in answer
    assert tus.files() == []


@every_body
def test_checksum_holds_in_the_creation(tus: Client) -> None:
    """Right bytes are taken."""
    own = {"Upload-Length": "5", "Content-Type": BYTES, "Upload-Checksum": checksum("sha1", b"hello")}

    answer = tus.post(own, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (201, "5")
    assert [handed.file for handed in tus.handed()] == [b"hello"]


@every_body
@pytest.mark.parametrize("length", ["5", "8"])
def test_mismatch_in_the_creation_is_460_and_nothing_remains(tus: Client, length: str) -> None:
    """Wrong bytes make no upload: there is no address, no file, and nobody is told."""
    own = {"Upload-Length": length, "Content-Type": BYTES, "Upload-Checksum": checksum("sha1", b"hello")}

    answer = tus.post(own, b"hellO")

    assert answer.status == 460
    assert "Location" not in answer
    assert tus.files() == []
    assert tus.handed() == []


def test_unknown_algorithm_in_the_creation_is_400_and_nothing_remains(tus: Client) -> None:
    """It is known from the header, before anything is made."""
    own = {"Upload-Length": "5", "Content-Type": BYTES, "Upload-Checksum": "rot13 AAAA"}

    answer = tus.post(own, b"hello")

    assert answer.status == 400
    assert "Location" not in answer
    assert tus.files() == []


@pytest.mark.every_server
@every_body
def test_cut_creation_keeps_its_bytes_and_tells_where(tus: Client) -> None:
    """A client that still listens hears the address and the offset, and goes on from there."""
    needs_cuts(tus, half=True)
    own = {"Upload-Length": "10", "Content-Type": BYTES, "Content-Length": "10"}

    with tus.open("POST", None, own, b"abcd") as connection:
        connection.half_close()
        answer = connection.answer()

    assert answer.status >= 500
    assert answer["Upload-Offset"] == "4"
    assert tus.offset(answer["Location"]) == 4
    assert tus.handed() == []
    tus.patch(answer["Location"], 4, b"efghij")
    assert [handed.file for handed in tus.handed()] == [b"abcdefghij"]


@every_body
def test_cut_checksummed_creation_keeps_nothing(tus: Client) -> None:
    """What could not be verified is not kept."""
    if not tus.kind.streams:
        pytest.skip(f"{tus.kind.name} calls the application only with a whole body")
    own = {"Upload-Length": "5", "Content-Type": BYTES, "Content-Length": "5"}

    with tus.open("POST", None, own | {"Upload-Checksum": checksum("sha1", b"hello")}, b"hell") as connection:
        connection.half_close()
        answer = connection.answer()

    assert answer.status >= 500
    assert answer.get("Upload-Offset") in (None, "0")
    if "Location" in answer:
        assert tus.offset(answer["Location"]) == 0
    assert tus.handed() == []


@pytest.mark.every_server
@every_body
def test_chunked_body_beyond_the_length_of_the_creation_is_413(tus: Client) -> None:
    """Too many bytes are no finished upload, and never more than the length is stored."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"abcdefgh", chunked=True)

    assert answer.status == 413
    assert tus.handed() == []
    if "Location" in answer:
        assert tus.stored(answer["Location"]) <= 5


def test_creation_with_bytes_waits_to_be_invited(tus: Client) -> None:
    """100 Continue comes for a creation that is fine, and not for one that is refused."""
    own = {"Content-Type": BYTES, "Content-Length": "5", "Expect": "100-continue"}

    with tus.open("POST", None, own | {"Upload-Length": "5"}) as connection:
        assert connection._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        connection.send(b"hello")
        assert connection.answer().status == 201
    if tus.kind.waits:
        with tus.open("POST", None, own | {"Upload-Length": "4"}) as connection:
            answer = connection.answer()
        assert (answer.status, answer.interim) == (413, ())


def test_metadata_with_bytes(tus: Client) -> None:
    """All that belongs to a creation works with bytes, too."""
    value = metadata(filename="hello.txt")

    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES, "Upload-Metadata": value}, b"hello")

    assert tus.head(answer["Location"])["Upload-Metadata"] == value
    assert [handed.headers["filename"] for handed in tus.handed()] == ["hello.txt"]


@pytest.mark.slow
def test_killed_creation_leaves_no_half_upload() -> None:
    """Nobody was told of an upload whose creation was killed: it is whole or unknown, and its bytes go away."""
    with live.start() as server:
        tus = Client(server, server.collection(sweep_interval=1))
        if not tus.kind.streams:
            pytest.skip(f"{tus.kind.name} calls the application only with a whole body")
        own = {"Upload-Length": "10", "Content-Type": BYTES, "Content-Length": "10"}
        with tus.open("POST", None, own, b"abcd"):
            live.until(lambda: [f for f in tus.files() if len(f) == 32 and tus.stored(f) == 4])
            server.kill()
        (id,) = (f for f in tus.files() if len(f) == 32)
        for name in tus.files():
            os.utime(tus.home / "uploads" / name, (0, 0))  # it happened long ago
        server.start()

        answer = tus.head(f"{tus.path}/{id}")
        assert (answer.status, answer.get("Upload-Offset")) in ((200, "4"), (404, None))
        live.until(lambda: not tus.files(), within=10)
        assert tus.handed() == []


def test_answer_to_a_body_that_nobody_wants_arrives(tus: Client) -> None:
    """A creation refused while its large body is still coming is answered, not just reset."""
    if not tus.kind.waits:
        pytest.skip(f"{tus.kind.name} resets such connections")
    own = {"Upload-Length": "5", "Content-Type": BYTES, "Content-Length": str(1 << 20)}

    with tus.open("POST", None, own, bytes(1 << 20)) as connection:
        answer: wire.Answer = connection.answer()

    assert answer.status == 413
