"""Hundreds of clients that ask for much and do not read, or wait for an upload that does not go on: no thread waits
with them under ASGI. For `tus.server`: tests/server/test_slow_readers.py."""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests import live, wire
from tests.asgi.test_slow_crowd import family_status
from tests.conformance.client import Client
from tests.live import until
from tests.server.test_slow_readers import MIB, Process, begun, drained
from tests.server.test_slow_readers import times as heads

READERS = 300
SERVERS = ("asgi-uvloop", "asgi-hypercorn", "asgi-granian", "asgi-relay")
HALF = 1 << 16
THREADS = 50
WITHIN = 40  # seconds in which threads end that had something to do; granian keeps its own for 10


class Served:
    """A server in processes of its own, and an upload in it that may be read while it arrives."""

    def __init__(self, server: live.Live) -> None:
        self.server = server
        self.tus = Client(server, server.collection(download="live", cleanup=False, durable="none"))

    @property
    def threads(self) -> int:
        assert self.server.process
        return family_status(self.server.process.pid, "Threads")

    def reader(self, url: str, fields: dict[str, str]) -> socket.socket:
        """A client that has asked, and not read yet."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(60)
        sock.connect(self.server.address)
        sock.sendall(wire.head("GET", self.path(url), {"Host": "127.0.0.1", **fields}))
        return sock

    def path(self, url: str) -> str:
        return url if url.startswith("/") else "/" + url.split("/", 3)[3]


@pytest.fixture
def served(request: Any) -> Iterator[Served]:
    if not live.available(request.param):
        pytest.skip(f"{request.param} is not installed (pip install -e .[asgi])")
    with live.start(request.param, durable="none") as server:
        yield Served(server)


def close(readers: list[socket.socket]) -> None:
    for reader in readers:
        reader.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("served", "start"),
    [*((name, 1) for name in SERVERS), ("asgi-granian", 0)],  # it sends a whole file by itself
    indirect=["served"],
)
def test_readers_of_a_file_who_do_not_read_hold_no_thread(served: Served, start: int) -> None:
    """Others are answered meanwhile, and a reader who reads after all gets every byte."""
    content = os.urandom(8 * MIB)
    url = served.tus.create(len(content))
    assert served.tus.patch(url, 0, content).status == 204
    readers = [served.reader(url, {"Range": f"bytes={start}-"} if start else {}) for _ in range(READERS)]

    begun(readers)
    taken = heads(served.server.address, served.path(url))
    until(lambda: served.threads < THREADS, within=WITHIN)
    bodies = [drained(readers[0]), drained(readers[-1])]

    close(readers)
    assert bodies == [content[start:]] * 2
    assert taken[50] < 1


@pytest.mark.slow
@pytest.mark.parametrize("served", ["asgi-uvloop", "asgi-relay"], indirect=True)
def test_readers_of_an_upload_that_pauses_hold_no_thread(served: Served) -> None:
    """All of them have what is there, and get the rest when it comes."""
    content = os.urandom(2 * HALF)
    url = served.tus.create(len(content))
    assert served.tus.patch(url, 0, content[:HALF]).status == 204
    readers = [served.reader(url, {}) for _ in range(READERS)]

    begun(readers)
    taken = heads(served.server.address, served.path(url))
    until(lambda: served.threads < THREADS, within=WITHIN)
    assert served.tus.patch(url, HALF, content[HALF:]).status == 204
    bodies = [drained(reader) for reader in readers]

    close(readers)
    assert bodies == [content] * READERS
    assert taken[50] < 1


@pytest.mark.slow
def test_readers_of_a_zip_who_do_not_read_hold_no_thread(tmp_path: Path) -> None:
    """Under `tus serve --asgi`, where the gallery is an application of WSGI."""
    if not live.available("asgi-relay"):
        pytest.skip("granian is not installed (pip install -e .[asgi])")
    films = {f"{number}.mp4": os.urandom(4 * MIB) for number in range(2)}
    for name, content in films.items():
        (tmp_path / name).write_bytes(content)
    server = Process("--asgi", "--gallery", str(tmp_path))

    try:
        readers = [server.reader("/?zip") for _ in range(READERS)]
        begun(readers)
        taken = heads(server.address, "/")
        until(lambda: server.threads < THREADS, within=WITHIN)
        archives = [zipfile.ZipFile(BytesIO(drained(reader))) for reader in (readers[0], readers[-1])]
        close(readers)
    finally:
        server.close()

    assert all({name: archive.read(name) for name in archive.namelist()} == films for archive in archives)
    assert taken[50] < 1
