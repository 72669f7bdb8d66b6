"""PATCH: going on where the last request ended (section 6 of the draft)."""

from __future__ import annotations

import pytest

from tests import wire
from tests.draft.client import PROBLEMS, TYPE, Client, Wire, limits, problem

CONTENT = b"hello world"


@pytest.mark.every_server
def test_append_and_complete(client: Client) -> None:
    """Two parts become one file, and the application's answer is the answer to both."""
    client.plan(status="201 Created", headers=[["Location", "/photos/7"]], body="yours")
    url = client.created(b"hello")

    answer = client.append(url, 5, b" world", complete=True)

    assert (answer.status, answer["Location"], answer.body) == (201, "/photos/7", b"yours")
    assert client.done(answer)
    assert client.files() == [CONTENT]


def test_append_in_each_version(each: Client) -> None:
    """201 up to interop 6 and 204 since, with the offset, and with the word that this is not all."""
    url = each.created(b"hel")

    answer = each.append(url, 3, b"lo")

    assert answer.status == (201 if each.version <= 6 else 204)
    assert (answer["Upload-Offset"], each.done(answer)) == ("5", False)
    assert answer["Upload-Draft-Interop-Version"] == str(each.version)
    done = each.append(url, 5, b" world", complete=True)
    assert (done.status, each.done(done)) == (200, True)
    assert each.files() == [CONTENT]


def test_empty_append_completes(each: Client) -> None:
    """All bytes were there; only the word was missing."""
    url = each.created(CONTENT, {"Upload-Length": "11"})

    assert each.offset(url) == (11, False)
    assert each.done(each.append(url, 11, b"", complete=True))
    assert each.files() == [CONTENT]


def test_last_byte_without_the_word(each: Client) -> None:
    """offset == length by a PATCH with ?0: still not complete."""
    url = each.created(b"hello", {"Upload-Length": "11"})

    answer = each.append(url, 5, b" world")

    assert not each.done(answer)
    assert each.offset(url) == (11, False)
    assert each.handed() == []


@pytest.mark.parametrize("type_", [None, "text/plain", "application/partial-uploads"])
def test_media_type_since_interop_6(each: Client, type_: str | None) -> None:
    """415 with the right one; before, there was none."""
    url = each.created(b"x")

    answer = each.append(url, 1, b"y", headers={"Content-Type": type_})

    if each.version >= 6:
        assert (answer.status, answer["Accept-Patch"], each.done(answer)) == (415, TYPE, False)
    else:
        assert answer.status == 201


@pytest.mark.parametrize("type_", ["Application/Partial-Upload", "application/partial-upload; x=1"])
def test_media_type_is_compared_as_media_types_are(client: Client, type_: str) -> None:
    """Neither case nor parameters matter."""
    url = client.created(b"x")

    assert client.append(url, 1, b"y", headers={"Content-Type": type_}).status == 204


@pytest.mark.parametrize("offset", [None, "", "x", "-1", "+1", "1.0", "1_0", "1, 1", "\xd9\xa1", "1" * 16, '"1"'])
def test_missing_or_invalid_offset(client: Client, offset: str | None) -> None:
    """An invalid field counts as absent, and a PATCH cannot be without."""
    url = client.created(b"x")

    answer = client.append(url, None, b"y", headers={"Upload-Offset": offset})

    assert (answer.status, client.done(answer)) == (400, False)
    assert client.offset(url) == (1, False)


def test_missing_offset_in_each_version(each: Client) -> None:
    """No version appends without."""
    url = each.created(b"x")

    answer = each.append(url, None, b"y")

    assert (answer.status, each.done(answer)) == (400, False)


@pytest.mark.parametrize("offset", ["1", " 1 ", "1;x=2", "01", "000000000000001"])
def test_valid_offsets(client: Client, offset: str) -> None:
    """Parameters, blanks and leading zeros are within the grammar."""
    assert client.append(client.created(b"x"), None, b"y", headers={"Upload-Offset": offset}).status == 204


def test_absent_completeness(each: Client) -> None:
    """In interop 3 it means complete, in 4 to 6 not complete, and since 7 it is an error."""
    url = each.created(b"x")

    answer = each.append(url, 1, b"y", complete=None)

    if each.version == 3:
        assert each.done(answer)
    elif each.version <= 6:
        assert (answer.status, each.done(answer)) == (201, False)
    else:
        assert (answer.status, each.done(answer)) == (400, False)
    assert each.offset(url) == (2 if each.version <= 6 else 1, each.version == 3)


