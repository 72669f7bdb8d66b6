"""The threads that call the application: few for short requests, many but small ones for uploads.

Never more than ``threads`` short requests run at once, in whichever threads they run.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ._waitress import logger, queue_logger

if TYPE_CHECKING:
    from .channel import Channel

STACK = 1 << 20  # bytes of an upload's thread: enough for Python's recursion limit, and too little for huge pages
IDLE = 20.0  # seconds after which a thread without an upload ends
starting = threading.Lock()  # the stack size is the process's: one thread at a time changes it


class Job(Protocol):
    """What a thread does: a connection with a request, mostly."""

    def service(self) -> None:
        """Do it."""

    def cancel(self) -> None:
        """It will not be done: the server stops."""


def work(channel: Job) -> None:
    """One request, in this thread; nothing that goes wrong may end the thread."""
    try:
        channel.service()
    except BaseException:
        logger.exception("Exception when servicing %r", channel)


def start(target: Callable[..., None], *args: Any, name: str, stack: int | None = None) -> None:
    """Start a daemon thread, with a stack of its own size."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    if stack is None:
        thread.start()
        return
    with starting:
        before = threading.stack_size(stack)
        try:
            thread.start()
        finally:
            threading.stack_size(before)


class Crew:
    """The threads for short requests. One more may lead the loop, and lends itself to the next request."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0  # requests in the application, the loop's own included
        self._threads = 0
        self._idle = 0
        self._queue: deque[Job] = deque()
        self._answers: deque[Job] = deque()  # connections with room for more of a long answer
        self._answering = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._closing = False
        self._lock = threading.Lock()  # quicker to enter than the condition on it
        self._changed = threading.Condition(self._lock)

    def add_task(self, channel: Job) -> None:
        with self._changed:
            self._queue.append(channel)
            waiting = len(self._queue) - max(self.limit - self.running, 0)
            self._wake()
        if waiting > 0:
            queue_logger.warning("Task queue depth is %d", waiting)

    def go_on(self, channel: Job) -> None:
        """Send more of a long answer; after every request, and never in more than half of the threads."""
        with self._changed:
            self._answers.append(channel)
            self._wake()

    def call(self, function: Callable[[], None]) -> None:
        """Run a function in one of the threads, before any request."""
        with self._changed:
            self._calls.append(function)
            self._wake()

    def _wake(self) -> None:
        if self._idle:
            self._changed.notify()
        elif self._threads <= self.limit:
            self._threads += 1
            try:
                start(self._work, name=f"tus-{self._threads}")
            except RuntimeError:
                self._threads -= 1
                raise

    def begin(self) -> bool:
        """The caller may run one request itself."""
        with self._lock:
            if self._queue or self.running >= self.limit:
                return False
            self.running += 1
            return True

    def end(self) -> None:
        """The request that was begun is over."""
        with self._lock:
            self.running -= 1
            if self._queue or self._answers:
                self._wake()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # nothing may live on because this thread is idle

    def _serve(self, channel: Job) -> None:
        work(channel)
        del channel
        self.end()

    def _answer(self, channel: Job) -> None:
        work(channel)
        del channel
        with self._changed:
            self._answering -= 1
        self.end()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                if self._calls:
                    return self._calls.popleft()
                if self._queue and self.running < self.limit:
                    self.running += 1
                    return partial(self._serve, self._queue.popleft())
                if self._answers and self.running < self.limit and self._answering < max(self.limit // 2, 1):
                    self.running += 1
                    self._answering += 1
                    return partial(self._answer, self._answers.popleft())
                if self._closing:
                    self._threads -= 1
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1

    @property
    def busy(self) -> bool:
        return bool(self.running or self._queue or self._answers)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the threads that are idle, and the others when their requests are over."""
        with self._changed:
            self._closing = True
            while cancel_pending and self._queue:
                self._queue.popleft().cancel()
            self._changed.notify_all()
        return True


