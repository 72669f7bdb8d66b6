"""Where uploads wait whose clients send nothing: one thread looks after all of them, with an epoll of its own.

Only an application that can stop in the middle of a body is parked: it returns an iterable that gives ``b""`` when
nothing has come, and whose ``feed(buffer)`` takes what came since, without waiting. What waits for anything but a disk
(hooks, locks, the host) runs in other threads, so that no upload waits for another one's host.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..adapters.collecting import CROWD, Collecting
from ._waitress import logger
from .crowd import Crowd, Wakeful
from .receiving import GATHER, VISIT
from .threads import FewThreads, UploadThreads, end_streams, start

if TYPE_CHECKING:
    from .channel import Channel
    from .task import Task
    from .threads import Lent

LARGE = 1 << 18  # bytes; a body that has as many left is worth a thread, if they come fast
FAST = 1 << 17  # bytes that came at once
FILLING = 32  # bodies in threads; more of these would only keep each other from the interpreter
PATIENCE = 20  # milliseconds without a byte after which a thread leaves a large body
SLICE = 64  # bodies that are looked at without being called before those that call have their turn
RATE = 4000  # bodies a second that are looked at without being called
SOONEST, LATEST = 0.05, 2.5  # seconds after which each of them is
STUCK = 0.05  # seconds

supported = hasattr(select, "epoll")


class Parked:
    """A connection whose request waits for more of its body."""

    __slots__ = ("channel", "fd", "receiver", "stream", "task", "visited")

    def __init__(self, channel: Channel, task: Task) -> None:
        stream = task.request.stream
        assert stream and stream.receiver
        self.channel, self.task, self.stream, self.receiver = channel, task, stream, stream.receiver
        self.fd = stream.receiver.park()
        self.visited = 0.0


class Parking:
    """All that wait, and the threads in which they begin and end."""

    def __init__(self, uploads: UploadThreads, loop: Wakeful, open_files: int) -> None:
        self._uploads = uploads
        self._crowd = Crowd(loop, open_files)
        self._collecting = Collecting()
        self._few = FewThreads(uploads.limit, self._crowd.give_way)
        self._parked: dict[int, Parked] = {}
        self._new: deque[Parked] = deque()
        self._due: deque[tuple[float, Parked]] = deque()  # each was visited at that time or later
        self._buffer = memoryview(b"")
        self._lock = threading.Lock()
        self._running = self._ended = self._closed = False
        self._bell = -1
        self._relieved = 0.0

    # -- from other threads

    def begin(self, channel: Channel) -> Lent | None:
        """Start a request with a body; what is returned, if anything, must be served by another thread."""
        stream = channel.requests[0].stream
        assert stream
        if self._worth_a_thread(stream.left):
            stream.patience = PATIENCE
            return self._uploads.add_task(channel)
        stream.patience = 0
        return self._serve_soon(channel)

    def add(self, channel: Channel, task: Task) -> None:
        """Wait for this one from now on."""
        if self._lacks_files:
            task.rest()
        self._new.append(Parked(channel, task))
        self._wake()

    @property
    def busy(self) -> bool:
        return bool(self._parked or self._new or self._few.busy)

    def end_all(self) -> None:
        """End every body, and those that come later, after what has arrived."""
        self._few.end_all()
        if self._ended:
            return  # who is admitted later is ended then
        self._ended = True
        for parked in list(self._parked.values()):
            end_streams(parked.channel)

    def shutdown(self) -> None:
        """Let the threads go when what they have is over."""
        self.end_all()
        self._few.shutdown()
        with self._lock:
            self._closed = True
            if self._running:
                os.write(self._bell, b"x")

    @property
    def _lacks_files(self) -> bool:
        return self._crowd.lacks_files(len(self._parked) + len(self._new))

    def _worth_a_thread(self, left: int | None) -> bool:
        return (left is None or left >= LARGE) and len(self._uploads.channels) < FILLING

    def _serve_soon(self, channel: Channel) -> Lent | None:
        lent = self._few.add_task(channel)
        if self._few.waiting:
            self._wake()
        return lent

    def _wake(self) -> None:
        with self._lock:
            if not self._running:
                self._start()
            with suppress(BlockingIOError):  # rung often enough
                os.write(self._bell, b"x")

    def _start(self) -> None:
        epoll = select.epoll()
        heard, self._bell = os.pipe()
        for end in (heard, self._bell):
            os.set_blocking(end, False)
        epoll.register(heard, select.EPOLLIN)
        self._running = True
        start(self._run, epoll, heard, name="tus-parking")

    # -- the thread

    def _run(self, epoll: Any, heard: int) -> None:
        self._buffer = memoryview(bytearray(VISIT))
        while not self._over():
            try:
                self._round(epoll, heard)
            except Exception:
                logger.exception("Exception while uploads wait")
                time.sleep(STUCK)
        os.close(heard)
        epoll.close()

    def _over(self) -> bool:
        with self._lock:
            over = self._closed and not self.busy
            if over:
                self._running = False
                os.close(self._bell)
            return over

    def _round(self, epoll: Any, heard: int) -> None:
        """Wait once, and visit those that call, those that are new, and some that were not visited for long."""
        period = min(max(len(self._parked) / RATE, SOONEST), LATEST)
        for fd, _ in epoll.poll(self._patience(period)):
            parked = self._parked.get(fd)
            if parked is not None:
                self._visit(epoll, parked)
            elif fd == heard:
                with suppress(BlockingIOError):
                    os.read(heard, 4096)
        for _ in range(min(len(self._new), SLICE)):
            self._admit(epoll, self._new.popleft())
        self._sweep(epoll, period)
        if self._few.waiting:
            self._relieve()

    def _relieve(self) -> None:
        now, before = time.monotonic(), self._relieved
        if now < before + STUCK:
            return
        self._relieved = now
        if now > before + 2 * STUCK:
            return  # it comes late, so the machine is busy: that threads take long says nothing of them
        for channel, lent in self._few.relieve():
            channel.server.task_dispatcher.add_task(lent)

    def _patience(self, period: float) -> float:
        if self._new:
            return 0
        soon = STUCK if self._few.waiting or self._closed else -1
        if not self._due:
            return soon
        wait = max(self._due[0][0] + period - time.monotonic(), 0)
        return wait if soon < 0 else min(wait, soon)

    def _admit(self, epoll: Any, parked: Parked) -> None:
        self._parked[parked.fd] = parked
        self._collecting.began(len(self._parked))
        with suppress(OSError):  # the system watches no more: it is looked at from time to time
            epoll.register(parked.fd, select.EPOLLIN | select.EPOLLRDHUP)
        if self._ended:
            end_streams(parked.channel)
        if self._visit(epoll, parked):
            self._due.append((parked.visited, parked))

    def _sweep(self, epoll: Any, period: float) -> None:
        """What trickles calls nobody, and who sends nothing is given up in time."""
        now = time.monotonic()
        for _ in range(SLICE):
            if not self._due or self._due[0][0] + period > now:
                return
            _, parked = self._due.popleft()
            if self._parked.get(parked.fd) is not parked:
                continue
            if parked.visited + period > now or self._visit(epoll, parked):
                self._due.append((parked.visited, parked))

    def _visit(self, epoll: Any, parked: Parked) -> bool:
        """Take what has come; true if it goes on waiting."""
        stream, receiver = parked.stream, parked.receiver
        self._crowd.give_way()
        parked.visited = time.monotonic()
        receiver.visit(parked.visited)
        before = stream.received
        try:
            over = parked.task.feed(self._buffer)
        except BaseException:
            logger.exception("Exception while an upload waits")
            over = True
        if self._lacks_files:
            parked.task.rest()
        if over:
            self._leave(epoll, parked)
            lent = self._serve_soon(parked.channel)
        elif stream.received - before >= FAST and self._worth_a_thread(stream.left):
            self._leave(epoll, parked)
            receiver.unpark(PATIENCE)
            lent = self._uploads.add_task(parked.channel)
        else:
            # Called for each packet; or for much and for the end, where many others wait.
            receiver.gather(min(stream.left, GATHER) if stream.left and len(self._parked) > CROWD else 1)
            return True
        if lent is not None:
            parked.channel.server.task_dispatcher.add_task(lent)
        return False

    def _leave(self, epoll: Any, parked: Parked) -> None:
        del self._parked[parked.fd]
        self._collecting.ended(len(self._parked))
        with suppress(OSError):
            epoll.unregister(parked.fd)
