"""Between the last byte and the host's answer: slow content checks, parts that complete others, late questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from tests import live, wire
from tests.faults.conftest import CALM, Client
from tests.faults.test_taking_over import SLACK, timed


@pytest.fixture
def thorough() -> Iterator[Client]:
    """A host that takes its time over the content of each file."""
    with live.start("ours", hooks="tests.faults.hosts:Thorough", **CALM) as server:
        yield Client(server, "")


@pytest.mark.slow
def test_head_does_not_begin_a_content_check_again(thorough: Client) -> None:
    """While a host looks at the content, a HEAD is told at once to come again, and the PATCH ends well."""
    busy = thorough.home / "busy"
    busy.touch()
    url = thorough.create(5)
    answers: list[wire.Answer] = []
    patch = threading.Thread(target=lambda: answers.append(thorough.patch(url, 0, b"hello")))
    patch.start()
    live.until(lambda: "before_finish" in (thorough.home / "heard").read_text())

    took, answer = timed(lambda: thorough.head(url))
    again = thorough.patch(url, 5)
    busy.unlink()
    patch.join()

    assert (answer.status, again.status) == (423, 423)
    assert took < 0.1 + SLACK
    assert answers[0].status == 204
    heard = [json.loads(line)[0] for line in (thorough.home / "heard").read_text().splitlines()]
    assert heard.count("before_finish") == 1
    assert thorough.head(url)["Upload-Offset"] == "5"
    assert len(thorough.handed()) == 1


def test_final_is_handed_over_with_its_last_part(tus: Client) -> None:
    """A concatenation that waits for a part reaches the application when the part is complete, unasked."""
    first = tus.part(b"ab")
    second = tus.create(2, {"Upload-Concat": "partial"})
    final = tus.final(first, second)["Location"]
    assert tus.handed() == []

    assert tus.patch(second, 0, b"cd").status == 204

    assert [handed.file for handed in tus.handed()] == [b"abcd"]
    assert tus.offset(final) == 4
    assert len(tus.handed()) == 1


def test_refused_creation_says_where_it_is(tus: Client) -> None:
    """An upload that came whole with its creation and was refused can be offered again without sending it again."""
    tus.plan(status="503 Later")
    own = {"Upload-Length": "5", "Content-Type": "application/offset+octet-stream"}

    answer = tus.post(own, b"hello")
    tus.plan()

    assert answer.status == 503
    assert tus.patch(answer["Location"], 5).status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello", b"hello"]


def test_chunked_bytes_behind_a_finished_upload_are_413(tus: Client) -> None:
    """What does not fit is refused, however the request says how much it is."""
    url = tus.uploaded(b"hello")

    assert tus.patch(url, 5, b"x", chunked=True).status == 413
    assert tus.patch(url, 5, b"", chunked=True).status == 204
    assert tus.offset(url) == 5
