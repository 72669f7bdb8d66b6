"""Termination: DELETE frees what an upload takes, and the upload must not come back."""

from __future__ import annotations

import pytest

from tests import wire
from tests.conformance.client import Client, every_method


def leftovers(tus: Client, url: str) -> list[str]:
    """Files of the upload that hold bytes or a record of it."""
    return [name for name in tus.files() if name in (tus.id(url), tus.id(url) + ".info")]


@pytest.mark.every_server
@every_method
def test_delete_is_204_and_frees_an_unfinished_upload(tus: Client) -> None:
    """The answer is empty, the bytes and the record are gone, and nobody is told of a file."""
    url = tus.create(5)
    tus.patch(url, 0, b"abc")

    answer = tus.delete(url)

    assert (answer.status, answer.body) == (204, b"")
    assert leftovers(tus, url) == []
    assert tus.handed() == []


@every_method
def test_delete_frees_a_finished_upload(collection) -> None:
    """What is complete can be removed, too."""
    tus = collection(cleanup=False)
    url = tus.uploaded(b"hello")

    assert tus.delete(url).status == 204
    assert leftovers(tus, url) == []
    assert tus.get(url).status == 404


@pytest.mark.every_server
@every_method
def test_terminated_upload_is_404_for_every_method(tus: Client) -> None:
    """Nothing finds it again, the second DELETE included."""
    url = tus.create(5)
    tus.delete(url)

    answers = [tus.head(url), tus.patch(url, 0, b"hello"), tus.get(url), tus.delete(url)]

    assert [answer.status for answer in answers] == [404] * 4
    assert all("Upload-Offset" not in answer for answer in answers)
    assert tus.handed() == []


@every_method
def test_delete_of_an_unknown_upload_is_404(tus: Client) -> None:
    """There is nothing to remove."""
    assert tus.delete(f"{tus.path}/{'0' * 32}").status == 404


@every_method
def test_delete_touches_one_upload_only(tus: Client) -> None:
    """The neighbours stay."""
    first, second = tus.create(5), tus.create(5)
    tus.patch(second, 0, b"ab")

    tus.delete(first)

    assert tus.offset(second) == 2


@pytest.mark.every_server
@every_method
def test_delete_ends_a_running_patch(tus: Client) -> None:
    """A connection that still sends cannot bring the upload back, nor finish it."""
    if not (tus.kind.streams and tus.kind.threads):
        pytest.skip(f"{tus.kind.name} runs no second request while one is open")
    url = tus.create(10)

    with tus.begin(url, 0, 10, b"abcd") as writer:
        tus.arrived(url, 4)
        answer = tus.delete(url)
        writer.offer(b"efghij")
        try:
            late = writer.answer().status
        except (wire.Broken, OSError):
            late = None  # closed without a word

    assert answer.status == 204
    assert late is None or late >= 400
    assert tus.head(url).status == 404
    assert leftovers(tus, url) == []
    assert tus.handed() == []
