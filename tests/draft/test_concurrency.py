"""Two requests for one upload: exactly one writes, nobody waits for the dead, and no offset turns out wrong."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests import live, wire
from tests.draft.client import Client

CONTENT = bytes(range(256)) * 40


@pytest.mark.every_server
def test_head_while_an_append_runs(client: Client) -> None:
    """The offset that it says holds: an append there is taken, and the old request can add nothing."""
    if not client.server.kind.streams or not client.server.kind.threads:
        pytest.skip(f"{client.server.kind.name} runs one request at a time, or none before its body has come")
    url = client.created(b"")

    with client.open("PATCH", url, client.append_headers(0, True), len(CONTENT), CONTENT[:1000]) as old:
        client.arrived(url, 1000)
        offset, complete = client.offset(url)
        old.offer(CONTENT[1000:])
        answer = client.append(url, offset, CONTENT[offset:], complete=True)

    assert (offset, complete) == (1000 if client.server.kind.on_files else 0, False)
    assert client.done(answer)
    assert client.files() == [CONTENT]


def test_old_request_is_told_that_it_is_over(each: Client) -> None:
    """Should its client still listen, it hears that this was not the end."""
    url = each.created(b"")

    with each.open("PATCH", url, each.append_headers(0, True), len(CONTENT), CONTENT[:1000]) as old:
        each.arrived(url, 1000)
        each.head(url)
        answer = old.answer()

    assert (answer.status, each.done(answer)) == (503, False)


def test_append_takes_over_from_an_append(client: Client) -> None:
    """The newest owns the upload."""
    url = client.created(b"")

    with client.open("PATCH", url, client.append_headers(0, True), len(CONTENT), b"") as old:
        live.until(lambda: client.shelf.leased(url.rpartition("/")[2]))
        answer = client.append(url, 0, CONTENT, complete=True)
        old.offer(CONTENT)

    assert client.done(answer)
    assert client.files() == [CONTENT]


def test_delete_while_an_append_runs(client: Client) -> None:
    """Cancelled at once; the append ends in nothing."""
    url = client.created(b"")

    with client.open("PATCH", url, client.append_headers(0, True), len(CONTENT), CONTENT[:1000]) as old:
        client.arrived(url, 1000)
        deleted = client.ask("DELETE", url)
        answer = old.answer()

    assert (deleted.status, client.done(answer)) == (204, False)
    assert client.head(url).status == 404
    assert client.uploads() == []


@pytest.mark.every_server
def test_race_at_one_offset(client: Client) -> None:
    """Many appends at the same offset: exactly one is taken, and the file holds what that one sent."""
    url = client.created(b"")
    start = threading.Barrier(6)
    answers: dict[int, wire.Answer] = {}

    def append(number: int) -> None:
        start.wait()
        answers[number] = client.append(url, 0, bytes([number]) * 100)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    winners = [number for number, answer in answers.items() if answer.status == 204]
    assert len(winners) == 1
    assert {answer.status for answer in answers.values()} <= {204, 409, 503}
    assert client.stored(url) == bytes(winners) * 100


def test_second_finish_while_the_application_works(client: Client) -> None:
    """It is asked to try again, by a status at which clients do; and then gets the answer of the first."""
    client.plan(waits=True, body="slow")
    url = client.created(b"hello")
    answers: list[wire.Answer] = []
    first = threading.Thread(target=lambda: answers.append(client.append(url, 5, b"", complete=True)))

    first.start()
    live.until(client.handed)
    meanwhile = client.append(url, 5, b"", complete=True)
    asked = client.offset(url)
    (client.home / "go").touch()
    first.join()
    again = client.append(url, 5, b"", complete=True)

    assert (meanwhile.status, meanwhile["Retry-After"], client.done(meanwhile)) == (503, "1", False)
    assert asked == (5, False)
    assert (answers[0].body, again.body) == (b"slow", b"slow")
    assert len(client.handed()) == 1


def test_mismatch_is_told_before_the_body_is_asked_for(client: Client) -> None:
    """Whoever expects 100 gets 409 at once."""
    url = client.created(b"hello")

    with client.open("PATCH", url, {**client.append_headers(0, True), "Expect": "100-continue"}, 100, b"") as old:
        answer = old.answer()

    assert (answer.status, answer.interim) == (409, ())


@pytest.mark.slow
def test_server_dies_in_the_middle(collection: Any) -> None:
    """What it had stored is there when it is back, and goes on."""
    with live.start("ours", durable="none", sweep_interval="none") as server:
        client = Client(server, "")
        url = client.created(b"")
        with client.open("PATCH", url, client.append_headers(0, True), len(CONTENT), CONTENT[:1000]):
            client.arrived(url, 1000)
            server.restart()

        assert client.offset(url) == (1000, False)
        assert client.done(client.append(url, 1000, CONTENT[1000:], complete=True))
        assert client.files() == [CONTENT]
