"""Fixtures of the draft's tests: a fresh collection for each test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import live
from tests.draft.client import NEWEST, VERSIONS, Client
from tests.servers import CALM, spread

MakeClient = Callable[..., Client]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    spread(metafunc)


@pytest.fixture
def collection(server: live.Live) -> MakeClient:
    """Makes a fresh collection with the options given, and a client for it."""

    def make(version: int | None = NEWEST, **options: Any) -> Client:
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
