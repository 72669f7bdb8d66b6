"""How often a request changes the directory: on a disk each change costs more than the rest of a small request.

A change is a file that is made, renamed, linked or removed, as inotify sees it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import live
from tests.conformance.client import BYTES, Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's"),
    pytest.mark.on_files("a store of objects has no directory"),
]

CREATE, DELETE, MOVED_TO = 0x100, 0x200, 0x80  # a rename is one change, and is counted where it ends
EVENT = struct.Struct("iIII")
Watched = Callable[..., tuple[Client, Callable[[], list[str]]]]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A server, and the changes of its directory since they were asked for last."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    servers: list[live.Live] = []

    def start(**options: str) -> tuple[Client, Callable[[], list[str]]]:
        server = live.start("ours", home=tmp_path / "home", sweep_interval="none", **options)
        servers.append(server)
        uploads = os.fsencode(tmp_path / "home" / "uploads")
        assert libc.inotify_add_watch(fd, uploads, CREATE | DELETE | MOVED_TO) >= 0

        def changes() -> list[str]:
            try:
                return list(told(os.read(fd, 1 << 16)))
            except BlockingIOError:
                return []

        return Client(server, ""), changes

    yield start
    os.close(fd)
    for server in servers:
        server.close()


def told(events: bytes) -> Iterator[str]:
    at = 0
    while at < len(events):
        _, mask, _, size = EVENT.unpack_from(events, at)
        name = events[at + EVENT.size : at + EVENT.size + size].rstrip(b"\0").decode()
        suffix = name.partition(".")[2]
        yield {CREATE: "+", DELETE: "-", MOVED_TO: ">"}[mask & (CREATE | DELETE | MOVED_TO)] + suffix
        at += EVENT.size + size


def test_small_upload_changes_the_directory_twice(watched: Watched) -> None:
    """Its record and its data are made; POST and PATCH need nothing else."""
    tus, changes = watched(hand_over="none", durable="none")

    url = tus.create(5)
    created = changes()
    tus.patch(url, 0, b"hello")

    assert (created, changes()) == (["+info", "+"], [])


@pytest.mark.parametrize("durable", ["none", "finish"])
def test_upload_that_comes_in_pieces_changes_it_no_more_often(watched: Watched, durable: str) -> None:
    """However the bytes are forced to the disk."""
    tus, changes = watched(hand_over="none", durable=durable)

    url = tus.create(10)
    tus.patch(url, 0, b"hello")
    tus.patch(url, 5, b"world")
    tus.head(url)

    assert changes() == ["+info", "+"]


@pytest.mark.parametrize("durable", ["none", "finish"])
def test_upload_with_its_creation_changes_the_directory_twice(watched: Watched, durable: str) -> None:
    """All of it in one request."""
    tus, changes = watched(hand_over="none", durable=durable)

    tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    assert changes() == ["+info", "+"]


@pytest.mark.parametrize("durable", ["none", "finish"])
def test_body_that_arrives_slowly_changes_the_directory_twice(watched: Watched, durable: str) -> None:
    """The request waits for its client, and has the lease meanwhile."""
    tus, changes = watched(hand_over="none", durable=durable)

    url = tus.create(10)
    with tus.begin(url, 0, 10, b"hello") as connection:
        live.until(lambda: tus.stored(url) == 5)
        connection.send(b"world")
        assert connection.answer().status == 204

    assert changes() == ["+info", "+"]


def test_taking_over_makes_one_file_more(watched: Watched) -> None:
    """The lease of the older request has no file until another request comes. It goes with the newer one, unless the
    older one has not seen it by then."""
    tus, changes = watched(hand_over="none")

    url = tus.create(10)
    with tus.begin(url, 0, 10, b"hello"):
        live.until(lambda: tus.stored(url) == 5)
        assert tus.patch(url, 5, b"world").status == 204

    assert changes() in (["+info", "+", "+lease"], ["+info", "+", "+lease", "-lease"])


def test_handing_over_changes_the_directory_to_remove_the_data(watched: Watched) -> None:
    """The claim of the request needs no file, and what the application answers is written where the record lies."""
    tus, changes = watched(hand_over="form", pass_body=False)

    tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    assert changes() == ["+info", "+", "-"]
    assert len(tus.handed()) == 1


def test_handing_over_by_steps_changes_it_no_more_often(watched: Watched) -> None:
    """The same with POST and PATCH; and nothing is removed where the file is to stay."""
    tus, changes = watched(hand_over="form", pass_body=False, cleanup=False)

    tus.patch(tus.create(5), 0, b"hello")

    assert changes() == ["+info", "+"]
    assert len(tus.handed()) == 1


def test_removing_a_small_upload_changes_the_directory_twice(watched: Watched) -> None:
    """The data goes first, so that what is left by a crash belongs to a record that says so."""
    tus, changes = watched(hand_over="none")
    url = tus.create(5)
    changes()

    tus.delete(url)

    assert changes() == ["-", "-info"]
