"""The loop: waits for connections with epoll, and calls the application itself when that is quick.

A short request served in the loop's own thread costs no hand-over between threads, and no two threads compete for the
interpreter. The loop never waits for a slow application: the watch, in the main thread, sees that a request takes
longer than a tick and lets another thread lead. Requests of that kind are given to other threads for a while.
"""

from __future__ import annotations

import queue
import select
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from ._waitress import logger, wasyncore
from .threads import Crew, work

if TYPE_CHECKING:
    from .channel import Channel
    from .listener import Listening
    from .request import ParsedRequest

    Watched: TypeAlias = "Channel | Listening"

TICK = 0.005  # seconds: a request that runs longer loses the loop
RESTING = 20  # ticks without a request after which the watch rests
BUSY = 10  # ticks that a request may compute: blocking holds up others, computing does so in any thread
SLOW = 0.1  # seconds in which requests of a kind that was slow go to other threads; doubled each time
SLOWEST = 5.0  # seconds
KINDS = 256  # kinds of requests that are remembered: clients choose the paths
HOLD = 0.1  # seconds that the loop waits for the rest of a small body
LATER = 0.002  # seconds that an answer may wait for others: a client that sleeps is woken once for all of them

supported = hasattr(select, "epoll")
if supported:
    IN, OUT, GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR


