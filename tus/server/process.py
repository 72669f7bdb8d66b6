"""All listeners of one process with their loop and threads, from the first connection to the last.

It drops no request that it has begun, except when the time to stop is over.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from ._waitress import UnixWSGIServer, wasyncore
from .lifeline import Lifeline
from .limits import Limits
from .listener import Listening, TcpListener, UnixListener, address_of
from .loop import Loop, supported
from .parking import Parking
from .settings import Settings
from .threads import Crew, UploadThreads

CHECK = 0.01  # seconds between two looks whether all is over


class Server:
    """All listeners of one process with their loop and threads."""

    def __init__(self, app: Any, settings: Settings) -> None:
        self.settings = settings
        self.map: dict[int, Any] = {}
        self.crew = Crew(settings.threads)
        self.uploads = UploadThreads(settings.upload_threads)
        self.limits = Limits(settings)
        self.loop: Loop | None = None
        if supported and settings.asyncore_use_poll:
            self.loop = Loop(self.map, self.crew, settings.asyncore_loop_timeout)
            settings.hold = True
        # Only what it was given itself: a middleware in between need not pass on that there is nothing yet.
        self.parking: Parking | None = None
        if self.loop is not None and getattr(app, "parks", False):
            self.parking = Parking(self.uploads, self.loop, settings.open_files)
        self._receiving: list[UploadThreads | Parking] = [self.uploads, *([self.parking] if self.parking else [])]
        self._stop_at: float | None = None
        self._retired = False
        self._closed = False
        try:
            self.listeners = self._listen(app)
        except BaseException:
            self._close_files()
            raise
        self._watch_all()

    # -- listening

    def _listen(self, app: Any) -> list[Listening]:
        settings = self.settings
        if settings.unix_socket and UnixWSGIServer is not None:
            return [self._listener(app, socket.AF_UNIX, (socket.AF_UNIX, socket.SOCK_STREAM, None, None))]
        if settings.sockets:
            return [self._adopt(app, sock) for sock in settings.sockets]
        return [self._listener(app, info[0], info) for info in settings.listen]

    def _adopt(self, app: Any, sock: socket.socket) -> Listening:
        info = (sock.family, sock.type, sock.proto, sock.getsockname())
        return self._listener(app, sock.family, info, sock=sock)

    def _listener(self, app: Any, family: int, info: Any, *, sock: socket.socket | None = None) -> Listening:
        kind = TcpListener if family in (socket.AF_INET, socket.AF_INET6) else UnixListener
        return kind(
            app,
            self.map,
            True,
            sock,
            dispatcher=self.crew,
            adj=self.settings,
            sockinfo=info,
            bind_socket=sock is None,
            loop=self.loop,
            uploads=self.uploads,
            parking=self.parking,
            limits=self.limits,
        )

    def _watch_all(self) -> None:
        if self.loop is None:
            return
        for listener in self.listeners:
            self.loop.watch_always(listener.trigger._fileno)
            self.loop.update(listener)

    @property
    def stopping(self) -> bool:
        return self._stop_at is not None

    @property
    def urls(self) -> list[str]:
        """Where the server can be reached."""
        scheme = self.settings.url_scheme
        return [address_of(scheme, listener.effective_host, listener.effective_port) for listener in self.listeners]

    @property
    def effective_port(self) -> int:
        """The port of the first listener: what port 0 became."""
        return int(self.listeners[0].effective_port)

    def stop_when_closed(self, fd: int) -> None:
        """Stop when the other end of a pipe is closed."""
        lifeline = Lifeline(fd, self.map, self.stop)
        if self.loop is not None:
            self.loop.watch_always(lifeline._fileno)

    # -- running

    def run(self) -> None:
        """Serve until ``stop`` is called, or until KeyboardInterrupt or SystemExit."""
        try:
            if self.loop is None:
                self._run_without_epoll()
            else:
                self.loop.start()
                self._watch(self.loop)
        finally:
            self.close()

    def _watch(self, loop: Loop) -> None:
        while True:
            try:
                loop.watch(self._over)
                return
            except (KeyboardInterrupt, SystemExit):
                if self._stop_at is not None:
                    return  # the second one: at once
                self.stop()

    def _run_without_epoll(self) -> None:
        """waitress's own loop, where there is no epoll or poll is unwanted."""
        pause = self.settings.asyncore_loop_timeout
        while not self._over():
            try:
                pause = CHECK if self._stop_at is not None else self.settings.asyncore_loop_timeout
                wasyncore.loop(timeout=pause, map=self.map, use_poll=self.settings.asyncore_use_poll, count=1)
            except (KeyboardInterrupt, SystemExit):
                if self._stop_at is not None:
                    return
                self.stop()

    def stop(self, *, at_once: bool = False) -> None:
        """Accept no more, let short requests finish, end uploads; safe in a signal handler and from any thread."""
        seconds = 0 if at_once else self.settings.shutdown_timeout
        self._stop_at = min(self._stop_at or math.inf, time.monotonic() + seconds)
        if self.loop is not None:
            self.loop.hurry = True
            self.loop.ring()
        else:
            os.write(self.listeners[0].trigger.trigger, b"x")

    def _over(self) -> bool:
        """After a stop: drive it on, and tell when all is done or the time is over."""
        if self._stop_at is None:
            return False
        for receiving in self._receiving:
            receiving.end_all()
        if not self._retired:
            self._retired = True
            self._in_loop(self._retire)
        self._in_loop(self._close_idle)
        return time.monotonic() >= self._stop_at or self._quiet()

    def _retire(self) -> None:
        for listener in self.listeners:
            listener.retire()

    def _close_idle(self) -> None:
        for listener in self.listeners:
            listener.close_idle()

    def _in_loop(self, function: Callable[[], object]) -> None:
        if self.loop is None:
            function()
        else:
            self.listeners[0].trigger.pull_trigger(function)

    def _quiet(self) -> bool:
        busy = self.crew.busy or any(receiving.busy for receiving in self._receiving)
        busy = busy or any(listener.accepting for listener in self.listeners)
        return not busy and not any(listener.active_channels for listener in self.listeners)

    def close(self) -> None:
        """Close every file; what still runs sees a broken connection."""
        if self._closed:
            return
        self._closed = True
        for receiving in self._receiving:
            receiving.shutdown()
        if self.loop is not None:
            self.loop.leave(self.listeners[0].trigger.pull_trigger)
        self.crew.shutdown()
        self._close_files()
        if self.settings.tls:
            self.settings.tls.close()

    def _close_files(self) -> None:
        if self.loop is not None:
            self.loop.close()
        wasyncore.close_all(self.map)


def create_server(app: Any, **options: Any) -> Server:
    """A server in this process: ``run`` it, ``stop`` it from anywhere."""
    if app is None:
        raise ValueError("the application is None: was it forgotten to return it?")
    return Server(app, Settings(**options))
