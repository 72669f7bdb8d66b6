"""What conversations do differently where thousands have one at a time, so that nobody waits for them and
memory does not grow.

A client that trickles is looked at from time to time, and not for each of its packets; its files are closed meanwhile.
Few of these are looked at in one turn of the loop, and in between it serves all others.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import weakref
from collections.abc import Callable

from .collecting import Collecting

RATE = 2000  # conversations a second that bring little; each takes a step of its own
SOONEST = 0.005  # seconds; one that brings enough sooner does not pause
LATEST = 4.0  # seconds for which what came of such a one may wait with the server
MANY = 50  # conversations; fewer may each have its step as it comes
WORTH = 1 << 16  # bytes at once that are worth a step at any time; servers hold as many for us
HELD = 1 << 26  # bytes that all servers' buffers may hold for that long
FILES = 3  # the connection, the lease and the data
AT_ONCE = 4  # conversations that go on in one turn of the loop
PASSED = 4  # turns of which only the last one lets one go on, while new ones come
SOON = 0.002  # seconds, in which a thread has done something


class Conversations:
    """Those of this process that have begun, and what each brought the last time."""

    def __init__(self, files: Callable[[], int] | None = None) -> None:
        self._open_files = files or open_files
        self._collecting = Collecting()
        self._count = self._held = 0

    def enter(self) -> None:
        self._count += 1
        self._collecting.began(self._count)

    def leave(self, last: int) -> None:
        self._count -= 1
        self._held -= last
        self._collecting.ended(self._count)

    def brought(self, before: int, now: int) -> None:
        self._held += now - before

    def pause(self, brought: int, took: float) -> float:
        """Seconds until one that brought so much, which took so many seconds, is looked at again: there may be enough
        then to be worth it. One that is fast now and then brings little at once, too."""
        if brought >= WORTH or not self.many:
            return 0.0
        seconds = min(self._count / RATE, LATEST)
        if self._held > HELD:
            seconds *= HELD / self._held
        enough = took * WORTH / max(1, brought)
        return min(seconds, enough) if enough > SOONEST else 0.0

    @property
    def many(self) -> bool:
        return self._count >= MANY

    @property
    def lack_files(self) -> bool:
        """Whether so many need open files that others may want."""
        return self._count * FILES > self._open_files() // 2


def open_files() -> int:
    """How many this process may have."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows has no such limit
        return 1024
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit if limit >= 0 else 1 << 20


class Turns:
    """Who goes on when in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.steps = 0  # of those who had their turn, that threads have not done yet
        self._loop = weakref.proxy(loop)  # the loop would be kept by what it keys
        self._numbers = itertools.count()  # of two that are due together, the one that asked first goes first
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._new = 0  # turns for which somebody new came a moment ago
        self._passed = 0  # turns that were left to these
        self._next: asyncio.Handle | None = None
        self._due = 0.0  # when that is

    def turn(self, seconds: float) -> asyncio.Future[None]:
        """Done after so many seconds; later, if too many others are due then."""
        if not seconds:
            self._new = PASSED
        due = self._loop.time() + seconds
        turn: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._waiting, (due, next(self._numbers), turn))
        if self._next is None or due < self._due:
            self._look_at(due)
        return turn

    def _look_at(self, due: float) -> None:
        if self._next:
            self._next.cancel()
        self._due, self._next = due, self._loop.call_at(due, self._give)

    def _give(self) -> None:
        waiting, now, left = self._waiting, self._loop.time(), self._room()
        self._next = None
        while waiting and left > 0 and waiting[0][0] <= now:
            turn = heapq.heappop(waiting)[2]
            if not turn.done():  # nobody waits for it any more
                turn.set_result(None)
                left -= 1
        if waiting:
            self._look_at(max(waiting[0][0], now + SOON) if left <= 0 and self.steps else waiting[0][0])

    def _room(self) -> int:
        """How many may go on. While connections come, somebody else's is among them: uvloop accepts one in each turn,
        and the sooner the shorter it is."""
        if not self._new:
            return AT_ONCE - self.steps
        self._new -= 1
        self._passed = (self._passed + 1) % PASSED
        return 0 if self._passed else 1 - self.steps


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = weakref.WeakKeyDictionary()


def turns() -> Turns:
    """Those of this loop."""
    loop = asyncio.get_running_loop()
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = Turns(loop)
    return found
