"""The newest request wins: who comes back never waits for a dead connection, and the dead one writes no more."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable

import pytest

from tests import live, wire
from tests.faults.conftest import Client, everywhere

SIZE = 300_000  # bytes
SENT = 100_000  # bytes that a hung request has sent
CONTENT = random.Random(3).randbytes(SIZE)
GOAL = 0.100  # seconds that a returning client may wait
SLACK = 0.300  # seconds that are let pass, on a machine that does other things too
ROUNDS = 7


def hung(tus: Client, url: str, offset: int = 0, sent: int = SENT) -> wire.Wire:
    """A PATCH that has sent something, and hangs."""
    connection = tus.begin(url, offset, SIZE - offset, CONTENT[offset : offset + sent])
    tus.arrived(url, offset + sent)
    return connection


def timed(deed: Callable[[], wire.Answer]) -> tuple[float, wire.Answer]:
    start = time.perf_counter()
    answer = deed()
    return time.perf_counter() - start, answer


def report(record: Callable[[str, object], None], server: live.Live, what: str, times: list[float]) -> None:
    """Print the figure, and check the median."""
    median = statistics.median(times)
    print(f"{what} beside a hung PATCH on {server.kind.name}: median {median * 1000:.1f} ms, worst {max(times):.3f} s")
    record("median", median)
    assert median < SLACK


@everywhere
def test_head_beside_a_hung_patch(tus: Client, server: live.Live, record_property) -> None:
    """HEAD is answered within 100 ms with the true offset."""
    url = tus.create(SIZE)
    times, at = [], 0
    for _ in range(ROUNDS):
        hung(tus, url, at, 1000)
        took, answer = timed(lambda: tus.head(url))
        times.append(took)
        at = tus.told(at, at + 1000)
        assert (answer.status, answer["Upload-Offset"]) == (200, str(at))
    report(record_property, server, "HEAD", times)


@everywhere
def test_patch_beside_a_hung_patch(tus: Client, server: live.Live, record_property) -> None:
    """A PATCH at the true offset is taken at once."""
    url = tus.create(SIZE)
    times = []
    for round in range(ROUNDS):
        at = round * 2000
        hung(tus, url, at, 1000)
        true = tus.told(at, at + 1000)
        took, answer = timed(lambda at=at, true=true: tus.patch(url, true, CONTENT[true : at + 2000]))
        times.append(took)
        assert (answer.status, answer["Upload-Offset"]) == (204, str(at + 2000))
    report(record_property, server, "PATCH", times)


@everywhere
@pytest.mark.parametrize("method", ["HEAD", "PATCH"])
def test_overtaken_request_writes_no_more(tus: Client, method: str) -> None:
    """Whatever an old connection still sends, nothing of it reaches the file."""
    url = tus.create(SIZE)
    old = hung(tus, url)

    offset = tus.offset(url)
    if method == "PATCH":
        begins, offset = offset, SENT + 1000
        assert tus.patch(url, begins, CONTENT[begins:offset]).status == 204
    old.offer(b"\0" * (SIZE - SENT))

    refused(old)
    assert tus.offset(url) == offset
    assert tus.bytes_stored(url) == CONTENT[:offset]
    assert tus.patch(url, offset, CONTENT[offset:]).status == 204
    assert [handed.file for handed in tus.handed()] == [CONTENT]


def refused(old: wire.Wire) -> None:
    """The old connection gets an error, or just ends."""
    try:
        assert old.answer().status >= 500
    except (wire.Broken, OSError):
        pass
    finally:
        old.close()


@everywhere
def test_overtaken_socket_is_ended(tus: Client, server: live.Live) -> None:
    """The hung request ends although its client says nothing, so that its thread is free again."""
    url = tus.create(SIZE)
    old = hung(tus, url)

    start = time.perf_counter()
    assert tus.offset(url) == tus.told(0, SENT)
    answer = old.answer()  # the client sent nothing that could have woken the server
    took = time.perf_counter() - start
    old.close()

    print(f"a hung PATCH on {server.kind.name} was ended after {took * 1000:.1f} ms")
    assert answer.status >= 500
    assert took < 1.0


@everywhere
def test_delete_beside_a_hung_patch(tus: Client) -> None:
    """Termination ends who still writes, and leaves nothing behind."""
    url = tus.create(SIZE)
    old = hung(tus, url)

    took, answer = timed(lambda: tus.delete(url))

    assert answer.status == 204
    assert took < SLACK
    old.offer(CONTENT[SENT:])
    refused(old)
    assert tus.head(url).status in (404, 410)
    live.until(lambda: tus.files() == [])


@everywhere
def test_two_writers_in_turns(tus: Client) -> None:
    """Clients that go on with the same upload take it from each other, and never mix their bytes."""
    url = tus.create(SIZE)
    offset = 0
    for step in range(20_000, 29_000, 1000):  # each brings more than the one before
        old, sent = hung(tus, url, offset, step), offset + step  # the one before is overtaken, far from its end
        offset = tus.told(offset, sent)

    old.send(CONTENT[sent:])

    assert old.answer().status == 204
    assert [handed.file for handed in tus.handed()] == [CONTENT]
    for overtaken in tus.hanging[:-1]:
        refused(overtaken)


@everywhere
def test_eight_equal_patches_at_once(tus: Client) -> None:
    """Exactly one file comes of it, bit by bit right, and at least one client hears so."""
    url = tus.create(SIZE)
    answers: list[wire.Answer | Exception] = []
    gate = threading.Barrier(8)

    def send() -> None:
        gate.wait()
        try:
            answers.append(tus.patch(url, 0, CONTENT))
        except (wire.Broken, OSError) as error:  # an overtaken request may be cut off
            answers.append(error)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    codes = sorted(answer.status for answer in answers if isinstance(answer, wire.Answer))
    assert set(codes) <= {204, 409, 423, 503}
    if 204 not in codes:  # the last one in was late, and asks how far it is, as clients do
        finish(tus, url)
    assert [handed.file for handed in tus.handed()] == [CONTENT]


def finish(tus: Client, url: str) -> None:
    offset = tus.offset(url)
    assert tus.patch(url, offset, CONTENT[offset:]).status == 204


@everywhere
def test_duplicate_of_a_hung_patch(tus: Client) -> None:
    """Chromium sends a PATCH again when its connection breaks: the copy is told the true offset at once."""
    url = tus.create(SIZE)
    tus.patch(url, 0, CONTENT[:1000])
    old = hung(tus, url, 1000, SENT - 1000)

    took, answer = timed(lambda: tus.patch(url, 0, CONTENT))

    assert (answer.status, answer["Upload-Offset"]) == (409, str(tus.told(1000, SENT)))
    assert took < SLACK
    # It was stale, so the one that writes goes on.
    old.send(CONTENT[SENT:])
    assert old.answer().status == 204
    old.close()
    assert [handed.file for handed in tus.handed()] == [CONTENT]


@everywhere
def test_duplicate_of_a_finished_patch(tus: Client) -> None:
    """A copy that comes when all is done is told so, and the application hears of it once."""
    url = tus.create(SIZE)
    assert tus.patch(url, 0, CONTENT).status == 204

    answer = tus.patch(url, 0, CONTENT)

    assert (answer.status, answer["Upload-Offset"]) == (409, str(SIZE))
    assert len(tus.handed()) == 1
