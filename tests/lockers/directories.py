"""One directory of uploads under two mounts, as two machines have it, with leases in Redis: what can go wrong.

python -m tests.lockers.directories MOUNT MOUNT    races forty times, and lets a request stand still
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

from tests.contract.conftest import ROOT
from tests.engines import append, ask, content, create
from tests.kinds import network_locker
from tests.lease_servers import LeaseServer
from tus import Engine, Options
from tus.errors import OffsetMismatch, TusError
from tus.stores.file import FileStore

SIZE = 2_000_000

STANDING = """
import os, signal, sys, time
from tests.lockers.directories import engine_at
engine = engine_at(sys.argv[1], sys.argv[2], ttl=1.0)
lease = engine.locker.lease(sys.argv[3])
with lease.turn():
    known = engine.store.load(sys.argv[3])
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(float(sys.argv[4]))
    engine.store.append(known.id, known.offset, fence=lease, known=known).close()
"""


def engine_at(mount: str, url: str, **given: float) -> Engine:
    """A machine."""
    return Engine(FileStore(mount), network_locker(url, **given), Options({"durable": "finish"}, environ={}))


def race(one: Engine, other: Engine) -> str:
    """A client leaves a request that still writes on one machine, and goes on at the other one; what went wrong."""
    data, told = os.urandom(SIZE), 0
    id = create(one, SIZE).id
    older = threading.Thread(target=_trickle, args=(one, id, data))
    older.start()
    time.sleep(random.uniform(0.005, 0.05))
    while told < SIZE:
        lease = other.locker.lease(id)
        with lease.turn():
            offset = other.store.load(id).offset
        lease.release()
        if offset < told:
            return f"the offset fell from {told} to {offset}"
        with suppress(OffsetMismatch):  # of a block that was on its way when the older request lost its lease
            told = append(other, id, data[offset : offset + 300_000], offset=offset).offset
    older.join()
    return "" if content(other, other.store.load(id)) == data else "the content is wrong"


def _trickle(engine: Engine, id: str, data: bytes) -> None:
    with suppress(TusError), engine.append(ask(id), 0, announced=len(data)) as writer:
        for start in range(0, len(data) if writer.lease else 0, 20_000):
            writer.write(data[start : start + 20_000])
            time.sleep(0.0005)


def stand_still(one: str, other: Engine, url: str, *, cached: float = 0.0) -> tuple[int, int]:
    """A request on one machine stands still in a turn while the client goes on at the other one; what that told the
    client, and what is there in the end. `cached`: seconds that a machine believes an old size."""
    id = create(other, 20).id
    append(other, id, b"01234")
    words = [sys.executable, "-W", "ignore", "-c", STANDING, one, url, id, str(cached)]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}) as still:
        os.waitpid(still.pid, os.WUNTRACED)
        told = append(other, id, b"56789", offset=5).offset
        still.send_signal(signal.SIGCONT)
    return told, other.store.load(id).offset


def main(one: str, other: str) -> None:
    with LeaseServer("redis") as server:
        engines = engine_at(one, server.url), engine_at(other, server.url)
        wrong = [why for why in (race(*engines) for _ in range(40)) if why]
        print(f"{len(wrong)} of 40 races went wrong", *sorted(set(wrong)), sep="\n    ")
        told, there = stand_still(one, engines[1], server.url, cached=2.0)
        print(f"after a request that stood still there are {there} bytes; its client was told of {told}")


if __name__ == "__main__":
    main(*sys.argv[1:])
