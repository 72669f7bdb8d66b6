"""Several processes write to one upload. One of them is killed, one is stopped, and the server forgets everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT
from tests.contract.test_stores import Turns
from tests.lease_servers import LeaseServer
from tests.slow_store import SlowStore
from tus import Upload

WRITER = """
import os, random, sys, time
from contextlib import suppress
from tests.kinds import network_locker
from tests.slow_store import SlowStore
from tus.errors import Changed, Interrupted, Locked, OffsetMismatch, StoreBroken

url, home, name = sys.argv[1:]
locker, store = network_locker(url, ttl=1.0), SlowStore(home)
dice = random.Random(name)
print("ready", flush=True)
sys.stdin.readline()
for attempt in range(40):
    line = f"<{name}-{attempt}>".encode()
    with suppress(Changed, Interrupted, Locked, OffsetMismatch, StoreBroken):
        lease = locker.lease("a", brief=dice.random() < 0.3)
        try:
            known = store.load("a")
            with lease.turn():
                draft = store.append("a", known.offset, fence=lease, known=known)
            draft.write(line)
            time.sleep(dice.random() / 200)
            draft.commit()
            print(known.offset, line.decode(), lease.token, flush=True)
        finally:
            lease.release()
print("done", flush=True)
"""


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost(server: LeaseServer, tmp_path: Path) -> None:
    """Each line is where its writer was told that it is, in the order of the tokens."""
    store = SlowStore(tmp_path)
    store.create(Upload(id="a"), fence=Turns()).close()
    store.save(Upload(id="a"))
    killed, stopped, *others = writers = [begin(server.url, tmp_path, name) for name in "abcd"]

    said = [go(writer) for writer in writers]
    killed.kill()
    stopped.send_signal(signal.SIGSTOP)
    server.crash()
    server.start()
    ends = [writer.communicate(timeout=100)[0] for writer in others]
    stopped.send_signal(signal.SIGCONT)
    ends.append(stopped.communicate(timeout=100)[0])
    said += [killed.communicate()[0], *ends]

    content = store.open("a").read().decode()
    acknowledged = [line.split() for line in "".join(said).splitlines() if line[0].isdigit()]
    assert all(end.endswith("done\n") for end in ends)
    assert len(acknowledged) > 10
    assert [line for offset, line, _ in acknowledged if content[int(offset) :][: len(line)] != line] == []
    tokens = [int(token) for _, _, token in sorted(acknowledged, key=lambda one: int(one[0]))]
    assert tokens == sorted(set(tokens))


def begin(url: str, home: Path, name: str) -> subprocess.Popen[str]:
    """A writer that is under way."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", WRITER, url, str(home), name]
    pipe = subprocess.PIPE
    writer = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environ)
    assert writer.stdout and writer.stdout.readline() == "ready\n"
    return writer


def go(writer: subprocess.Popen[str]) -> str:
    """It begins; and what it says first."""
    assert writer.stdin and writer.stdout
    writer.stdin.write("\n")
    writer.stdin.flush()
    return writer.stdout.readline()
