"""Where the time of a request goes: `python bench/shares.py` profiles the filter alone, in this process; with `--asgi`,
`TusASGI` behind uvicorn, without the socket.

Each function's own time, with that of the built-in functions it calls, counts for the part of tus that it is in. The
profiler slows down what makes many small calls, so that the shares count, not the microseconds.
"""

from __future__ import annotations

import cProfile
import pstats
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import drive

KINDS = {"HEAD": "head", "POST, 1 KiB": "post_with_body", "POST + PATCH, 1 KiB": "post_and_last_patch"}
PARTS = {
    "uvicorn": "uvicorn: parser, scope, tasks, answer",
    "adapters": "adapter: environ to request, answer to headers",
    "http": "addresses, headers, fields",
    "protocols": "tus 1.0: what a request means", "engine": "rules: rights, lease, offset, completion",
    "lockers": "locks", "stores": "records and data", "calls": "calls of the operating system",
}  # fmt: skip
ROOT = str(drive.__file__).removesuffix("bench/drive.py")


def part_of(path: str) -> str:
    """The folder of tus that a file is in; modules that lie in none belong to the rules."""
    if "/uvicorn/" in path or "/asyncio/" in path:
        return "uvicorn"
    below = path.removeprefix(ROOT + "tus/")
    if below == path:
        return ""
    folder = below.partition("/")[0]
    return folder if folder in PARTS else "protocols" if folder in ("talk.py", "exchange.py", "cors.py") else "engine"


def shares(kind: str, drives: Callable[[str], drive.Send], count: int = 1000) -> tuple[float, Counter[str]]:
    """Microseconds a request without a profiler, and how they are spread, in parts of one."""
    directory = tempfile.mkdtemp(prefix="tus-shares-", dir="/dev/shm")
    try:
        send, run = drives(directory), drive.KINDS[kind]
        run(send, 100)
        start = time.process_time()
        run(send, count)
        took = (time.process_time() - start) / count
        profile = cProfile.Profile(time.process_time)  # others may have the processor meanwhile
        profile.runcall(run, send, count)
    finally:
        shutil.rmtree(directory)
    return took * 1e6, _spread(pstats.Stats(profile))


def _spread(stats: pstats.Stats) -> Counter[str]:
    times: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]
        if path != "~" and not path.startswith("/usr") and part_of(path):
            times[part_of(path)] += own
            continue
        kernel = "posix." in name or "fcntl" in name
        for (caller, _, _), (_, _, spent, _) in callers.items():
            if part := part_of(caller):
                times["calls" if kernel else part] += spent
    whole = sum(times.values())
    return Counter({part: spent / whole for part, spent in times.items()})


def main() -> int:
    drives = drive.under_uvicorn if "--asgi" in sys.argv else drive.in_process
    found = {title: shares(kind, drives) for title, kind in KINDS.items()}
    print(f"{'':46}" + "".join(f"{title:>22}" for title in found))
    print(f"{'CPU, µs':46}" + "".join(f"{took:22.0f}" for took, _ in found.values()))
    for part, about in PARTS.items():
        if any(spread[part] for _, spread in found.values()):
            print(f"{about:46}" + "".join(f"{spread[part]:22.0%}" for _, spread in found.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
