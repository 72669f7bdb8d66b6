"""`python bench/run.py`: us and every peer that is here, interleaved, in one run. Only the ratios count."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peers
import processes
import report
import workloads

HERE = Path(__file__).resolve().parent
PATTERN_SIZE = 64 << 20  # sent again and again
ATTEMPTS = 3  # for a sample that somebody else's work disturbed
PATIENCE = 8.0  # seconds to wait for the others to pause


def end_on_sigterm() -> None:
    """As an exception: a server must not outlive the run that started it, nor the files its directory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def build() -> None:
    """Compiles the load generator and the limit, where they are older than their source."""
    out = HERE / ".build"
    out.mkdir(exist_ok=True)
    sources = {"load": sorted((HERE / "load").glob("*.c")), "limit": [HERE / "limit.c"]}
    headers = list((HERE / "load").glob("*.h"))
    for name, files in sources.items():
        program = out / name
        newest = max(path.stat().st_mtime for path in [*files, *headers])
        if not program.exists() or program.stat().st_mtime < newest:
            subprocess.run(["cc", "-O2", "-Wall", "-pthread", "-o", program, *files], check=True, timeout=120)


@contextmanager
def workshop(disk: Path | None) -> Iterator[tuple[Path, Path, Path]]:
    """A directory on tmpfs, one on disk, and the pattern that is sent."""
    memory = Path(tempfile.mkdtemp(prefix="tus-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    on_disk = Path(tempfile.mkdtemp(prefix="disk-", dir=disk or HERE / ".build"))
    pattern = memory / "pattern"
    pattern.write_bytes(random.Random(1).randbytes(PATTERN_SIZE))
    try:
        yield memory, on_disk, pattern
    finally:
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(on_disk, ignore_errors=True)


def wait_for_calm(calm: float, patience: float = PATIENCE) -> None:
    """Until others leave the machine alone for a moment, or patience ends."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        busy, start = processes.busy_seconds(), time.monotonic()
        time.sleep(0.25)
        if processes.busy_seconds() - busy <= calm * (time.monotonic() - start) * (os.cpu_count() or 1):
            return


def sample(workload: workloads.Workload, stage: workloads.Stage, calm: float) -> workloads.Numbers:
    """One measurement; repeated while others' work took more than `calm` of the machine, the calmest is kept."""
    best: workloads.Numbers = {}
    for _ in range(ATTEMPTS):
        stage.numbers = {}
        wait_for_calm(calm)
        workload.run(stage)
        if not best or stage.numbers.get("foreign", 0) < best.get("foreign", 0):
            best = stage.numbers
        if best.get("foreign", 0) <= calm:
            break
    return best


class Run:
    """All samples of one call of this program."""

    def __init__(self, arguments: argparse.Namespace, places: tuple[Path, Path, Path]) -> None:
        self.arguments = arguments
        self.scratch, self.disk, self.pattern = places
        self.results: list[report.Sample] = []
        self.skipped: dict[str, str] = {}

    def measure(self, workload: workloads.Workload, peer: peers.Peer, number: int) -> None:
        if any(workload.name.startswith(lack) for lack in peer.lacks):
            return
        arguments = self.arguments
        stage = workloads.Stage(
            peer, self.scratch, self.disk, self.pattern, quick=arguments.quick, verify=number == 0
        )  # fmt: skip
        try:
            numbers = sample(workload, stage, arguments.calm)
        except (workloads.Failed, processes.DidNotStart, OSError, subprocess.SubprocessError, ValueError) as error:
            self.skipped.setdefault(f"{workload.name} {peer.name}", str(error)[:160])
            print(f"  {workload.name:11} {peer.name:13} failed: {str(error)[:120]}", file=sys.stderr)
            return
        self.results.append(report.Sample(workload.name, peer.name, numbers))
        shown = " ".join(f"{name}={numbers[name]:.4g}" for name in (*workload.shown, "foreign") if name in numbers)
        print(f"  {workload.name:11} {peer.name:13} {shown}", file=sys.stderr, flush=True)

    def all(self, chosen: list[workloads.Workload], servers: list[peers.Peer]) -> None:
        deadline = time.monotonic() + self.arguments.minutes * 60
        for number in range(self.arguments.rounds):
            for workload in chosen:
                # Interleaved, and not in the same order each time: what drifts, drifts for everybody.
                for peer in random.Random(number).sample(servers, len(servers)):
                    if time.monotonic() > deadline:
                        self.skipped["the rest"] = f"more than --minutes {self.arguments.minutes:g}"
                        return
                    self.measure(workload, peer, number)


def machine() -> dict[str, object]:
    return {
        "python": platform.python_version(), "kernel": platform.release(), "cpus": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d %H:%M"), "tusd": peers.TUSD,
    }  # fmt: skip


def choose(arguments: argparse.Namespace) -> tuple[list[workloads.Workload], list[peers.Peer], dict[str, str]]:
    names = arguments.workloads.split(",") if arguments.workloads else [""]
    chosen = [
        workload for workload in workloads.WORKLOADS
        if any(workload.name == name or workload.name.startswith(name + "-" if name else "") for name in names)
    ]  # fmt: skip
    wanted = arguments.servers.split(",") if arguments.servers else list(peers.PEERS_BY_NAME)
    unknown = [name for name in wanted if name not in peers.PEERS_BY_NAME]
    if unknown or not chosen:
        raise SystemExit(f"unknown: {', '.join(unknown) or arguments.workloads}")
    servers = [peers.PEERS_BY_NAME[name] for name in wanted]
    skipped = {peer.name: why for peer in servers if (why := peers.why_not(peer))}
    return chosen, [peer for peer in servers if peer.name not in skipped], skipped


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", help="W1,W4,… or W4-one-16; all without")
    parser.add_argument("--servers", help="tusd,tus,…; every one that is installed without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="an eighth of the bytes, a sixth of the requests")
    parser.add_argument("--minutes", type=float, default=90, help="end after this time, with what there is")
    parser.add_argument("--calm", type=float, default=0.1, help="repeat a sample that others disturbed by more")
    parser.add_argument("--disk", type=Path, help="a directory on a disk (default: bench/.build)")
    parser.add_argument("--json", type=Path, help="write every sample and the medians")
    parser.add_argument("--svg", type=Path, help="draw the ratios")
    parser.add_argument("--rst", type=Path, help="replace the tables of this document")
    parser.add_argument("--from-json", type=Path, help="measure nothing: show an earlier run")
    return parser.parse_args()


def main() -> int:
    arguments = read_arguments()
    if arguments.from_json:
        record = json.loads(arguments.from_json.read_text())
    else:
        chosen, servers, skipped = choose(arguments)
        end_on_sigterm()
        build()
        with workshop(arguments.disk) as places:
            run = Run(arguments, places)
            run.all(chosen, servers)
        record = report.as_record(machine(), run.results, {**skipped, **run.skipped})
    print(report.as_text(record))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.svg:
        arguments.svg.write_text(report.as_svg(record))
    if arguments.rst:
        report.update_document(arguments.rst, "benchmark", report.as_rst(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
