"""``serve``: one process or several, from the first connection to the last signal.

With one worker it starts no second process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .process import Server
from .settings import Settings
from .workers import Supervisor

logger = logging.getLogger("tus.server")
WHERE = frozenset({"listen", "host", "port", "unix_socket", "sockets"})
FIRST_PASSED = 3  # sd_listen_fds(3): the first file that systemd passes

Listening = Callable[[list[str]], Any]


def serve(app: Any, *, on_listening: Listening | None = None, **options: Any) -> None:
    """Serve ``app`` until a signal; ``on_listening`` gets the URLs once connections are accepted."""
    if app is None:
        raise ValueError("the application is None: did the function that makes it forget to return it?")
    options = passed_by_systemd(options)
    settings = Settings(**options)
    if settings.workers > 1:
        elsewhere = {name: value for name, value in options.items() if name not in WHERE}

        def make(sockets: list[socket.socket]) -> Server:
            return Server(app, Settings(**elsewhere, sockets=sockets))

        Supervisor(make, settings, on_listening or announce, renew=bool(settings.tls)).run()
        return
    server = Server(app, settings)
    with stopping(server):
        (on_listening or announce)(server.urls)
        server.run()


def paste_main(app: Any, global_conf: Any, **local: Any) -> int:
    """The entry point ``egg:tus#server`` of an ini file."""
    serve(app, **local)
    return 0


def announce(urls: list[str]) -> None:
    for url in urls:
        logger.info("Serving on %s", url)


@contextmanager
def stopping(server: Server) -> Iterator[None]:
    """While the server runs, SIGTERM, SIGINT and SIGHUP stop it gracefully; a second one at once. With TLS,
    SIGHUP does nothing: a certificate is read again when it has changed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers: the caller calls server.stop()
        return

    def stop(number: int, frame: Any) -> None:
        if not (server.settings.tls and number == getattr(signal, "SIGHUP", None)):
            server.stop(at_once=server.stopping)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def passed() -> int:
    """How many sockets systemd passed to this very process."""
    return int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0


def passed_by_systemd(options: dict[str, Any]) -> dict[str, Any]:
    """Listen on the sockets that systemd passed, unless the options say where to listen."""
    count = passed()
    if not count or WHERE & options.keys():
        return options
    del os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"]
    sockets = [socket.socket(fileno=FIRST_PASSED + number) for number in range(count)]
    for sock in sockets:
        sock.set_inheritable(False)
    return {**options, "sockets": sockets}
