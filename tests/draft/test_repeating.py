"""`Idempotency-Key` with the IETF protocol: a creation whose answer was lost is sent again, by any method."""

from __future__ import annotations

import pytest

from tests import live
from tests.draft.client import Client, Wire
from tests.draft.conftest import MakeClient

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_same_key_gives_the_same_upload(each: Client, method: str) -> None:
    """In every version: the same address, and what came before is left out."""
    first = each.create(b"ab", headers={**KEY, "Upload-Length": "5"}, method=method)

    again = each.create(b"abc", headers={**KEY, "Upload-Length": "5"}, method=method)

    assert (first.status, again.status) == (201, 201)
    assert again["Location"] == first["Location"]
    assert again["Upload-Offset"] == "3"
    assert each.stored(first["Location"]) == b"abc"


@pytest.mark.every_server
def test_whole_file_that_comes_again_is_handed_over_once(client: Client) -> None:
    """The client gets the final answer again."""
    first = client.create(b"hello", complete=True, headers=KEY)

    again = client.create(b"hello", complete=True, headers=KEY)

    assert (again.status, again["Upload-Offset"], client.done(again)) == (first.status, "5", True)
    assert client.files() == [b"hello"]


def test_whole_file_ends_what_an_earlier_request_began(client: Client) -> None:
    """The first one was cut, and its client knows nothing of it; it sends everything again."""
    first = client.create(b"he", complete=False, headers={**KEY, "Upload-Length": "5"})

    again = client.create(b"hello", complete=True, headers={**KEY, "Upload-Length": "5"})

    assert (first.status, client.done(again)) == (201, True)
    assert client.files() == [b"hello"]


def test_repetition_hears_at_once_how_far_the_upload_is(collection: MakeClient, kind: live.Kind) -> None:
    """The 104 names the upload and its offset, so that a quick client can leave out what is there."""
    if kind.name != "ours":
        pytest.skip("another server may send nothing before the answer")
    client = collection(interim_responses=True)
    first = client.create(b"ab", headers={**KEY, "Upload-Length": "5"})

    with Wire(client.server.address) as connection:
        fields = {**client.complete(False), **KEY, "Upload-Length": "5", "Content-Length": "3"}
        connection.send(client.request("POST", None, fields))
        interim = connection.interim()

    assert (interim.status, interim["Location"], interim["Upload-Offset"]) == (104, first["Location"], "2")


def test_same_key_with_another_length_is_422(client: Client) -> None:
    """With a reason for a person."""
    client.create(b"ab", headers={**KEY, "Upload-Length": "5"})

    answer = client.create(b"ab", headers={**KEY, "Upload-Length": "6"})

    assert answer.status == 422
    assert b"Idempotency-Key belongs to" in answer.body


def test_bad_key_is_400(client: Client) -> None:
    """Nothing is made."""
    answer = client.create(b"ab", headers={"Idempotency-Key": '"'})

    assert answer.status == 400
    assert client.uploads() == []


def test_same_key_for_two_protocols_is_one_upload(client: Client) -> None:
    """It names an upload, whatever words it is begun in."""
    first = client.create(headers={**KEY, "Upload-Length": "5"})

    again = client.tus("POST", None, {**KEY, "Upload-Length": "5"})

    assert again["Location"] == first["Location"]
