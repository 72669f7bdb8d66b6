"""What leases cost: by memory, by files, by a Redis and a PostgreSQL that are started for it, and in a bucket.

    python bench/lockers.py [KIND…]

A lease with its release; a brief one; a share; and the hand-over between two processes, from the newer request's call
until it has the lease, and until the older one is told. All in one run, so that they can be compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import lease_servers, real  # noqa: E402
from tests.kinds import locker_at  # noqa: E402
from tus.lockers.memory import MemoryLocker  # noqa: E402

KINDS = ("memory", "file", "redis", "postgresql", "s3")
LEASES, HAND_OVERS = 2000, 200
FEWER = 10  # times, in a bucket


def timed(deed: Callable[[int], Any], count: int) -> tuple[float, float]:
    """Microseconds, and those of our own processor time, for each."""
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        deed(number)
    return (time.perf_counter() - wall) / count * 1e6, (time.process_time() - cpu) / count * 1e6


def costs(locker: Any, leases: int) -> dict[str, tuple[float, float]]:
    locker.lease("warm").release()
    return {
        "lease + release": timed(lambda n: locker.lease(f"a{n}").release(), leases),
        "the same upload": timed(lambda n: locker.lease("a").release(), leases),
        "share + release": timed(lambda n: locker.share("b").release(), leases),
        "claim + release": timed(lambda n: locker.claim("c").release(), leases),
    }


def serve(place: str) -> None:
    """The other process: takes a lease when it is told so, and says when it was told that it lost it."""
    locker, told = locker_at(place), threading.Event()
    for _ in sys.stdin:
        told.clear()
        lease = locker.lease("x")
        lease.on_lost(told.set)
        print("{}", flush=True)
        told.wait(10)
        print(json.dumps(time.clock_gettime(time.CLOCK_MONOTONIC)), flush=True)
        lease.release()


def hand_overs(place: str, many: int) -> dict[str, list[float]]:
    """Milliseconds, for each of them."""
    words = [sys.executable, __file__, "--serve", place]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        found: dict[str, list[float]] = {"until the newer has it": [], "until the older is told": []}
        locker = locker_at(place)
        for _ in range(many):
            other.stdin.write("go\n")
            other.stdin.flush()
            other.stdout.readline()
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            lease = locker.lease("x")
            found["until the newer has it"].append((time.clock_gettime(time.CLOCK_MONOTONIC) - began) * 1e3)
            found["until the older is told"].append((json.loads(other.stdout.readline()) - began) * 1e3)
            lease.release()
        other.stdin.close()
    return found


@contextmanager
def placed(kind: str) -> Any:
    """Where the lockers of that kind meet."""
    if kind == "file":
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            yield directory
    elif kind == "memory":
        yield ""
    elif kind == "s3":
        real.engine()  # which a process that we start finds, too
        yield f"bucket:{time.time_ns()}"
    else:
        with lease_servers.LeaseServer(kind) as server:
            yield server.url


def main(kinds: list[str]) -> None:
    for kind in kinds or KINDS:
        with placed(kind) as place:
            print(kind)
            fewer, locker = FEWER if kind == "s3" else 1, locker_at(place) if place else MemoryLocker()
            for what, (wall, cpu) in costs(locker, LEASES // fewer).items():
                print(f"    {what:24} {wall:8.1f} us, of which {cpu:6.1f} us are ours")
            for what, times in hand_overs(place, HAND_OVERS // fewer).items() if place else ():
                times.sort()
                p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
                print(f"    {what:24} {p50:8.2f} ms (p50), {p99:.2f} ms (p99), {times[-1]:.2f} ms (max)")


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1:2] == ["--serve"] else main(sys.argv[1:])