@pytest.mark.parametrize("offset", [0, 999999999999999])
def test_offset_mismatch(each: Client, offset: int) -> None:
    """409 with the right offset, the word that this is not all, and a problem document with both offsets."""
    url = each.created(b"hello")

    answer = each.append(url, offset, b"x")

    assert (answer.status, answer["Upload-Offset"], each.done(answer)) == (409, "5", False)
    said = problem(answer)
    assert said["type"] == PROBLEMS + "mismatching-upload-offset"
    assert (said["expected-offset"], said["provided-offset"]) == (5, offset)
    assert each.offset(url) == (5, False)


def test_length_by_an_append(each: Client) -> None:
    """A length may come late, and then holds."""
    url = each.created(b"hello")

    each.append(url, 5, b" ", headers={"Upload-Length": "11"})

    assert each.head(url)["Upload-Length"] == "11"


@pytest.mark.parametrize("complete", [True, False])
def test_contradicting_length(each: Client, complete: bool) -> None:
    """A length that changes is refused, said by a field or by the end of a request."""
    url = each.created(b"hello", {"Upload-Length": "11"})
    headers = {} if complete else {"Upload-Length": "12"}

    answer = each.append(url, 5, b" wor", complete=complete, headers=headers)

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")
    assert not each.done(answer)
    assert each.offset(url) == (5, False)


def test_both_lengths_of_one_append(client: Client) -> None:
    """Upload-Length and the end of a request with ?1 have to be the same."""
    url = client.created(b"hello")

    answer = client.append(url, 5, b" world", complete=True, headers={"Upload-Length": "12"})

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")


def test_invalid_length_counts_as_absent(client: Client) -> None:
    """What breaks the grammar was not said."""
    url = client.created(b"hello", {"Upload-Length": "11, 11"})

    assert "Upload-Length" not in client.head(url)
    assert client.append(url, 5, b"x", headers={"Upload-Length": "6.0"}).status == 204


def test_declared_overrun_is_refused_and_harms_nobody(each: Client) -> None:
    """Content-Length tells beforehand, so nothing is stored, and the upload lives."""
    url = each.created(b"hello", {"Upload-Length": "11"})

    answer = each.append(url, 5, b" world!")

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")
    assert each.offset(url) == (5, False)


@pytest.mark.parametrize("complete", [True, False])
def test_overrun_invalidates_for_good(each: Client, complete: bool) -> None:
    """A body of unknown length that goes beyond the length: the upload can never be used again."""
    url = each.created(b"hello", {"Upload-Length": "11"})

    headers = {**each.append_headers(5, complete), "Transfer-Encoding": "chunked"}
    with Wire(each.server.address) as connection:
        connection.send(each.request("PATCH", url, headers) + wire.chunk(b" wo"))
        each.arrived(url, 8)
        connection.offer(wire.chunk(b"rld!") + wire.last_chunk())
        answer = connection.answer()

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")
    assert not each.done(answer)
    assert each.head(url).status == 410
    for offset in (0, 5, 11):
        assert each.append(url, offset, b"", complete=True).status == 410
    assert each.tus("HEAD", url).status == 410
    assert each.handed() == []
    assert each.stored(url) == b""


def test_cut_append_keeps_what_came(each: Client) -> None:
    """A prefix without a gap, and nothing complete, even with ?1."""
    url = each.created(b"hel")

    with each.open("PATCH", url, each.append_headers(3, True), 8, b"lo wor") as connection:
        each.arrived(url, 9)
        connection.half_close()
        answer = connection.answer()

    assert (answer.status, each.done(answer)) == (503, False)
    assert each.offset(url) == (9, False)
    assert each.done(each.append(url, 9, b"ld", complete=True))
    assert each.files() == [CONTENT]


def test_cut_append_that_fills_the_length_does_not_complete(client: Client) -> None:
    """All bytes came, but the chunk that ends the body did not."""
    url = client.created(b"hello", {"Upload-Length": "11"})

    with Wire(client.server.address) as connection:
        headers = {**client.append_headers(5, True), "Transfer-Encoding": "chunked"}
        connection.send(client.request("PATCH", url, headers) + wire.chunk(b" world"))
        client.arrived(url, 11)
        connection.half_close()
        connection.rest()

    assert client.offset(url) == (11, False)
    assert client.handed() == []


