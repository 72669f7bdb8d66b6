"""One process or several that serve a WSGI application by a server of ASGI; SIGHUP reads the certificate again.

A new certificate must cut nothing: what was begun with the old one comes to its end beside it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ..adapters.relay import Relay
from ..errors import OptionError
from ..server.serving import announce, passed_by_systemd
from ..server.settings import Settings
from ..server.workers import Supervisor, address, listening
from .certificates import Pair, check_pair
from .http2 import Http2

logger = logging.getLogger("tus.server")

_KNOWN = frozenset(
    ("listen", "host", "port", "unix_socket", "unix_socket_perms", "sockets", "backlog", "workers", "url_prefix",
     "shutdown_timeout", "connection_limit")
)  # fmt: skip
_MERCY = 2.0  # seconds after shutdown_timeout in which the last answers go out


def serve_asgi(
    app: Any, *, on_listening: Callable[[list[str]], Any] = announce, pair: Pair | None = None, **options: Any
) -> None:
    """Serve `app` until a signal; `on_listening` gets the URLs once connections are accepted."""
    for name in options.keys() - _KNOWN:
        raise OptionError(f"option {name}: the server of --asgi has none; it knows {', '.join(sorted(_KNOWN))}")
    settings = Settings(**passed_by_systemd(options), url_scheme="https" if pair else "http")
    if pair:
        check_pair(pair, _now())

    def make(sockets: list[socket.socket]) -> Worker:
        return Worker(app, settings, sockets, pair)

    if settings.workers > 1:
        Supervisor(make, settings, on_listening, renew=True).run()
        return
    sockets = listening(settings)[0]
    on_listening([address(settings.url_scheme, sock) for sock in sockets])
    make(sockets).run()


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Worker:
    """One process: an event loop, the servers in it, and the signals."""

    def __init__(self, app: Any, settings: Settings, sockets: list[socket.socket], pair: Pair | None) -> None:
        self._settings, self._sockets, self._pair = settings, sockets, pair
        self._relay = Relay(app, prefix=settings.url_prefix)
        self._lifeline = -1
        self._serving: list[Http2] = []  # with the newest certificate
        self._ending: set[asyncio.Task[None]] = set()  # every server that has not come to its end
        self._stop = asyncio.Event()
        self.stopping = False

    def stop_when_closed(self, fd: int) -> None:
        """Stop when the other end of a pipe is closed."""
        self._lifeline = fd

    def stop(self, *, at_once: bool = False) -> None:
        """Accept no more, end uploads with everything that came, and let other requests finish."""
        self._stop.set()
        if at_once or self.stopping:
            for task in self._ending:
                task.cancel()
        self.stopping = True

    def run(self) -> None:
        """Until `stop`, or SIGTERM or SIGINT; a second one ends everything at once."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._renew)
        if self._lifeline >= 0:
            loop.add_reader(self._lifeline, self._orphaned)
        self._begin()
        await self._stop.wait()
        await self._end()

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        self.stop()

    def _begin(self) -> None:
        """Serve with the certificate as it is now."""
        limit = self._settings.connection_limit
        self._serving = [Http2(self._relay, sock, self._pair, connections=limit) for sock in self._sockets]
        for server in self._serving:
            task = asyncio.ensure_future(server.serve())
            self._ending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and not self.stopping and not self._ending:
            self.stop()  # it failed, and what runs here would serve nobody

    def _renew(self) -> None:
        """Take the certificate that lies there now; the old one serves what has begun."""
        if self._pair is None or self.stopping:
            return
        try:
            check_pair(self._pair, _now())
        except OptionError as error:
            logger.error("The old certificate stays: %s", error)
            return
        old = self._serving
        self._begin()
        for server in old:
            server.stop()
        logger.info("New connections get the certificate of now")

    async def _end(self) -> None:
        for sock in self._sockets:
            sock.close()
        for server in self._serving:
            server.stop()
        self._relay.stop()
        if self._ending:
            await asyncio.wait(self._ending, timeout=self._settings.shutdown_timeout)
        for task in self._ending:
            task.cancel()
        self._relay.close()
