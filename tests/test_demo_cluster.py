"""`make demo-cluster`: two processes, nginx, Redis and object storage that a reader starts with one command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import live, real, wire

pytestmark = [pytest.mark.engines, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
TUS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"}


class Demo(NamedTuple):
    process: subprocess.Popen[str]
    address: tuple[str, int]
    home: Path
    servers: list[int]  # their process ids


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The cluster, as soon as it says that it runs."""
    real.needed(real.USUAL)
    if lacking := [name for name in ("nginx", "redis-server") if not shutil.which(name)]:
        pytest.skip(f"{' and '.join(lacking)} is not installed: scripts/make-engines, scripts/make-clients")
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("the script runs in the .venv that make sets up")
    port = live.free_port()
    environ = {**os.environ, "PORT": str(port), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [str(ROOT / "scripts/demo-cluster")], stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True
    )
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Ctrl+C"):
            break
    yield Demo(process, ("127.0.0.1", port), tmp_path, [int(pid) for pid in re.findall(r"kill -9 (\d+)", said)])
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    process.wait(60)


def patched(address: tuple[str, int], path: str, data: bytes) -> int:
    """Sends 3 MiB from where the upload is; returns where it is then. The server may die meanwhile."""
    told: list[int] = []

    def asked() -> bool:
        try:
            answer = wire.ask(address, "HEAD", path, TUS)
        except (OSError, wire.Broken):
            return False
        told[:] = [int(answer["Upload-Offset"])] if answer.status == 200 else []
        return bool(told)

    live.until(asked, within=30.0)
    body = data[told[0] : told[0] + 3 * MIB]
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(told[0])}
    try:
        answer = wire.ask(address, "PATCH", path, {**TUS, **kind, "Content-Length": str(len(body))}, body)
    except (OSError, wire.Broken):
        return told[0]
    return told[0] + len(body) if answer.status == 204 else told[0]


def test_upload_survives_the_death_of_its_process(demo: Demo) -> None:
    """One of the two is killed between requests; the other one goes on, and the file is right."""
    data = os.urandom(13 * MIB + 7)
    headers = {**TUS, "Upload-Length": str(len(data)), "Content-Length": "0"}
    made = wire.ask(demo.address, "POST", "/files/", headers)
    path = "/files/" + made["Location"].rpartition("/")[2]
    assert patched(demo.address, path, data) == 3 * MIB

    os.kill(demo.servers[0], signal.SIGKILL)
    while patched(demo.address, path, data) < len(data):
        """As a client does."""

    assert wire.ask(demo.address, "GET", path, {"Host": "127.0.0.1"}).body == data


def test_cluster_leaves_nothing_behind(demo: Demo) -> None:
    """Neither a process nor a file."""
    (home,) = demo.home.glob("tus-cluster.*")
    pids = [int(file.read_text()) for file in home.rglob("run/*.pid")]
    assert len(pids) == 5  # two servers, nginx, Redis, the engine

    demo.process.send_signal(signal.SIGTERM)
    demo.process.wait(60)

    assert not home.exists()
    live.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), within=30.0)
