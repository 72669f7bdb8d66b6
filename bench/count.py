"""Counts what each kind of request costs: instructions (callgrind) and system calls (strace) of the filter alone.

`python bench/count.py` prints them, `--write` keeps them as the figures to compare with, `--check` fails where a count
of instructions grew by more than a tenth. Instructions differ between builds of Python, so each has its own figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drive

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "counts.json"
FEW, MANY = 20, 120  # requests; what both runs share, such as the start of Python, cancels out
GROWTH = 1.10
# The kinds that contain another: what they cost beyond it is what we want to know.
LESS = {"post_and_last_patch": ("last_patch", "post"), "post_and_delete": ("delete", "post")}
NOISE = frozenset(("futex", "brk", "mmap", "munmap", "total", "getrandom"))

Counts = dict[str, dict[str, float]]


def build() -> str:
    """Which Python this is: another compiler makes other instructions of the same source."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.python_compiler()}, {platform.machine()}"


def _run(argv: list[str], kind: str, count: int) -> str:
    # A fixed seed: dictionaries of strings are laid out alike in every run.
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [*argv, sys.executable, str(HERE / "drive.py"), kind, str(count)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=300)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}")
    for directory in re.findall(r"^/\S*/tus-drive-\w+$", done.stdout, re.MULTILINE):
        shutil.rmtree(directory, ignore_errors=True)
    return done.stdout


def _instructions(kind: str, count: int) -> int:
    text = _run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], kind, count)
    found = re.search(r"Collected : (\d+)", text)
    if not found:
        raise SystemExit(f"callgrind says nothing:\n{text[-2000:]}")
    return int(found[1])


def _system_calls(kind: str, count: int) -> dict[str, int]:
    with tempfile.NamedTemporaryFile("r") as out:
        _run(["strace", "-f", "-c", "-o", out.name], kind, count)
        return _parsed(out.read())


def _parsed(table: str) -> dict[str, int]:
    """strace's table: the fourth column counts, the last one names."""
    calls = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] not in NOISE:
            calls[fields[-1]] = int(fields[3])
    return calls


def instructions(kinds: list[str]) -> dict[str, float]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {kind: [pool.submit(_instructions, kind, count) for count in (FEW, MANY)] for kind in kinds}
        found = {kind: (many.result() - few.result()) / (MANY - FEW) for kind, (few, many) in jobs.items()}
    return _apart(found)


def system_calls(kinds: list[str]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """How many a request, and which."""
    totals, each = {}, {}
    for kind in kinds:
        few, many = _system_calls(kind, FEW), _system_calls(kind, MANY)
        calls = {name: (count - few.get(name, 0)) / (MANY - FEW) for name, count in many.items()}
        each[kind] = {name: round(count, 1) for name, count in sorted(calls.items()) if count >= 0.05}
        totals[kind] = sum(calls.values())
    return _apart(totals), each


def _apart(found: dict[str, float]) -> dict[str, float]:
    for kind, (name, other) in LESS.items():
        if kind in found and other in found:
            found[name] = found.pop(kind) - found[other]
    return {kind: round(count, 1) for kind, count in found.items()}


def show(counts: Counts, known: Counts) -> None:
    print(f"{'per request':18} {'instructions':>13} {'recorded':>10} {'change':>8} {'system calls':>13}")
    for kind, count in counts["instructions"].items():
        before = known.get("instructions", {}).get(kind)
        change = f"{count / before - 1:+.1%}" if before else ""
        calls = {**known.get("system calls", {}), **counts.get("system calls", {})}.get(kind, 0)
        print(f"{kind:18} {count:13,.0f} {before or 0:10,.0f} {change:>8} {calls:13.1f}")


def grown(counts: dict[str, float], known: dict[str, float]) -> list[str]:
    return [
        f"{kind}: {count:,.0f} instructions, {known[kind]:,.0f} are recorded"
        for kind, count in counts.items()
        if kind in known and count > known[kind] * GROWTH
    ]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where instructions grew by more than a tenth")
    parser.add_argument("--write", action="store_true", help="record what was counted")
    parser.add_argument("--calls", action="store_true", help="show which system calls, too")
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(drive.KINDS)}")
    return parser.parse_args()


def main() -> int:
    arguments = read_arguments()
    figures: dict[str, Counts] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    known = figures.get(build(), {})
    if arguments.check and not known:
        print(f"no figures are recorded for {build()}: nothing to compare with")
        return 0
    missing = [tool for tool in ("valgrind", "strace") if not shutil.which(tool)]
    if missing:
        print(f"not installed: {', '.join(missing)}")
        return 0 if arguments.check else 1
    kinds = arguments.kinds or list(drive.KINDS)
    counts: Counts = {"instructions": instructions(kinds)}
    if not arguments.check:
        counts["system calls"], each = system_calls(kinds)
        if arguments.calls:
            print(json.dumps(each, indent=1))
    show(counts, known)
    if arguments.write:
        merged = {name: {**known.get(name, {}), **found} for name, found in counts.items()}
        FIGURES.write_text(json.dumps({**figures, build(): merged}, indent=1) + "\n")
    too_many = grown(counts["instructions"], known.get("instructions", {})) if arguments.check else []
    for line in too_many:
        print(f"grew by more than a tenth: {line}", file=sys.stderr)
    return 1 if too_many else 0


if __name__ == "__main__":
    sys.exit(main())
