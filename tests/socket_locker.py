"""A locker over a socket, for tests: what a locker of many machines has to live with.

Leases, shares and claims time out, unless the thread of their locker renews them. A turn asks no server, so two holders
may write at the same time: the newest, and one that was cut off and does not know that it lost. It is the store that
must refuse the older token.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from secrets import randbits
from typing import Any

from tests.lock_server import Answer
from tus.errors import Interrupted, Locked, StoreBroken
from tus.lockers.ear import Ends

ANSWER = 5.0  # seconds to wait for one
STEP = 0.05  # seconds after which the thread of a locker looks whether it is still needed


class SocketHold:
    """A share or a claim, and what a lease has in common with them."""

    token, until, lost, left = 0, 0.0, False, False

    def __init__(self, locker: SocketLocker, id: str) -> None:
        self._locker, self.id, self.key = locker, id, randbits(60)

    def turn(self) -> SocketHold:
        return self

    def __enter__(self) -> None:
        if self.over():
            raise Interrupted("a newer request took over this upload, or the lease was not renewed in time")

    def __exit__(self, *_: object) -> None:
        """It excludes no other."""

    def over(self) -> bool:
        return self.lost or self.left or time.monotonic() >= self.until

    def release(self, *, forget: bool = False) -> None:
        self._locker.leave(self)
        with suppress(StoreBroken):  # it will time out
            self._locker.ask()

    def __del__(self) -> None:
        self._locker.leave(self)


class SocketLease(SocketHold):
    """Ours until another request asks for one, or until it was not renewed in time."""

    def keep(self) -> None:
        with self.turn():
            self._locker.ask("keep", id=self.id, key=self.key)
        self.__enter__()

    def on_lost(self, end: Callable[[], None]) -> None:
        self._locker.listen(self, end)


class SocketLocker:
    """Leases from the server at this address. With another prefix they are on other uploads."""

    def __init__(self, address: tuple[str, int], *, ttl: float = 10.0, patience: float = 5.0, prefix: str = "") -> None:
        self._address, self._ttl, self._patience, self._prefix = address, ttl, patience, prefix
        self._name = randbits(60)
        self._ends = Ends()
        self._holds: weakref.WeakValueDictionary[int, SocketHold] = weakref.WeakValueDictionary()
        self._left: list[tuple[str, int]] = []  # released, and the server does not know it yet
        self._asking = threading.Lock()
        self._open: dict[str, socket.socket] = {}  # a line for requests; and an ear, for renewals and what was lost
        self._heard, self._renewal, self._cut = b"", 0.0, False
        self._awake = threading.Event()
        threading.Thread(target=_serve, args=(weakref.ref(self), self._awake, self._open), daemon=True).start()

    def lease(
        self,
        id: str,
        *,
        brief: bool = False,
        patience: float | None = None,
        check: Callable[[], object] | None = None,
    ) -> SocketLease:
        lease, over = SocketLease(self, self._prefix + id), 0 if check else None
        patience = self._patience if patience is None else patience
        while owner := self._take(lease, patience, kind="lease", kept=brief, over=over).get("owner"):
            assert check
            check()
            over = owner
        return lease

    def share(self, id: str) -> SocketHold:
        share = SocketHold(self, self._prefix + id)
        self._take(share, self._patience, kind="share")
        return share

    def claim(self, id: str, *, patience: float = 0.0) -> SocketHold:
        claim = SocketHold(self, self._prefix + id)
        self._take(claim, patience, kind="claim", kept=True)
        return claim

    def writing(self, id: str) -> bool:
        return bool(self.ask("writing", id=self._prefix + id)["writing"])

    def lives(self, id: str) -> bool:
        return bool(self.ask("writing", id=self._prefix + id)["lives"])

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        """Everything times out by itself."""

    def cut(self) -> None:
        """Nothing is sent or received any more. What we hold does not know it, until its time is over."""
        self._cut = True
        _close(self._open)

    def heal(self) -> None:
        self._cut = False
        self._awake.set()

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or at the end of the process
            if self._left:
                self.ask()

    def _take(
        self, hold: SocketHold, patience: float, *, kind: str, kept: bool = False, over: int | None = None
    ) -> Answer:
        deadline = time.monotonic() + max(patience, STEP)
        self._holds[hold.key] = hold  # at once, since it may be lost before we read that we have it
        while True:
            sent = time.monotonic()
            given = {"kind": kind, "kept": kept, "over": over, "ttl": self._ttl, "by": self._name}
            answer = self.ask("take", id=hold.id, key=hold.key, **given)
            if "busy" not in answer:
                hold.token, hold.until = answer.get("token", 0), sent + self._ttl
                self._awake.set()
                return answer
            if time.monotonic() >= deadline:
                raise Locked("the upload is busy")
            time.sleep(0.005)

    def leave(self, hold: SocketHold) -> None:
        """The server hears of it with the next request: the garbage collector may call this while one is under way."""
        if not hold.left:
            hold.left = True
            self._holds.pop(hold.key, None)
            self._left.append((hold.id, hold.key))
            self._ends.forget(hold.key)

    def listen(self, lease: SocketLease, end: Callable[[], None]) -> None:
        if lease.left:
            return
        self._ends.listen(lease.key, lease.id, lease.token, end)
        if lease.over():
            self._ends.end(lease.id, lease.token + 1)

    def ask(self, do: str = "", **request: Any) -> Answer:
        """The server's answer, and what it means for what we hold."""
        with self._asking:
            left = list(self._left)
            answer = self._answer({"do": do, "left": left, **request})
            del self._left[: len(left)]
        self._hear(answer)
        return answer

    def _answer(self, request: dict[str, Any]) -> Answer:
        for again in (True, False):  # a connection may have died since the last request
            try:
                line = self._connection("line", ANSWER)
                self._send(line, request)
                answer: Answer = json.loads(_whole(line))
                return answer
            except (OSError, ValueError) as error:
                _close(self._open, "line")
                if self._cut or not again or isinstance(error, TimeoutError):
                    why = "cut off" if self._cut else error
                    raise StoreBroken(f"the server of the leases does not answer: {why}") from None
        raise AssertionError

    def _connection(self, name: str, timeout: float) -> socket.socket:
        if self._cut:
            raise ConnectionError("cut off")
        if name not in self._open:
            self._open[name] = socket.create_connection(self._address, timeout=timeout)
            self._open[name].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._open[name]

    def _send(self, connection: socket.socket, request: dict[str, Any], *, ear: bool = False) -> None:
        message = {"locker": self._name, "ear": ear, **request}
        connection.sendall(json.dumps(message).encode() + b"\n")

    def _hear(self, message: Answer) -> None:
        for key in message.get("renewed", ()):
            if hold := self._holds.get(key):
                hold.until = message["at"] + self._ttl
        for key in message.get("lost", ()):
            if (hold := self._holds.get(key)) and not hold.lost:
                self._lose(hold, quiet=key in message["quiet"])

    def _lose(self, hold: SocketHold, *, quiet: bool = False) -> None:
        hold.lost = True
        if not quiet:
            self._ends.end(hold.id, hold.token + 1)

    def step(self) -> None:
        """Renew, listen for a moment, and notice what has timed out."""
        try:
            self._listen()
        except (OSError, ValueError):
            _close(self._open, "ear")
        for hold in list(self._holds.values()):
            if hold.until and hold.over() and not hold.lost:
                self._lose(hold)
        if self._left:
            with suppress(StoreBroken):
                self.ask()

    def _listen(self) -> None:
        if not self._holds:
            return
        if "ear" not in self._open:
            self._heard, self._renewal = b"", 0.0
        ear = self._connection("ear", STEP)
        now = time.monotonic()
        if now >= self._renewal:
            held = [(hold.id, hold.key) for hold in list(self._holds.values()) if hold.until and not hold.lost]
            self._send(ear, {"do": "renew", "left": [], "at": now, "grants": held}, ear=True)
            self._renewal = now + self._ttl / 3
        with suppress(TimeoutError):
            *lines, self._heard = (self._heard + _block(ear)).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))


def _serve(ref: weakref.ref[SocketLocker], awake: threading.Event, open: dict[str, socket.socket]) -> None:
    while locker := ref():
        locker.step()
        del locker
        if "ear" not in open:
            awake.wait(STEP)
            awake.clear()
    _close(open)


def _block(connection: socket.socket) -> bytes:
    block = connection.recv(1 << 16)
    if not block:
        raise ConnectionError("the server has gone")
    return block


def _whole(connection: socket.socket) -> bytes:
    line = _block(connection)
    while not line.endswith(b"\n"):
        line += _block(connection)
    return line


def _close(open: dict[str, socket.socket], *names: str) -> None:
    for name in names or tuple(open):
        if connection := open.pop(name, None):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # also where another thread waits for it
            connection.close()
