"""PATCH: bytes go to the offset that both sides agree on, and nothing that arrived is lost."""

from __future__ import annotations

import threading

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client, Manner, every_body, every_manner, needs_cuts

UNKNOWN = "0123456789abcdef0123456789abcdef"


def needs_streaming(tus: Client) -> None:
    if not tus.kind.streams:
        pytest.skip(f"{tus.kind.name} calls the application only with a whole body")


@pytest.mark.every_server
@every_manner
def test_patch_stores_and_tells_the_new_offset(tus: Client) -> None:
    """Success is 204 without a body, and Upload-Offset counts what is stored now."""
    url = tus.create(10)

    first = tus.patch(url, 0, b"abc")
    second = tus.patch(url, 3, b"de")

    assert (first.status, first["Upload-Offset"], first.body) == (204, "3", b"")
    assert (second.status, second["Upload-Offset"]) == (204, "5")
    assert tus.offset(url) == 5


@pytest.mark.every_server
@every_manner
def test_pieces_become_one_file(tus: Client) -> None:
    """What was sent in pieces is handed over once, as one file with every byte in its place."""
    url = tus.create(11)

    for offset, piece in ((0, b"hello"), (5, b" "), (6, b"world")):
        answer = tus.patch(url, offset, piece)
        assert (answer.status, answer["Upload-Offset"]) == (204, str(offset + len(piece)))

    assert [handed.file for handed in tus.handed()] == [b"hello world"]


@every_manner
@pytest.mark.parametrize(
    "type", ["text/plain", "application/octet-stream", BYTES + "x", "application/x-www-form-urlencoded", ""]
)
def test_another_content_type_is_415_and_stores_nothing(tus: Client, type: str) -> None:
    """Only one media type says that the body is a piece of the file."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello", {"Content-Type": type})

    assert answer.status == 415
    assert tus.offset(url) == 0
    assert tus.handed() == []


@every_manner
def test_no_content_type_is_415_and_stores_nothing(tus: Client) -> None:
    """A piece without a media type is refused, too."""
    url = tus.create(5)

    answer = tus.ask("PATCH", url, {"Upload-Offset": "0"}, b"hello")

    assert answer.status == 415
    assert tus.offset(url) == 0


@every_manner
@pytest.mark.parametrize("offset", [0, 2, 4, 5, 9])
def test_another_offset_is_409_with_the_true_one(tus: Client, offset: int) -> None:
    """The upload is not modified, and the client hears where to go on."""
    url = tus.create(5)
    tus.patch(url, 0, b"abc")

    answer = tus.patch(url, offset, b"X")

    assert (answer.status, answer["Upload-Offset"]) == (409, "3")
    assert tus.offset(url) == 3
    tus.patch(url, 3, b"de")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


@every_manner
def test_no_offset_is_400_and_stores_nothing(tus: Client) -> None:
    """A PATCH has to say where its bytes belong."""
    url = tus.create(5)

    answer = tus.patch(url, None, b"hello")

    assert answer.status == 400
    assert tus.offset(url) == 0


@every_manner
def test_patch_of_an_unknown_upload_is_404(tus: Client) -> None:
    """Nothing comes into being by a PATCH."""
    answer = tus.patch(f"{tus.path}/{UNKNOWN}", 0, b"hello")

    assert answer.status == 404
    assert "Upload-Offset" not in answer
    assert tus.head(f"{tus.path}/{UNKNOWN}").status == 404


@every_manner
def test_body_past_the_end_is_413_and_stores_nothing(tus: Client) -> None:
    """A Content-Length that does not fit is refused as a whole, before a byte is stored."""
    url = tus.create(5)
    tus.patch(url, 0, b"abc")

    answer = tus.patch(url, 3, b"defg")

    assert answer.status == 413
    assert tus.offset(url) == 3
    assert tus.handed() == []


@pytest.mark.every_server
@every_body
def test_chunked_body_past_the_end_is_413_and_never_stored_beyond(tus: Client) -> None:
    """A body that turns out too long is refused as a whole, as one that says so in advance."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"abcdefgh", chunked=True)

    assert answer.status == 413
    assert tus.handed() == []
    assert tus.stored(url) <= 5
    assert answer["Upload-Offset"] == "0"
    # However the server put it, the client can still finish with the right bytes.
    offset = tus.offset(url)
    assert tus.patch(url, offset, b"abcde"[offset:]).status == 204
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


