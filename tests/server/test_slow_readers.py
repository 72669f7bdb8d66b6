"""Clients that ask for much and do not read: they keep nobody waiting, and cost next to nothing."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import wire
from tests.live import until
from tus.http.ranges import Pausing

MIB = 1 << 20
READERS = 500
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Process:
    """`tus serve` in a process of its own."""

    def __init__(self, *words: str) -> None:
        few = [] if "--asgi" in words else ["--set", "threads=4"]
        command = [sys.executable, "-m", "tus", "serve", *words, "--port", "0", *few]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert found
        self.address = ("127.0.0.1", int(found[1]))

    @property
    def memory(self) -> int:
        """Bytes that are its own; what lies in the sockets is the kernel's."""
        return self._status("RssAnon") * 1024

    @property
    def threads(self) -> int:
        return self._status("Threads")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+)", status)[1])  # type: ignore[index]

    def reader(self, path: str, *fields: str) -> socket.socket:
        """A client that has asked, and not read yet."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(20)
        sock.connect(self.address)
        sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "\r\n"]).encode())
        return sock

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=15)


@pytest.fixture
def serving() -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> Process:
            process = Process(*words)
            stack.callback(process.close)
            return process

        yield start


def begun(readers: list[socket.socket]) -> None:
    """Each has what the kernel takes for it."""
    for reader in readers:
        assert reader.recv(1, socket.MSG_PEEK)


def times(address: tuple[str, int], path: str) -> list[float]:
    """How long each of a hundred HEADs takes, each on a new connection."""
    taken = []
    for _ in range(100):
        started = time.monotonic()
        wire.ask(address, "HEAD", path, {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"})
        taken.append(time.monotonic() - started)
    return sorted(taken)


def drained(sock: socket.socket) -> bytes:
    """The body that a client gets who begins to read at last."""
    file = sock.makefile("rb")
    fields = dict(line.rstrip(b"\r\n").lower().split(b": ", 1) for line in iter(file.readline, b"\r\n") if b":" in line)
    if b"content-length" in fields:
        return file.read(int(fields[b"content-length"]))
    body = b""
    while size := int(file.readline(), 16):
        body += file.read(size)
        file.readline()
    return body


def stored(process: Process, content: bytes) -> str:
    """The path of a finished upload."""
    fields = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0", "Upload-Length": str(len(content))}
    kind = {"Content-Type": "application/offset+octet-stream", "Content-Length": str(len(content))}
    return wire.ask(process.address, "POST", "/files", fields | kind, content)["Location"].partition("/files")[2]


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 1], ids=["whole", "range"])
def test_readers_of_a_file_who_do_not_read_hold_nobody_up(serving, tmp_path: Path, start: int) -> None:
    """Five hundred of them, of the whole and of a range, cost no thread; whoever reads after all gets every byte."""
    content = os.urandom(24 * MIB)
    server = serving(str(tmp_path))
    path = "/files" + stored(server, content)
    before = server.memory
    readers = [server.reader(path, *([f"Range: bytes={start}-"] if start else [])) for _ in range(READERS)]

    begun(readers)
    taken = times(server.address, path)
    grown, threads = server.memory - before, server.threads
    bodies = [drained(readers[0]), drained(readers[-1])]

    for reader in readers:
        reader.close()
    assert (taken[50] < 0.25, taken[98] < 1) == (True, True), taken
    assert grown < READERS << 18
    assert threads < 20
    assert bodies == [content[start:]] * 2


@pytest.mark.slow
def test_readers_of_a_zip_who_do_not_read_hold_nobody_up(serving, tmp_path: Path) -> None:
    """An album is packed as fast as its client reads, by no thread while it does not."""
    films = {f"{number}.mp4": os.urandom(6 * MIB) for number in range(4)}
    for name, content in films.items():
        (tmp_path / name).write_bytes(content)
    server = serving("--gallery", str(tmp_path))
    before = server.memory
    readers = [server.reader("/?zip") for _ in range(READERS)]

    begun(readers)
    taken = times(server.address, "/")
    grown, threads = server.memory - before, server.threads
    archives = [zipfile.ZipFile(io.BytesIO(drained(reader))) for reader in (readers[0], readers[-1])]

    for reader in readers:
        reader.close()
    assert (taken[50] < 0.25, taken[98] < 1) == (True, True), taken
    assert grown < READERS << 18
    assert threads < 20
    assert all({name: archive.read(name) for name in archive.namelist()} == films for archive in archives)


class Blocks:
    """An application whose answer can pause; it remembers how far it came, and whether it was closed."""

    def __init__(self, count: int = 400, fail_at: int = -1) -> None:
        self.count, self.fail_at = count, fail_at
        self.given = 0
        self.closed = threading.Event()
        self.threads: set[int] = set()

    def blocks(self) -> Any:
        try:
            while self.given < self.count:
                if self.given == self.fail_at:
                    raise RuntimeError("the test wants it")
                self.threads.add(threading.get_ident())
                self.given += 1
                yield b"%08d" % self.given * 8192
        finally:
            self.closed.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [("Content-Length", "5")])
            return [b"other"]
        start_response("200 OK", [("Content-Length", str(65536 * self.count))])
        return Pausing(self.blocks())


def paused(server: Any, count: int = 1) -> bool:
    """So many answers wait for their readers."""
    channels = server.server.listeners[0].active_channels.values()
    return sum(channel._paused for channel in channels) == count


def test_an_answer_that_can_pause_waits_for_its_reader(served) -> None:
    """Nothing is made that cannot be sent; the connection carries the next request afterwards."""
    app = Blocks()
    server = served(app, threads=1)
    client = server.connect()
    client.send(GET, GET.replace(b"/ ", b"/other "))
    until(lambda: paused(server))
    assert app.given < app.count and not app.closed.is_set()

    first, second = client.answer(), client.answer()

    assert first[2] == b"".join(b"%08d" % (number + 1) * 8192 for number in range(app.count))
    assert second[2] == b"other"
    assert app.closed.is_set()


@pytest.mark.parametrize("poll", [True, False], ids=["epoll", "without"])
def test_an_answer_that_pauses_holds_no_thread(poll: bool, served) -> None:
    """More of them than threads, and others are answered, with waitress's own loop too."""
    apps = Blocks(4000)
    server = served(apps, threads=2, asyncore_use_poll=poll)
    for _ in range(5):
        server.connect().send(GET)
    until(lambda: paused(server, 5))

    answer = server.connect().send(GET.replace(b"/ ", b"/other ")).answer()

    assert answer[2] == b"other"


