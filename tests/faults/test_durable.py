"""What the option `durable` promises, seen from the system calls that a server makes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import live
from tests.conformance.client import BYTES, Client, checksum
from tus.stores import filesystems

pytestmark = pytest.mark.slow

CALLS = (
    "getdents64,fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg,write,writev,splice,pwrite64,sync_file_range"
)
LARGE = 300_000  # bytes; on the road through splice
# Nothing, where the journal that has the file has its name as well.
NAMED = "" if filesystems.ordered(filesystems.kind(tempfile.gettempdir())) else "F"
Traced = Callable[[str], tuple[Client, Callable[[], str]]]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    """A server under strace, and what it did since it was asked last, one letter a call: W data written, D made
    durable, B record begun to be written back, N record made durable, M put in its place, F directory made durable, L
    listed, A request answered."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed (apt install strace)")
    running: list[tuple[live.Live, subprocess.Popen[bytes]]] = []

    def start(durable: str) -> tuple[Client, Callable[[], str]]:
        server = live.start("ours", home=tmp_path / durable, durable=durable, sweep_interval="none", hand_over="none")
        assert server.process
        log = tmp_path / f"{durable}.strace"
        tracer = subprocess.Popen(
            ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={CALLS}", "-p", str(server.process.pid)],
            stderr=subprocess.PIPE,
        )
        running.append((server, tracer))
        assert tracer.stderr
        if b"attached" not in tracer.stderr.readline():
            pytest.skip("strace may not attach to a process here")
        seen = 0

        def deeds() -> str:
            nonlocal seen
            live.until(lambda: "HTTP/1.1 " in log.read_text()[seen:])
            text = log.read_text()
            found, seen = letters(text[seen:]), len(text)
            return found

        return Client(server, ""), deeds

    yield start
    for server, tracer in running:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        assert tracer.stderr
        tracer.stderr.close()
        server.close()


def letters(text: str) -> str:
    return "".join(filter(None, map(letter, text.splitlines())))


def letter(line: str) -> str:
    found = re.match(r"\d+ +(\w+)\((.*)", line)
    if not found:
        return ""
    call, rest = found.groups()
    file = re.match(r"\d+<([^>]*)>", rest)
    name = file[1] if file else ""
    if call.startswith("rename"):
        return "M" if ".info" in rest else ""
    if "HTTP/1.1 " in rest and "HTTP/1.1 100" not in rest:
        return "A"
    if "/uploads" not in rest:
        return ""
    if call == "getdents64":
        return "L"
    if call == "sync_file_range":
        return "B" if name.endswith(".info") else ""
    if call in ("fsync", "fdatasync"):
        return "F" if name.endswith("/uploads") else "N" if name.endswith((".new", ".info")) else "D"
    if call == "pwrite64" and name.endswith(".info"):
        return "M" if ", 1, " in rest else ""  # the one byte that tells
    if call in ("pwrite64", "splice") and not re.search(r"uploads/[0-9a-f]+\.", rest):
        return "W"
    return ""


def order(deeds: str, *steps: str) -> bool:
    """Whether these come in that order, whatever comes between."""
    return re.search(".*".join(steps), deeds) is not None


def test_no_request_lists_the_directory(traced: Traced) -> None:
    """Nothing that a client can ask for costs more where there are more uploads."""
    tus, deeds = traced("none")

    url = tus.uploaded(b"hello")
    tus.final(tus.part(b"hello"), tus.part(b"world"))
    for ask in (tus.head, tus.get, tus.delete):
        ask(url)
    live.until(lambda: tus.head(url).status == 404)

    assert "L" not in deeds()


def test_none_forces_nothing(traced: Traced) -> None:
    """Everything is left to the kernel."""
    tus, deeds = traced("none")

    tus.uploaded(os.urandom(LARGE))
    tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    assert not set("DNF") & set(deeds())


@pytest.mark.parametrize("size", [5, LARGE])
def test_finish_forces_data_record_and_directory(traced: Traced, size: int) -> None:
    """Before the last answer, in that order; and nothing before the last piece."""
    tus, deeds = traced("finish")
    content = os.urandom(size)

    url = tus.create(size)
    assert not set("DNF") & set(deeds())
    tus.patch(url, 0, content[:-1])
    assert not set("DNF") & set(deeds())
    tus.patch(url, size - 1, content[-1:])

    did = deeds()
    assert order(did, "W", "D", *NAMED, "M", "N", "A"), did


def test_finish_forces_what_was_created_with_all_of_it(traced: Traced) -> None:
    """creation-with-upload gives the same promise."""
    tus, deeds = traced("finish")

    tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    did = deeds()
    assert order(did, "W", "D", *NAMED, "M", "N", "A"), did


@pytest.mark.skipif(sys.platform != "linux", reason="sync_file_range is Linux's")
@pytest.mark.parametrize("at_once", [False, True])
def test_record_is_on_its_way_before_the_data_is_forced(traced: Traced, at_once: bool) -> None:
    """So that one transaction of a journal has both."""
    tus, deeds = traced("finish")

    if at_once:
        tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello")
    else:
        tus.patch(tus.create(5), 0, b"hello")

    did = deeds()
    assert order(did, "B", "D", *NAMED, "M", "N", "A"), did


def test_finish_forces_a_concatenation(traced: Traced) -> None:
    """Of the final file: copied data, record and directory."""
    tus, deeds = traced("finish")
    parts = [tus.part(b"hello"), tus.part(b"world")]
    deeds()

    tus.final(*parts)

    did = deeds()
    assert order(did, "D", *NAMED, "M", "N", "A"), did


def test_always_forces_every_acknowledged_offset(traced: Traced) -> None:
    """A created upload, and each piece of it, outlives a power cut once the client was told of it."""
    tus, deeds = traced("always")
    content = os.urandom(LARGE)

    url = tus.create(LARGE)
    did = deeds()
    assert order(did, *NAMED, "M", "N", "A"), did
    for start, end in ((0, 5), (5, 280_000), (280_000, LARGE)):
        tus.patch(url, start, content[start:end])
        did = deeds()
        assert order(did, "W", "D", "A"), did
    assert order(did, "W", "D", *NAMED, "M", "N", "A"), did


def test_always_forces_a_checksummed_piece(traced: Traced) -> None:
    """Its data, and the word that it is verified, before the answer."""
    tus, deeds = traced("always")
    url = tus.create(10)
    deeds()

    tus.patch(url, 0, b"hello", {"Upload-Checksum": checksum("sha1", b"hello")})

    did = deeds()
    assert order(did, "W", "D", "A"), did
    assert order(did, "N", "M", "A"), did


@pytest.mark.parametrize("length", [10, LARGE])
def test_always_forces_what_a_cut_request_left(traced: Traced, length: int) -> None:
    """An offset that HEAD tells, or the answer to a broken body, is one that holds."""
    tus, deeds = traced("always")
    url = tus.create(length)
    deeds()

    with tus.begin(url, 0, length, b"hello") as connection:
        connection.half_close()
        assert connection.answer()["Upload-Offset"] == "5"
    did = deeds()
    assert order(did, "W", "D", "A"), did

    with open(tus.home / "uploads" / tus.id(url), "ab") as file:  # the last write of somebody who died after it
        file.write(b"!")
    assert tus.offset(url) == 6
    did = deeds()
    assert order(did, "D", "A"), did