@pytest.mark.every_server
@every_manner
def test_chunked_body_is_taken(tus: Client) -> None:
    """A body that announces no length is stored, and may finish the upload exactly."""
    url = tus.create(12)

    first = tus.patch(url, 0, b"hello ", chunked=True)
    second = tus.patch(url, 6, b"world!", chunked=True)

    assert (first.status, first["Upload-Offset"]) == (204, "6")
    assert (second.status, second["Upload-Offset"]) == (204, "12")
    assert [handed.file for handed in tus.handed()] == [b"hello world!"]


@every_manner
def test_patch_at_the_end_of_a_complete_upload_is_204_and_no_second_finish(tus: Client) -> None:
    """A client that lost the last answer hears of its success, and the application does not."""
    url = tus.uploaded(b"hello")

    first = tus.patch(url, 5)
    second = tus.patch(url, 5)

    assert (first.status, first["Upload-Offset"]) == (second.status, second["Upload-Offset"]) == (204, "5")
    assert len(tus.handed()) == 1


@every_manner
def test_more_bytes_for_a_complete_upload_are_refused(tus: Client) -> None:
    """What is complete does not grow, and is not handed over again."""
    url = tus.uploaded(b"hello")

    at_the_end = tus.patch(url, 5, b"X")
    from_the_start = tus.patch(url, 0, b"hello")

    assert at_the_end.status == 413
    assert (from_the_start.status, from_the_start["Upload-Offset"]) == (409, "5")
    assert tus.offset(url) == 5
    assert len(tus.handed()) == 1


@every_manner
def test_empty_patch_changes_nothing(tus: Client) -> None:
    """A PATCH without bytes is a success that leaves the upload as it is."""
    url = tus.create(5)
    tus.patch(url, 0, b"ab")

    answer = tus.patch(url, 2, b"")

    assert (answer.status, answer["Upload-Offset"]) == (204, "2")
    assert tus.offset(url) == 2
    assert tus.handed() == []


@pytest.mark.every_server
@every_body
def test_cut_connection_keeps_what_arrived(tus: Client) -> None:
    """When the client closes in mid-body, its bytes are there when it comes back."""
    needs_cuts(tus)
    url = tus.create(10)

    tus.begin(url, 0, 10, b"abcd").close()
    tus.arrived(url, 4)

    assert tus.offset(url) == 4
    assert tus.handed() == []
    tus.patch(url, 4, b"efghij")
    assert [handed.file for handed in tus.handed()] == [b"abcdefghij"]


@pytest.mark.every_server
@every_body
def test_reset_connection_keeps_what_was_read(tus: Client) -> None:
    """After a reset the offset is true: whatever it says, going on from there gives the right file."""
    needs_streaming(tus)
    url = tus.create(10)

    connection = tus.begin(url, 0, 10, b"abcd")
    tus.arrived(url, 4)
    connection.reset()

    offset = tus.offset(url)
    assert offset in {tus.told(0, 4), 4}  # a store that holds bytes back may be asked before they are stored
    assert tus.handed() == []
    tus.patch(url, offset, b"abcdefghij"[offset:])
    assert [handed.file for handed in tus.handed()] == [b"abcdefghij"]


@pytest.mark.every_server
@every_manner
def test_cut_body_of_a_listening_client_is_5xx_with_the_offset(tus: Client) -> None:
    """A client that is still there hears that it should retry, and from where; the upload does not finish."""
    needs_cuts(tus, half=True)
    url = tus.create(10)

    with tus.begin(url, 0, 10, b"abcd") as connection:
        connection.half_close()
        answer = connection.answer()

    assert answer.status >= 500
    assert answer["Upload-Offset"] == "4"
    assert tus.offset(url) == 4
    assert tus.handed() == []


