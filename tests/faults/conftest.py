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

# Forcing data to the disk takes its time, and only the tests of durability are about it.
CALM = {"durable": "none", "sweep_interval": "none"}
SETTINGS: dict[str, dict[str, Any]] = {"gunicorn-sync": {"workers": 3}}
THREADS = ("ours", "gunicorn-gthread")
THOROUGH = ("gunicorn-sync",)  # kinds that are hurt only when there is time
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
        """What lies in the upload's file."""
        return (self.home / "uploads" / self.id(url)).read_bytes()


@pytest.fixture(scope="session")
def running() -> Iterator[dict[str, live.Live]]:
    """The servers that run, by kind; each starts when it is first needed."""
    servers: dict[str, live.Live] = {}
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, running: dict[str, live.Live]) -> live.Live:
    """Our own server, or of the kind that the test names."""
    kind = getattr(request, "param", live.default())
    if not live.available(kind):
        pytest.skip(f"{' and '.join(live.KINDS[kind].needs)} cannot be imported")
    if kind not in running:
        running[kind] = live.start(kind, settings=SETTINGS.get(kind), **CALM)
    return running[kind]


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
    named = [pytest.param(kind, marks=pytest.mark.slow) if kind in THOROUGH else kind for kind in kinds]
    return pytest.mark.parametrize("server", named, indirect=True)


everywhere = on(*THREADS, *PROCESSES)
