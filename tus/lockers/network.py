"""Leases, shares and claims that a server keeps for many machines: what the lockers of such servers have in common.

They time out, unless the thread of their locker renews them. A turn asks no server: it looks at the clock, and at what
the server has told us. So two holders may write at the same time: the newest, and one that was stopped or cut off and
does not know that it lost. The store must refuse the older token.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import Interrupted, Locked, StoreAway
from .ear import Ends
from .servers import LeaseServer, Left, Notices, Verdict

TTL = 10.0  # seconds that a lease, share or claim lasts without a renewal
PATIENCE = 5.0  # seconds to wait for what another request keeps
_MOMENT = 0.05  # seconds; longer than what is brief takes
_STEP = 0.5  # seconds; the thread looks that often at what was forgotten or has timed out
_AGAIN = 0.1  # seconds between two attempts to reach the server
_REVIVED = 300.0  # seconds for which a claim that timed out comes back, unless another request took it meanwhile
_UNHEARD = 1.0  # seconds; a message may get lost with its connection, so that we ask again after that

LEASE, KEPT, CLAIM, SHARE = "L", "K", "C", "S"


class Hold:
    """A share or a claim, and what a lease has in common with them."""

    token, before, until, lost, left = 0, 0, 0.0, False, False
    epoch, ended = 0, 0  # of a share: its own, and the newest one that is known

    def __init__(self, locker: NetworkLocker, id: str, kind: str) -> None:
        self._locker, self.id, self.kind = locker, id, kind
        self.key, self.process = secrets.token_hex(8), locker.process

    def turn(self) -> Hold:
        return self

    def __enter__(self) -> None:
        if self.over():
            raise Interrupted("a newer request took over this upload, or the lease was not renewed in time")

    def __exit__(self, *_: object) -> None:
        """It excludes no other."""

    def over(self) -> bool:
        # A child that inherited it has no say.
        if self.lost or self.left or self.process != self._locker.process:
            return True
        return time.monotonic() >= self.until or self.ended > self.epoch

    @property
    def end(self) -> float:
        """Then it is lost. Who has a claim cannot go back, so that nobody gives it up who may still have it."""
        return self.until + _REVIVED if self.kind == CLAIM else self.until

    def release(self, *, forget: bool = False) -> None:
        self._locker.leave(self, forget)
        self._locker.say_left()

    def __del__(self) -> None:
        # The garbage collector may come while a connection is in use: the thread says it, or the next request.
        with suppress(AttributeError, TypeError):  # half made, or at the end of the process
            self._locker.leave(self)


class NetworkLease(Hold):
    """Ours until another request asks for one, or until it was not renewed in time."""

    def keep(self) -> None:
        with self.turn():
            if self.kind != KEPT:  # a brief one is from the beginning
                self._locker.keep(self)

    def on_lost(self, end: Callable[[], None]) -> None:
        self._locker.listen(self, end)


class NetworkLocker:
    """Leases from this server. With another prefix they are on other uploads."""

    def __init__(self, server: LeaseServer, *, ttl: float = TTL, patience: float = PATIENCE, prefix: str = "") -> None:
        self._server, self._ttl, self._patience, self._prefix = server, ttl, patience, prefix
        self._begin()
        _lockers.add(self)

    def _begin(self) -> None:
        self.process = secrets.token_hex(8)
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ends = Ends()
        self._holds: weakref.WeakValueDictionary[str, Hold] = weakref.WeakValueDictionary()
        self._left: deque[Left] = deque()
        self._waiting: dict[str, list[threading.Event]] = {}
        self._hears = threading.Event()
        self._renewal = 0.0

    def forked(self) -> None:
        """We are a child: a process of our own, which holds nothing."""
        self._server.forked()
        self._begin()

    def lease(
        self,
        id: str,
        *,
        brief: bool = False,
        patience: float | None = None,
        check: Callable[[], object] | None = None,
    ) -> NetworkLease:
        lease = NetworkLease(self, self._prefix + id, KEPT if brief else LEASE)
        patience, over = self._patience if patience is None else patience, "" if check else None
        while (answer := self._take(lease, patience, over)).state == "owned":
            assert check
            check()
            over = answer.other
        return lease

    def share(self, id: str) -> Hold:
        share = Hold(self, self._prefix + id, SHARE)
        self._take(share, self._patience)
        return share

    def claim(self, id: str, *, patience: float = 0.0) -> Hold:
        claim = Hold(self, self._prefix + id, CLAIM)
        self._take(claim, patience)
        return claim

    def writing(self, id: str) -> bool:
        self.say_left()
        return bool(self._server.owner(self._prefix + id))

    def lives(self, id: str) -> bool:
        self.say_left()
        owner = self._server.owner(self._prefix + id)
        return owner == self.process or bool(owner) and self._server.alive(owner)

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        with suppress(StoreAway):
            self._server.sweep(before, exists)

    def _take(self, hold: Hold, patience: float, over: str | None = None) -> Verdict:
        deadline = time.monotonic() + max(patience, _MOMENT)
        self._holds[hold.key] = hold  # at once, since it may be lost before we read that we have it
        self._serve()
        answer = self._ask(hold, over)
        if answer.state != "busy":
            return answer
        with self._told(hold.id) as free:
            self._hears.wait(max(0.0, deadline - time.monotonic()))
            # Once more, since a release before we could hear of it woke nobody.
            while (answer := self._ask(hold, over)).state == "busy":
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Locked("the upload is busy")
                free.wait(min(left, answer.wait, _UNHEARD))
                free.clear()
        return answer

    def _ask(self, hold: Hold, over: str | None) -> Verdict:
        self.say_left()
        sent = time.monotonic()
        try:
            answer = self._server.take(hold, self._ttl, over)
        except BaseException:
            hold.until = sent + self._ttl
            self.leave(hold)  # we may have it
            raise
        if answer.state == "taken":
            hold.token, hold.before = answer.token, answer.before
            hold.epoch, hold.until = answer.epoch, sent + self._ttl
            self._ended(hold, answer)
        return answer

    def keep(self, lease: Hold) -> None:
        """No request takes over from here on."""
        sent = time.monotonic()
        answer = self._server.keep(lease, self._ttl)
        if answer.state == "lost":
            self._lose(lease, quiet=True)
        else:
            lease.kind, lease.epoch, lease.until = KEPT, answer.epoch, sent + self._ttl
            self._ended(lease, answer)
        lease.__enter__()

    def _ended(self, by: Hold, answer: Verdict) -> None:
        """What others of this process lost is known at once; the server tells other processes."""
        if answer.other and (hold := self._holds.get(answer.other)):
            self._lose(hold, quiet=by.kind == CLAIM)
        if answer.shares:
            self._end_shares(by.id, answer.epoch)

    def _end_shares(self, id: str, epoch: int) -> None:
        for ref in self._holds.valuerefs():
            hold = ref()
            if hold and hold.kind == SHARE and hold.id == id:
                hold.ended = max(hold.ended, epoch)  # also of one that waits for its answer

    def _lose(self, hold: Hold, *, quiet: bool = False) -> None:
        if not hold.lost:
            hold.lost = True
            if not quiet:
                self._ends.end(hold.id, hold.token + 1)

    def listen(self, lease: Hold, end: Callable[[], None]) -> None:
        """Call `end` once it is lost."""
        if lease.left:
            return
        self._ends.listen(id(lease), lease.id, lease.token, end)
        if lease.over():
            self._ends.end(lease.id, lease.token + 1)

    def leave(self, hold: Hold, forget: bool = False) -> None:
        """It is over here; the server hears of it later."""
        if hold.left:
            return
        hold.left = True
        if hold.process == self.process:
            self._holds.pop(hold.key, None)
            self._ends.forget(id(hold))
            if not hold.lost and hold.until and hold.kind != SHARE:
                self._left.append(Left(hold.id, hold.key, forget, hold.until))

    def say_left(self) -> None:
        """Tell the server what was released; if it does not answer, later."""
        if self._left:
            with suppress(StoreAway):
                say_left(self._server, self._left, self._ttl)

    def _serve(self) -> None:
        """The thread that renews and listens, for this process."""
        if self._thread is None:
            with self._guard:
                if self._thread is None:
                    given = (weakref.ref(self), self._server, self._left, self._ttl)
                    self._thread = threading.Thread(target=_serve, args=given, name="tus-leases", daemon=True)
                    self._thread.start()

    @contextmanager
    def _told(self, id: str) -> Iterator[threading.Event]:
        """Set when another request lets go of this upload."""
        free = threading.Event()
        with self._guard:
            self._waiting.setdefault(id, []).append(free)
        try:
            yield free
        finally:
            with self._guard:
                self._waiting[id].remove(free)
                if not self._waiting[id]:
                    del self._waiting[id]

    def hears(self, yes: bool) -> None:
        """Whether the server can tell us something. Where it could not, we ask what we missed."""
        if not yes:
            self._hears.clear()
        elif not self._hears.is_set():
            self._renewal = 0.0
            self._hears.set()

    def heard(self, message: str) -> None:
        """`lost KEY`, also `ended KEY` if a claim took it; `over ID EPOCH`; `free ID`."""
        what, _, rest = message.partition(" ")
        if what in ("lost", "ended") and (hold := self._holds.get(rest)):
            self._lose(hold, quiet=what == "ended")
        elif what == "over":
            id, _, epoch = rest.rpartition(" ")
            self._end_shares(id, int(epoch))
        elif what == "free":
            with self._guard:
                for free in self._waiting.get(rest, ()):
                    free.set()

    def step(self) -> float:
        """Renew what we hold, and notice what has timed out; and how many seconds there are until the next time."""
        self.say_left()
        now = time.monotonic()
        if now >= self._renewal:
            with suppress(StoreAway):
                self._renew(now)
        held = self._held()
        for hold in held:
            if time.monotonic() >= hold.end:
                self._lose(hold)
        next = min([self._renewal, *(hold.end for hold in held if not hold.lost)])
        return min(max(next - time.monotonic(), 0.01), _STEP)

    def _renew(self, now: float) -> None:
        held = [hold for hold in self._held() if hold.kind == CLAIM or not hold.over()]
        for hold, ours in zip(held, self._server.renew(held, self._ttl) if held else (), strict=True):
            if ours:
                hold.until = now + self._ttl
            elif not hold.left:
                self._lose(hold)
        self._renewal = now + self._ttl / 3

    def _held(self) -> list[Hold]:
        holds = [ref() for ref in self._holds.valuerefs()]
        return [hold for hold in holds if hold and hold.until and not hold.lost]


def say_left(server: LeaseServer, left: deque[Left], ttl: float) -> None:
    """Tell the server what was released, unless it has timed out meanwhile."""
    saying: list[Left] = []
    with suppress(IndexError):
        while True:
            saying.append(left.popleft())
    try:
        if current := [one for one in saying if time.monotonic() < one.until]:
            server.leave(current, ttl)
    except StoreAway:
        left.extendleft(reversed(saying))
        raise


def _serve(ref: weakref.ref[NetworkLocker], server: LeaseServer, left: deque[Left], ttl: float) -> None:
    """Until nobody has the locker any more."""
    ear: Notices | None = None
    while locker := ref():
        try:
            ear = ear or server.listen(locker.process)
            locker.hears(True)
        except StoreAway:
            locker.hears(False)
        seconds = locker.step()
        del locker
        for message in _heard(ear, seconds) if ear else _pause():
            if not message:
                ear = None
            elif locker := ref():
                locker.heard(message)
                del locker
    with suppress(StoreAway):
        say_left(server, left, ttl)
    if ear:
        ear.close()
    server.close()


def _heard(ear: Notices, seconds: float) -> list[str]:
    """What came meanwhile; "" says that the connection is dead."""
    try:
        return ear.hear(seconds)
    except StoreAway:
        ear.close()
        return [""]


def _pause() -> tuple[str, ...]:
    time.sleep(_AGAIN)
    return ()


def _fork() -> None:
    for locker in list(_lockers):
        locker.forked()


_lockers: weakref.WeakSet[NetworkLocker] = weakref.WeakSet()
os.register_at_fork(after_in_child=_fork)
