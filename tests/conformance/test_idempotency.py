"""`Idempotency-Key`: a creation whose answer was lost is sent again, and there is one upload all the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.client import BYTES, Client, checksum, every_body, metadata, needs_cuts

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
FIVE = {"Upload-Length": "5", **KEY}
BODY = {**FIVE, "Content-Type": BYTES}


def records(tus: Client) -> list[str]:
    """One for each upload that there is."""
    return [name for name in tus.files() if name.endswith(".info")]


@pytest.mark.every_server
@every_body
def test_same_key_gives_the_same_upload(tus: Client) -> None:
    """201 with the same address, and today's offset."""
    first = tus.post(FIVE)
    tus.patch(first["Location"], 0, b"abc")

    again = tus.post(FIVE)

    assert (first.status, first["Upload-Offset"]) == (201, "0")
    assert (again.status, again["Upload-Offset"], again["Location"]) == (201, "3", first["Location"])
    assert len(records(tus)) == 1


def test_key_may_come_without_quotes(tus: Client) -> None:
    """Libraries send it so; it is the same key."""
    quoted, bare = tus.post({**FIVE, "Idempotency-Key": '"abc"'}), tus.post({**FIVE, "Idempotency-Key": "abc"})

    assert quoted["Location"] == bare["Location"]


def test_creations_without_a_key_are_different_uploads(tus: Client) -> None:
    """As ever."""
    assert tus.create(5) != tus.create(5)


@pytest.mark.parametrize(
    "other",
    [
        {"Upload-Length": "6"},
        {"Upload-Length": None, "Upload-Defer-Length": "1"},
        {"Upload-Metadata": metadata(filename="b")},
        {"Upload-Concat": "partial"},
    ],
)
def test_same_key_with_other_words_is_422(tus: Client, other: dict[str, str]) -> None:
    """With a reason; and the upload stays as it is."""
    url = tus.post(FIVE)["Location"]

    answer = tus.post({**FIVE, **other})

    assert answer.status == 422
    assert b"Idempotency-Key belongs to an upload of another length" in answer.body
    assert "Location" not in answer
    assert tus.head(url)["Upload-Length"] == "5"


@pytest.mark.parametrize(
    "key", ["", '""', '"a', "a b", '"a", "b"', "a,b", '"a\tb"', "a" * 256, '"' + "a" * 256 + '"', '"\xe4"', "a;b"]
)
def test_bad_key_is_400(tus: Client, key: str) -> None:
    """With a reason; nothing is made."""
    answer = tus.post({**FIVE, "Idempotency-Key": key})

    assert answer.status == 400
    assert b"Idempotency-Key is not one key" in answer.body
    assert tus.files() == []


@every_body
def test_body_that_comes_again_goes_on_behind_what_is_there(tus: Client) -> None:
    """The client that repeats a creation with a body sends it from its first byte."""
    first = tus.post(BODY, b"ab")

    again = tus.post(BODY, b"abcde")

    assert (again.status, again["Location"], again["Upload-Offset"]) == (201, first["Location"], "5")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


@pytest.mark.every_server
@every_body
def test_whole_body_that_comes_again_is_handed_over_once(tus: Client) -> None:
    """The body is read, so that a client which hears nothing before it has sent all gets its answer."""
    tus.post(BODY, b"abcde")

    again = tus.post(BODY, b"abcde")

    assert (again.status, again["Upload-Offset"]) == (201, "5")
    assert [handed.file for handed in tus.handed()] == [b"abcde"]


def test_large_body_that_comes_again_is_read_to_its_end(tus: Client) -> None:
    """More of it than a server would drain after its answer."""
    data = bytes(3 << 20)
    said = {**BODY, "Upload-Length": str(len(data))}
    first = tus.post(said, data)

    again = tus.post(said, data)

    assert (again.status, again["Upload-Offset"]) == (201, str(len(data)))
    assert again["Location"] == first["Location"]


