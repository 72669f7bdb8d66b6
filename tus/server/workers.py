"""Several processes on one port: started, watched over, replaced and stopped by a supervisor that serves nothing.

It must never close a listening socket while it runs: connections that wait in it would be refused.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from ._waitress import cleanup_unix_socket
from .listener import address_of
from .settings import Settings, binding

logger = logging.getLogger("tus.server")
HANDLED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD")
SHORT_LIFE = 1.0  # seconds: a worker that dies sooner is restarted with a growing delay
LONGEST_DELAY = 5.0  # seconds
MERCY = 2.0  # seconds after shutdown_timeout in which a worker must be gone, or is killed


class WorkerFailed(RuntimeError):
    """A worker ended before it accepted connections."""


@dataclass
class Slot:
    """One worker's place: its listening sockets outlive the processes that serve them."""

    sockets: list[socket.socket]
    pid: int = 0  # the process that serves, 0 for none
    started: float = 0.0
    failures: int = 0
    due: float = 0.0  # when to start the next process
    coming: int = 0  # the process that is to replace it
    leaving: set[int] = field(default_factory=set)  # those that finish their last requests


class Serving(Protocol):
    """What a worker runs."""

    @property
    def stopping(self) -> bool: ...

    def run(self) -> None: ...

    def stop(self, *, at_once: bool = False) -> None: ...

    def stop_when_closed(self, fd: int) -> None: ...


