"""One process or several that serve a WSGI application by a server of ASGI; SIGHUP reads the certificate again.

A new certificate must cut nothing: what was begun with the old one comes to its end beside it.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from ..adapters.relay import Relay
from ..adapters.scopes import AsgiApp
from ..errors import OptionError
from ..server.serving import announce, passed_by_systemd
from ..server.settings import Settings, binding
from ..server.workers import Supervisor, address, listening
from .certificates import Pair, check_pair
from .http2 import Http2

if TYPE_CHECKING:
    from .http3 import Http3

logger = logging.getLogger("tus.server")

_KNOWN = frozenset(
    ("listen", "host", "port", "unix_socket", "unix_socket_perms", "sockets", "backlog", "workers", "url_prefix",
     "shutdown_timeout", "connection_limit")
)  # fmt: skip
_PACKETS = 1 << 21  # bytes of packets that wait in the kernel while the loop is busy


def serve_asgi(
    app: Any,
    *,
    on_listening: Callable[[list[str]], Any] = announce,
    pair: Pair | None = None,
    http3: bool = False,
    **options: Any,
) -> None:
    """Serve `app` until a signal, and then end the process; `on_listening` gets the URLs once connections are
    accepted."""
    for name in options.keys() - _KNOWN:
        raise OptionError(f"option {name}: the server of --asgi has none; it knows {', '.join(sorted(_KNOWN))}")
    settings = Settings(**passed_by_systemd(options), url_scheme="https" if pair else "http")
    if pair:
        check_pair(pair, _now())

    def make(sockets: list[socket.socket]) -> Worker:
        return Worker(app, settings, sockets, pair, list(map(_datagrams, sockets)) if http3 else [])

    if http3:
        _check_free(settings)

    if settings.workers > 1:
        Supervisor(make, settings, on_listening, renew=True).run()
        return
    sockets = listening(settings)[0]
    worker = make(sockets)
    on_listening([address(settings.url_scheme, sock) for sock in sockets])
    worker.run()
    _leave()


def _leave() -> NoReturn:
    """End this process: granian's threads abort one whose interpreter is being taken apart."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _check_free(settings: Settings) -> None:
    """SO_REUSEPORT, which workers need, would share the port with another server of the same user."""
    if settings.unix_socket:
        raise OptionError("option http3: a unix socket has none; say a port")
    for family, _, _, where in settings.listen:
        if where[1]:
            with binding((f"UDP {where[0]}", where[1])), socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind(where)


def _datagrams(beside: socket.socket) -> socket.socket:
    """A socket for HTTP/3, at the address of the one for TCP."""
    sock = socket.socket(beside.family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _PACKETS)
    if beside.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(beside.getsockname())
    sock.setblocking(False)
    return sock


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _http3(app: AsgiApp, sock: socket.socket, pair: Pair) -> Http3:
    from .http3 import Http3  # late, since it needs another extra

    return Http3(app, sock, pair)


class Worker:
    """One process: an event loop, the servers in it, and the signals."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        sockets: list[socket.socket],
        pair: Pair | None,
        datagrams: list[socket.socket],
    ) -> None:
        self._settings, self._sockets, self._pair = settings, sockets, pair
        self._relay = Relay(app, prefix=settings.url_prefix)
        self._http3 = [_http3(self._relay, sock, pair) for sock in datagrams if pair]
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
        for server in self._http3:
            await server.start()
        await self._stop.wait()
        await self._end()

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(self._lifeline)
        self.stop()

    def _begin(self) -> None:
        """Serve with the certificate as it is now."""
        limit = self._settings.connection_limit
        self._serving = [Http2(self._app(sock), sock, self._pair, connections=limit) for sock in self._sockets]
        for server in self._serving:
            task = asyncio.ensure_future(server.serve())
            self._ending.add(task)
            task.add_done_callback(self._ended)

    def _app(self, sock: socket.socket) -> AsgiApp:
        if not self._http3:
            return self._relay
        from .http3 import advertised

        return advertised(self._relay, sock.getsockname()[1])

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
        for quic in self._http3:
            quic.renew(self._pair)
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
        seconds = self._settings.shutdown_timeout
        ends = [*self._ending, *(asyncio.ensure_future(quic.stop(seconds)) for quic in self._http3)]
        if ends:
            await asyncio.wait(ends, timeout=seconds)
        for task in self._ending:
            task.cancel()
        await asyncio.to_thread(self._relay.close)
