"""Where suites of others ask for something that the draft leaves open, or where a server stands alone.

Each of these is argued in docs/draft.rst, "Where others read it differently".
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.draft.client import NEWEST, VERSIONS, Client

SPOKEN = pytest.mark.parametrize("version", [*VERSIONS, None])


@SPOKEN
def test_where_nobody_else_speaks_the_answer_is_201_with_the_address(collection: Any, version: int | None) -> None:
    """A server without an application: what was made, and where it is, at once, after an append, and once more."""
    client = collection(version, hand_over="none")

    whole = client.create(b"0123456789", complete=True)
    url = client.created(b"01234")
    appended = client.append(url, 5, b"56789", complete=True)
    again = client.append(url, 10, complete=True)

    assert whole.status == appended.status == again.status == 201
    assert appended["Location"] == again["Location"] == url
    assert all(client.done(answer) for answer in (whole, appended, again))
    assert client.ask("GET", whole["Location"], {"Upload-Draft-Interop-Version": None}).body == b"0123456789"


@pytest.mark.parametrize("value", ["true", "1", "?2", '"?1"'])
def test_creation_whose_completeness_cannot_be_read_is_no_creation(collection: Any, value: str) -> None:
    """Section 4.1.2: the field is ignored, and what is left is a request of tus that names no version."""
    client = collection()

    answer = client.ask("POST", None, {"Upload-Complete": value}, b"01234")

    assert answer.status == 412
    assert client.files() == []


@pytest.mark.parametrize("version", [NEWEST, None])
def test_declared_overrun_leaves_the_offset_where_it_was(collection: Any, version: int | None) -> None:
    """Section 4.4.2 ends an upload whose offset exceeded the length; here it never does, so the upload goes on."""
    client: Client = collection(version)
    url = client.created(b"01234", {"Upload-Length": "10"})

    refused = client.append(url, 5, b"567890")
    answer = client.append(url, 5, b"56789", complete=True)

    assert refused.status == 400 and not client.done(refused)
    assert client.done(answer) and client.files() == [b"0123456789"]


def test_get_of_nobody_in_particular_ends_no_upload(collection: Any) -> None:
    """A browser or a preview that looks at the address of an upload has no version, and gets a download or nothing."""
    client = collection(None)
    url = client.created(b"")
    with client.open("PATCH", url, client.append_headers(0, True), 10, b"01234") as connection:
        client.arrived(url, 5)
        looked = client.ask("GET", url)
        connection.send(b"56789")
        answer = connection.answer()

    assert looked.status == 404
    assert client.done(answer) and client.files() == [b"0123456789"]
