"""Creation: the first request, which may hold all, a part or nothing of what is uploaded (section 4 of the draft)."""

from __future__ import annotations

import pytest

from tests import live
from tests.draft.client import BYTES, NEWEST, PROBLEMS, TUS, TYPE, Client, Wire, digest, limits, problem

CONTENT = b"hello world"
METHODS = ("POST", "PUT", "PATCH", "QUERY")


@pytest.mark.every_server
def test_whole_upload_in_one_request(client: Client) -> None:
    """With ?1 the application's own answer comes back, and it is the last word."""
    client.plan(status="202 Accepted", headers=[["X-Photo", "7"]], body="thanks")

    answer = client.create(CONTENT, complete=True)

    assert (answer.status, answer.body, answer["X-Photo"]) == (202, b"thanks", "7")
    assert client.done(answer)
    assert client.files() == [CONTENT]


def test_whole_upload_in_each_version(each: Client) -> None:
    """The answer says that this is all, in the words of the version, and which version that is."""
    answer = each.create(CONTENT, complete=True)

    assert answer.status == 200
    assert each.done(answer)
    assert answer["Upload-Draft-Interop-Version"] == str(each.version)
    assert answer["Upload-Offset"] == "11"
    assert each.files() == [CONTENT]


def test_location_of_a_whole_upload_up_to_interop_6(each: Client) -> None:
    """Early versions want the upload's address in every final answer to a creation."""
    answer = each.create(CONTENT, complete=True)

    assert ("Location" in answer) == (each.version <= 6)


def test_location_of_the_application_is_not_overwritten(each: Client) -> None:
    """The final answer is the application's, with the address that it gave."""
    each.plan(status="201 Created", headers=[["Location", "/photos/7"]])

    answer = each.create(CONTENT, complete=True)

    assert answer.all("Location") == ["/photos/7"]


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_first_part(each: Client, body: bytes) -> None:
    """With ?0 the client is told where to go on, from where, and what limits there are."""
    answer = each.create(body)

    assert answer.status == 201
    assert answer["Location"].startswith("http://")
    assert not each.done(answer)
    assert answer["Upload-Offset"] == str(len(body))
    assert "max-age" in limits(answer) or "expires" in limits(answer)
    assert each.handed() == []


def test_empty_representation(client: Client) -> None:
    """No bytes and ?1: an empty file, complete at once."""
    assert client.done(client.create(b"", complete=True))

    assert client.files() == [b""]


@pytest.mark.parametrize("method", METHODS)
def test_any_method_with_content_creates(client: Client, method: str) -> None:
    """It is not the method that makes a creation, but the field."""
    answer = client.create(b"x", method=method)

    assert answer.status == 201


def test_length_declared(each: Client) -> None:
    """Upload-Length is recorded, and told to whoever asks."""
    url = each.created(b"hello", {"Upload-Length": "11"})

    assert each.head(url)["Upload-Length"] == "11"


def test_length_follows_from_a_complete_request(client: Client) -> None:
    """Offset and Content-Length of a request with ?1 are the length, even if it is cut."""
    with client.open("POST", None, client.complete(True), 11, b"hello") as connection:
        live.until(lambda: (client.home / "uploads").exists() and list((client.home / "uploads").glob("*")))
        connection.half_close()
        answer = connection.answer()

    assert answer.status == 503
    assert not client.done(answer)
    assert client.head(answer["Location"])["Upload-Length"] == "11"


@pytest.mark.parametrize("length", ["10", "12", "0"])
def test_contradicting_lengths(each: Client, length: str) -> None:
    """Content-Length of a whole upload and Upload-Length have to agree."""
    answer = each.create(CONTENT, complete=True, headers={"Upload-Length": length})

    assert answer.status == 400
    assert problem(answer)["type"] == PROBLEMS + "inconsistent-upload-length"
    assert not each.done(answer)
    assert each.uploads() == []


def test_part_longer_than_the_length(client: Client) -> None:
    """A first part that goes beyond the declared length is refused before a byte is stored."""
    answer = client.create(CONTENT, headers={"Upload-Length": "5"})

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")
    assert client.uploads() == []


def test_matching_lengths(each: Client) -> None:
    """Saying it twice is fine."""
    assert each.done(each.create(CONTENT, complete=True, headers={"Upload-Length": "11"}))


def test_chunked_whole_upload(each: Client) -> None:
    """Where the server tells a whole chunked body from a cut one, it completes."""
    answer = each.create(CONTENT, complete=True, headers={"Transfer-Encoding": "chunked"})

    assert each.done(answer)
    assert each.files() == [CONTENT]


def test_chunked_part(client: Client) -> None:
    """A part of unknown length is stored as it comes."""
    answer = client.create(CONTENT, headers={"Transfer-Encoding": "chunked"})

    assert (answer.status, answer["Upload-Offset"]) == (201, "11")


