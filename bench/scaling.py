"""What a number of uploads at the same time needs, from measured costs; and a simulation that checks the formulas.

python bench/scaling.py [--rate KIB] [--part MIB] [--chunk MIB] [--budget MIB]   the tables of docs/scaling.rst
python bench/scaling.py --check        simulates processes with few and with many uploads, beside the formulas
python bench/scaling.py --redis        measures what a message costs a Redis that is started for it
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

KIB, MIB, GIB, TB = 1 << 10, 1 << 20, 1 << 30, 1e12


class Costs(NamedTuple):
    """What was measured, and the command that does it."""

    cpu_per_gib: float = 2.7  # seconds of a process, with the SHA-256 of all it sends: bench/storage.py
    cpu_per_call: float = (
        1e-3  # of a process, for a piece that is stored or read back: as a small file, bench/storage.py
    )
    calls_per_upload: int = 4  # besides its parts: create it (2), put it together, save it: tests/s3/test_calls.py
    connection: int = 12 * KIB  # bytes of a connection that waits: tests/server/test_crowd.py
    process: int = 124 * MIB  # bytes of a process with nothing to do, bench/run W1, and 64 MiB that it remembers
    messages_per_patch: int = 2  # to Redis: lease and release: tests/lockers
    redis: float = 40e-6  # seconds of its one core for a message: --redis
    busy: float = 0.6  # of its core that a process, or Redis, should be used at most


class Prices(NamedTuple):
    """US dollars, as AWS S3 lists them for us-east-1; nothing is paid for what comes in."""

    put: float = 0.005 / 1000  # and POST, COPY, LIST
    get: float = 0.0004 / 1000


class Load(NamedTuple):
    """Uploads at the same time, and how they come."""

    uploads: int
    rate: float = 64 * KIB  # bytes a second of each
    length: int = 100 * MIB
    part: int = 5 * MIB
    chunk: int = 5 * MIB  # bytes of a PATCH
    budget: int = 256 * MIB  # bytes that the requests of a process may hold
    most: int = 10_000  # connections of a process


class Need(NamedTuple):
    processes: int
    per_process: float  # uploads
    memory: float  # bytes of all processes
    puts: float  # a second, with everything that costs the same
    gets: float
    redis: float  # of one core
    network: float  # bytes a second that come in; as many go out
    dollars: float  # of requests, for 10**12 bytes


def pieces(load: Load, per_process: float) -> tuple[float, float]:
    """How many pieces are stored of each part since memory is short, and the bytes that a process holds. All requests
    hold between nothing and the same most, so that half of it counts: for the largest is always stored first."""
    most = 2 * load.budget / per_process
    if most >= load.part:
        return 0.0, per_process * load.part / 2
    return load.part / most - 1, float(load.budget)


COSTS, PRICES = Costs(), Prices()


def count(load: Load) -> int:
    """How many processes have the processor time and the connections; with more of them, fewer pieces are stored."""
    processes = -(-load.uploads // load.most)
    while True:
        extra, _ = pieces(load, load.uploads / processes)
        bytes = load.uploads * load.rate
        cpu = bytes / GIB * COSTS.cpu_per_gib + 2 * extra * bytes / load.part * COSTS.cpu_per_call
        if processes >= cpu / COSTS.busy:
            return processes
        processes += max(processes // 50, 1)


def needs(load: Load) -> Need:
    """From the costs of one."""
    network = load.uploads * load.rate
    processes = count(load)
    per_process = load.uploads / processes
    extra, held = pieces(load, per_process)
    parts = network / load.part
    puts = parts * (1 + extra) + network / load.length * COSTS.calls_per_upload
    gets = parts * extra
    patches = network / min(load.chunk, load.length)
    return Need(
        processes,
        per_process,
        processes * (COSTS.process + held) + load.uploads * COSTS.connection,
        puts,
        gets,
        patches * COSTS.messages_per_patch * COSTS.redis,
        network,
        (puts * PRICES.put + gets * PRICES.get) / network * TB,
    )


# The simulation


class Seen(NamedTuple):
    """What one process did."""

    puts: float  # a second
    gets: float
    held: float  # bytes, on average


def simulate(load: Load, seconds: float, *, seed: int = 1, block: int = 32 * KIB) -> Seen:
    """One process with that many uploads, block by block: when a part is full it goes off, with the pieces of it that
    were stored read back; when memory is short, the request that holds most stores it as a piece."""
    dice = random.Random(seed)
    done = [dice.randrange(load.length) for _ in range(load.uploads)]
    held = [0] * load.uploads
    stored = [0] * load.uploads  # pieces of the part that comes in
    paces = [load.rate * dice.uniform(0.5, 1.5) for _ in done]
    clock = [(dice.random() * block / pace, upload) for upload, pace in enumerate(paces)]
    heapq.heapify(clock)
    largest: list[tuple[int, int]] = []  # with what it held once: those that hold less by now are skipped
    used = puts = gets = 0
    area = last = 0.0
    warm = seconds / 3  # what begins full or empty is not typical
    while clock[0][0] < seconds:
        now, upload = clock[0]
        heapq.heapreplace(clock, (now + block / paces[upload], upload))
        area += used * (now - last) if now > warm else 0
        last = now
        done[upload] += block
        held[upload] += block
        used += block
        counts = now > warm
        full, ended = done[upload] % load.part < block, done[upload] >= load.length
        if full or ended:
            puts += counts * (1 + ended * COSTS.calls_per_upload)
            gets += counts * stored[upload]
            used -= held[upload]
            held[upload] = stored[upload] = 0
            done[upload] = 0 if ended else done[upload]
            continue
        heapq.heappush(largest, (-held[upload], upload))
        while used > load.budget:
            size, most = heapq.heappop(largest)
            if held[most] == -size:
                used -= held[most]
                held[most] = 0
                stored[most] += 1
                puts += counts
    return Seen(puts / (seconds - warm), gets / (seconds - warm), area / (seconds - warm))


def check() -> None:
    """The formulas beside what happens."""
    print(
        "uploads of one process   PUT/s: formula, simulated   GET/s: formula, simulated   MiB held: formula, simulated"
    )
    for uploads in (50, 100, 400, 1600):
        load = Load(uploads, most=uploads)
        extra, held = pieces(load, uploads)
        parts = uploads * load.rate / load.part
        puts = parts * (1 + extra) + uploads * load.rate / load.length * COSTS.calls_per_upload
        seen = simulate(load, 900)
        print(
            f"{uploads:22} {puts:15.1f} {seen.puts:11.1f} {parts * extra:15.1f} {seen.gets:11.1f} "
            f"{held / MIB:18.0f} {seen.held / MIB:11.0f}"
        )


def table(loads: list[Load]) -> str:
    rows = [["uploads", "Gbit/s", "processes", "GiB memory", "PUT/s", "GET/s", "Redis core", "$ per TB"]]
    for load in loads:
        need = needs(load)
        figures = (need.network * 8 / 1e9, need.memory / GIB, need.puts, need.gets)
        shown = [f"{one:,.0f}" if one >= 10 else f"{one:.1f}" for one in figures]
        shown[:1] = [f"{load.uploads:,}", shown[0], f"{need.processes:,}"]
        rows.append([*shown, f"{need.redis:.1%}", f"{need.dollars:.2f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    rule = " ".join("=" * width for width in widths)
    return "\n".join((rule, lines[0], rule, *lines[1:], rule))


def measure_redis(leases: int = 3000) -> None:
    import redis

    from tests import lease_servers
    from tests.kinds import locker_at

    with lease_servers.LeaseServer("redis") as server:
        locker, client = locker_at(server.url), redis.Redis.from_url(server.url)
        locker.lease("warm").release()
        before = client.info("cpu")
        for number in range(leases):
            locker.lease(f"a{number}").release()
        after = client.info("cpu")
        used = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
        print(f"{used / leases / COSTS.messages_per_patch * 1e6:.0f} us of Redis for a message")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=64, help="KiB a second of an upload")
    for name, default in (("part", 5), ("chunk", 5), ("budget", 256)):
        parser.add_argument(f"--{name}", type=float, default=default, help="MiB")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--redis", action="store_true")
    args = parser.parse_args()
    if args.check or args.redis:
        check() if args.check else measure_redis()
        return
    sizes = {name: int(getattr(args, name) * MIB) for name in ("part", "chunk", "budget")}
    print(table([Load(10**power, rate=args.rate * KIB, **sizes) for power in range(2, 7)]))


if __name__ == "__main__":
    main()
