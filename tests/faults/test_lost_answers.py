"""Answers to creations that get lost, behind a proxy that cuts the connection when the server has answered."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests import wire
from tests.conformance.client import BYTES, VERSION, Client

MANY = 1000


class Cutting:
    """Passes requests on, one a connection; with each, it asks `cuts` whether the client shall hear the answer."""

    def __init__(self, server: tuple[str, int], cuts: Callable[[bytes], bool]) -> None:
        self._server, self._cuts = server, cuts
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with ThreadPoolExecutor(8) as pool, contextlib.suppress(OSError):
            while True:
                pool.submit(self._pass_on, self._socket.accept()[0])

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server, timeout=30) as server:
            request = self._request(client)
            server.sendall(request)
            answer = b""
            while block := server.recv(65536):
                answer += block
            if not self._cuts(request):
                client.sendall(answer)

    def _request(self, client: socket.socket) -> bytes:
        text = b""
        while b"\r\n\r\n" not in text:
            text += client.recv(65536)
        head = text.partition(b"\r\n\r\n")[0]
        size = int(re.search(rb"Content-Length: (\d+)", head)[1])
        while len(text) < len(head) + 4 + size:
            text += client.recv(65536)
        return text

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


class Lossy:
    """Loses the first answer to each creation."""

    def __init__(self) -> None:
        self._guard, self._seen, self.lost = threading.Lock(), set(), 0

    def __call__(self, request: bytes) -> bool:
        found = re.search(rb"X-Number: (\d+)", request)[1]
        with self._guard:
            loses = found not in self._seen
            self._seen.add(found)
            self.lost += loses
        return loses


@pytest.fixture
def lossy() -> Lossy:
    return Lossy()


@pytest.fixture
def cutting(tus: Client, lossy: Lossy) -> Iterator[Cutting]:
    proxy = Cutting(tus.server.address, lossy)
    yield proxy
    proxy.close()


def created(tus: Client, proxy: Cutting, number: int, key: str | None) -> str:
    """A creation that is sent until there is an answer; every third one comes with the first bytes."""
    body = b"abc" if number % 3 == 0 else b""
    headers = {
        "Host": f"127.0.0.1:{tus.server.port}",
        "Connection": "close",
        "Tus-Resumable": VERSION,
        "Upload-Length": "5",
        "X-Number": str(number),
        "Content-Length": str(len(body)),
        **({"Content-Type": BYTES} if body else {}),
        **({"Idempotency-Key": f'"{key}"'} if key else {}),
    }
    while True:
        with wire.Wire(proxy.address, timeout=30) as connection, contextlib.suppress(wire.Broken):
            connection.send(wire.head("POST", tus.path, headers) + body)
            answer = connection.answer()
            assert (answer.status, answer["Upload-Offset"]) == (201, str(len(body))), answer
            return urlsplit(answer["Location"]).path.rpartition("/")[2]


def create_all(tus: Client, proxy: Cutting, many: int, *, keys: bool) -> list[str]:
    def one(number: int) -> str:
        return created(tus, proxy, number, str(uuid.uuid4()) if keys else None)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(many)))


def records(tus: Client) -> set[str]:
    return {name.removesuffix(".info") for name in tus.files() if name.endswith(".info")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ours", "ours-workers", "gunicorn-workers"], indirect=True)
def test_thousand_lost_answers_leave_no_orphan(tus: Client, cutting: Cutting, lossy: Lossy) -> None:
    """Each creation is sent with a key until an answer arrives: there are as many uploads as creations, and each is one
    that its client knows."""
    known = create_all(tus, cutting, MANY, keys=True)

    assert lossy.lost == MANY
    assert len(set(known)) == MANY
    assert records(tus) == set(known)


@pytest.mark.parametrize("kind", ["ours"], indirect=True)
def test_lost_answers_without_keys_leave_orphans(tus: Client, cutting: Cutting) -> None:
    """What a key is for: the upload that a lost answer spoke of is known to nobody."""
    known = create_all(tus, cutting, 20, keys=False)

    assert len(records(tus) - set(known)) == 20
