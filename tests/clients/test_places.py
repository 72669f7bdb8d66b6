"""Clients that send a file in parts say where each belongs, and a server on a disk writes no byte of it twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_tus_js_client import begun, missing, result
from tests.server.test_slow_readers import Process
from tus.client import Client
from tus.client.parts import ranges, whole_header

SIZE = 24_000_017  # bytes
KEY = "ae2b6a4e-6d7c-4a30-b1cb-0d7ad3b2a3d4"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    """One process, which keeps what it gets."""
    running = Process(str(tmp_path / "up"))
    yield running
    running.close()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "film.mp4").write_bytes(os.urandom(SIZE))
    return tmp_path / "film.mp4"


def url(server: Process) -> str:
    return f"http://127.0.0.1:{server.address[1]}/files/"


def written(server: Process) -> int:
    """Bytes that the server had the kernel write to disks."""
    words = Path(f"/proc/{server.process.pid}/io").read_text().split()
    return int(words[words.index("write_bytes:") + 1])


def kept(home: Path) -> list[bytes]:
    """What there is beside records."""
    return [path.read_bytes() for path in (home / "up").iterdir() if path.suffix != ".info" and path.name[0] != "."]


def test_our_client_costs_the_server_no_copy(server: Process, film: Path, tmp_path: Path) -> None:
    """`tus put --parallel 4` and the classes behind it have each byte written once."""
    before = written(server)

    with Client(url(server), state=tmp_path / "state") as client:
        client.put(film, parallel=4)

    assert written(server) - before < 1.3 * SIZE
    assert kept(tmp_path) == [film.read_bytes()]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 100])
@pytest.mark.parametrize("size", [10_000, 10_001, 24_000_000, 24_000_017])
def test_our_client_gives_no_two_parts_the_same_length(size: int, count: int) -> None:
    """Or it could not say which of them one is, and the server would copy all."""
    bounds = ranges(size, count)

    assert whole_header(KEY, [length for _, length in bounds])
    assert sum(length for _, length in bounds) == size and all(length > 0 for _, length in bounds)


@pytest.mark.clients
def test_tus_js_client_that_says_its_sizes_costs_no_copy(server: Process, film: Path, tmp_path: Path) -> None:
    """A list of boundaries and one header are all that it is told."""
    if why := missing():
        pytest.skip(why)
    sizes = [SIZE // 4 - n - 1 for n in range(3)]
    edges = [0, *accumulate(sizes), SIZE]
    sizes = [end - start for start, end in pairwise(edges)]
    options: dict[str, Any] = {
        "parallelUploads": 4,
        "parallelUploadBoundaries": [{"start": start, "end": end} for start, end in pairwise(edges)],
        "headers": {"Upload-Whole": " ".join([KEY, *map(str, sizes)])},
    }
    before = written(server)

    result(begun({"file": str(film), "endpoint": url(server), "options": options}))

    assert written(server) - before < 1.3 * SIZE
    assert kept(tmp_path) == [film.read_bytes()]
