"""The server of `socket_locker`, which knows who holds what, until a time-out; and the connections to it. A message is
a line of JSON.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from secrets import randbits
from typing import Any

from tus.errors import StoreBroken

Answer = dict[str, Any]
Names = list[tuple[str, int]]  # of grants: the upload, and the key that the locker chose

ANSWER = 5.0  # seconds to wait for one
STEP = 0.05  # seconds to wait for what the server may tell


@dataclass
class Grant:
    """A lease, a share or a claim."""

    key: int
    kind: str
    kept: bool
    ttl: float
    by: int  # the name of the locker
    until: float = 0.0

    def renew(self) -> None:
        self.until = time.monotonic() + self.ttl


class Server(socketserver.ThreadingTCPServer):
    """Runs in threads, on a free port. What it knows outlives `stop` and `start`."""

    allow_reuse_address = daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self.connections: set[Connection] = set()
        self.guard = threading.RLock()
        self._grants: dict[str, dict[int, Grant]] = {}
        self._newest: dict[str, int] = {}
        self._quiet: set[int] = set()  # what a claim took away: no reason to make a blocked read return
        self._first = self._last = time.time_ns()  # tokens grow from one server to the next, too
        self.start()

    def start(self) -> None:
        super().__init__(self.address, Connection)
        self.address = ("127.0.0.1", self.server_address[1])
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self.guard:
            for connection in self.connections:
                with suppress(OSError):
                    connection.request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A connection was cut. Its locker may come back."""

    def answer(self, do: str, left: Names, **request: Any) -> Answer:
        """Let go of what was left, and do what is asked."""
        for id, key in left:
            self._alive(id).pop(key, None)
        return getattr(self, do)(**request) if do else {}

    def take(self, id: str, over: int | None, **given: Any) -> Answer:
        """`over`: the only lease that may be lost; None: any."""
        grant, grants = Grant(**given), self._alive(id)
        grants.pop(grant.key, None)  # the same request, which heard no answer
        owner = self._owner(id)
        if any(other.kept for other in grants.values()):
            return {"busy": True}
        if grant.kind == "lease" and owner and over not in (None, owner.key):
            return {"owner": owner.key}
        lost = [] if grant.kind == "share" else self._end(id, ("lease", "share"), quiet=grant.kind == "claim")
        before = self._newest.get(id, 0)
        if grant.kind == "lease":
            self._newest[id] = self._last = self._last + 1
        grant.renew()
        grants[grant.key] = grant
        return {"token": self._newest.get(id, self._first), "before": before, **self._losing(lost)}

    def keep(self, id: str, key: int) -> Answer:
        grants = self._alive(id)
        if key not in grants:
            return self._losing([key])
        grants[key].kept = True
        return self._losing(self._end(id, ("share",), quiet=True))

    def renew(self, at: float, grants: Names) -> Answer:
        found = {key: self._alive(id).get(key) for id, key in grants}
        for grant in filter(None, found.values()):
            grant.renew()
        gone = [key for key, grant in found.items() if not grant]
        return {"at": at, "renewed": list(found.keys() - gone), **self._losing(gone)}

    def writing(self, id: str) -> Answer:
        owner = self._owner(id)
        lives = owner and any(connection.locker == owner.by for connection in self.connections)
        return {"writing": bool(owner), "lives": bool(lives)}

    def _alive(self, id: str) -> dict[int, Grant]:
        now, grants = time.monotonic(), self._grants.setdefault(id, {})
        for key in [key for key, grant in grants.items() if grant.until <= now]:
            del grants[key]
        return grants

    def _owner(self, id: str) -> Grant | None:
        return next((grant for grant in self._alive(id).values() if grant.kind == "lease"), None)

    def _end(self, id: str, kinds: tuple[str, ...], *, quiet: bool) -> list[int]:
        """Take these away, and tell their lockers."""
        grants = self._alive(id)
        ended = [grant for grant in grants.values() if grant.kind in kinds]
        if quiet:
            self._quiet.update(grant.key for grant in ended)
        for grant in ended:
            del grants[grant.key]
            for connection in self.connections:
                if connection.ear and connection.locker == grant.by:
                    connection.send(**self._losing([grant.key]))
        return [grant.key for grant in ended]

    def _losing(self, keys: list[int]) -> Answer:
        return {"lost": keys, "quiet": [key for key in keys if key in self._quiet]}


class Connection(socketserver.StreamRequestHandler):
    """Of a locker: for its requests; or an ear, where it is told what it lost."""

    server: Server
    disable_nagle_algorithm = True
    locker = 0
    ear = False

    def handle(self) -> None:
        with self.server.guard:
            self.server.connections.add(self)
        try:
            for line in self.rfile:
                self._take(**json.loads(line))
        finally:
            with self.server.guard:
                self.server.connections.discard(self)

    def _take(self, *, locker: int, ear: bool, **request: Any) -> None:
        with self.server.guard:
            self.locker, self.ear = locker, ear
            self.send(**self.server.answer(**request))

    def send(self, **message: Any) -> None:
        with suppress(OSError, ValueError):  # it was cut off, and will hear of it when it comes back
            self.wfile.write(json.dumps(message).encode() + b"\n")


class Wires:
    """What a locker has open: a line for its requests, one at a time; and an ear, where it renews and is told."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.name = randbits(60)  # of the locker
        self.cut = False
        self._address = address
        self._open: dict[str, socket.socket] = {}
        self._heard = b""

    def ask(self, **request: Any) -> Answer:
        """The server's answer."""
        for again in (True, False):  # a connection may have died since the last request
            try:
                line = self._connection("line", ANSWER)
                self._send(line, ear=False, **request)
                answer: Answer = json.loads(_whole(line))
                return answer
            except (OSError, ValueError) as error:
                self.close("line")
                if self.cut or not again or isinstance(error, TimeoutError):
                    why = "cut off" if self.cut else error
                    raise StoreBroken(f"the server of the leases does not answer: {why}") from None
        raise AssertionError

    @property
    def listens(self) -> bool:
        return "ear" in self._open

    def tell(self, **request: Any) -> None:
        """The answer is among what is heard."""
        if not self.listens:
            self._heard = b""
        self._send(self._connection("ear", STEP), ear=True, **request)

    def hear(self) -> list[Answer]:
        """What came within a moment."""
        with suppress(TimeoutError):
            self._heard += _block(self._connection("ear", STEP))
        *lines, self._heard = self._heard.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self, *names: str) -> None:
        for name in names or tuple(self._open):
            if connection := self._open.pop(name, None):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # also where another thread waits for it
                connection.close()

    def _connection(self, name: str, timeout: float) -> socket.socket:
        if self.cut:
            raise ConnectionError("cut off")
        if name not in self._open:
            self._open[name] = socket.create_connection(self._address, timeout=timeout)
            self._open[name].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._open[name]

    def _send(self, connection: socket.socket, **request: Any) -> None:
        connection.sendall(json.dumps({"locker": self.name, **request}).encode() + b"\n")


def _block(connection: socket.socket) -> bytes:
    block = connection.recv(1 << 16)
    if not block:
        raise ConnectionError("the server has gone")
    return block


def _whole(connection: socket.socket) -> bytes:
    line = _block(connection)
    while not line.endswith(b"\n"):
        line += _block(connection)
    return line
