"""Memory stays flat: however long an upload is, the process grows by less than a few blocks."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client
from tests.faults.conftest import CALM
from tests.faults.test_full_disk import processes

MIB = 1 << 20
GROWTH = 10 * MIB
FIRST = 16 * MIB
SMALL, LARGE = 512 * MIB, 4096 * MIB
ROADS = {
    "plain": {"Content-Length": "{size}"},
    "checksummed": {"Content-Length": "{size}", "Upload-Checksum": "crc32 AAAAAA=="},
    "chunked": {"Transfer-Encoding": "chunked"},
}


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A directory in memory where that has room: what is measured is no disk."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 * LARGE
    home = Path(tempfile.mkdtemp(prefix="tus-flat-", dir=memory if usable else None))
    if shutil.disk_usage(home).free < 2 * LARGE:
        pytest.skip(f"{home} has no room for an upload of 4 GiB")
    yield home
    shutil.rmtree(home)


def peak(pid: int) -> int:
    """The most memory that the process ever had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def send_zeros(connection: wire.Wire, size: int, *, chunked: bool) -> None:
    """From a file without blocks, so that the client costs next to nothing."""
    with tempfile.TemporaryFile() as zeros:
        zeros.truncate(64 * MIB)
        while size:
            piece = min(size, 64 * MIB)
            if chunked:
                connection.send(b"%x\r\n" % piece)
            connection.socket.sendfile(zeros, 0, piece)
            if chunked:
                connection.send(b"\r\n")
            size -= piece
        if chunked:
            connection.send(b"0\r\n\r\n")


def send(tus: Client, road: str, size: int) -> None:
    """One upload of that size on that road."""
    url = tus.create(size)
    headers = {name: value.format(size=size) for name, value in ROADS[road].items()}
    with tus.open("PATCH", url, {"Content-Type": BYTES, "Upload-Offset": "0"} | headers) as connection:
        connection.socket.settimeout(120)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        send_zeros(connection, size, chunked=road == "chunked")
        answer = connection.answer()
    assert answer.status == (460 if road == "checksummed" else 204), answer


def grown(kind: str, home: Path, road: str, size: int) -> int:
    """How much larger the processes became by an upload of that size."""
    with live.start(kind, home=home / "at", hand_over="none", **CALM) as server:
        tus = Client(server, "")
        for _ in range(3):
            send(tus, road, FIRST)  # everything is loaded, and each thread has its buffers and its share of the heap
        pids = processes(server)
        before = {pid: peak(pid) for pid in pids}
        send(tus, road, size)
        return max(peak(pid) - before[pid] for pid in pids)


def flat(kind: str, home: Path, road: str, size: int) -> None:
    if not live.available(kind):
        pytest.skip(f"{' and '.join(live.KINDS[kind].needs)} cannot be imported")
    more = grown(kind, home, road, size)
    print(f"{size // MIB} MiB {road} on {kind}: {more / MIB:.1f} MiB more")
    assert more < GROWTH


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ours", "gunicorn-gthread", "asgi", "asgi-granian"])
def test_memory_is_flat(roomy: Path, kind: str) -> None:
    """Half a gibibyte adds less than 10 MiB."""
    flat(kind, roomy, "plain", SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ours", "gunicorn-gthread", "gunicorn-sync"])
@pytest.mark.parametrize("road", ROADS)
def test_memory_is_flat_for_4_gib(roomy: Path, kind: str, road: str) -> None:
    """Four gibibytes add less than 10 MiB, on every road that bytes can take."""
    flat(kind, roomy, road, LARGE)


@pytest.mark.slow
@pytest.mark.parametrize("road", ROADS)
def test_memory_is_flat_for_4_gib_under_asgi(roomy: Path, road: str) -> None:
    """The same in an event loop."""
    flat("asgi-uvloop", roomy, road, LARGE)