class Supervisor:
    """Runs ``workers`` processes until SIGTERM or SIGINT. SIGHUP replaces them one by one, unless they ``renew`` by
    themselves what they have read."""

    def __init__(
        self,
        make: Callable[[list[socket.socket]], Serving],
        settings: Settings,
        on_listening: Callable[[list[str]], Any],
        *,
        renew: bool = False,
    ) -> None:
        self._make, self._renew = make, renew
        self._settings = settings
        self._on_listening = on_listening
        self._slots = [Slot(sockets) for sockets in listening(settings)]
        self._ready_in, self._ready_out = os.pipe()
        self._lifeline, self._held = os.pipe()
        self._wake_in, self._wake_out = os.pipe()
        for fd in (self._ready_in, self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        self._signals: deque[int] = deque()
        self._to_replace: deque[Slot] = deque()
        self._up: set[int] = set()  # processes that accept connections
        self._listening = False
        self._stopping = False
        self._kill_at = 0.0

    # -- the supervisor's life

    def run(self) -> None:
        """Until every worker is gone."""
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("several workers need the main thread, for its signals")
        before = self._take_signals()
        try:
            while not self._stopping or self._children():
                self._act()
                self._wait()
                self._collect()
        finally:
            self._kill_all()
            self._give_back(before)
            self._close()

    def _take_signals(self) -> dict[int, Any]:
        before: dict[int, Any] = {-1: signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)}
        for name in HANDLED:
            number = getattr(signal, name)
            before[number] = signal.signal(number, lambda number, frame: self._signals.append(number))
        return before

    def _give_back(self, before: dict[int, Any]) -> None:
        signal.set_wakeup_fd(before.pop(-1))
        for number, handler in before.items():
            signal.signal(number, handler)

    def _close(self) -> None:
        for fd in (self._ready_in, self._ready_out, self._lifeline, self._held, self._wake_in, self._wake_out):
            os.close(fd)
        for slot in self._slots:
            for sock in slot.sockets:
                sock.close()

    def _children(self) -> set[int]:
        pids = {slot.pid for slot in self._slots} | {slot.coming for slot in self._slots}
        return pids.union(*(slot.leaving for slot in self._slots)) - {0}

    # -- acting

    def _act(self) -> None:
        while self._signals:
            self._obey(self._signals.popleft())
        if self._stopping:
            if time.monotonic() > self._kill_at:
                self._kill_all()
            return
        for slot in self._slots:
            if not slot.pid and not slot.coming and time.monotonic() >= slot.due:
                slot.pid = self._start(slot)
        self._replace_next()

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number == signal.SIGHUP and self._renew:
            for pid in self._children():
                send(pid, signal.SIGHUP)
        elif number == signal.SIGHUP and not self._stopping:
            logger.info("Replacing the workers")
            self._to_replace = deque(self._slots)

    def _stop(self) -> None:
        seconds = 0 if self._stopping else self._settings.shutdown_timeout + MERCY
        self._stopping = True
        self._to_replace.clear()
        self._kill_at = time.monotonic() + seconds
        for pid in self._children():
            send(pid, signal.SIGTERM)

    def _kill_all(self) -> None:
        for pid in self._children():
            send(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            self._gone(pid, "killed")

    def _replace_next(self) -> None:
        """One at a time: the next when the last one's predecessor is gone."""
        if self._to_replace and not any(slot.coming or slot.leaving for slot in self._slots):
            slot = self._to_replace.popleft()
            slot.coming = self._start(slot)

    # -- waiting

    def _wait(self) -> None:
        waiting = select.poll()
        for fd in (self._ready_in, self._wake_in):
            waiting.register(fd, select.POLLIN)
        waiting.poll(100 if self._stopping or any(not slot.pid for slot in self._slots) else 1000)
        drain(self._wake_in)
        told = drain(self._ready_in)
        for at in range(0, len(told), 4):
            self._ready(int.from_bytes(told[at : at + 4], "big"))

    def _ready(self, pid: int) -> None:
        self._up.add(pid)
        for slot in self._slots:
            if slot.coming == pid:
                slot.leaving.add(slot.pid)
                send(slot.pid, signal.SIGTERM)
                slot.pid, slot.coming = pid, 0
        if not self._listening and all(slot.pid in self._up for slot in self._slots):
            self._listening = True
            self._on_listening(self.urls)

    @property
    def urls(self) -> list[str]:
        return [address(self._settings.url_scheme, sock) for sock in self._slots[0].sockets]

    def _collect(self) -> None:
        """Those that have ended."""
        for pid in self._children():
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # somebody else waited for it
                ended, status = pid, 0
            if ended:
                self._gone(pid, f"status {os.waitstatus_to_exitcode(status)}")

    def _gone(self, pid: int, how: str) -> None:
        was_up = pid in self._up
        self._up.discard(pid)
        for slot in self._slots:
            slot.leaving.discard(pid)
            if slot.coming == pid:
                slot.coming = 0
                self._to_replace.clear()
                logger.error("The new worker %d ended at once (%s): the old ones stay", pid, how)
            elif slot.pid == pid:
                slot.pid = 0
                self._mourn(slot, pid, how, was_up)

    def _mourn(self, slot: Slot, pid: int, how: str, was_up: bool) -> None:
        """The worker of a slot died: another follows, later each time if they die at once."""
        if self._stopping:
            return
        if not was_up and not self._listening:
            self._stop()
            raise WorkerFailed(f"worker {pid} ended before it accepted connections ({how})")
        short = time.monotonic() - slot.started < SHORT_LIFE
        slot.failures = slot.failures + 1 if short else 0
        slot.due = time.monotonic() + (min(LONGEST_DELAY, 0.1 * 2**slot.failures) if short else 0)
        logger.error("Worker %d ended (%s): starting another", pid, how)

    # -- a worker

    def _start(self, slot: Slot) -> int:
        slot.started = time.monotonic()
        numbers = {getattr(signal, name) for name in HANDLED}
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # until the worker has handlers of its own
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
            return pid
        status = 1
        try:
            self._work(slot, numbers)
            status = 0
        except BaseException:
            logger.exception("A worker failed")
        finally:
            # Not sys.exit: what the supervisor registered to run at its end is not ours to run.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _work(self, slot: Slot, numbers: set[signal.Signals]) -> None:
        """In the new process."""
        for fd in (self._ready_in, self._held, self._wake_in, self._wake_out):
            os.close(fd)
        signal.set_wakeup_fd(-1)
        for other in self._slots:
            for sock in other.sockets:
                if sock not in slot.sockets:
                    sock.close()
        server = self._make(slot.sockets)
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
        signal.signal(signal.SIGINT, lambda number, frame: server.stop(at_once=server.stopping))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        server.stop_when_closed(self._lifeline)
        os.write(self._ready_out, os.getpid().to_bytes(4, "big"))
        os.close(self._ready_out)
        server.run()


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def drain(fd: int) -> bytes:
    """All that is in a non-blocking pipe."""
    told = b""
    try:
        while data := os.read(fd, 4096):
            told += data
    except BlockingIOError:
        pass
    return told


def address(scheme: str, sock: socket.socket) -> str:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return address_of(scheme, "unix", sock.getsockname())
    host, port = sock.getsockname()[:2]
    return address_of(scheme, host, port)


def listening(settings: Settings) -> list[list[socket.socket]]:
    """The listening sockets of each worker: its own where the kernel spreads connections, else all share."""
    if settings.unix_socket:
        return share(settings, [bind_unix(settings)])
    if settings.sockets:
        return share(settings, settings.sockets)
    slots: list[list[socket.socket]] = [[] for _ in range(settings.workers)]
    for family, kind, protocol, where in settings.listen:
        if where[1]:
            # Alone for a moment: SO_REUSEPORT would share the port with another server of the same user.
            bind(family, kind, protocol, where, 0, reuse=False).close()
        for sockets in slots:
            sock = bind(family, kind, protocol, where, settings.backlog)
            where = sock.getsockname()  # port 0 is the same one for all
            sockets.append(sock)
    return slots


def share(settings: Settings, sockets: list[socket.socket]) -> list[list[socket.socket]]:
    for sock in sockets:
        sock.listen(settings.backlog)
    return [list(sockets) for _ in range(settings.workers)]


def bind(family: int, kind: int, protocol: int, where: Any, backlog: int, *, reuse: bool = True) -> socket.socket:
    """One of several listening sockets on the same port; the kernel spreads the connections."""
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with binding(where):
            sock.bind(where)
        if reuse:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix(settings: Settings) -> socket.socket:
    cleanup_unix_socket(settings.unix_socket)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(settings.unix_socket)
    os.chmod(settings.unix_socket, settings.unix_socket_perms)
    return sock