@pytest.mark.every_server
@every_body
def test_cut_chunked_body_keeps_what_arrived_and_never_finishes(tus: Client) -> None:
    """A chunked body that ends within a chunk is a broken one, and what is whole of it stays."""
    needs_cuts(tus)
    url = tus.create(8)
    own = {"Content-Type": BYTES, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}

    with tus.open("PATCH", url, own, wire.chunk(b"abcd") + b"9\r\nef") as connection:
        connection.half_close()
        try:
            # hypercorn may answer 400 by itself to a client that has closed its half.
            assert connection.answer().status >= (500 if tus.kind.hears_halves else 400)
        except wire.Broken:
            tus.arrived(url, 4)

    offset = tus.offset(url)
    assert offset in (4, 5, 6)
    assert tus.handed() == []
    tus.patch(url, offset, b"abcdefgh"[offset:])
    assert [handed.file for handed in tus.handed()] == [b"abcdefgh"]


@every_body
def test_short_patch_is_no_success(tus: Client) -> None:
    """A body cut one byte before the upload's end does not finish it; the byte does."""
    needs_streaming(tus)
    url = tus.create(5)

    with tus.begin(url, 0, 5, b"hell") as connection:
        connection.half_close()
        assert connection.answer().status >= 500
    assert tus.handed() == []
    answer = tus.patch(url, 4, b"o")

    assert answer.status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"]


@pytest.mark.every_server
@every_body
def test_two_writers_never_interleave(tus: Client) -> None:
    """The newer PATCH owns the upload; the older one writes no more, whatever it still sends."""
    needs_streaming(tus)
    if not tus.kind.threads:
        pytest.skip(f"{tus.kind.name} runs one request at a time")
    url = tus.create(10)

    with tus.begin(url, 0, 10, b"aaaa") as older:
        tus.arrived(url, 4)
        offset = tus.offset(url)
        with tus.begin(url, offset, 10 - offset, b"bb") as newer:
            tus.arrived(url, offset + 2)
            older.offer(b"aaaaaa")
            newer.send(b"b" * (10 - offset - 2))
            answer = newer.answer()

    assert (answer.status, answer["Upload-Offset"]) == (204, "10")
    assert [handed.file for handed in tus.handed()] == [b"a" * offset + b"b" * (10 - offset)]


@pytest.mark.every_server
def test_same_last_patch_sent_twice_at_once_finishes_once(tus: Client) -> None:
    """Two copies of the last PATCH, sent at the same time, lead to one file handed over once."""
    url = tus.create(5)
    answers: list[wire.Answer | Exception] = []

    def send() -> None:
        try:
            answers.append(tus.patch(url, 0, b"hello"))
        except wire.Broken as error:
            answers.append(error)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    offset = tus.offset(url)
    tus.patch(url, offset, b"hello"[offset:])

    assert [handed.file for handed in tus.handed()] == [b"hello"]
    assert all(a.status in (204, 409, 423) or a.status >= 500 for a in answers if isinstance(a, wire.Answer))


@pytest.mark.parametrize("fault", ["version", "type", "offset", "missing offset", "length", "algorithm", "id"])
def test_refusal_needs_no_body(tus: Client, fault: str) -> None:
    """A PATCH that will be refused is answered before a byte of its body came, without inviting it."""
    needs_streaming(tus)
    url = tus.create(5)
    own = {"Content-Type": BYTES, "Upload-Offset": "0", "Content-Length": "5", "Expect": "100-continue"}
    change, expected = {
        "version": ({"Tus-Resumable": "0.2.2"}, 412),
        "type": ({"Content-Type": "text/plain"}, 415),
        "offset": ({"Upload-Offset": "3"}, 409),
        "missing offset": ({"Upload-Offset": None}, 400),
        "length": ({"Content-Length": "6"}, 413),
        "algorithm": ({"Upload-Checksum": "rot13 AAAA"}, 400),
        "id": ({}, 404),
    }[fault]
    target = f"{tus.path}/{UNKNOWN}" if fault == "id" else url

    with tus.open("PATCH", target, own | change) as connection:
        answer = connection.answer()

    assert answer.status == expected
    if tus.kind.waits:
        assert answer.interim == ()
    assert tus.offset(url) == 0


def test_accepted_patch_is_invited(tus: Client) -> None:
    """A client that waits for 100 Continue hears it, and its bytes arrive."""
    url = tus.create(5)

    with tus.begin(url, 0, 5, b"", {"Expect": "100-continue"}) as connection:
        connection.socket.settimeout(5)
        assert connection._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        connection.send(b"hello")
        answer = connection.answer()

    assert answer.status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"]


