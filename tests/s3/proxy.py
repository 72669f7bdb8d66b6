"""Stands between a store and its engine: counts calls, and lets them fail, break off or wait as a test wants it."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tus.stores.azure.container import BlockName

_OPERATIONS = {
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "uploadId"): "ListParts",
    ("GET", "list-type"): "ListObjects",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "delete"): "DeleteObjects",
    ("PUT", "uploadId"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    # Azure's words for the same
    ("GET", "blocklisttype"): "ListParts",
    ("GET", "restype"): "ListObjects",
    ("PUT", "blockid"): "UploadPart",
    ("PUT", "comp"): "CompleteMultipartUpload",
}
_OBJECTS = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}


@dataclass
class Rule:
    """What happens to calls whose name and target match: `times` of them, after the first `skip`."""

    pattern: str
    act: Callable[[Handler], bool]  # whether the call is dealt with
    times: int = 1
    skip: int = 0
    met: threading.Event = field(default_factory=threading.Event)


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, upstream: str, bound: socket.socket | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=not bound)
        if bound:
            self.socket.close()
            self.socket, self.server_address = bound, bound.getsockname()
            self.server_activate()
        self.upstream = urlsplit(upstream)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: list[str] = []
        self.rules: list[Rule] = []
        self.guard = threading.Lock()
        self.delay = 0.0  # seconds that each call takes longer

    def handle_error(self, *_: object) -> None:
        """A connection was cut: by a test."""

    def _on(self, pattern: str, act: Callable[[Handler], bool], times: int = 1, skip: int = 0) -> Rule:
        rule = Rule(pattern, act, times, skip)
        with self.guard:
            self.rules.append(rule)
        return rule

    def fail(self, pattern: str, status: int = 503, times: int = 1, skip: int = 0) -> Rule:
        """The engine says no."""
        return self._on(pattern, lambda call: call.refuse(status), times, skip)

    def answer(self, pattern: str, body: bytes) -> Rule:
        """The engine says that."""
        return self._on(pattern, lambda call: call.say(body))

    def cut(self, pattern: str, size: int, times: int = 1, skip: int = 0) -> Rule:
        """The body breaks off, on its way to the engine."""
        return self._on(pattern, lambda call: call.cut(size), times, skip)

    def lose(self, pattern: str, times: int = 1, skip: int = 0) -> Rule:
        """The engine does it, and its answer never arrives."""
        return self._on(pattern, lambda call: call.lose(), times, skip)

    def shorten(self, pattern: str, size: int, times: int = 1) -> Rule:
        """Of the engine's answer arrives only so much."""
        return self._on(pattern, lambda call: call.shorten(size), times)

    def hold(self, pattern: str, go: threading.Event, times: int = 1, skip: int = 0) -> Rule:
        """The call waits in front of the engine."""
        return self._on(pattern, lambda call: not go.wait(20), times, skip)

    def meet(self, call: Handler) -> bool:
        """Whether a rule dealt with this call."""
        with self.guard:
            self.calls.append(call.operation)
            found = next((rule for rule in self.rules if rule.times and re.search(rule.pattern, call.described)), None)
            if found and found.skip:
                found.skip -= 1
                found = None
            elif found:
                found.times -= 1
        if not found:
            return False
        found.met.set()
        return found.act(call)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def log_message(self, *_: object) -> None:
        pass

    @property
    def operation(self) -> str:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        if "x-amz-copy-source" in self.headers:
            return "UploadPartCopy"
        for (method, word), name in _OPERATIONS.items():
            if method == self.command and word in query:
                return name
        return _OBJECTS.get(self.command, self.command)

    @property
    def described(self) -> str:
        block = BlockName.read(parse_qs(urlsplit(self.path).query).get("blockid", [""])[0])
        return f"{self.operation} {self.path}" + (f"&partNumber={block.number}&" if block else "")

    def handle_one(self) -> None:
        self.body = self._body()
        if self.server.delay:
            time.sleep(self.server.delay)
        if not self.server.meet(self):
            self._answer(*self._forward())

    def _body(self) -> bytes:
        """As it came; the clients of others send it in chunks."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        raw, size = bytearray(), 1
        while size:
            raw += (line := self.rfile.readline())
            size = int(line.partition(b";")[0], 16)
            raw += self.rfile.read(size + 2) if size else b""
        while line.strip():
            raw += (line := self.rfile.readline())
        return bytes(raw)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

    def _forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(str(self.server.upstream.hostname), self.server.upstream.port or 80)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(self.body or None)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        size = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", size if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int) -> bool:
        self._answer(status, [], b"<Error><Code>Injected</Code></Error>")
        return True

    def say(self, body: bytes) -> bool:
        self._answer(200, [], body)
        return True

    def lose(self) -> bool:
        self._forward()
        return self.hang_up()

    def shorten(self, size: int) -> bool:
        status, headers, body = self._forward()
        self.wfile.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n".encode())
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "connection")]
        self.wfile.write("".join(f"{name}: {value}\r\n" for name, value in kept).encode() + b"\r\n" + body[:size])
        return self.hang_up()

    def hang_up(self) -> bool:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def cut(self, size: int) -> bool:
        """As much of the request as that, and then the end of it."""
        upstream = socket.create_connection((str(self.server.upstream.hostname), self.server.upstream.port or 80))
        lines = [f"{self.command} {self.path} HTTP/1.1", *(f"{n}: {v}" for n, v in self.headers.items()), "", ""]
        with suppress(OSError), upstream:
            upstream.sendall("\r\n".join(lines).encode() + self.body[:size])
            upstream.shutdown(socket.SHUT_WR)
            upstream.settimeout(5)
            while upstream.recv(65536):
                pass
        return self.hang_up()


@contextmanager
def running(upstream: str, bound: socket.socket | None = None) -> Iterator[Proxy]:
    """At the address of that socket, which nobody listens to yet, or at a free one."""
    proxy = Proxy(upstream, bound)
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


def count(calls: list[str]) -> dict[str, Any]:
    """How often each was called."""
    return {name: calls.count(name) for name in sorted(set(calls))}
