"""Fixtures of the draft's tests: one live server of each kind, and a fresh collection for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import live
from tests.draft.client import VERSIONS, Client

# What is forced to the disk, and a thread that sweeps, are no matters of the protocol, and cost time.
CALM = {"durable": "none", "sweep_interval": "none"}

MakeClient = Callable[..., Client]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_server: runs on every kind of server, not on the default one only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" not in metafunc.fixturenames:
        return
    default = live.default()
    kinds: list[Any] = [default]
    if metafunc.definition.get_closest_marker("every_server"):
        kinds += [pytest.param(name, marks=pytest.mark.slow) for name in live.KINDS if name != default]
    metafunc.parametrize("kind", kinds, indirect=True)


@pytest.fixture(scope="session")
def draft_servers() -> Iterator[dict[str, live.Live]]:
    """The servers that run, by kind; each starts when it is first needed."""
    running: dict[str, live.Live] = {}
    yield running
    for server in running.values():
        server.close()


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> live.Kind:
    """The kind of server that the test talks to."""
    if not live.available(request.param):
        pytest.skip(f"{request.param} is not installed")
    return live.KINDS[request.param]


@pytest.fixture
def server(kind: live.Kind, draft_servers: dict[str, live.Live]) -> live.Live:
    """A running server of that kind."""
    if kind.name not in draft_servers:
        draft_servers[kind.name] = live.start(kind.name, **CALM)
    return draft_servers[kind.name]


@pytest.fixture
def collection(server: live.Live) -> MakeClient:
    """Makes a fresh collection with the options given, and a client for it."""

    def make(version: int | None = 8, **options: Any) -> Client:
        return Client(server, server.collection(**CALM | options), version)

    return make


@pytest.fixture
def client(collection: MakeClient) -> Client:
    """A client of the newest version, for a fresh collection with the default options."""
    return collection()


@pytest.fixture(params=VERSIONS)
def each(request: pytest.FixtureRequest, collection: MakeClient) -> Client:
    """A client of each version in turn."""
    return collection(request.param)
