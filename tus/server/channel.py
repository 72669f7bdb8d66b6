"""One connection: gives streamed requests their socket, and tells the loop of every change.

The loop never reads a socket whose body a thread is reading.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._waitress import HTTPChannel, ReadOnlyFileBasedBuffer, logger
from .body import BodyStream
from .request import ParsedRequest
from .task import TURN, Pause, Task

if TYPE_CHECKING:
    from .listener import Listening
    from .loop import Loop
    from .settings import Settings

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DRAIN_TIMEOUT = 2.0  # seconds, under a plain waitress that has no such option
BODY_TIMEOUT = 60.0  # seconds, likewise
TOGETHER = 16384  # bytes of an answer that may wait for others


class Channel(HTTPChannel):
    """waitress's channel; works in our loop and, without its speed, in waitress's own."""

    parser_class = ParsedRequest
    adj: Settings
    server: Listening
    request: ParsedRequest | None
    requests: list[ParsedRequest]
    interest = 0  # the events for which our loop watches the socket
    _postponed = b""  # what the loop sends when it has served the others who asked at once
    lingers = False  # what still comes of a body is discarded before the connection is closed
    _discards = False  # it is
    until = 0.0  # this time
    _paused = False  # an answer goes on when the client has read what was sent

    @staticmethod
    def task_class(channel: Channel, request: ParsedRequest) -> Task:
        return request.task or Task(channel, request)

    def __init__(
        self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: dict[int, Any] | None = None
    ) -> None:
        self.loop: Loop | None = getattr(server, "loop", None)
        super().__init__(server, sock, addr, adj, map=map)
        self._sending = threading.RLock()  # the one below, which takes longer to enter
        self.outbuf_lock = threading.Condition(self._sending)
        self._changed()

    def _changed(self) -> None:
        """What the loop has to watch for may be different now."""
        if self.loop is not None:
            self.loop.update(self)

    # -- in the loop

    def readable(self) -> bool:
        # While the body streams, what arrives belongs to it; this only matters with channel_request_lookahead.
        if self.will_close or self.close_when_flushed or self.total_outbufs_len:
            return False
        requests = self.requests
        if not requests:
            return True
        ahead = len(requests) <= self.adj.channel_request_lookahead
        return ahead and not any(request.stream is not None for request in requests)

    def handle_read(self) -> None:
        if self._discards:
            self._discard()
            return
        held = self.request
        data = self._taken()
        if data is None:
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
        elif held is not None and held.held:
            self.release(held)  # a small body that is cut still reaches the application, with every byte that arrived
        else:
            self.handle_close()
        if self.request is not None:
            self._hold(self.request)

    handle_read_event = handle_read  # a connection never accepts

    def _hold(self, request: ParsedRequest) -> None:
        if not request.held:
            arriving: set[Channel] = getattr(self.server, "arriving", set())  # a plain waitress knows no limit
            arriving.add(self)
        elif self.loop is not None:
            self.loop.hold(self)
            if not self.loop.leading:
                self.server.trigger.pull_trigger()  # the leader may wait for longer than that

    def is_late(self, request: ParsedRequest, now: float) -> bool:
        """Whether the request that arrives takes too long: its head in all, or a body that we collect by its rate."""
        adj = self.adj
        if self.requests or request.due == 0:  # what we do not read cannot be late
            request.due, request.seen = now + adj.head_timeout, 0
        if request.headers_finished and not request.collecting:
            request.collecting, request.due = True, now + adj.body_timeout
        if now < request.due:
            return False
        came = request.body_bytes_received - request.seen
        if not request.collecting or came < max(adj.body_min_rate * adj.body_timeout, 1):
            return True
        request.due, request.seen = now + adj.body_timeout, request.body_bytes_received
        return False

    def give_up(self) -> None:
        """Answer 408 to a request that takes too long, and close."""
        with self.requests_lock:
            request = self.request
            if request is None or request.held or self.requests or self.will_close or self.close_when_flushed:
                return
            request.expire()
            self.request = None
            self.requests.append(request)
            self.server.add_task(self)
        self._changed()

    def release(self, request: ParsedRequest) -> None:
        """Call the application for a body that is not whole yet; the rest streams."""
        with self.requests_lock:
            if self.request is not request or self.will_close or self.close_when_flushed:
                return
            request.start_stream()
            self.request = None
            self.requests.append(request)
            if len(self.requests) == 1:
                self.server.add_task(self)

    def del_channel(self, map: dict[int, Any] | None = None) -> None:
        if self.loop is None:
            super().del_channel(map)
        else:
            with self.loop.changing:
                self.loop.forget(self)
                super().del_channel(map)
            self.server.relieved()

    # -- in the thread that serves the request

    def write_soon(self, data: bytes | ReadOnlyFileBasedBuffer) -> int:
        """Straight to the socket when nothing waits to be sent before it, or in a moment with the others' answers."""
        plain = data if isinstance(data, bytes) and len(data) >= self.adj.send_bytes else None
        together = self._postponed or self.loop is not None and self.loop.several
        if together and plain is not None and self.connected and len(plain) <= TOGETHER and self._postpone(plain):
            return len(plain)
        if self._postponed:
            self.send_postponed()
        sent = 0
        if plain is not None and not self.total_outbufs_len:
            with self._sending:
                sent = self._send_now(plain)
            if sent == len(plain):
                return sent
            data = plain[sent:]
        sent += super().write_soon(data) or 0
        if self.total_outbufs_len or self.will_close:
            self._changed()
        return sent

    def _postpone(self, data: bytes) -> bool:
        loop = self.loop
        if loop is None or self.total_outbufs_len:
            return False
        with self._sending:
            if not self._postponed and not loop.postpone(self):
                return False
            self._postponed += data
            if len(self._postponed) > TOGETHER:
                self.send_postponed()
            return True

    def send_postponed(self) -> None:
        """Send what was to be sent together with others' answers; from any thread."""
        with self.outbuf_lock:
            data, self._postponed = self._postponed, b""
            sent = self._send_now(data)
            if sent < len(data) and self.connected:
                super().write_soon(data[sent:])
                self._changed()

    def handle_write(self) -> None:
        if not self.outbuf_lock.acquire(blocking=False):
            return  # another thread is sending; if it leaves anything, we are called again
        try:
            self.send_postponed()
            if self._paused:  # waitress would wait for more to send
                self._flush_exception(self._flush_some)
            over = self.lingers and self.close_when_flushed
            if over:
                self.close_when_flushed = False
            super().handle_write()
            if over:
                self._linger()
            if self._paused and not self.total_outbufs_len:
                self._go_on()
        finally:
            self.outbuf_lock.release()

    def handle_close(self) -> None:
        if self._discards:
            getattr(self.server, "lingering", set()).discard(self)
        super().handle_close()
        with self.outbuf_lock:
            if self._paused:
                self._go_on()  # to close what it sends from

    def _linger(self) -> None:
        """An answer to a body that still comes: let it reach the client before the kernel meets the next segment with a
        reset. No thread waits for that."""
        if self.total_outbufs_len:
            self.close_when_flushed = True
            return
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()
            return
        self.lingers, self._discards = False, True
        timeout = getattr(self.adj, "drain_timeout", DRAIN_TIMEOUT)
        self.until = time.monotonic() + timeout
        lingering: set[Channel] = getattr(self.server, "lingering", set())  # a plain waitress waits for what comes
        lingering.add(self)

    def _taken(self) -> bytes | None:
        """What has come; nothing at the end of the connection, however it ended; None if nothing has come yet."""
        try:
            return self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _discard(self) -> None:
        data = self._taken()
        if data is None:
            return
        self.last_activity = time.time()
        if not data or time.monotonic() >= self.until:
            self.handle_close()

    def send_continue(self) -> None:
        self.send_postponed()
        super().send_continue()

    def _send_now(self, data: bytes) -> int:
        if self.total_outbufs_len or not self.connected or not data:
            return 0
        try:
            sent = self.socket.send(data)
        except OSError:
            return 0  # waitress's way meets the same error, and deals with it
        self.last_activity = time.time()
        return sent

    def _flush_some(self, do_close: bool = True) -> bool:
        """As waitress does it; but the kernel sends files, and no client gets more than TURN before others."""
        sent = 0
        while sent < TURN and (size := self._flush_first(do_close)):
            sent += size
            self.total_outbufs_len -= size
        if sent:
            self.last_activity = time.time()
        return sent > 0

    def _flush_first(self, do_close: bool) -> int:
        """Send from the first buffer that has anything."""
        while not self.outbufs[0].__len__():  # len() would fail beyond 2 GiB on small systems
            if len(self.outbufs) == 1:
                return 0
            self._drop_first()
        first = self.outbufs[0]
        size = self._send_file(first) if isinstance(first, ReadOnlyFileBasedBuffer) else None
        if size is None:
            size = self.send(first.get(TURN), do_close=do_close)
            if size:
                first.skip(size, True)
        if not first.__len__() and len(self.outbufs) > 1:
            self._drop_first()
        return size

    def _drop_first(self) -> None:
        try:
            self.outbufs.pop(0).close()
        except Exception:
            logger.exception("What was sent cannot be closed")

    def _send_file(self, file: ReadOnlyFileBasedBuffer) -> int | None:
        """How much the kernel sent of it; None if it cannot."""
        try:
            at = file.file.tell()
            size = os.sendfile(self.socket.fileno(), file.file.fileno(), at, min(file.remain, TURN))
        except BlockingIOError:
            return 0
        except (OSError, AttributeError):  # no file of the kernel's, or a connection that send() finds broken, too
            return None
        if not size:
            self.will_close = True  # somebody shortened it: the client sees that it is not whole
        file.file.seek(at + size)
        file.remain -= size
        return size

    def _flush_outbufs_below_high_watermark(self) -> None:
        self._changed()  # it waits for the loop, which must know that there is something to send
        super()._flush_outbufs_below_high_watermark()

    def service(self) -> None:
        request = self.requests[0] if self.requests else None
        try:
            if request is None or request.stream is None:
                super().service()
            else:
                self._service_stream(request, request.stream)
            if request is not None and request.task is not None:
                request.task.end_body()
                request.task = None  # each knows the other
        except Pause as pause:
            self._pause(pause.task)
        finally:
            if self.request is not None:
                self._hold(self.request)
            self._changed()

    def _pause(self, task: Task) -> None:
        """Keep no thread while the client does not read, or does not send."""
        if task.request.stream is not None and not task.complete:
            task.request.task = task
            assert self.server.parking  # else nothing says that it waits
            self.server.parking.add(self, task)
            return
        with self.outbuf_lock:
            task.request.task = task
            self._paused = True
            sent = not self.total_outbufs_len
            if not self.connected or sent and not task.waits(self._called):
                self._go_on()  # others' turn first

    def _called(self) -> None:
        """The application may have more to send. From any thread."""
        with self.outbuf_lock:
            if self._paused and not self.total_outbufs_len:
                self._go_on()

    def _go_on(self) -> None:
        self._paused = False
        crew = self.server.task_dispatcher
        getattr(crew, "go_on", crew.add_task)(self)  # a plain waitress has one queue for all

    def _service_stream(self, request: ParsedRequest, stream: BodyStream) -> None:
        if request.task is None:  # else it was parked
            with suppress(OSError, AttributeError):  # closed meanwhile: waitress cleans up
                self._attach(stream)
        paused = False
        try:
            super().service()
        except Pause:
            paused = True
            raise
        finally:
            if not paused:
                self._detach(stream)
                if request.place is not None:
                    self.server.limits.leave(request.place)

    def _attach(self, stream: BodyStream) -> None:
        adj = self.adj
        stream.attach(
            self.socket,
            getattr(adj, "body_timeout", BODY_TIMEOUT),
            getattr(adj, "body_min_rate", 0),
            lambda: self.write_soon(CONTINUE),
            crowded=getattr(self.server, "crowded", False),
        )

    def _detach(self, stream: BodyStream) -> None:
        receiver = stream.detach()
        if receiver is not None:
            receiver.close()