def test_chunked_body_shorter_than_the_length(client: Client) -> None:
    """An end before the declared length completes nothing."""
    headers = {"Transfer-Encoding": "chunked", "Upload-Length": "20"}

    answer = client.create(CONTENT, complete=True, headers=headers)

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")
    assert client.handed() == []


def test_chunked_body_longer_than_the_length(client: Client) -> None:
    """An overrun leaves nothing behind."""
    answer = client.create(CONTENT, complete=True, headers={"Transfer-Encoding": "chunked", "Upload-Length": "5"})

    assert (answer.status, problem(answer)["type"]) == (400, PROBLEMS + "inconsistent-upload-length")
    assert client.uploads() == []


def test_cut_creation_keeps_what_came(each: Client) -> None:
    """The answer, should anybody be there to read it, says where to go on; nothing was completed."""
    with each.open("POST", None, each.complete(True), 11, b"hello") as connection:
        connection.half_close()
        answer = connection.answer()

    assert (answer.status, each.done(answer)) == (503, False)
    assert each.offset(answer["Location"]) == (5, False)
    assert each.done(each.append(answer["Location"], 5, b" world", complete=True))
    assert each.files() == [CONTENT]


def test_cut_chunked_creation_does_not_complete(client: Client) -> None:
    """The missing last chunk is a cut, whatever came."""
    with Wire(client.server.address) as connection:
        connection.send(client.request("POST", None, {**client.complete(True), "Transfer-Encoding": "chunked"}))
        connection.send(b"5\r\nhello\r\n")
        connection.half_close()
        answer = connection.answer()

    assert (answer.status, client.done(answer)) == (503, False)
    assert client.offset(answer["Location"]) == (5, False)
    assert client.handed() == []


def test_offset_equal_to_length_does_not_complete(each: Client) -> None:
    """Completeness is said, never inferred."""
    url = each.created(CONTENT, {"Upload-Length": "11"})

    assert each.offset(url) == (11, False)
    assert each.handed() == []


@pytest.mark.parametrize("value", ["true", "1", "?2", "", "?1, ?1", '"?1"', "?1 x", "?01"])
def test_invalid_completeness_is_no_creation(client: Client, value: str) -> None:
    """An invalid field counts as absent: here nothing is left that this protocol could recognise."""
    answer = client.create(CONTENT, complete=None, headers={"Upload-Complete": value})

    assert answer.status == 412
    assert client.uploads() == []


@pytest.mark.parametrize("value", ["?1;a=1", " ?1 ", '?1;b="x, ?0";c'])
def test_parameters_are_ignored(client: Client, value: str) -> None:
    """What follows a valid value does not change it."""
    assert client.done(client.create(CONTENT, complete=None, headers={"Upload-Complete": value}))


@pytest.mark.parametrize("version", [0, 2])
def test_version_before_the_first_is_not_spoken(client: Client, version: int) -> None:
    """Nobody here knows what its fields mean."""
    answer = client.speaking(version).create(CONTENT, complete=True)

    assert answer.status == 412
    assert client.uploads() == []


@pytest.mark.parametrize("version", [NEWEST + 1, 99])
def test_version_that_is_still_to_come_uploads(client: Client, version: int) -> None:
    """A phone after an update loses no file for a number: it gets the newest behaviour, and no number back."""
    phone = client.speaking(version)

    first = phone.create(CONTENT[:3])
    url = first["Location"]
    asked = phone.head(url)
    found = phone.ask("GET", url)
    last = phone.append(url, 3, CONTENT[3:], complete=True)

    assert (first.status, asked.status, found.status) == (201, 204, 204)
    assert phone.done(last) and client.files() == [CONTENT]
    assert not any("Upload-Draft-Interop-Version" in answer for answer in (first, asked, found, last))


def test_version_that_is_still_to_come_cancels(client: Client) -> None:
    """The address came from us, so the client understood an answer of ours."""
    url = client.created(CONTENT)

    assert client.speaking(NEWEST + 1).ask("DELETE", url).status == 204
    assert client.uploads() == []


@pytest.mark.parametrize("before, after", [(6, 10), (10, 6), (6, None), (3, 10)])
def test_version_changes_between_two_requests(client: Client, before: int, after: int | None) -> None:
    """The client was updated meanwhile, or was set back."""
    url = client.speaking(before).created(CONTENT[:3])
    other = client.speaking(after)

    assert other.offset(url) == (3, False) if after else other.head(url)["Upload-Offset"] == "3"
    assert other.done(other.append(url, 3, CONTENT[3:], complete=True))
    assert client.files() == [CONTENT]


