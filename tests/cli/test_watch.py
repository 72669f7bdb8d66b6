"""`tus watch`, beside a real server whose client is slow."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import wire
from tests.cli.conftest import ROOT, hears_interrupts
from tests.cli.test_commands import command, create, patched, serving, stored

SIZE = 100_000  # bytes
PATIENCE = 60.0  # seconds until a test gives up
LINE = re.compile(r" *(\d+ %|\?) +\S+ \w+ +\S+ \w+/s +.*?\d \w+  (.+?)  +(.+)")


class Watching:
    """A running `tus watch`, and what it has said."""

    def __init__(self, *words: object, terminal: tuple[int, int] | None = None) -> None:
        self._read, write = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("HHHH", *terminal, 0, 0))
        environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tus", "watch", *map(str, words), "--interval", "0.05"],
            cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE,
            text=True, preexec_fn=hears_interrupts,
        )  # fmt: skip
        os.close(write)
        self.said = ""

    def until(self, found: Callable[[str], object]) -> str:
        """Everything that was said, once this is in it."""
        end = time.monotonic() + PATIENCE
        while not found(self.said):
            assert select.select([self._read], [], [], max(0, end - time.monotonic()))[0], self.said
            data = os.read(self._read, 65536)
            assert data, f"it has ended after {self.said!r}"
            self.said += data.decode()
        return self.said

    def line(self, name: str, done: str, state: str) -> object:
        """Wait for a line that says so."""
        return self.until(lambda said: (done, state, name) in LINE.findall(said))

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C: its exit status, and what it complained about."""
        self.process.send_signal(signal.SIGINT)
        _, complaint = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, complaint

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._read)


@contextmanager
def watching(*words: object, terminal: tuple[int, int] | None = None) -> Iterator[Watching]:
    running = Watching(*words, terminal=terminal)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of a server that keeps its uploads in `tmp_path`."""
    with serving(str(tmp_path), "--port", "0", "--quiet") as (url, _):
        yield url


class Slow:
    """A client that sends one upload as the test says."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE)
        head = f"PATCH {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n"
        self._socket.sendall(head.encode())

    def send(self, percent: int) -> None:
        self._socket.sendall(bytes(SIZE * percent // 100))

    def close(self) -> None:
        self._socket.close()

    def status(self) -> int:
        """What the server answers in the end."""
        with self._socket:
            return int(self._socket.recv(65536).split()[1])


@pytest.mark.parametrize("as_url", [False, True])
def test_watch_shows_an_upload_that_arrives(url: str, tmp_path: Path, as_url: bool) -> None:
    """From its first byte to its last, by the directory and by the URL of the store; Ctrl-C ends it."""
    place = create(url, SIZE, "film")["Location"]
    with watching(tmp_path.as_uri() if as_url else tmp_path) as watch:
        watch.line("film", "0 %", "unfinished")
        client = Slow(place)

        client.send(40)
        watch.line("film", "40 %", "unfinished")
        client.send(60)
        watch.line("film", "100 %", "finished")

        assert client.status() == 204
        assert watch.interrupt() == (130, "")


def test_watch_tells_programs_what_changed(url: str, tmp_path: Path) -> None:
    """An object for each change: what `tus ls --json` says, with rate and age."""
    place = create(url, SIZE, "film")["Location"]
    with watching(tmp_path, "--json") as watch:
        watch.until(lambda said: "film" in said)
        client = Slow(place)
        client.send(40)
        said = watch.until(lambda said: f'"offset": {SIZE * 4 // 10},' in said and said.endswith("\n"))
        client.send(60)
        client.status()

    rows = [json.loads(line) for line in said.splitlines()]
    listed = json.loads(command("ls", str(tmp_path), "--json").stdout)
    assert {*listed, "rate", "age"} == {*rows[0]}
    assert (rows[0]["offset"], rows[0]["rate"], rows[0]["length"], rows[0]["state"]) == (0, 0, SIZE, "unfinished")
    assert rows[-1]["rate"] > 0 and rows[-1]["age"] >= rows[0]["age"] >= 0
    offsets = [row["offset"] for row in rows]
    assert sorted(set(offsets)) == offsets


def test_watch_tells_what_came_and_went_between_two_looks(url: str, tmp_path: Path) -> None:
    """A small file that was never seen unfinished, and one that was removed; nothing of what had ended before."""
    stored(tmp_path, content=b"older")
    gone = create(url, SIZE, "gone")["Location"]
    with watching(tmp_path) as watch:
        watch.line("gone", "0 %", "unfinished")

        patched(create(url, name="small")["Location"], b"hello")
        watch.line("small", "100 %", "finished")
        parts = urlsplit(gone)
        fields = {"Host": parts.netloc, "Tus-Resumable": "1.0.0"}
        wire.ask((parts.hostname or "", parts.port or 0), "DELETE", parts.path, fields)
        watch.line("gone", "0 %", "removed")

    assert {name for _, _, name in LINE.findall(watch.said)} == {"gone", "small"}


def test_watch_redraws_a_terminal(url: str, tmp_path: Path) -> None:
    """What arrives stays in its place below a header; what has ended moves up and stays."""
    place = create(url, SIZE, "a film with a name that is longer than a terminal " * 3)["Location"]
    with watching(tmp_path, terminal=(24, 80)) as watch:
        watch.until(lambda said: "0 %" in said)
        patched(create(url, name="small")["Location"], b"hello")
        watch.until(lambda said: re.search(r"\x1b\[\dF\x1b\[J100 % .* finished +small\r\n done ", said))
        client = Slow(place)
        client.send(40)

        said = watch.until(lambda said: re.search(r"\x1b\[2F\x1b\[J done .*name\r\n 40 % .*a film", said))
        client.send(60)
        client.status()
        assert watch.interrupt() == (130, "")

    lines = re.sub(r"\x1b\[\d*[FJ]", "", said).split("\r\n")
    assert max(map(len, lines)) < 80


def test_watch_shows_as_many_as_the_terminal_has_room_for(tmp_path: Path) -> None:
    """And says how many more there are; more lines could not be redrawn."""
    for _ in range(4):
        stored(tmp_path, content=b"he")

    with watching(tmp_path, terminal=(5, 80)) as watch:
        said = watch.until(lambda said: "… and 2 more\r\n" in said)

    assert said.partition("more")[0].count("40 %") == 2


def test_watch_names_a_bad_record_once(url: str, tmp_path: Path) -> None:
    """However often it looks."""
    id = stored(tmp_path, content=b"he")
    (tmp_path / f"{id}.info").write_text("{")
    create(url, name="first")
    with watching(tmp_path) as watch:
        watch.line("first", "0 %", "unfinished")
        for name in ("one", "two", "three"):
            patched(create(url, name=name)["Location"], b"hello")
            watch.line(name, "100 %", "finished")

        status, complaint = watch.interrupt()

    assert status == 130
    assert complaint.count("\n") == 1 and f"{id}.info cannot be read" in complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none"], "none is not a directory"),
        (["memory://", "--store", "memory:"], "contradict each other"),
        ([".", "--interval", "0"], "'0' is no number of seconds"),
    ],
)
def test_watch_refuses_what_it_cannot_watch(words: list[str], said: str) -> None:
    """In one line, and at once."""
    done = command("watch", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]