class Loop:
    """One epoll for all listeners and connections of a server; one thread at a time leads it."""

    def __init__(self, map: dict[int, Any], crew: Crew, timeout: float) -> None:
        self.changing = threading.RLock()  # what is watched for
        self.ready: deque[Channel] = deque()  # connections whose request the leader has to start
        self._map = map
        self._crew = crew
        self._timeout = timeout
        self._epoll = select.epoll()
        self._leader = 0  # the thread that leads
        self._turn = 0  # how often the lead has changed
        self._serving: Channel | None = None  # the connection whose request the leader runs itself
        self._served = 0  # how many it has run
        self._passing = threading.Lock()  # the lead
        self._native = 0  # the same thread, as the system calls it
        self.awake = False  # the leader has something to do
        self._slow: dict[tuple[str, str], tuple[float, float]] = {}  # kind: until when, and for how long
        self._held: OrderedDict[Channel, tuple[float, ParsedRequest]] = OrderedDict()
        self.several = False  # requests came at once
        self._unsent: deque[Channel] = deque()  # connections whose answer waits for those of the others
        self._send_by = 0.0  # when the first of them has waited long enough
        self._next_look = 0.0
        self._resting = False
        self.hurry = False  # somebody waits for the watch: it does not rest
        self._stopped = False
        self._left = threading.Event()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # rung by signal handlers: reentrant

    # -- what is watched for

    def update(self, channel: Watched) -> None:
        """Watch a connection or a listener for what it needs now; from any thread."""
        with self.changing:
            fd = channel._fileno
            if fd is None or self._stopped:
                return
            events = (IN if channel.readable() else 0) | (OUT if channel.writable() else 0)
            if events == channel.interest:
                return
            if not events:
                self._epoll.unregister(fd)  # with no events at all epoll would still tell of hang-ups, again and again
            elif channel.interest:
                self._epoll.modify(fd, events)
            else:
                self._epoll.register(fd, events)
            channel.interest = events

    def watch_always(self, fd: int) -> None:
        self._epoll.register(fd, IN)

    def forget(self, channel: Watched) -> None:
        """Before its file is closed: a copy of the socket would keep it in the epoll."""
        with self.changing:
            self._held.pop(channel, None)  # type: ignore[arg-type]  # a listener is never among them
            if channel.interest:
                channel.interest = 0
                if not self._stopped:
                    self._epoll.unregister(channel._fileno)

    def hold(self, channel: Channel) -> None:
        """Wait a moment for the rest of a small body, then call the application without it."""
        with self.changing:
            request = channel.request
            held = self._held.get(channel)
            if request is not None and (held is None or held[1] is not request):
                self._held.pop(channel, None)
                self._held[channel] = time.monotonic() + HOLD, request

    def _release_held(self, now: float) -> None:
        while self._held:
            with self.changing:
                channel, (deadline, request) = next(iter(self._held.items()))
                if deadline > now:
                    return
                del self._held[channel]
            if channel.request is request and request.held:
                channel.release(request)
                self.update(channel)

    # -- leading

    @property
    def leading(self) -> bool:
        return threading.get_ident() == self._leader

    def lead(self) -> None:
        """Wait for events and act on them, until another thread leads."""
        with self._passing:
            turn = self._turn
            self._leader = threading.get_ident()
            self._native = threading.get_native_id()
        self._send()  # what a leader left who lost the lead
        while not self._stopped:
            try:
                if not self._round(turn):
                    return
            except Exception:
                if not self._stopped:
                    logger.exception("Exception in the loop")
                    time.sleep(TICK)
        self._send()
        self._left.set()

    def _round(self, turn: int) -> bool:
        """Wait once and act on what happened; false when the lead was lost meanwhile."""
        self.awake = False
        events = self._epoll.poll(self._patience())
        self.awake = True
        self.several = len(events) > 1
        for fd, flags in events:
            handler = self._map.get(fd)
            if handler is not None:
                self._handle(handler, flags)
                if self.ready and not self._serve(turn):
                    return False
                if self._unsent and time.monotonic() >= self._send_by:
                    self._send()
        self._send()
        now = time.monotonic()
        if self._held:
            self._release_held(now)
        if now >= self._next_look:
            self._look(now)
        return not self.ready or self._serve(turn)

    def _patience(self) -> float:
        if self._unsent:  # an error came between
            return 0
        if not self._held:
            return self._timeout
        with self.changing:
            deadline = next(iter(self._held.values()))[0] if self._held else 0
        return min(self._timeout, max(deadline - time.monotonic(), 0))

    def _handle(self, handler: Any, flags: int) -> None:
        if not hasattr(handler, "interest"):
            wasyncore.readwrite(handler, flags)  # a trigger
            return
        try:
            if flags & IN:
                handler.handle_read_event()
            elif flags & GONE:
                handler.handle_close()
            if flags & OUT and handler._fileno is not None:
                handler.handle_write_event()
        except Exception:
            handler.handle_error()
        if not self.ready:
            self.update(handler)

    def _look(self, now: float) -> None:
        """Once a second or so: requests that take too long, idle connections, the connection limit."""
        self._next_look = now + self._timeout
        for handler in list(self._map.values()):
            if getattr(handler, "accepting", False):
                handler.glance()  # not in update(), which holds a lock that those who close a connection want
                self.update(handler)

    # -- sending together

    def postpone(self, channel: Channel) -> bool:
        """Whether the connection's answer will be sent in a moment, with those to the others who asked at once."""
        if not self.several:
            return False
        with self._passing:
            if not self.leading:
                return False
            if not self._unsent:
                self._send_by = time.monotonic() + LATER
            self._unsent.append(channel)
            return True

    def _send(self) -> None:
        """From any thread."""
        while self._unsent:
            try:
                self._unsent.popleft().send_postponed()
            except IndexError:
                return  # another thread took the last one
            except Exception:
                logger.exception("An answer could not be sent")

    # -- calling the application

    def _serve(self, turn: int) -> bool:
        """Start the requests that are ready; false when the lead was lost meanwhile."""
        while (channel := self._next_ready()) is not None:
            kind = self._kind(channel)
            if (
                kind is None
                or (kind in self._slow and self._slow[kind][0] > time.monotonic())
                or not self._crew.begin()
            ):
                self.update(channel)
                self._crew.add_task(channel)
            elif not self._serve_here(channel, turn):
                self._was_slow(kind)
                return False
            elif self._slow:
                self._slow.pop(kind, None)
        return True

    def _serve_here(self, channel: Channel, turn: int) -> bool:
        self._served += 1
        self._serving = channel
        if self._resting:
            self._bell.put(None)
        work(channel)
        with self._passing:
            self._serving = None
            still = self._turn == turn
        self._crew.end()
        if not still:
            while (other := self._next_ready()) is not None:  # queued while we lost the lead
                self._crew.add_task(other)
        return still

    def _next_ready(self) -> Channel | None:
        try:
            return self.ready.popleft() if self.ready else None
        except IndexError:  # another thread took it
            return None

    def _kind(self, channel: Channel) -> tuple[str, str] | None:
        """Requests of one method in one part of the site are about as slow as each other."""
        try:
            request = channel.requests[0]
            return request.command, request.path[1:].partition("/")[0]
        except (IndexError, AttributeError):  # cancelled, or too malformed to have a path
            return None

    def _was_slow(self, kind: tuple[str, str]) -> None:
        if len(self._slow) >= KINDS:
            self._slow.clear()
        _, before = self._slow.get(kind, (0, SLOW / 2))
        seconds = min(2 * before, SLOWEST)
        self._slow[kind] = time.monotonic() + seconds, seconds

    # -- the watch, in the thread that called run()

    def start(self) -> None:
        self._crew.call(self.lead)

    def watch(self, over: Callable[[], bool]) -> None:
        """See that the leader never waits for the application, until ``over`` says so after a ring of the bell."""
        seen, same = -1, 0
        while not over():
            same = same + 1 if self._served == seen else 0
            seen = self._served
            if same and self._serving is not None:
                self._send()
                if same > BUSY or blocked(self._native):
                    self._overtake(seen)
            self._pause(same, seen)

    def _pause(self, quiet: int, seen: int) -> None:
        if quiet < RESTING or self.hurry:
            time.sleep(TICK)
            return
        self._resting = True
        # Looked at after the flag is up: a leader who did not see it has already been seen.
        if self._serving is None and self._served == seen:
            with suppress(queue.Empty):
                self._bell.get(timeout=1)
        self._resting = False

    def _overtake(self, seen: int) -> None:
        with self._passing:
            channel = self._serving
            if channel is None or self._served != seen:
                return
            self._serving = None
            self._turn += 1
            self._leader = 0
        self.update(channel)  # it has a request: not to be read
        self._crew.call(self.lead)

    def ring(self) -> None:
        """Wake the watch; safe in a signal handler."""
        self._bell.put(None)

    def leave(self, wake: Callable[[], None]) -> None:
        """Stop leading; a leader who is stuck in the application is not waited for."""
        self._stopped = True
        self._send()
        wake()
        if self._leader and self._serving is None and not self.leading:
            self._left.wait(1)

    def close(self) -> None:
        with self.changing:
            self._stopped = True
            self._epoll.close()


def blocked(thread: int) -> bool:
    """A thread waits for something else than a processor: one that only lost its turn is as quick as any other."""
    try:
        with open(f"/proc/self/task/{thread}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"S", b"D")
    except OSError:
        return True
