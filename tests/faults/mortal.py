"""A server process that dies when it is told to: at any moment, or exactly before a given step on the disk.

Run as a program it is the keeper: it has everything imported and the listening socket open, and forks each server, so
that hundreds of deaths take seconds. The keeper must never serve anything itself, and must end with its test.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import live

# What changes files. The locks of `fcntl` are among them since a process that dies may hold one.
STEPS = ("open", "close", "write", "pwrite", "rename", "link", "unlink", "fchmod", "fsync", "fdatasync", "ftruncate",
         "splice", "copy_file_range")  # fmt: skip
# Who takes them. On the slow store each is one call of its server, which happens at once or not at all.
TAKEN_BY = ("tus.stores.", "tus.lockers.", "tests.slow_store")
TTL = 0.3  # seconds until the server of the leases forgets a process that died
TORN = frozenset(("write", "pwrite"))  # a process can also die in the middle of these


class Mortal:
    """The test's end: starts and kills servers. Looks like a `live.Live` to a client."""

    def __init__(self, home: Path, kind: str = "ours") -> None:
        self.home = home
        self.kind = live.KINDS[kind]
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listening.getsockname()[1]
        self.deaths = 0
        self._alive = False
        self._lock = threading.Lock()
        with open(home / "output.txt", "ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.mortal", str(self.listening.fileno()), str(home)],
                cwd=live.ROOT,
                env={**os.environ, **self.kind.environ(ttl=TTL)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=[self.listening.fileno()],
                start_new_session=True,
            )

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def output(self) -> str:
        return (self.home / "output.txt").read_text(errors="replace")

    def path(self, name: str = "") -> str:
        return f"/{live.MOUNT}/{name}/upload"

    def start(self, *, die_before: int = 0) -> None:
        """Start a server, which dies by itself before that step, counted from 1."""
        with self._lock:
            self._tell(f"start {die_before}")
            self._alive = True

    def strike(self) -> None:
        """kill -9, now; another server follows at once."""
        with self._lock:
            if self._alive:
                self._tell("kill")
                self.deaths += 1
                self._tell("start 0")

    def revive(self, deaths: int) -> None:
        """A connection broke since there were that many deaths: there must be a new one, and a server follows it."""
        with self._lock:
            if self.deaths == deaths:
                assert self._tell("look") == "dead", f"a connection broke, but the server lives:\n{self.output}"
                self.deaths += 1
                self._tell("start 0")

    def stop(self) -> None:
        """End the server. One that died without being noticed counts, too."""
        with self._lock:
            if self._alive:
                self._alive = False
                self.deaths += self._tell("kill") == "dead"

    def close(self) -> None:
        # The end of its input ends the keeper, after its child.
        assert self._keeper.stdin and self._keeper.stdout
        self._keeper.stdin.close()
        try:
            self._keeper.wait(10)
        finally:
            if self._keeper.poll() is None:
                os.killpg(self._keeper.pid, signal.SIGKILL)
                self._keeper.wait()
            self._keeper.stdout.close()
            self.listening.close()

    def _tell(self, command: str) -> str:
        assert self._keeper.stdin and self._keeper.stdout
        self._keeper.stdin.write(command.encode() + b"\n")
        self._keeper.stdin.flush()
        answer = self._keeper.stdout.readline().decode().strip()
        assert answer, f"the keeper ended:\n{self.output}"
        return answer


def keep(listening: socket.socket, home: Path) -> None:
    """The keeper's life: one command a line, one answer a line."""
    child = 0
    for line in sys.stdin:
        command, _, step = line.strip().partition(" ")
        if command == "start":
            end(child)
            child = fork(listening, home, int(step))
            print("started", flush=True)
        elif command == "look":
            print("dead" if dying(child) else "alive", flush=True)
        elif command == "kill":
            print(end(child), flush=True)
            child = 0
    end(child)


def dying(child: int) -> bool:
    """Whether it is dead, or will be in a moment: its connections end before it does."""
    with contextlib.suppress(AssertionError):
        live.until(lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT), within=1)
        return True
    return False


def end(child: int) -> str:
    """Kill the child, if it lives."""
    if not child:
        return "dead"
    gone = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if not gone:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "dead" if gone else "killed"


def fork(listening: socket.socket, home: Path, step: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        serve(listening, home, step)
    finally:
        os._exit(1)


def serve(listening: socket.socket, home: Path, step: int) -> None:
    from tests.apps import Collections
    from tus.server import serve

    os.close(0)  # the keeper's commands are not for us
    live.configure(home, {})
    app = Collections(home)
    if step:
        doom(step)
    serve(app, sockets=[listening], on_listening=lambda urls: None)


def doom(step: int) -> None:
    """Let this process die before its `step`-th change to what the package stores."""
    count = 0
    lock = threading.Lock()

    def reached() -> bool:
        nonlocal count
        with lock:
            count += 1
            return count == step

    for module, name in [*((os, name) for name in STEPS), (fcntl, "flock"), (fcntl, "fcntl")]:
        setattr(module, name, deadly(getattr(module, name), reached, torn=name in TORN))


def deadly(call: Callable[..., Any], reached: Callable[[], bool], *, torn: bool) -> Callable[..., Any]:
    """The same function; if the package calls it, it may be its last. What is torn dies before it, or half-way."""

    def last(*args: Any, **options: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"].startswith(TAKEN_BY):
            if reached():
                os.kill(os.getpid(), signal.SIGKILL)
            if torn and reached():
                call(args[0], memoryview(args[1])[: len(args[1]) // 2], *args[2:])
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)

    return last


if __name__ == "__main__":
    import tus.server
    from tests import apps  # noqa: F401 - so that no child needs to import them

    assert tus.server
    keep(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