@pytest.mark.every_server
def test_refused_body_is_not_taken_for_a_request(tus: Client) -> None:
    """The bytes of a refused PATCH never act as the next request of the connection."""
    url = tus.create(5)
    smuggled = tus.request("DELETE", url, {})[0]
    first = tus.request("PATCH", url, {"Content-Type": "text/plain", "Upload-Offset": "0"}, smuggled)
    second = tus.request("OPTIONS", None, {"Connection": "close"}, version=None)[0]

    with wire.Wire(tus.server.address) as connection:
        connection.offer(b"".join(first))
        assert connection.answer().status == 415
        connection.offer(second)
        try:
            answer = connection.answer()
        except (wire.Broken, OSError):
            answer = None  # the connection was of no further use

    assert answer is None or "Tus-Version" in answer
    assert tus.offset(url) == 0


@pytest.mark.every_server
def test_connection_serves_one_patch_after_the_other(tus: Client) -> None:
    """Pieces sent on one connection, or on a new one where the server closes, all arrive."""
    url = tus.create(6)
    connection = wire.Wire(tus.server.address)

    for offset, piece in ((0, b"ab"), (2, b"cd"), (4, b"ef")):
        own = {"Content-Type": BYTES, "Upload-Offset": str(offset)}
        try:
            connection.send(b"".join(tus.request("PATCH", url, own, piece)))
            answer = connection.answer()
        except (wire.Broken, OSError):
            connection.close()
            connection = wire.Wire(tus.server.address)
            connection.send(b"".join(tus.request("PATCH", url, own, piece)))
            answer = connection.answer()
        assert (answer.status, answer["Upload-Offset"]) == (204, str(offset + 2))
    connection.close()

    assert [handed.file for handed in tus.handed()] == [b"abcdef"]


def test_pipelined_pieces_arrive_in_order(tus: Client) -> None:
    """Requests that a client sends without waiting are answered one by one, or the connection ends after one."""
    url = tus.create(6)
    requests = [
        b"".join(tus.request("PATCH", url, {"Content-Type": BYTES, "Upload-Offset": str(offset)}, piece))
        for offset, piece in ((0, b"ab"), (2, b"cd"), (4, b"ef"))
    ]
    offsets = []

    with wire.Wire(tus.server.address) as connection:
        connection.send(b"".join(requests))
        for _ in requests:
            try:
                answer = connection.answer()
            except (wire.Broken, OSError):
                break
            assert answer.status == 204
            offsets.append(answer["Upload-Offset"])

    assert offsets in (["2", "4", "6"], ["2", "4"], ["2"])
    assert tus.offset(url) >= int(offsets[-1])


@every_manner
def test_every_byte_value_survives(tus: Client) -> None:
    """No byte is special: neither line ends nor zeros nor what looks like a chunk."""
    content = bytes(range(256)) + b"\r\n0\r\n\r\n\x00\xff"
    url = tus.create(len(content))

    answer = tus.patch(url, 0, content)

    assert answer.status == 204
    assert [handed.file for handed in tus.handed()] == [content]


@pytest.mark.every_server
def test_large_body_arrives_whole(tus: Client) -> None:
    """A body of many blocks, whose length is no multiple of any, is stored bit for bit."""
    content = bytes(range(251)) * 20_011  # 5 MB, with a period that no block size shares
    url = tus.create(len(content))

    with wire.Wire(tus.server.address) as connection:
        own = {"Content-Type": BYTES, "Upload-Offset": "0"}
        connection.send(b"".join(tus.request("PATCH", url, own, content)))
        answer = connection.answer()

    assert (answer.status, answer["Upload-Offset"]) == (204, str(len(content)))
    assert [handed.file == content for handed in tus.handed()] == [True]


@pytest.mark.slow
def test_killed_server_keeps_what_was_stored(kind: live.Kind, manner: Manner) -> None:
    """After kill -9 in mid-PATCH a new process knows the offset, and the file is finished from there."""
    with live.start(kind.name) as server:
        tus = Client(server, server.collection(), manner)
        needs_streaming(tus)
        url = tus.create(10)
        with tus.begin(url, 0, 10, b"abcd"):
            tus.arrived(url, 4)
            server.restart()

        offset = tus.offset(url)
        assert offset == tus.told(0, 4)
        assert tus.patch(url, offset, b"abcdefghij"[offset:]).status == 204
        assert [handed.file for handed in tus.handed()] == [b"abcdefghij"]
