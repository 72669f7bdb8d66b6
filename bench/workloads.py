"""The workloads W1 to W9: each drives one freshly started server and returns numbers. They know no server by name."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
import processes

HERE = Path(__file__).resolve().parent
LOAD = HERE / ".build" / "load"
GIB = 1 << 30
MIB = 1 << 20
Numbers = dict[str, float]


class Failed(Exception):
    """The workload could not be measured on this server; the message says why."""


@dataclass
class Stage:
    """One peer, one place for its files, one sample."""

    peer: peers.Peer
    scratch: Path  # on tmpfs
    disk: Path
    pattern: Path
    quick: bool
    verify: bool = False  # compare the stored bytes, not only their number
    numbers: Numbers = field(default_factory=dict)

    @contextmanager
    def server(self, directory: Path | None = None, *, keep: bool = False) -> Iterator[processes.Server]:
        """A server on an empty directory; its cost goes into the numbers."""
        directory = directory or self.scratch / "data"
        directory.mkdir(parents=True, exist_ok=True)
        port = processes.free_port()
        server = processes.Server(
            self.peer.argv(port, directory), port, log=self.scratch / "server.log",
            env=peers.environment(self.peer, directory), cwd=self.scratch,
        )  # fmt: skip
        try:
            yield server
        finally:
            server.stop()
            if not keep:
                shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def watched(self, server: processes.Server) -> Iterator[None]:
        """Counts CPU seconds and memory around a block, and how much CPU somebody else took meanwhile."""
        before, busy, load, start = server.cost(), processes.busy_seconds(), _load_cpu(), time.monotonic()
        yield
        after, took = server.cost(), time.monotonic() - start
        self.numbers["cpu"] = after.cpu - before.cpu
        self.numbers["peak_rss"] = after.peak_rss
        self.numbers["threads"] = after.threads
        foreign = processes.busy_seconds() - busy - self.numbers["cpu"] - (_load_cpu() - load)
        self.numbers["foreign"] = max(0.0, foreign) / (took * (os.cpu_count() or 1))

    def load(self, server: processes.Server, workload: str, **options: object) -> dict[str, object]:
        """Runs the load generator to its end."""
        argv = self.load_argv(server, workload, **options)
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=180)
        return answer_of(done.stdout)

    def load_argv(self, server: processes.Server, workload: str, **options: object) -> list[str]:
        argv = [str(LOAD), workload, "--port", str(server.port), "--path", self.peer.collection]
        argv += ["--pattern", str(self.pattern)]
        for name, value in options.items():
            argv += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return argv

    def check_stored(self, directory: Path, size: int, count: int = 1) -> None:
        """Every upload is there with each of its bytes; anything else makes the measurement worthless."""
        found = [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size == size]
        if len(found) != count:
            raise Failed(f"{len(found)} of {count} uploads of {size} bytes are stored")
        if self.verify and not all(same_as_pattern(path, self.pattern) for path in found):
            raise Failed("the stored bytes differ from those sent")


def same_as_pattern(path: Path, pattern: Path) -> bool:
    """Whether a file is the pattern, again and again."""
    expected = pattern.read_bytes()
    with path.open("rb") as file:
        while block := file.read(len(expected)):
            if block != expected[: len(block)]:
                return False
    return True


def _load_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answer_of(text: str) -> dict[str, object]:
    lines = text.strip().splitlines()
    if not lines:
        raise Failed("the load generator died")
    answer: dict[str, object] = json.loads(lines[-1])
    if "error" in answer:
        raise Failed(str(answer["error"]))
    return answer


def _number(answer: dict[str, object], name: str) -> float:
    value = answer[name]
    assert isinstance(value, int | float)
    return float(value)


# ---- W1 to W3: large bodies ----


def _place(stage: Stage, on_disk: bool) -> Path:
    if on_disk:
        os.sync()  # what the server before has left to write is not this one's work
    return (stage.disk if on_disk else stage.scratch) / "data"


def _throughput(stage: Stage, *, size: int, uploads: int = 1, chunk: int = 0, on_disk: bool = False) -> None:
    size = size // 8 if stage.quick else size
    directory = _place(stage, on_disk)
    with stage.server(directory) as server:
        # Off the clock: connections, lazy imports, first threads.
        stage.load(server, "patch", size=MIB, uploads=uploads)
        with stage.watched(server):
            answer = stage.load(server, "patch", size=size, uploads=uploads, chunk=chunk)
        if answer["errors"]:
            raise Failed(f"answered {answer['last_error']}")
        stage.check_stored(directory, size, uploads)
    stage.numbers["mb_per_second"] = _number(answer, "mb_per_second")
    stage.numbers["cpu_per_gib"] = stage.numbers["cpu"] / _number(answer, "gib")


def one_large(stage: Stage) -> None:
    _throughput(stage, size=2 * GIB)


def one_large_on_disk(stage: Stage) -> None:
    _throughput(stage, size=2 * GIB, on_disk=True)


def eight_at_once(stage: Stage) -> None:
    _throughput(stage, size=256 * MIB, uploads=8)


def in_chunks(stage: Stage) -> None:
    _throughput(stage, size=GIB, chunk=5 * MIB)


def in_chunks_on_disk(stage: Stage) -> None:
    _throughput(stage, size=GIB, chunk=5 * MIB, on_disk=True)


# ---- W4, W5: small requests ----


def _count(stage: Stage) -> int:
    return 1000 if stage.quick else 6000  # 2,000 files, three times


def _small(stage: Stage, server: processes.Server, mode: str, connections: int) -> None:
    count = _count(stage)
    with stage.watched(server):
        answer = stage.load(server, "small", mode=mode, count=count, connections=connections)
    _keep_rates(stage, answer)
    if answer["errors"] or answer["kept"] != answer["files"]:
        raise Failed(f"{answer['errors']} errors ({answer['last_error']}), {answer['kept']} of {answer['files']} kept")


def _keep_rates(stage: Stage, answer: dict[str, object]) -> None:
    for name in ("per_second", "p50_ms", "p99_ms", "reconnects"):
        stage.numbers[name] = _number(answer, name)
    # The warm-up, a tenth, costs too.
    stage.numbers["cpu_us"] = stage.numbers["cpu"] * 1e6 / max(1.0, _number(answer, "files") * 1.1)


def small_files(mode: str, connections: int, *, on_disk: bool = False) -> Callable[[Stage], None]:
    def run(stage: Stage) -> None:
        with stage.server(_place(stage, on_disk)) as server:
            _small(stage, server, mode, connections)

    return run


def _heads(stage: Stage, server: processes.Server) -> None:
    with stage.watched(server):
        answer = stage.load(
            server, "head", uploads=16, connections=16, size=MIB, seconds=1 if stage.quick else 3
        )  # fmt: skip
    _keep_rates(stage, answer)
    if answer["errors"]:
        raise Failed(f"{answer['errors']} errors ({answer['last_error']})")


def head_storm(stage: Stage) -> None:
    with stage.server() as server:
        _heads(stage, server)


# ---- W6: slow clients ----


def trickle(uploads: int, rate: int = 65536, *, seconds: int = 12, fresh: bool = False) -> Callable[[Stage], None]:
    """A hundred HEADs and more, so that p99 is not simply the slowest."""

    def run(stage: Stage) -> None:
        lasts = seconds / 4 if stage.quick else seconds
        options = {"fresh": True, "limit": 150} if fresh else {}
        with stage.server() as server, stage.watched(server):
            answer = stage.load(server, "trickle", uploads=uploads, rate=rate, seconds=lasts, **options)
            if stage.verify:
                stage.check_stored(stage.scratch / "data", int(rate * lasts), uploads)
        for name in ("finished", "worst_debt", "heads", "head_errors", "head_p50_ms", "head_p99_ms", "head_max_ms"):
            stage.numbers[name] = _number(answer, name)
        stage.numbers["late"] = _number(answer, "seconds") - lasts

    return run


def fast_beside(uploads: int) -> Callable[[Stage], None]:
    """How fast one large upload is beside slow ones, against its speed alone; both in turn, three times."""

    def run(stage: Stage) -> None:
        size, alone, beside = GIB // 8 if stage.quick else GIB, [], []
        with stage.server() as server:
            for _ in range(3):
                alone.append(_fast(stage, server, size))
                argv = stage.load_argv(server, "trickle", uploads=uploads, rate=4096, seconds=12, fresh=True)
                crowd = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
                time.sleep(2 + uploads / 2000)  # they are all there
                beside.append(_fast(stage, server, size))
                finished = _number(answer_of(crowd.communicate(timeout=120)[0]), "finished")
                if finished != uploads:
                    raise Failed(f"{finished:.0f} of {uploads} slow uploads finished")
        stage.numbers["ratio"] = statistics.median(beside) / statistics.median(alone)
        stage.numbers["mb_per_second"] = statistics.median(beside)

    return run


def _fast(stage: Stage, server: processes.Server, size: int) -> float:
    answer = stage.load(server, "patch", size=size)
    for path in (stage.scratch / "data").rglob("*"):
        if path.is_file() and path.stat().st_size == size:
            path.unlink()  # tmpfs holds only so many
    return _number(answer, "mb_per_second")


# ---- W7, W8: cut and killed ----


def cut(how: str) -> Callable[[Stage], None]:
    def run(stage: Stage) -> None:
        with stage.server() as server:
            stage.load(server, "patch", size=MIB)
            answer = stage.load(server, "cut", mode=how, size=100 * MIB, body=40 * MIB, pause=0.1, limit=90)
            if answer["resumed"] in (200, 204):
                stage.verify = True
                stage.check_stored(stage.scratch / "data", 100 * MIB)
        offset, later, sent = (_number(answer, name) for name in ("offset", "offset_later", "sent"))
        lost = sent - max(later, 0)
        stage.numbers["lost_mb"] = lost / 1e6
        stage.numbers["lost_beyond_kernel_mb"] = max(0.0, lost - _number(answer, "unacknowledged")) / 1e6
        stage.numbers["head_ms"] = _number(answer, "head_ms")
        stage.numbers["head_right"] = float(offset == later and offset >= 0)
        stage.numbers["resumed"] = float(answer["resumed"] in (200, 204))

    return run


def killed(stage: Stage) -> None:
    """SIGKILL in mid-PATCH, a new server on the same directory, HEAD, and the rest."""
    size = 256 * MIB
    directory = stage.scratch / "data"
    with stage.server(keep=True) as server:
        sender = subprocess.Popen(
            stage.load_argv(server, "crash", size=size, rate=400 * MIB, limit=60),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert sender.stdout
        sender.stdout.readline()  # the upload exists
        time.sleep(0.3)
        server.kill()
        crashed = answer_of(sender.communicate(timeout=60)[0])
    with stage.server() as server:
        answer = stage.load(server, "resume", size=size, upload=crashed["upload"])
        if answer["resumed"] not in (200, 204):
            raise Failed(f"HEAD answered {answer['status']}, the rest {answer['resumed']}")
        stage.verify = True
        stage.check_stored(directory, size)
    sent = _number(crashed, "sent")
    stage.numbers["sent_mb"] = sent / 1e6
    stage.numbers["behind_mb"] = (sent - _number(answer, "offset")) / 1e6
    stage.numbers["head_ms"] = _number(answer, "head_ms")


# ---- W9: a full directory ----


def full_directory(stage: Stage) -> None:
    """W4 and W5 once in an empty directory and once among many uploads: the ratio is the number."""
    fill = 2000 if stage.quick else 10000
    there = _count(stage) * 11 // 10  # finished by the first measurement, with its warm-up
    with stage.server() as server:
        _small(stage, server, "one", 16)
        empty_small = stage.numbers["per_second"]
        _heads(stage, server)
        empty_head = stage.numbers["per_second"]
        stage.load(server, "small", mode="one", count=fill - there, connections=16, cold=True)
        stage.load(server, "small", mode="one", count=fill, connections=16, size=2048, body=1024, cold=True)
        if stage.peer.ours:
            stage.numbers["ls_seconds"] = _time_ls(stage.scratch / "data")
        _small(stage, server, "one", 16)
        stage.numbers["small_ratio"] = stage.numbers["per_second"] / empty_small
        _heads(stage, server)
        stage.numbers["head_ratio"] = stage.numbers["per_second"] / empty_head


def _time_ls(directory: Path) -> float:
    start = time.monotonic()
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            peers.tus_command("ls", str(directory)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
            env={**os.environ, "PYTHONPATH": str(peers.ROOT)},
        )  # fmt: skip
        if done.returncode == 0:
            return time.monotonic() - start
    return float("nan")


# ---- the list ----


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    run: Callable[[Stage], None]
    shown: tuple[str, ...]  # the numbers of the table; the first is the headline, drawn and compared


_FLOW = ("mb_per_second", "cpu_per_gib", "peak_rss")
_RATE = ("per_second", "cpu_us", "p99_ms", "peak_rss")
_SLOW = ("head_p99_ms", "head_max_ms", "finished", "late", "peak_rss", "threads", "cpu")
_CUT = ("lost_mb", "lost_beyond_kernel_mb", "head_ms", "head_right", "resumed")

_PHONES: dict[str, Any] = {"rate": 4096, "seconds": 20, "fresh": True}

WORKLOADS = (
    Workload("W1", "one PATCH of 2 GiB, tmpfs", one_large, _FLOW),
    Workload("W1-disk", "one PATCH of 2 GiB, disk", one_large_on_disk, _FLOW),
    Workload("W2", "8 uploads of 256 MiB at once, tmpfs", eight_at_once, _FLOW),
    Workload("W3", "1 GiB in PATCHes of 5 MiB, tmpfs", in_chunks, _FLOW),
    Workload("W3-disk", "1 GiB in PATCHes of 5 MiB, disk", in_chunks_on_disk, _FLOW),
    Workload("W4-one-1", "files of 1 KiB in one POST each, 1 connection", small_files("one", 1), _RATE),
    Workload("W4-one-16", "files of 1 KiB in one POST each, 16 connections", small_files("one", 16), _RATE),
    Workload("W4-two-1", "files of 1 KiB by POST and PATCH, 1 connection", small_files("two", 1), _RATE),
    Workload("W4-two-16", "files of 1 KiB by POST and PATCH, 16 connections", small_files("two", 16), _RATE),
    *(
        Workload(
            f"W4-disk-{mode}-{connections}",
            f"files of 1 KiB {how}, {connections} connection{'s' * (connections > 1)}, disk",
            small_files(mode, connections, on_disk=True), _RATE,
        )
        for mode, how in (("one", "in one POST each"), ("two", "by POST and PATCH"))
        for connections in (1, 16)
    ),
    Workload("W5", "HEAD on 16 uploads, 16 connections", head_storm, _RATE),
    Workload("W6-500", "500 uploads at 64 KiB/s, HEAD beside them", trickle(500), _SLOW),
    Workload("W6-1000", "1,000 uploads at 64 KiB/s, HEAD beside them", trickle(1000), _SLOW),
    Workload("W6-slow-1000", "1,000 uploads at 4 KiB/s, HEAD on new connections", trickle(1000, **_PHONES), _SLOW),
    Workload("W6-slow-4000", "4,000 uploads at 4 KiB/s, HEAD on new connections", trickle(4000, **_PHONES), _SLOW),
    Workload("W6-slow-10000", "10,000 uploads at 4 KiB/s, HEAD on new connections", trickle(10000, **_PHONES), _SLOW),
    Workload("W6-fast-1000", "1 GiB beside 1,000 uploads at 4 KiB/s", fast_beside(1000), ("ratio", "mb_per_second")),
    Workload("W6-fast-10000", "1 GiB beside 10,000 uploads at 4 KiB/s", fast_beside(10000), ("ratio", "mb_per_second")),
    Workload("W7-fin", "40 of 100 MiB, then FIN, then HEAD", cut("fin"), _CUT),
    Workload("W7-rst", "40 of 100 MiB, then RST, then HEAD", cut("rst"), _CUT),
    Workload("W7-silence", "40 of 100 MiB, then silence, then HEAD", cut("silence"), _CUT),
    Workload("W8", "kill -9 in mid-PATCH, restart, resume", killed, ("behind_mb", "head_ms")),
    Workload("W9", "10,000 finished and 10,000 open uploads, against none", full_directory,
             ("small_ratio", "head_ratio", "ls_seconds")),
)  # fmt: skip