def test_a_reader_who_leaves_ends_the_answer(served) -> None:
    """What it is made from is closed, though no thread was with it."""
    app = Blocks()
    server = served(app)
    client = server.connect()
    client.send(GET)
    until(lambda: paused(server))

    client.reset()

    assert app.closed.wait(10)


def test_an_answer_that_fails_after_a_pause_is_cut(served) -> None:
    """The client sees that it is not whole, and the rest of the server goes on."""
    app = Blocks(fail_at=390)
    server = served(app)
    client = server.connect().send(GET)
    until(lambda: paused(server))

    status, headers = client.headers()
    body = client.file.read()

    assert status == 200 and len(body) == 390 * 65536 < int(headers["content-length"])
    assert server.connect().send(GET.replace(b"/ ", b"/other ")).answer()[2] == b"other"


def test_nobody_waits_for_a_reader_who_leaves_when_the_server_stops(served) -> None:
    """A pause does not keep a server from stopping in its time."""
    app = Blocks()
    server = served(app, shutdown_timeout=0.5)
    server.connect().send(GET)
    until(lambda: paused(server))
    started = time.monotonic()

    server.stop()

    assert time.monotonic() - started < 5


def test_head_makes_no_answer_of_what_would_be_long(served) -> None:
    """Its headers are all that is wanted; the rest is closed unread."""
    app = Blocks()
    client = served(app).connect()
    client.send(GET.replace(b"GET", b"HEAD"), GET.replace(b"/ ", b"/other "))

    assert client.headers()[1]["content-length"] == str(65536 * 400)
    assert client.answer()[2] == b"other"
    assert app.given == 1 and app.closed.is_set()


def test_head_of_a_file_sends_its_headers_alone(served, tmp_path: Path) -> None:
    """Though the application gives the file to the server, as for GET."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "100000")])
        return environ["wsgi.file_wrapper"](open(tmp_path / "file", "rb"))

    client = served(app).connect().send(GET.replace(b"GET", b"HEAD"), GET)

    assert client.headers()[1]["content-length"] == "100000"
    assert client.answer()[2] == b"x" * 100_000


def test_a_file_that_was_shortened_is_cut(served, tmp_path: Path) -> None:
    """While it is sent: the client sees that bytes are missing, and waits for none."""
    path = tmp_path / "file"
    path.write_bytes(bytes(16 * MIB))

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(16 * MIB))])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    client = served(app).connect().send(GET)
    client.headers()

    os.truncate(path, 100)

    assert len(client.file.read()) < 16 * MIB