def test_append_to_a_complete_upload_replays(each: Client) -> None:
    """A client that lost the final answer gets it again, and the application is not asked again."""
    each.plan(status="201 Created", headers=[["Location", "/photos/7"]], body="yours")
    url = each.created(b"hello")
    first = each.append(url, 5, b"", complete=True)

    again = each.append(url, 5, b"", complete=True)

    assert (again.status, again["Location"], again.body) == (first.status, first["Location"], first.body)
    assert each.done(again)
    assert len(each.handed()) == 1


def test_append_of_bytes_to_a_complete_upload(each: Client) -> None:
    """Nothing is added, and the refusal is not taken for the final answer."""
    url = each.created(b"hello")
    each.append(url, 5, b"", complete=True)

    for answer in (each.append(url, 5, b"!", complete=True), each.append(url, 0, b"hello", complete=True)):
        assert answer.status in (400, 409)
        assert not each.done(answer)
    assert each.files() == [b"hello"]


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Content", "500 Internal Server Error"])
def test_refusal_by_the_application_is_the_last_word(each: Client, status: str) -> None:
    """Whatever it answers is final, remembered, and not asked for again; the file is of no use any more."""
    each.plan(status=status, body="no", headers=[["X-Why", "because"]])
    url = each.created(b"hello")

    answers = [each.append(url, 5, b"", complete=True) for _ in range(2)]

    for answer in answers:
        assert (answer.status, answer.body, answer["X-Why"]) == (int(status[:3]), b"no", "because")
        assert each.done(answer)
    assert each.offset(url) == (5, True)
    assert len(each.handed()) == 1
    assert each.stored(url) == b""


def test_head_after_a_refusal_leads_to_the_final_answer(each: Client) -> None:
    """There is a final answer, so it is complete; without its length, at which a client might take it for a success."""
    each.plan(status="422 Unprocessable Content", body="no")
    url = each.created(b"hello")
    each.append(url, 5, b"", complete=True)

    head = each.head(url)
    again = each.append(url, int(head["Upload-Offset"]), b"", complete=True)

    assert (head.status, each.done(head), head.get("Upload-Length")) == (204, True, None)
    assert (again.status, again.body) == (422, b"no")


def test_application_that_fails_is_asked_again(each: Client) -> None:
    """No answer was produced: all bytes are there, and it is not complete; an empty PATCH triggers it once more."""
    each.plan(raises=True)
    url = each.created(b"hello")

    failed = each.append(url, 5, b"", complete=True)
    between = each.offset(url)
    each.plan(body="at last")
    done = each.append(url, 5, b"", complete=True)

    assert failed.status == 500
    assert "Upload-Complete" not in failed or not each.done(failed)
    assert between == (5, False)
    assert (done.body, each.done(done)) == (b"at last", True)
    assert len(each.handed()) == 2


def test_large_answer_is_relayed_and_not_remembered(client: Client) -> None:
    """The client gets all of it; a replay has the status and the headers only."""
    client.plan(body="x" * 100_000, headers=[["X-Kept", "yes"]])
    url = client.created(b"hello")

    first, again = (client.append(url, 5, b"", complete=True) for _ in range(2))

    assert len(first.body) == 100_000
    assert (again.status, again.body, again["X-Kept"]) == (200, b"", "yes")


def test_disguised_patch(client: Client) -> None:
    """Where a network forbids PATCH, X-HTTP-Method-Override does here what it does in tus."""
    url = client.created(b"hello")
    headers = {**client.append_headers(5, True), "X-HTTP-Method-Override": "PATCH"}

    assert client.done(client.ask("POST", url, headers, b" world"))


def test_bytes_are_counted_as_they_are_encoded(collection) -> None:
    """A content coding belongs to the file, and nobody takes it off."""
    client = collection(hand_over="file")
    coded = b"\x1f\x8b not really gzip"

    client.create(coded, complete=True, headers={"Content-Encoding": "gzip"})

    assert client.handed()[0]["body"] == coded


def test_appends_below_no_minimum(client: Client) -> None:
    """There is no min-append-size, so the smallest append is as good as any."""
    url = client.created(b"h")

    assert "min-append-size" not in limits(client.head(url))
    assert client.append(url, 1, b"i").status == 204
