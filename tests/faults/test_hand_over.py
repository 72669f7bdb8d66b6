"""The hand-over goes wrong in every way that it can: no file is lost, and none arrives twice."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import live, wire
from tests.conformance.client import metadata
from tests.faults.conftest import Client, everywhere
from tests.faults.test_taking_over import SLACK, timed

HELLO = {"Upload-Metadata": metadata(filename="hello.txt", filetype="text/x-hello", title="Greeting")}
SWITCHES = (pytest.param("path", marks=pytest.mark.on_files("the application gets a path")), "file", "form")


def at_once(*deeds: Callable[[], wire.Answer]) -> list[int]:
    """Do it all at the same time; the status codes, in that order."""
    codes = [0] * len(deeds)
    gate = threading.Barrier(len(deeds))

    def do(number: int, deed: Callable[[], wire.Answer]) -> None:
        gate.wait()
        codes[number] = deed().status

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(deeds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


@everywhere
def test_handed_over_once_however_many_ask(tus: Client) -> None:
    """The last PATCH twice, and HEAD and an empty PATCH at the same time: the application gets one file each time."""
    codes: Counter[int] = Counter()
    rounds = 12
    for _ in range(rounds):
        url = tus.create(1000)
        tus.patch(url, 0, b"a" * 999)
        codes.update(
            at_once(
                lambda url=url: tus.patch(url, 999, b"z"),
                lambda url=url: tus.head(url),
                lambda url=url: tus.patch(url, 999, b"z"),
                lambda url=url: tus.patch(url, 1000),
                lambda url=url: tus.head(url),
            )
        )
        answer = live.until(lambda url=url: (found := tus.head(url)).status == 200 and found)
        if answer["Upload-Offset"] == "999":
            assert tus.patch(url, 999, b"z").status == 204

    print(dict(codes))
    assert set(codes) <= {200, 204, 409, 423, 503}
    handed = Counter(handed.upload for handed in tus.handed())
    assert len(handed) == rounds and set(handed.values()) == {1}


@pytest.mark.on_files("the last byte is written into one")
@everywhere
def test_handed_over_once_when_nobody_finished_it(tus: Client) -> None:
    """A process died before it handed the file over: those who come next do it, once."""
    url = tus.create(1000)
    tus.patch(url, 0, b"a" * 999)
    with open(tus.home / "uploads" / tus.id(url), "ab") as file:  # the last write of somebody who died after it
        file.write(b"z")

    codes = at_once(*[lambda: tus.head(url), lambda: tus.patch(url, 1000)] * 4)

    assert set(codes) <= {200, 204, 423, 503}
    live.until(lambda: tus.head(url).status == 200)
    assert [handed.file for handed in tus.handed()] == [b"a" * 999 + b"z"]


@everywhere
@pytest.mark.parametrize("method", ["HEAD", "PATCH"])
@pytest.mark.parametrize("plan", [{"raises": True}, {"status": "500 Oh"}, {"status": "429 Busy"}])
def test_host_says_later_and_then_yes(tus: Client, method: str, plan: dict[str, Any]) -> None:
    """Whatever the application did, the file stays until it is taken, and a HEAD never costs the client its upload."""
    tus.plan(**plan)
    url = tus.create(5)

    first = tus.patch(url, 0, b"hello")
    again = tus.head(url) if method == "HEAD" else tus.patch(url, 5)
    tus.plan()
    taken = tus.head(url) if method == "HEAD" else tus.patch(url, 5)

    assert first.status >= 400
    assert again.status == (423 if method == "HEAD" else first.status)
    assert taken.status in (200, 204) and taken["Upload-Offset"] == "5"
    assert [handed.file for handed in tus.handed()] == [b"hello"] * 3
    assert tus.patch(url, 5).status == 204
    assert len(tus.handed()) == 3


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_redirect_is_a_success(tus: Client, status: str) -> None:
    """No script follows a redirect of its PATCH."""
    tus.plan(status=status, headers=[["Location", "/done"], ["X-Done", "yes"]])
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello")

    assert (answer.status, answer.get("Location"), answer["X-Done"]) == (204, None, "yes")
    assert (tus.head(url).status, len(tus.handed())) == (200, 1)


def test_file_that_was_not_taken_stays(tus: Client) -> None:
    """What the application has no time for lies there, and is gone when it was accepted."""
    tus.plan(status="503 Later")
    url = tus.create(5)
    tus.patch(url, 0, b"hello")
    assert tus.bytes_stored(url) == b"hello"

    tus.plan()
    tus.patch(url, 5)

    assert not (tus.home / "uploads" / tus.id(url)).exists()
    assert tus.offset(url) == 5


@everywhere
def test_slow_application_holds_nobody_up(collection: Callable[..., Client], server: live.Live) -> None:
    """While the application works, HEAD, PATCH and GET of the same upload are told so at once."""
    tus = collection(hooks="tests.faults.hosts:Waiting")
    url = tus.create(5, {"Upload-Metadata": metadata(where=str(tus.home))})
    answers: list[wire.Answer] = []
    finishing = threading.Thread(target=lambda: answers.append(tus.patch(url, 0, b"hello")))
    finishing.start()
    try:
        live.until((tus.home / "entered").exists)
        took, head = timed(lambda: tus.head(url))
        patch_took, patch = timed(lambda: tus.patch(url, 5))
        stale_took, stale = timed(lambda: tus.patch(url, 0, b"hello"))
    finally:
        (tus.home / "go").touch()
        finishing.join()

    print(f"HEAD during a hand-over on {server.kind.name}: {took * 1000:.1f} ms, PATCH: {patch_took * 1000:.1f} ms")
    assert (head.status, patch.status, stale.status) == (423, 423, 409)
    assert max(took, patch_took, stale_took) < SLACK
    assert answers[0].status == 204
    assert tus.patch(url, 5).status == 204
    assert len(tus.handed()) == 1


@pytest.mark.parametrize("way", SWITCHES)
@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_every_form_of_hand_over(collection: Callable[..., Client], way: str, size: int) -> None:
    """Path, file or form: the application gets every byte, whatever the size."""
    tus = collection(hand_over=way)
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    url = tus.create(size, HELLO)
    if size:
        tus.patch(url, 0, content)

    (handed,) = tus.handed()

    if way == "path":
        assert handed.file == content
    elif way == "file":
        assert (handed.body, handed.type) == (content, "text/x-hello")
    else:
        boundary = handed.type.partition("boundary=")[2].encode()
        assert handed.body.count(b"--" + boundary) == 3 and content + b"\r\n--" in handed.body
        assert b'name="title"\r\n\r\nGreeting\r\n' in handed.body
    assert handed.headers["filename"] == "hello.txt"


@pytest.mark.on_files("the host takes one away")
@everywhere
def test_file_that_the_host_took_and_then_refused_is_handed_over_again(tus: Client) -> None:
    """ZODB moves a file into its storage and throws it away when the transaction fails: the upload loses nothing."""
    tus.plan(takes=True, status="503 Conflict")
    url = tus.create(5)

    answers = [tus.patch(url, 0, b"hello"), tus.head(url), tus.patch(url, 5)]
    tus.plan(takes=True)
    answers.append(tus.patch(url, 5))

    assert [answer.status for answer in answers] == [503, 423, 503, 204]
    assert [handed.file for handed in tus.handed()] == [b"hello"] * 4
    assert tus.files() == [f"{tus.id(url)}.info"]


def test_file_that_the_host_took_survives_the_death_of_the_process(tmp_path: Path) -> None:
    """What was taken and never accepted is handed over when the client asks again."""
    with live.start("ours", home=tmp_path / "home", durable="none") as server:
        tus = Client(server, "")
        tus.plan(takes=True, waits=True)
        url = tus.create(5)
        with tus.begin(url, 0, 5, b"hello"):
            live.until((tus.home / "taken").exists)
            server.kill()
        tus.plan()
        server.start()

        answer = tus.head(url)

        assert (answer.status, answer["Upload-Offset"]) == (200, "5")
        assert [handed.file for handed in tus.handed()] == [b"hello"] * 2


@pytest.mark.on_files("one vanishes")
def test_vanished_file_of_an_unaccepted_upload_is_an_error_each_time(tus: Client, server: live.Live) -> None:
    """Nobody has it: neither may the client believe that it arrived, nor may nobody hear of it."""
    tus.plan(status="503 Later")
    url = tus.create(5)
    tus.patch(url, 0, b"hello")
    (tus.home / "uploads" / tus.id(url)).unlink()
    tus.plan()

    answers = [ask() for ask in (lambda: tus.head(url), lambda: tus.patch(url, 5), lambda: tus.get(url)) for _ in "12"]

    assert [answer.status for answer in answers] == [500] * 6
    assert b"gone" in answers[2].body
    assert server.output.count(f"failed upload={tus.id(url)} ") == 6
    assert len(tus.handed()) == 1


@pytest.mark.on_files("the host gets a path")
def test_file_that_is_kept_stays_where_the_host_was_told(collection: Callable[..., Client]) -> None:
    """With `cleanup = false` the path holds for ever, and is the only name that the file has."""
    tus = collection(cleanup=False)
    url = tus.uploaded(b"hello")

    (handed,) = tus.handed()

    path = Path(os.fsdecode(handed.body))
    assert path.read_bytes() == tus.get(url).body == b"hello"
    assert (path.name, path.stat().st_nlink) == (tus.id(url), 1)


@pytest.mark.on_files("the host takes one away")
def test_kept_file_that_the_host_took_is_no_longer_ours(collection: Callable[..., Client]) -> None:
    """Otherwise its bytes would lie on the disk for ever."""
    tus = collection(cleanup=False)
    tus.plan(takes=True)
    url = tus.uploaded(b"hello")

    assert (tus.home / "taken").stat().st_nlink == 1
    assert (tus.offset(url), tus.get(url).status) == (5, 404)
