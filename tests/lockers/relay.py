"""A cable between a client and a server, which a test may cut, or step on."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Relay:
    """Passes on what comes, in both directions. `door` and `reach`: sockets in another network, which listens there
    or leads there."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        door: socket.socket | None = None,
        reach: Callable[[], socket.socket] | None = None,
    ) -> None:
        self._reach = reach or (lambda: socket.create_connection((host, port)))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._whole = True
        self._door = door or socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Connections break, and no new one works."""
        self._whole = False
        self._break()

    def stall(self) -> None:
        """Nothing gets through any more, and nobody is told so."""
        self._flows.clear()

    def heal(self) -> None:
        """What waited gets through."""
        self._whole = True
        self._flows.set()

    def close(self) -> None:
        self.cut()
        self._flows.set()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _break(self) -> None:
        for pair in list(self._pairs):
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if not self._whole:
                return
            with self._reach() as server:
                self._pairs.add(pair := (client, server))
                with suppress(OSError):
                    self._copy(client, server)
                self._pairs.discard(pair)

    def _copy(self, client: socket.socket, server: socket.socket) -> None:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        other = {client: server, server: client}
        while True:
            for end in select.select(list(other), [], [])[0]:
                block = end.recv(65536)
                if not block:
                    return
                self._flows.wait()
                other[end].sendall(block)
