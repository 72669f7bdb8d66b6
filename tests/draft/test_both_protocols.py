"""The IETF draft and tus 1.0 on the same uploads: what one began, the other can go on with, finish and ask about."""

from __future__ import annotations

from tests.draft.client import BYTES, Client

CONTENT = b"hello world"


def test_begun_by_the_draft_and_finished_by_tus(each: Client) -> None:
    """In tus the length alone finishes."""
    url = each.created(b"hello", {"Upload-Length": "11"})

    answer = each.tus("PATCH", url, {**BYTES, "Upload-Offset": "5"}, b" world")

    assert (answer.status, answer["Upload-Offset"]) == (204, "11")
    assert each.files() == [CONTENT]
    assert each.offset(url) == (11, True)


def test_begun_by_tus_and_finished_by_the_draft(each: Client) -> None:
    """In the draft the client says so."""
    url = each.tus("POST", None, {"Upload-Length": "11"}, b"")["Location"]
    each.tus("PATCH", url, {**BYTES, "Upload-Offset": "0"}, b"hello")

    asked = each.offset(url)
    answer = each.append(url, 5, b" world", complete=True)

    assert asked == (5, False)
    assert each.done(answer)
    assert each.files() == [CONTENT]
    assert each.tus("HEAD", url)["Upload-Offset"] == "11"


def test_deferred_length_of_tus_is_settled_by_the_draft(client: Client) -> None:
    """The end of a request with ?1 is the length."""
    url = client.tus("POST", None, {"Upload-Defer-Length": "1"}, b"")["Location"]

    client.append(url, 0, CONTENT, complete=True)

    assert client.files() == [CONTENT]
    assert client.tus("HEAD", url)["Upload-Length"] == "11"


def test_unknown_length_of_the_draft_is_settled_by_tus(client: Client) -> None:
    """To tus it looks like a deferred one."""
    url = client.created(b"hello")

    asked = client.tus("HEAD", url)
    client.tus("PATCH", url, {**BYTES, "Upload-Offset": "5", "Upload-Length": "11"}, b" world")

    assert (asked["Upload-Offset"], asked["Upload-Defer-Length"]) == ("5", "1")
    assert client.files() == [CONTENT]


def test_every_byte_and_no_word(client: Client) -> None:
    """To the draft it is not complete; a client of tus that asks finishes it, as tus has it."""
    url = client.created(CONTENT, {"Upload-Length": "11"})

    before = client.offset(url)
    client.tus("HEAD", url)

    assert before == (11, False)
    assert client.offset(url) == (11, True)
    assert client.files() == [CONTENT]


def test_answer_of_the_application_is_replayed_across(client: Client) -> None:
    """Whoever finished it, the application is asked once."""
    client.plan(body="yours", headers=[["X-Photo", "7"]])
    url = client.created(b"hello", {"Upload-Length": "5"})
    client.append(url, 5, b"", complete=True)

    answer = client.tus("PATCH", url, {**BYTES, "Upload-Offset": "5"}, b"")

    assert answer["X-Photo"] == "7"
    assert len(client.handed()) == 1


def test_part_of_a_concatenation(client: Client) -> None:
    """A partial upload may be sent by the draft; it is handed over as part of the whole only."""
    url = client.tus("POST", None, {"Upload-Length": "5", "Upload-Concat": "partial"}, b"")["Location"]

    assert client.done(client.append(url, 0, b"hello", complete=True))
    assert client.handed() == []
    client.tus("POST", None, {"Upload-Concat": f"final;{url} {url}"}, b"")
    assert client.files() == [b"hellohello"]


def test_phone_that_speaks_tus(client: Client) -> None:
    """TUSKit's requests as iOS 26 sends them: chunk by chunk, with fields that speak of the chunk alone."""
    added = {"Upload-Draft-Interop-Version": "8", "Upload-Complete": "?1"}
    url = client.tus("POST", None, {"Upload-Length": "11"}, b"")["Location"]

    for offset, chunk in ((0, b"hello"), (5, b" world")):
        headers = {**BYTES, **added, "Upload-Offset": str(offset), "Upload-Length": str(len(chunk))}
        answer = client.tus("PATCH", url, headers, chunk)
        assert answer.status == 204, answer

    assert client.files() == [CONTENT]


def test_uploads_of_the_draft_can_be_downloaded(collection) -> None:
    """What is finished is finished, for every way to ask."""
    client = collection(hand_over="none")
    location = client.created(b"", {"Content-Type": "text/plain"})
    client.append(location, 0, CONTENT, complete=True)

    answer = client.speaking(None).ask("GET", location)

    assert (answer.status, answer.body, answer["Content-Type"]) == (200, CONTENT, "text/plain")
