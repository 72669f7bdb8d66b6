"""Thousands of uploads that trickle on one process: all of them arrive, and nobody else has to wait for them."""

from __future__ import annotations

import gc
import os
import re
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import wire
from tests.server.conftest import open_files, until
from tests.server.test_parking import DATA, HALF, Site, ear, site  # noqa: F401
from tus.adapters.collecting import CROWD, FROZEN, Collecting
from tus.server.crowd import Crowd
from tus.server.threads import FewThreads

SIZE = 16384  # bytes of one upload
TIMES = 4  # pieces that each comes in
FIELDS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"}


class Process:
    """`tus serve` in a process of its own, with that many open files."""

    def __init__(self, directory: Path, files: int, *words: str) -> None:
        words = ("--port", "0", "--durable", "none", "--quiet", *words)
        command = [sys.executable, "-m", "tus", "serve", str(directory), *words]
        self._log = directory.with_suffix(".log")

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=limit)
        assert self.process.stdout
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert found
        self.address = ("127.0.0.1", int(found[1]))

    def status(self, name: str) -> int:
        """A number of /proc/PID/status."""
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    def stop(self) -> str:
        """What it logged."""
        self.process.terminate()
        self.process.communicate(timeout=30)
        return self._log.read_text()


@pytest.fixture
def serving() -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def start(directory: Path, files: int, *words: str) -> Process:
        made.append(Process(directory, files, *words))
        return made[-1]

    yield start
    for one in made:
        if one.process.returncode is None:
            one.process.kill()
            one.process.communicate()


def readable(sockets: Iterable[socket.socket]) -> list[socket.socket]:
    """Those that have something to read within a minute. `select` takes no descriptor above 1,023."""
    poll, by = select.poll(), {one.fileno(): one for one in sockets}
    for fd in by:
        poll.register(fd, select.POLLIN)
    return [by[fd] for fd, _ in poll.poll(60_000)]


