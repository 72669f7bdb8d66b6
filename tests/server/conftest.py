"""A server of our own for each test, on a free port, stopped and checked for leaks by the test that asked for it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tus.server import create_server


class Client:
    """One raw connection."""

    def __init__(self, where: Any) -> None:
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(10)
        self.sock.connect(where)
        self.file = self.sock.makefile("rb")

    def send(self, *parts: bytes) -> Client:
        for part in parts:
            self.sock.sendall(part)
        return self

    def headers(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next response, of a 100 too."""
        status = self.file.readline()
        if not status:
            raise ConnectionResetError("closed")
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(status.split()[1]), headers

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.headers()
        return status, headers, self.file.read(int(headers.get("content-length", 0)))

    def closed(self) -> bool:
        """The server has closed the connection, and sent nothing more."""
        return self.file.read() == b""

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class Running:
    """A server in a thread of the test."""

    def __init__(self, app: Any, **options: Any) -> None:
        options = options if {"unix_socket", "sockets"} & options.keys() else {"listen": "127.0.0.1:0", **options}
        self.server = create_server(app, **options)
        self.where: Any = options.get("unix_socket") or ("127.0.0.1", self.server.effective_port)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        self.clients: list[Client] = []

    def connect(self) -> Client:
        client = Client(self.where)
        self.clients.append(client)
        return client

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(15)
        assert not self.thread.is_alive()

    def finish(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop(at_once=True)
        self.thread.join(15)
        assert not self.thread.is_alive()


@pytest.fixture
def served() -> Iterator[Callable[..., Running]]:
    """``served(app, **options)``: a running server."""
    running: list[Running] = []

    def start(app: Any, **options: Any) -> Running:
        running.append(Running(app, **options))
        return running[-1]

    yield start
    for one in running:
        one.finish()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every file that a test opens is closed, and every thread has ended, when it is over."""
    before, threads = open_files(), set(threading.enumerate())  # other tests leave sweepers that sleep
    yield
    until(lambda: open_files() <= before)
    until(lambda: not [t for t in set(threading.enumerate()) - threads if t.name.startswith("tus-")])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def until(true: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)
    return value
