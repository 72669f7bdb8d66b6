"""Thousands of slow uploads: `python bench/crowds.py [--uploads 1000,4000] [--seconds 20] [--json FILE] [NAME…]`.

W6 for every server of ASGI that is installed, beside `tus serve`, tusd and rustus: uploads at 4 KiB/s each, and
somebody else's HEAD on a new connection every 50 ms. `--json` keeps what was measured, and measures only what is not in
it yet; `--write` puts the table into docs/asgi.rst.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import peers
import processes
import report
import run
import servers
import workloads

SERVERS = (*(peers.PEERS_BY_NAME[name] for name in ("tus", "tusd", "rustus")), *servers.ASGI_SERVERS)
HEAD = ["server", "uploads", "finished", "HEAD p50, ms", "p99, ms", "longest, ms", "MB", "KB each", "threads", "CPU s"]


def measured(peer: peers.Peer, places: tuple[Path, Path, Path], uploads: int, seconds: int) -> dict[str, float | str]:
    stage = workloads.Stage(peer, *places, quick=False)
    try:
        workloads.trickle(uploads, 4096, seconds=seconds, fresh=True)(stage)
    except (workloads.Failed, processes.DidNotStart, OSError, subprocess.SubprocessError) as error:
        return {"failed": str(error)[:120]}
    with stage.server() as server:
        empty = server.cost().peak_rss
    return {**stage.numbers, "empty": empty, "load": os.getloadavg()[0]}


def row(peer: peers.Peer, uploads: int, found: dict[str, float | str]) -> list[str]:
    cells = [peer.about, f"{uploads:,}"]
    if "failed" in found:
        return [*cells, f"failed: {found['failed']}", *[""] * (len(HEAD) - 3)]
    times = ("head_p50_ms", "head_p99_ms", "head_max_ms")
    numbers = {name: float(value) for name, value in found.items()}
    each = (numbers["peak_rss"] - numbers["empty"]) * 1024 / uploads
    cells += ["all" if numbers["finished"] == uploads else f"{numbers['finished']:,.0f}"]
    cells += [f"{numbers[name]:,.0f}" if numbers["heads"] else "no answer" for name in times]
    return [*cells, f"{numbers['peak_rss']:.0f}", f"{each:.0f}", f"{numbers['threads']:.0f}", f"{numbers['cpu']:.1f}"]


def table(found: dict[str, dict[str, float | str]]) -> str:
    counts = sorted({int(key.split()[1]) for key in found})
    known = [(peer, uploads, found.get(f"{peer.name} {uploads}")) for uploads in counts for peer in SERVERS]
    rows = [HEAD, *(row(peer, uploads, numbers) for peer, uploads, numbers in known if numbers)]
    loads = sorted(float(numbers["load"]) for numbers in found.values() if "load" in numbers)
    machine = f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, uploads on tmpfs"
    load = f"beside other work (a load of {loads[0]:.0f} to {loads[-1]:.0f})" if loads else ""
    return f"Measured with {machine}, {load}:\n\n{report.list_table(rows)}"


def measure(arguments: argparse.Namespace, found: dict[str, dict[str, float | str]]) -> None:
    with run.workshop(None) as places:
        for uploads in map(int, arguments.uploads.split(",")):
            for peer in SERVERS:
                missing, key = peers.why_not(peer), f"{peer.name} {uploads}"
                if missing or key in found or (arguments.names and peer.name not in arguments.names):
                    print(f"{key}: {missing or 'not asked for, or known'}", file=sys.stderr)
                    continue
                found[key] = measured(peer, places, uploads, arguments.seconds)
                print(" | ".join(row(peer, uploads, found[key])), file=sys.stderr, flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", default="1000,4000,10000")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(peer.name for peer in SERVERS)}")
    arguments = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # which the servers inherit
    run.end_on_sigterm()
    run.build()
    found = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else {}
    measure(arguments, found)
    print(table(found))
    if arguments.write:
        report.update_document(servers.DOCUMENTS / "asgi.rst", "crowds", table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