class UploadThreads:
    """A thread for each upload, started when needed, up to a limit; the last one idle is the first one used."""

    def __init__(self, limit: int, give_way: Callable[[], object] = bool) -> None:
        self.limit = limit
        self._give_way = give_way  # before each upload
        self.channels: Counter[Channel] = Counter()  # with an upload in a thread; for a moment in two
        self._threads = 0
        self._idle: list[Seat] = []
        self._queue: deque[Channel] = deque()
        self._ended = False
        self._closed = False
        self._lock = threading.Lock()

    def add_task(self, channel: Channel) -> Lent | None:
        """Take an upload on; what is returned, if anything, must be served by another thread."""
        if self._ended:
            end_streams(channel)
        with self._lock:
            if self._idle:
                self._idle.pop().take(channel)
                return None
            if self._threads >= self.limit:
                self._queue.append(channel)
                self._tell(len(self._queue))
                return None
            self._threads += 1
        try:
            start(self._work, channel, name="tus-upload", stack=STACK)
        except RuntimeError:  # the system allows no more threads: those that run take it on
            logger.exception("No thread for an upload")
            return self._without_thread(channel)
        return None

    def _tell(self, waiting: int) -> None:
        queue_logger.warning("Uploads waiting for a thread: %d", waiting)

    def _without_thread(self, channel: Channel) -> Lent | None:
        with self._lock:
            self._threads -= 1
            if self._threads:
                self._queue.append(channel)
                return None
            self.channels[channel] += 1  # end_all() must find it
        return Lent(self, channel)

    def taken_back(self, channel: Channel) -> None:
        """An upload that another thread served is over."""
        with self._lock:
            self._leave(channel)

    def _leave(self, channel: Channel) -> None:
        self.channels[channel] -= 1
        if self.channels[channel] <= 0:
            del self.channels[channel]

    def _work(self, channel: Channel | None) -> None:
        seat = Seat()
        while channel is not None:
            self._give_way()
            with self._lock:
                self.channels[channel] += 1
            work(channel)
            channel = self._next(seat, channel)

    def _next(self, seat: Seat, done: Channel) -> Channel | None:
        """The next upload for this thread; None when there was none for a while."""
        with self._lock:
            self._leave(done)
            del done
            if self._queue:
                return self._queue.popleft()
            if self._closed:
                self._threads -= 1
                return None
            self._idle.append(seat)
        channel = seat.wait(IDLE)
        if channel is None and not seat.dismissed:
            with self._lock:
                if seat in self._idle:
                    self._idle.remove(seat)
                    self._threads -= 1
                    return None
            channel = seat.wait(IDLE)  # an upload came at the last moment
        return channel

    @property
    def busy(self) -> bool:
        return bool(self.channels or self._queue)

    def shutdown(self) -> None:
        """Let the idle threads go, and the others when their uploads are over."""
        self.end_all()
        with self._lock:
            self._closed = True
            self._threads -= len(self._idle)
            for seat in self._idle:
                seat.dismiss()
            self._idle.clear()

    def end_all(self) -> None:
        """End every upload, and those that come later, after what has arrived."""
        self._ended = True
        with self._lock:
            channels = [*self.channels, *self._queue]
        for channel in channels:
            end_streams(channel)


class FewThreads(UploadThreads):
    """A few at a time, so that those who begin or end together leave the interpreter to others; more when these few are
    stuck in a hook or a disk."""

    FEW = 4

    def __init__(self, most: int, give_way: Callable[[], None]) -> None:
        super().__init__(min(self.FEW, most), give_way)
        self._most = most
        self._before: set[int] = set()
        self._over = 0  # uploads since the last look

    def _tell(self, waiting: int) -> None:
        pass  # that is as it should be

    @property
    def waiting(self) -> bool:
        return bool(self._queue)

    def _leave(self, channel: Channel) -> None:
        self._over += 1
        super()._leave(channel)

    def relieve(self) -> list[tuple[Channel, Lent]]:
        """From time to time: who is in a thread since the last time is stuck, and the others have as many threads as if
        that one were not there. What is returned must be served by others."""
        with self._lock:
            here = {id(channel) for channel in self.channels}
            stuck, self._before = len(here & self._before), here
            over, self._over = self._over, 0
            if over and 4 * over >= stuck:
                return []  # they get on, if slowly: more threads would only take the interpreter from each other
            self.limit = min(self.FEW + 2 * stuck, self._most)
            count = min(len(self._queue), self.limit - self._threads)
            channels = [self._queue.popleft() for _ in range(count)]
        return [(channel, lent) for channel in channels if (lent := self.add_task(channel))]


class Lent:
    """An upload in a thread for short requests, because it could not have one of its own."""

    def __init__(self, uploads: UploadThreads, channel: Channel) -> None:
        self._uploads = uploads
        self._channel = channel

    def service(self) -> None:
        try:
            self._channel.service()
        finally:
            self._uploads.taken_back(self._channel)

    def cancel(self) -> None:
        self._channel.cancel()
        self._uploads.taken_back(self._channel)


class Seat:
    """Where an idle thread waits for its next upload."""

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self.dismissed = False
        self._filled = threading.Lock()
        self._filled.acquire()

    def take(self, channel: Channel) -> None:
        self._channel = channel
        self._filled.release()

    def dismiss(self) -> None:
        self.dismissed = True
        self._filled.release()

    def wait(self, seconds: float) -> Channel | None:
        if not self._filled.acquire(timeout=seconds):
            return None
        channel, self._channel = self._channel, None
        return channel


def end_streams(channel: Channel) -> None:
    """Cut the bodies of a connection's requests."""
    for request in list(channel.requests):
        if request.stream is not None:
            request.stream.end()
