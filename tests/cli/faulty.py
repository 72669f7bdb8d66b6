"""A proxy on a socket that does one thing wrong, and counts what passes through it.

One request a connection. It decides by the bytes it sees, never by time, so that tests need no sleeping.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

BLOCK = 1 << 16


@dataclass
class Seen:
    """One request that came by."""

    method: str
    target: str
    head: bytes
    body: int = 0  # bytes of the body that were passed on


@dataclass
class Faults:
    """What goes wrong; nothing by default."""

    rewrite: Callable[[bytes], bytes] = lambda head: head  # the head of a request
    answer: Callable[[bytes, str], bytes] = lambda head, method: head  # the head of an answer, to that method
    canned: dict[str, list[bytes]] = field(default_factory=dict)  # answers given once each, by method
    refused: dict[str, bytes] = field(default_factory=dict)  # answers always given, by method
    cuts: list[int] = field(default_factory=list)  # bytes of a body after which it is cut, one each
    limit: int | None = None  # bytes of a body that are too many
    announced_limit: int | None = None  # the same, by Content-Length
    buffers: bool = False  # a request is passed on when it is complete
    stall: int | None = None  # bytes of a body after which nothing moves until `go` is set; then it is cut
    deaf_while_stalled: bool = False  # a HEAD gets no answer meanwhile


def answer(status: str, *headers: str) -> bytes:
    """A whole answer without a body."""
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", *headers, "", ""]).encode()


def without(*names: str) -> Callable[..., bytes]:
    """Takes headers out of a head."""
    pattern = re.compile(rb"(?im)^(?:%s):[^\n]*\n" % b"|".join(map(re.escape, (n.encode() for n in names))))
    return lambda head, method="": pattern.sub(b"", head)


def serve_each(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Serve each connection in a thread of its own, until the listener is closed."""

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes on to `upstream`."""

    def __init__(
        self, upstream: tuple[str, int], faults: Faults | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.upstream = upstream
        self.faults = faults or Faults()
        self.seen: list[Seen] = []
        self.stalled = threading.Event()
        self.go = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.netloc = f"127.0.0.1:{self.port}"
        self._closed = False
        serve_each(self._listener, self._serve)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self.go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def passed(self, method: str = "PATCH") -> int:
        """Bytes of bodies that were passed on."""
        return sum(seen.body for seen in self.seen if seen.method == method)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            client.settimeout(20)
            _Exchange(self, client).run()
        client.close()


class _Exchange:
    """One request and its answer."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.faults, self.client = proxy, proxy.faults, client
        self.cut = 0
        self.pending = b""  # the answer as far as its head is not complete

    def run(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := self.client.recv(BLOCK)):
                return
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        self.seen = Seen(method, target, head)
        self.proxy.seen.append(self.seen)
        reply = self._own_answer(method, head)
        if reply is not None:
            self._reply(reply, drain=len(rest) < self._length(head))
            return
        if method == "HEAD" and self.faults.deaf_while_stalled and self.proxy.stalled.is_set():
            self.proxy.go.wait(20)
        # Only a PATCH has a body worth cutting.
        self.cut = self.faults.cuts.pop(0) if self.faults.cuts and method == "PATCH" else 0
        self._pass_on(head, rest)

    def _length(self, head: bytes) -> int:
        match = re.search(rb"(?im)^content-length:\s*([0-9]+)", head)
        return int(match[1]) if match else 0

    def _own_answer(self, method: str, head: bytes) -> bytes | None:
        if self.faults.canned.get(method):
            return self.faults.canned[method].pop(0)
        if self.faults.announced_limit is not None and self._length(head) > self.faults.announced_limit:
            return answer("413 Request Entity Too Large")
        return self.faults.refused.get(method)

    def _reply(self, reply: bytes, *, drain: bool) -> None:
        self.client.sendall(reply)
        self.client.shutdown(socket.SHUT_WR)
        while drain and self.client.recv(BLOCK):
            pass

    def _pass_on(self, head: bytes, rest: bytes) -> None:
        length = self._length(head)
        is_chunked = re.search(rb"(?im)^transfer-encoding:\s*chunked", head)
        if self.faults.buffers:
            while (len(rest) < length) if not is_chunked else (b"0\r\n\r\n" not in rest):
                if not (more := self.client.recv(BLOCK)):
                    return
                rest += more
        head = without("connection")(self.faults.rewrite(head + b"\r\n")) + b"Connection: close\r\n\r\n"
        with socket.create_connection(self.proxy.upstream, timeout=20) as server:
            server.sendall(head)
            if self._forward(server, rest):
                self._pump(server)

    def _forward(self, server: socket.socket, data: bytes) -> bool:
        """Pass on a piece of the body; False when the exchange ends here."""
        count = self.seen.body + len(data)
        if self.faults.limit is not None and count > self.faults.limit:
            # Closed with bytes unread: the kernel sends a reset right behind the answer.
            self.client.sendall(answer("413 Request Entity Too Large", "Connection: close"))
            return False
        if self.cut and count >= self.cut:
            data = data[: self.cut - self.seen.body]
            server.sendall(data)
            self.seen.body += len(data)
            _reset(self.client)
            return False
        if data:
            server.sendall(data)
            self.seen.body = count
        if self.faults.stall is not None and self.seen.body >= self.faults.stall and not self.proxy.go.is_set():
            self.proxy.stalled.set()
            self.proxy.go.wait(20)
            return False
        return True

    def _pump(self, server: socket.socket) -> None:
        talking = [self.client, server]
        while True:
            ready = talking if self._decrypted() else select.select(talking, [], [], 20)[0]
            if server in ready and not self._return(server.recv(BLOCK)):
                return
            if self.client in ready and not self._take(server, talking):
                return
            if not ready:
                return

    def _decrypted(self) -> bool:
        return isinstance(self.client, ssl.SSLSocket) and self.client.pending() > 0

    def _take(self, server: socket.socket, talking: list[socket.socket]) -> bool:
        data = self.client.recv(BLOCK)
        if not data:
            talking.remove(self.client)
            server.shutdown(socket.SHUT_WR)
            return True
        return self._forward(server, data)

    def _return(self, data: bytes) -> bool:
        if not data:
            return False
        if self.pending is None:
            self.client.sendall(data)
            return True
        self.pending += data
        while self.pending.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in self.pending:
            interim, _, self.pending = self.pending.partition(b"\r\n\r\n")
            self.client.sendall(interim + b"\r\n\r\n")
        if b"\r\n\r\n" in self.pending:
            head, _, rest = self.pending.partition(b"\r\n\r\n")
            changed = self.faults.answer(head + b"\r\n", self.seen.method)
            self.client.sendall(changed + b"\r\n" + rest)
            self.pending = None
        return True


def _reset(sock: socket.socket) -> None:
    """Close as a crash would: with a reset."""
    if isinstance(sock, ssl.SSLSocket):
        sock = socket.socket(fileno=sock.detach())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
