"""The listening sockets of one process: they accept connections, and hand each request to the right threads."""

from __future__ import annotations

import errno
import logging
import select
import socket
import time
from typing import Any

from ..adapters.collecting import CROWD
from ..http.senders import CONNECTED
from ._waitress import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer, wasyncore
from .channel import Channel
from .limits import Limits
from .loop import Loop
from .parking import Parking
from .receiving import arrived
from .settings import Front, Settings, binding
from .task import common
from .threads import UploadThreads

logger = logging.getLogger("tus.server")
IDLE = 0.1  # seconds without a request after which a connection is closed while we stop
ACCEPTED = 64  # connections that are accepted before others have their turn
REST = 0.5  # seconds without accepting, where the system has no room for another connection
SILENCE = 5.0  # seconds between two lines that say the same
FULL = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
GLANCE = 0.25  # seconds between two looks at the requests that arrive


class Listening(BaseWSGIServer):
    """What our listeners add to waitress's: they hand requests to the right threads."""

    adj: Settings
    channel_class = Channel
    interest = 0
    loop: Loop | None = None
    closing = False  # no more requests on any connection after this one

    def __init__(
        self,
        *args: Any,
        loop: Loop | None,
        uploads: UploadThreads,
        parking: Parking | None,
        limits: Limits,
        **kw: Any,
    ) -> None:
        self.limits = limits
        self.loop = loop
        self.uploads = uploads
        self.parking = parking
        self.arriving: set[Channel] = set()  # connections with a request that has begun and is not whole
        self.lingering: set[Channel] = set()  # connections that are over, while what comes is discarded
        self._next_glance = self._rests_until = self._said = 0.0
        # waitress makes them last, and close() needs them if it cannot bind.
        self.active_channels: dict[int, Channel] = {}
        super().__init__(*args, **kw)
        self.common = common(self)
        adj = self.adj
        # Without a proxy to trust, waitress's middleware only removes what proxies say; the task does that in passing.
        self.forgets = adj.clear_untrusted_proxy_headers and not (adj.trusted_proxy or adj.log_untrusted_proxy_headers)
        if self.forgets:
            self.application = args[0]

    def add_task(self, channel: Channel) -> None:
        request = channel.requests[0]
        if request.stream is not None and (full := self.limits.enter(channel)):
            request.refuse(full)
            channel.lingers = True
        if request.stream is not None:
            lent = self.uploads.add_task(channel) if self.parking is None else self.parking.begin(channel)
            if lent is not None:
                self.task_dispatcher.add_task(lent)
        elif self.loop is not None and self.loop.leading:
            self.loop.ready.append(channel)
        else:
            self.task_dispatcher.add_task(channel)

    @property
    def crowded(self) -> bool:
        """So many uploads at once that their threads get into each other's way."""
        return len(self.uploads.channels) > CROWD

    def pull_trigger(self) -> None:
        # Our loop needs no waking: every change of a connection changes its epoll.
        if self.loop is None:
            super().pull_trigger()

    def handle_accept(self) -> None:
        """All who wait, where several things happen at once: a HEAD may be behind a thousand uploads."""
        super().handle_accept()
        if self.loop is None or not self.loop.several:
            return
        for _ in range(ACCEPTED):
            before = len(self.active_channels)
            if self.readable():
                super().handle_accept()
            if len(self.active_channels) == before:
                return

    def accept(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted = super().accept()
            if accepted is not None and self.adj.tls:
                accepted = self._deciphered(self.adj.tls, accepted[0]), accepted[1]
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._rest(error.strerror or "")
            return None
        # The system gives the lowest number that is free, so it tells how many files are open.
        if accepted is not None and accepted[0].fileno() > self.adj.open_files * CONNECTED:
            self._rest("nearly as many files are open as this process may open")
        return accepted

    def _deciphered(self, tls: Front, connection: socket.socket) -> socket.socket:
        """What speaks plain text in its place."""
        self.set_socket_options(connection)
        try:
            return tls(connection)
        except OSError:
            connection.close()
            raise

    def _rest(self, why: str) -> None:
        """Without this the loop would do nothing but fail: the connection that waits stays there."""
        now = time.monotonic()
        self._rests_until = now + REST
        if now >= self._said + SILENCE:
            self._said = now
            logger.error("No more connections for a moment: %s", why)

    def readable(self) -> bool:
        accepts = super().readable()
        if self.loop is None:
            self.glance()
        return accepts and not self.rests

    @property
    def rests(self) -> bool:
        """For a moment no connection is accepted."""
        return time.monotonic() < self._rests_until

    def relieved(self) -> None:
        """A connection is closed: there is room for another."""
        if self._rests_until or self.in_connection_overflow:
            self._rests_until = 0.0
            if self.loop is not None:
                self.loop.update(self)

    # -- from time to time

    def glance(self) -> None:
        """Give up requests that take too long to arrive; in the loop's thread."""
        now = time.monotonic()
        if now < self._next_glance:
            return
        self._next_glance = now + GLANCE
        for channel in list(self.arriving):
            request = channel.request
            if request is None or request.held or not channel.connected:
                self.arriving.discard(channel)
            elif channel.is_late(request, now):
                self.arriving.discard(channel)
                channel.give_up()
        for channel in list(self.lingering):
            if now >= channel.until:
                channel.handle_close()

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        cutoff = now - self.adj.channel_timeout
        for channel in list(self.active_channels.values()):
            if channel.total_outbufs_len and channel.last_activity < cutoff:
                channel.handle_close()  # a client that does not read its answer would hold a thread for ever
            elif channel.will_close and self.loop is not None:
                self.loop.update(channel)

    def retire(self) -> None:
        """Take what waits to be accepted, and accept no more; in the loop's thread."""
        if not self.accepting:
            return
        while self._pending() and not self.rests:
            self.handle_accept()
        self.accepting = False
        self.closing = True
        if self.loop is not None:
            self.loop.forget(self)
        self.del_channel()
        self.socket.close()

    def _pending(self) -> bool:
        waiting = select.poll()
        waiting.register(self._fileno, select.POLLIN)
        return bool(waiting.poll(0))

    def close_idle(self) -> None:
        """Close the connections that are between two requests; in the loop's thread."""
        idle_since = time.time() - IDLE
        for channel in list(self.active_channels.values()):
            if channel.requests or channel.total_outbufs_len:
                continue
            if channel.request is not None and channel.request.held:
                channel.release(channel.request)  # what came of it is saved
            elif channel.last_activity < idle_since and not arrived(channel.socket):
                channel.handle_close()

    def close(self) -> None:
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        self.trigger.close()
        if self._fileno is not None:
            wasyncore.dispatcher.close(self)


class TcpListener(Listening, TcpWSGIServer):
    """Accepts connections over TCP."""

    def bind_server_socket(self) -> None:
        with binding(self.sockinfo[3]):
            super().bind_server_socket()

    def set_socket_options(self, conn: socket.socket) -> None:
        if conn.family != socket.AF_UNIX:  # which stands in for a connection with TLS
            super().set_socket_options(conn)


if UnixWSGIServer is not None:

    class UnixListener(Listening, UnixWSGIServer):
        """Accepts connections on a unix socket."""


def address_of(scheme: str, host: str, port: int | str) -> str:
    """How a client reaches a listener."""
    if host == "unix":
        return f"unix:{port}"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