@every_body
def test_chunked_body_that_comes_again(tus: Client) -> None:
    """Its length is not known, and it is the same."""
    tus.post(BODY, b"abcde", chunked=True)

    assert tus.post(BODY, b"abcde", chunked=True)["Upload-Offset"] == "5"


def test_checksum_of_a_body_that_comes_again(tus: Client) -> None:
    """It is verified over what is left out as well."""
    tus.post(BODY, b"ab")

    wrong = tus.post({**BODY, "Upload-Checksum": checksum("sha1", b"xbcde")}, b"abcde")
    right = tus.post({**BODY, "Upload-Checksum": checksum("sha1", b"abcde")}, b"abcde")

    assert (wrong.status, right.status, right["Upload-Offset"]) == (460, 201, "5")


def test_repetition_takes_over_from_a_connection_that_hangs(tus: Client) -> None:
    """The client has left it, and the server does not know yet; nobody waits."""
    needs_cuts(tus)
    if not tus.kind.threads:
        pytest.skip("a server of one thread does one after the other")

    with tus.open("POST", None, {**BODY, "Content-Length": "5"}, b"ab") as hanging:
        url = tus.post(FIVE)["Location"]
        tus.arrived(url, 2)
        hanging.socket.settimeout(10)
        again = tus.post(BODY, b"abcde")

    assert (again.status, again["Location"], again["Upload-Offset"]) == (201, url, "5")


def test_creation_of_an_empty_file(tus: Client) -> None:
    """It is complete, handed over once, and found again."""
    said = {"Upload-Length": "0", **KEY}

    first, again = tus.post(said), tus.post(said)

    assert first["Location"] == again["Location"]
    assert [handed.file for handed in tus.handed()] == [b""]


def test_key_of_a_deleted_upload_begins_a_new_one(tus: Client) -> None:
    """It belongs to the upload, and goes with it."""
    url = tus.post(BODY, b"abc")["Location"]
    tus.delete(url)

    assert tus.post({**FIVE, "Upload-Length": "9"})["Upload-Offset"] == "0"


def test_key_of_a_concatenation(tus: Client) -> None:
    """A final upload is found again, too; with the same key, other parts are 422."""
    parts = tus.part(b"ab"), tus.part(b"cd")

    first, again = tus.final(*parts, headers=KEY), tus.final(*parts, headers=KEY)
    other = tus.final(*reversed(parts), headers=KEY)

    assert first["Location"] == again["Location"]
    assert (again.status, again["Upload-Offset"], other.status) == (201, "4", 422)
    assert [handed.file for handed in tus.handed()] == [b"abcd"]


def test_refusal_is_heard_again(tus: Client) -> None:
    """What the host said is what a repetition hears."""
    tus.plan(status="422 Unprocessable Content", body="no cats")

    first, again = tus.post(BODY, b"abcde"), tus.post(BODY, b"abcde")

    assert (first.status, again.status, again.body) == (422, 422, first.body)
    assert len(tus.handed()) == 1


def test_other_origins_may_send_a_key(collection) -> None:
    """A browser asks first."""
    tus = collection(cors_origins="https://a.example")

    answer = tus.options(headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"})

    assert "Idempotency-Key" in answer.list("Access-Control-Allow-Headers")


@pytest.mark.parametrize("kind", ["ours-workers"], indirect=True)
def test_race_of_two_workers_makes_one_upload(tus: Client, tmp_path: Path) -> None:
    """Twenty keys, each eight times at once, on three processes."""

    def post(number: int) -> str:
        answer = tus.post({"Upload-Length": "5", "Idempotency-Key": f'"key {number}"'})
        assert answer.status == 201, answer
        return answer["Location"]

    with ThreadPoolExecutor(8) as pool:
        urls = list(pool.map(post, sorted(list(range(20)) * 8)))

    assert len(set(urls)) == 20
    assert len(records(tus)) == 20