class Trickle:
    """Uploads of one thread: each sends its pieces in turn with all others, and ends when it has its answer."""

    def __init__(self, server: Process, count: int) -> None:
        self.server = server
        self.contents = [os.urandom(SIZE) for _ in range(count)]
        self._other, *self.paths = self._created(count + 1)
        self.sockets: list[socket.socket] = []
        self.waits: list[float] = []  # seconds that somebody else's HEAD took
        self.threads = self.memory = 0

    def _created(self, count: int) -> list[str]:
        request = wire.head("POST", "/files", FIELDS | {"Upload-Length": str(SIZE), "Content-Length": "0"})
        paths = []
        with wire.Wire(self.server.address) as client:
            for _ in range(count):
                client.send(request)
                paths.append(client.answer()["Location"].partition("/files/")[2])
        return paths

    def connect(self) -> None:
        for path in self.paths:
            sock = socket.create_connection(self.server.address)
            sock.settimeout(60)
            self.sockets.append(sock)
            sock.sendall(
                wire.head(
                    "PATCH", f"/files/{path}",
                    FIELDS | {
                        "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream",
                        "Content-Length": str(SIZE),
                    },
                )
            )  # fmt: skip

    def send(self, times: int = TIMES) -> None:
        piece = SIZE // TIMES
        for number in range(times):
            for index, (sock, content) in enumerate(zip(self.sockets, self.contents, strict=True)):
                sock.sendall(content[number * piece : (number + 1) * piece])
                if index % 50 == 0:
                    self.look()

    def look(self) -> None:
        """Somebody else asks for an upload, on a new connection; and what the crowd costs now."""
        asked = time.monotonic()
        answer = wire.ask(self.server.address, "HEAD", f"/files/{self._other}", FIELDS)
        self.waits.append(time.monotonic() - asked)
        assert answer.status == 200
        self.threads = max(self.threads, self.server.status("Threads"))
        self.memory = max(self.memory, self.server.status("VmHWM"))

    def statuses(self) -> list[int]:
        found = []
        for sock in self.sockets:
            assert readable([sock]), "no answer"
            found.append(int(sock.recv(4096).split()[1]))
        return found

    def statuses_as_they_come(self) -> list[int]:
        """The same, where some get no answer before others have closed."""
        left, found = set(self.sockets), []
        while left:
            ready = readable(left)
            assert ready, f"{len(left)} have no answer"
            for sock in ready:
                found.append(int(sock.recv(4096).split()[1]))
                left.discard(sock)
                sock.close()
        return found

    def stored(self, directory: Path) -> list[bytes]:
        return [(directory / path).read_bytes() for path in self.paths]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def trickle() -> Iterator[Callable[[Process, int], Trickle]]:
    made: list[Trickle] = []

    def start(server: Process, count: int) -> Trickle:
        made.append(Trickle(server, count))
        made[-1].connect()
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.slow
def test_thousand_uploads_trickle_and_nobody_waits(serving: Any, trickle: Any, tmp_path: Path) -> None:
    """Each arrives with every byte; others are answered soon, on new connections; threads and memory stay few."""
    server = serving(tmp_path / "up", 16384)
    crowd = trickle(server, 1000)

    crowd.send()
    statuses = crowd.statuses()

    assert statuses == [204] * 1000
    assert crowd.stored(tmp_path / "up") == crowd.contents
    assert crowd.threads < 50
    assert crowd.memory < 100 << 10  # KiB
    assert sorted(crowd.waits)[len(crowd.waits) // 2] < 0.5


@pytest.mark.slow
def test_crowd_needs_one_open_file_an_upload(serving: Any, trickle: Any, tmp_path: Path) -> None:
    """Three hundred on a process that may open 450; none fails, and none is told of that."""
    server = serving(tmp_path / "up", 450)
    crowd = trickle(server, 300)

    crowd.send()
    statuses = crowd.statuses()

    assert statuses == [204] * 300
    assert crowd.stored(tmp_path / "up") == crowd.contents
    assert "ERROR" not in server.stop()


@pytest.mark.slow
def test_crowd_beyond_the_open_files_waits_at_the_door(serving: Any, trickle: Any, tmp_path: Path) -> None:
    """Those who find no room are let in when others are done; the log names the reason."""
    server = serving(tmp_path / "up", 200)
    crowd = trickle(server, 300)

    for sock, content in zip(crowd.sockets, crowd.contents, strict=True):
        sock.sendall(content)
    statuses = crowd.statuses_as_they_come()

    assert statuses == [204] * 300
    assert crowd.stored(tmp_path / "up") == crowd.contents
    assert "nearly as many files are open" in server.stop()


def test_waiting_uploads_rest_where_files_are_few(site: Any) -> None:  # noqa: F811
    """Lease and data are closed until something comes, and each goes on as if they had been open."""
    here: Site = site()
    here.running.server.parking._crowd = Crowd(here.running.server.loop, 0)
    before = open_files()
    begun = [here.begun() for _ in range(10)]
    until(lambda: here.idle)

    waiting = open_files() - before
    for _, client in begun:
        client.send(DATA[HALF:])

    # Both ends of two connections of each, and what the parking thread has.
    assert waiting <= 10 * 4 + 3
    assert [client.answer()[0] for _, client in begun] == [204] * 10
    assert {here.stored(path) for path, _ in begun} == {DATA}


def test_resting_upload_is_taken_over_at_once(site: Any) -> None:  # noqa: F811
    """A closed lease can be lost like an open one."""
    here: Site = site()
    here.running.server.parking._crowd = Crowd(here.running.server.loop, 0)
    path, client = here.begun()
    until(lambda: here.idle)

    offset = here.offset(path)

    assert offset == HALF
    assert client.headers()[0] >= 400
    until(lambda: not here.parked)


class Loop:
    """A loop that is busy or not, as the test wants it."""

    awake = False


def test_collector_leaves_a_crowd_alone_until_it_is_gone() -> None:
    """What waits is not looked at again and again; afterwards the collector looks at everything, as before."""
    collecting = Collecting()
    gc.unfreeze()

    for number in range(FROZEN * 2):
        collecting.began(number)
    frozen = gc.get_freeze_count()
    collecting.ended(CROWD)

    assert frozen > 0
    assert gc.get_freeze_count() == 0


def test_stuck_loop_is_not_waited_for_long() -> None:
    """Those who wait for bytes go on in the end, though the application holds up the loop."""
    loop = Loop()
    loop.awake = True
    started = time.monotonic()

    Crowd(loop, 1000).give_way()

    assert time.monotonic() - started < 5


class Stuck:
    """An upload in a hook that takes as long as the test wants."""

    requests: tuple[object, ...] = ()

    def __init__(self, free: threading.Event) -> None:
        self._free = free

    def service(self) -> None:
        self._free.wait(20)


@pytest.mark.parametrize("gets_on", [False, True])
def test_more_threads_come_only_where_nobody_gets_on(gets_on: bool) -> None:
    """Hooks that wait must not hold up others; but what lacks a processor gets none by another thread."""
    free, quick = threading.Event(), threading.Event()
    few = FewThreads(100, bool)
    for _ in range(FewThreads.FEW - 1):
        few.add_task(Stuck(free))
    few.add_task(Stuck(quick))
    until(lambda: len(few.channels) == FewThreads.FEW)
    few.relieve()
    for _ in range(20):
        few.add_task(Stuck(free))

    if gets_on:
        quick.set()
        until(lambda: few._over)
    few.relieve()
    limit = few.limit
    for event in (free, quick):
        event.set()

    until(lambda: not few.busy)
    few.shutdown()
    assert limit == (FewThreads.FEW if gets_on else 3 * FewThreads.FEW)
