"""Servers to be hurt: one of each kind, with a fresh collection for each test.

What hurts a whole process (killing it, filling its disk) starts a server of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import live, wire
from tests.conformance.client import Client as Conforming
from tests.conformance.client import Fields
from tests.servers import CALM, SLOW, Running, slowly, spread

__all__ = ["CALM", "Client", "everywhere", "on"]

SETTINGS: dict[str, dict[str, Any]] = {"gunicorn-sync": {"workers": 3}}
THREADS = ("ours", "gunicorn-gthread")
THOROUGH = ("gunicorn-sync", SLOW)  # kinds that are hurt only when there is time
PROCESSES = ("ours-workers", "gunicorn-workers", "gunicorn-sync")


class Client(Conforming):
    """A client that leaves connections hanging; they end with the test, if it did not end them."""

    def __init__(self, server: live.Live, name: str) -> None:
        super().__init__(server, name)
        self.hanging: list[wire.Wire] = []

    def open(self, method: str, url: str | None, headers: Fields, body: bytes = b"", **how: Any) -> wire.Wire:
        connection = super().open(method, url, headers, body, **how)
        self.hanging.append(connection)
        return connection

    def hang_up(self) -> None:
        while self.hanging:
            self.hanging.pop().close()

    def bytes_stored(self, url: str) -> bytes:
        """What is stored of the upload."""
        return self.shelf.content(self.id(url))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    spread(metafunc)


@pytest.fixture
def server(kind: live.Kind, running: Running) -> live.Live:
    """Our own server, or of the kind that the test names."""
    return running.get(kind.name, **SETTINGS.get(kind.name, {}))


@pytest.fixture
def collection(server: live.Live) -> Iterator[Callable[..., Client]]:
    """Makes a fresh collection with these options, and a client for it."""
    made: list[Client] = []

    def make(**options: Any) -> Client:
        made.append(Client(server, server.collection(**CALM | options)))
        return made[-1]

    yield make
    for client in made:
        client.hang_up()


@pytest.fixture
def tus(collection: Callable[..., Client]) -> Client:
    """A client for a fresh collection."""
    return collection()


def on(*kinds: str) -> pytest.MarkDecorator:
    """Run the test on each of these kinds of servers."""
    named = [slowly(kind) if kind in THOROUGH else kind for kind in kinds]
    return pytest.mark.parametrize("kind", named, indirect=True)


everywhere = on(*THREADS, *PROCESSES, SLOW)
