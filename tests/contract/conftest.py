"""Another process, which does with a locker what a test tells it to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import json, os, sys, threading
from tests.kinds import locker_at
from tus.errors import TusError

held, lost = {}, {}

def lease(place, id):
    held[id] = locker_at(place).lease(id)
    lost[id] = threading.Event()
    held[id].on_lost(lost[id].set)

def claim(place, id):
    held[id] = locker_at(place).claim(id)

def turn(place, id):
    with held[id].turn():
        pass

def keep(place, id):
    held[id].keep()

def release(place, id):
    held.pop(id).release()

def told(place, id):
    return lost[id].wait(1)

def compete(place, id, count):
    # Lines of one lease, written in turns; a lease that was overtaken writes no more.
    from tus.errors import Interrupted
    file = os.open(os.path.join(place, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for attempt in range(count):
        mine = locker_at(place).lease(id)
        try:
            for line in range(5):
                with mine.turn():
                    for byte in b"%d-%d\\n" % (os.getpid(), attempt):
                        os.write(file, bytes([byte]))
        except Interrupted:
            pass
        mine.release()

for line in sys.stdin:
    verb, *arguments = json.loads(line)
    try:
        answer = globals()[verb](*arguments)
    except TusError as error:
        answer = type(error).__name__
    print(json.dumps(answer), flush=True)
"""


class Other:
    """A process of its own. Calling it asks it to do something, and waits for the answer."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def tell(self, *words: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([str(w) if isinstance(w, Path) else w for w in words]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __call__(self, *words: Any) -> Any:
        self.tell(*words)
        return self.answer()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    """A process that lives as long as the module."""
    process = Other()
    yield process
    process.kill()


@pytest.fixture
def mortal() -> Iterator[Other]:
    """A process that the test may kill."""
    process = Other()
    yield process
    if process.process.returncode is None:
        process.kill()