@pytest.mark.parametrize("version", ["x", "8, 8", "8.0", "+8", "-3"])
def test_invalid_version_counts_as_absent(client: Client, version: str) -> None:
    """Without a version the newest is spoken, and none is echoed."""
    answer = client.create(CONTENT, complete=True, headers={"Upload-Draft-Interop-Version": version})

    assert client.done(answer)
    assert "Upload-Draft-Interop-Version" not in answer


def test_version_3_knows_no_upload_complete(collection) -> None:
    """Only interop 3 says Upload-Incomplete, and it says nothing else."""
    old, new = collection(3), collection(4)

    assert old.create(complete=None, headers={"Upload-Complete": "?0"}).status == 412
    assert new.create(complete=None, headers={"Upload-Incomplete": "?1"}).status == 412


def test_tus_goes_first(client: Client) -> None:
    """iPhones add the draft's fields to every upload, also to those that speak tus."""
    extra = {"Upload-Draft-Interop-Version": "8", "Upload-Complete": "?1"}

    answer = client.tus("POST", None, {"Upload-Length": "5", **extra}, b"")

    assert (answer.status, answer["Tus-Resumable"]) == (201, "1.0.0")
    patched = client.tus(
        "PATCH", answer["Location"], {**extra, **BYTES, "Upload-Offset": "0", "Upload-Length": "3"}, b"hel"
    )
    assert (patched.status, patched["Upload-Offset"]) == (204, "3")
    assert client.tus("HEAD", answer["Location"], extra).status == 200


def test_body_of_tus_is_never_taken_for_a_draft(client: Client) -> None:
    """The media type of tus means tus, even where Tus-Resumable got lost."""
    url = client.created(b"hello")

    assert client.append(url, 5, b"x", headers=BYTES).status == 412
    assert client.offset(url) == (5, False)


def test_forms_go_to_the_application(client: Client) -> None:
    """A form that a phone posts to the address of uploads stays a form."""
    answer = client.create(b"a=1", complete=True, headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert (answer.status, answer.body) == (200, b"from the application")
    assert [record["body"] for record in client.handed()] == [b"a=1"]


def test_names_and_types(collection) -> None:
    """Content-Disposition and Content-Type describe the file, as tus's metadata does."""
    client = collection(hand_over="file")
    disposition = "inline; filename=\"x.jpg\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.jpg"

    client.create(b"x", complete=True, headers={"Content-Type": "image/jpeg", "Content-Disposition": disposition})

    (record,) = client.handed()
    assert record["type"] == "image/jpeg"
    assert record["headers"]["filename"].encode("latin-1").decode() == "größe.jpg"


def test_media_type_of_an_append_is_not_that_of_the_file(collection) -> None:
    """tus-js-client gives its creations the media type of a PATCH, and its metadata in the words of tus."""
    client = collection(6, hand_over="file")
    headers = {"Content-Type": TYPE, "Upload-Metadata": "filename bGEuanBn"}

    client.create(b"x", complete=True, headers=headers)

    (record,) = client.handed()
    assert (record["type"], record["headers"]["filename"]) == ("application/octet-stream", "la.jpg")


def test_nonsense_in_metadata_of_tus_is_ignored(client: Client) -> None:
    """It is no field of this protocol."""
    assert client.create(headers={"Upload-Metadata": "a b c"}).status == 201


def test_without_a_version_the_newest_is_spoken(collection) -> None:
    """As it will be once the draft is a standard."""
    client = collection(None)

    answer = client.create(b"hello")

    assert answer.status == 201
    assert "Upload-Draft-Interop-Version" not in answer
    assert client.done(client.append(answer["Location"], 5, b" world", complete=True))
    assert client.files() == [CONTENT]


def test_refusal_by_a_hook_is_the_last_word(collection) -> None:
    """The host does not want it: the client must not resume."""
    client = collection(hooks="tests.apps:Policy")

    forbidden = client.create(b"x", headers={"Upload-Metadata": "filename Zm9yYmlkZGVu"})
    evil = client.create(b"evil", complete=True)

    assert (forbidden.status, client.done(forbidden)) == (403, True)
    assert (evil.status, client.done(evil)) == (422, True)


def test_tus_and_draft_fields_together_on_options(client: Client) -> None:
    """Nobody who speaks tus is disturbed by the headers of this protocol."""
    answer = client.tus("OPTIONS", None, TUS)

    assert answer["Tus-Version"] == "1.0.0"
    assert "Upload-Limit" in answer


def test_want_and_repr_digest_together(client: Client) -> None:
    """What was announced and what is wanted both come back."""
    headers = {"Repr-Digest": digest(CONTENT), "Want-Repr-Digest": "sha-512=3"}

    answer = client.create(CONTENT, complete=True, headers=headers)

    assert set(answer.list("Repr-Digest")) == {digest(CONTENT), digest(CONTENT, "sha-512")}
