"""Several processes on one port: each serves, the dead are replaced, and no connection is refused meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, until
from .test_requests import GET, PATCH

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SCRIPT = """
import logging, os, sys
from tus.server import serve

logging.basicConfig(level=logging.INFO)
fork = os.fork
def counted():
    print("fork", flush=True)
    return fork()
os.fork = counted

def app(environ, start_response):
    body = environ["tus.input"]
    size = 0
    try:
        while data := body.read1():
            size += len(data)
            if environ["PATH_INFO"] != "/":
                with open(environ["PATH_INFO"], "ab") as file:
                    file.write(data)
    except OSError:
        pass
    if environ["PATH_INFO"] == "/die":
        os._exit(3)
    answer = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]

options = dict(option.split("=", 1) for option in sys.argv[1:])
serve(app, on_listening=lambda urls: print("on", *urls, flush=True), **options)
"""


class Processes:
    """A supervisor in a process of its own."""

    def __init__(self, **options: Any) -> None:
        options = options if "unix_socket" in options else {"listen": "127.0.0.1:0", **options}
        arguments = [f"{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-W", "error", "-c", SCRIPT, *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        self.log: list[str] = []
        self.reading = threading.Thread(target=self._read)
        self.reading.start()
        self.forks = 0
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline().strip()) == "fork":
            self.forks += 1
        self.line = line
        url = line.rpartition(" ")[2]
        self.where: Any = (
            url.removeprefix("unix:") if url.startswith("unix:") else ("127.0.0.1", int(url.rpartition(":")[2] or 0))
        )

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log += list(self.process.stderr)

    def connect(self) -> Client:
        return Client(self.where)

    def pid(self) -> int:
        """Of whoever answers a new connection."""
        client = self.connect()
        try:
            return int(client.send(GET).answer()[2])
        finally:
            client.close()

    def pids(self, count: int) -> set[int]:
        """Of so many workers."""
        found: set[int] = set()
        until(lambda: found.add(self.pid()) or len(found) >= count)
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)

    def finish(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.reading.join(10)
        self.process.stderr.close()


@pytest.fixture
def processes() -> Iterator[Callable[..., Processes]]:
    """``processes(**options)``: a running supervisor."""
    started: list[Processes] = []

    def start(**options: Any) -> Processes:
        started.append(Processes(**options))
        return started[-1]

    yield start
    for one in started:
        one.finish()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_worker_serves_and_all_stop_on_a_signal(processes) -> None:
    """Two processes answer on one port; SIGTERM ends them and the supervisor, with a clean status."""
    server = processes(workers=2)
    pids = server.pids(2)
    assert server.process.pid not in pids

    server.signal(signal.SIGTERM)

    assert server.wait() == 0
    assert not any(alive(pid) for pid in pids)


def test_one_worker_does_not_fork(processes) -> None:
    """With workers = 1 the process that was started is the one that serves."""
    server = processes(workers=1)

    assert server.pid() == server.process.pid
    assert server.forks == 0
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_dead_worker_is_replaced(how, processes) -> None:
    """Its port stays open meanwhile: connections wait for the next one."""
    server = processes(workers=2)
    before = server.pids(2)
    if how == "killed":
        os.kill(min(before), signal.SIGKILL)
        until(lambda: not alive(min(before)))
    else:
        dying = server.connect().send(b"GET /die HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionResetError):  # what it had accepted dies with it
            dying.answer()
        dying.close()

    def replaced() -> bool:
        return len({server.pid() for _ in range(10)} - before) == 1

    until(replaced)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_an_upload_is_saved_when_its_worker_is_stopped(processes, tmp_path: Path) -> None:
    """SIGTERM in the middle of an upload: every byte that arrived is in the file."""
    server = processes(workers=2)
    file = tmp_path / "file"
    client = server.connect()
    request = PATCH.replace(b"/file", str(file).encode()) + b"Content-Length: 1000000\r\n\r\n"
    client.send(request + b"x" * 300_000)
    until(lambda: file.exists() and file.stat().st_size == 300_000)

    server.signal(signal.SIGTERM)

    assert client.answer()[1]["connection"] == "close"
    client.close()
    assert server.wait() == 0
    assert file.stat().st_size == 300_000


def test_restarting_refuses_no_connection(processes) -> None:
    """SIGHUP replaces every worker, one by one, while new connections are answered all the time."""
    server = processes(workers=2)
    before = server.pids(2)
    server.signal(signal.SIGHUP)
    after: set[int] = set()

    def all_new() -> bool:
        after.add(server.pid())  # raises when refused, reset, or closed without an answer
        return len(after - before) >= 2

    until(all_new)
    until(lambda: not any(alive(pid) for pid in before))
    assert {server.pid() for _ in range(10)} <= after - before
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_workers_end_when_their_supervisor_is_killed(processes) -> None:
    """kill -9 of the supervisor leaves nobody behind."""
    server = processes(workers=2)
    pids = server.pids(2)
    server.process.kill()

    until(lambda: not any(alive(pid) for pid in pids))


def test_workers_share_a_unix_socket(processes, tmp_path: Path) -> None:
    """Both accept from the one socket."""
    path = str(tmp_path / "socket")
    server = processes(workers=2, unix_socket=path)
    assert server.line == f"on unix:{path}"

    held = [server.connect().send(GET) for _ in range(20)]
    assert all(client.answer()[0] == 200 for client in held)
    for client in held:
        client.close()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_workers_that_cannot_start_end_the_supervisor(processes) -> None:
    """A mistake that only a worker finds is not repeated for ever."""
    server = processes(workers=2, trusted_proxy_headers="forwarded")

    assert server.wait() == 1
    server.reading.join(10)
    assert "trusted_proxy_headers" in "".join(server.log)


@pytest.mark.parametrize("other", ["another server", "another tus"])
def test_a_taken_port_is_an_error(other, processes) -> None:
    """Nobody takes half of another server's connections by accident, not even one that would share."""
    with socket.socket() as taken:
        if other == "another tus":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = processes(workers=2, listen=f"127.0.0.1:{taken.getsockname()[1]}")

        assert server.wait() == 1
