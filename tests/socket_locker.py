"""A locker over a socket, for tests: what a locker of many machines has to live with.

Leases, shares and claims time out, unless the thread of their locker renews them. A turn asks no server, so two holders
may write at the same time: the newest, and one that was cut off and does not know that it lost. It is the store that
must refuse the older token.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from secrets import randbits
from typing import Any

from tests.lock_server import STEP, Answer, Wires
from tus.errors import Interrupted, Locked, StoreBroken
from tus.lockers.ear import Ends


class SocketHold:
    """A share or a claim, and what a lease has in common with them."""

    token, before, until, lost, left = 0, 0, 0.0, False, False

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
        self._ttl, self._patience, self._prefix = ttl, patience, prefix
        self._wires = Wires(address)
        self._ends = Ends()
        self._holds: weakref.WeakValueDictionary[int, SocketHold] = weakref.WeakValueDictionary()
        self._left: list[tuple[str, int]] = []  # released, and the server does not know it yet
        self._asking = threading.Lock()
        self._renewal = 0.0
        self._awake = threading.Event()
        threading.Thread(target=_serve, args=(weakref.ref(self), self._awake, self._wires), daemon=True).start()

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
        self._wires.cut = True
        self._wires.close()

    def heal(self) -> None:
        self._wires.cut = False
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
            given = {"kind": kind, "kept": kept, "over": over, "ttl": self._ttl, "by": self._wires.name}
            answer = self.ask("take", id=hold.id, key=hold.key, **given)
            if "token" in answer:
                hold.token, hold.before, hold.until = answer["token"], answer["before"], sent + self._ttl
                self._awake.set()
            if "busy" not in answer:
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
            answer = self._wires.ask(do=do, left=left, **request)
            del self._left[: len(left)]
        self._hear(answer)
        return answer

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
            self._wires.close("ear")
        for hold in self._held():
            if hold.over():
                self._lose(hold)
        if self._left:
            with suppress(StoreBroken):
                self.ask()

    def _listen(self) -> None:
        held, now = self._held(), time.monotonic()
        if held and (now >= self._renewal or not self._wires.listens):
            grants = [(hold.id, hold.key) for hold in held]
            self._wires.tell(do="renew", left=[], at=now, grants=grants)
            self._renewal = now + self._ttl / 3
        if self._wires.listens:
            for message in self._wires.hear():
                self._hear(message)

    def _held(self) -> list[SocketHold]:
        holds = [ref() for ref in self._holds.valuerefs()]
        return [hold for hold in holds if hold and hold.until and not hold.lost]


def _serve(ref: weakref.ref[SocketLocker], awake: threading.Event, wires: Wires) -> None:
    while locker := ref():
        locker.step()
        del locker
        if not wires.listens:
            awake.wait(STEP)
            awake.clear()
    wires.close()
