"""Start a server, watch what its processes cost, end it. Knows only processes that it started itself, by their ids."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")  # a second of CPU time in /proc


class DidNotStart(Exception):
    """The server ended, or did not listen in time."""


@dataclass(frozen=True)
class Cost:
    cpu: float  # seconds, children that ended included
    peak_rss: float  # MiB, the sum of every process's own peak
    threads: int


class Server:
    """One running server: a process group of its own, so that its workers end with it."""

    def __init__(
        self, argv: list[str], port: int, *, log: Path, env: Mapping[str, str], cwd: Path, patience: float = 15
    ) -> None:
        self.port = port
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **env}, cwd=cwd,
                start_new_session=True,
            )  # fmt: skip
        self._wait(patience)

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        self.kill()
        raise DidNotStart(_last_line(self._log) or "it did not listen in time")

    def cost(self) -> Cost:
        """What the process tree has used so far."""
        ids = list(tree(self.process.pid))
        return Cost(sum(map(_cpu, ids)), sum(map(_peak, ids)), sum(map(_threads, ids)))

    def kill(self) -> None:
        """As a crash does: SIGKILL for the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is still there: a server that waits for open uploads must not hold us up."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        self.kill()


def tree(pid: int) -> Iterator[int]:
    """This process and all below it."""
    yield pid
    for task in _list(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{task}/children").split():
            yield from tree(int(child))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent: what is neither ours nor the server's disturbs the measurement."""
    user, nice, system, _, _, irq, softirq = map(int, _read("/proc/stat").split(None, 8)[1:8])
    return (user + nice + system + irq + softirq) / _TICK


def _cpu(pid: int) -> float:
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICK if fields else 0.0


def _peak(pid: int) -> float:
    return _status(pid, "VmHWM:") / 1024


def _threads(pid: int) -> int:
    return _status(pid, "Threads:")


def _status(pid: int, name: str) -> int:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _list(directory: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(directory)
    return []


def _read(path: str) -> str:
    with suppress(OSError), open(path) as file:
        return file.read()
    return ""


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else ""
