"""Servers that a test may kill, and lockers at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import kinds, lease_servers
from tests.lease_servers import LeaseServer
from tests.lockers.relay import Relay
from tus.lockers.network import NetworkLocker

Make = Callable[..., NetworkLocker]


@pytest.fixture(params=["postgresql", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server; Valkey keeps the contract as Redis does, and is not asked for the rest."""
    lease_servers.available(request.param)
    return str(request.param)


@pytest.fixture
def url(kind: str) -> str:
    """Of a server that other tests use, too."""
    return lease_servers.shared(kind).url


@pytest.fixture
def make(url: str, request: pytest.FixtureRequest) -> Make:
    """Makes a locker, as one process has it; all that are made in a test meet each other."""

    def made(at: str = url, **given: Any) -> NetworkLocker:
        return kinds.network_locker(at, prefix=f"{request.node.name}/", **given)

    return made


@pytest.fixture
def server(kind: str) -> Iterator[LeaseServer]:
    """A server that the test may kill."""
    with LeaseServer(kind) as server:
        yield server


@pytest.fixture
def relay(url: str) -> Iterator[Relay]:
    """A cable to the server."""
    parts = urlsplit(url)
    relay = Relay(parts.hostname or "", parts.port or 0)
    yield relay
    relay.close()


@pytest.fixture
def behind(relay: Relay, url: str) -> str:
    """The server, at the other end of the cable."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{relay.port}"))
