"""Hundreds of uploads that trickle, under servers of others: all of them arrive, and nobody else has to wait."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import live, wire
from tests.server.test_crowd import SIZE, Trickle

UPLOADS = 300
PIECES = 128  # of an upload, which come one by one
KINDS: dict[str, dict[str, Any]] = {
    "uvicorn": live.UVICORN,
    "granian": {"interface": "asgi", "port": "{port}", "log_level": "error"},
}


class Server:
    """One of them, with the application, in processes of its own."""

    def __init__(self, module: str, home: Path) -> None:
        command = live.coroutines(module, **KINDS[module], application="tests.asgi.trickled:application")
        kind = live.Kind(module, command, (module,))
        self.live = live.Live(kind, home, live.free_port(), {}, temporary=False, environ={})
        self.live.start()
        self.address = self.live.address

    def status(self, name: str) -> int:
        assert self.live.process
        return family_status(self.live.process.pid, name)


def family_status(pid: int, name: str) -> int:
    """A number of /proc/PID/status, for a process and all below it."""
    return sum(_status(one, name) for one in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # that thread has just ended
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _status(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.fixture(params=KINDS)
def server(request: Any, tmp_path: Path) -> Iterator[Server]:
    if not importlib.util.find_spec(request.param):
        pytest.skip(f"{request.param} is not installed (pip install -e .[asgi])")
    found = Server(request.param, tmp_path)
    yield found
    found.live.close()


@pytest.mark.slow
def test_crowd_trickles_and_nobody_waits(server: Server, tmp_path: Path) -> None:
    """Each arrives with every byte; others are answered soon, on new connections; it costs no thread for each, and
    not much memory."""
    before = server.status("VmHWM")
    crowd = Trickle(server, UPLOADS)  # type: ignore[arg-type]
    crowd.connect()

    try:
        crowd.send()
        statuses = crowd.statuses()
    finally:
        crowd.close()

    assert statuses == [204] * UPLOADS
    assert crowd.stored(tmp_path / "up") == crowd.contents
    assert sorted(crowd.waits)[len(crowd.waits) // 2] < 0.5
    assert crowd.threads < UPLOADS // 2
    assert (crowd.memory - before) / UPLOADS < 200  # KiB


@pytest.mark.slow
@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
def test_packets_wait_with_the_system(server: Server, tmp_path: Path) -> None:
    """uvicorn would keep in memory what comes while an upload pauses: of ten thousand, a packet each and more."""
    crowd = Trickle(server, 100)  # type: ignore[arg-type]
    crowd.connect()

    try:
        crowd.send(PIECES)
        held = int(wire.ask(server.address, "GET", "/held", {"Host": "127.0.0.1"}).body)
        statuses = crowd.statuses()
    finally:
        crowd.close()

    assert statuses == [204] * 100
    assert crowd.stored(tmp_path / "up") == crowd.contents
    assert held < SIZE // 16
