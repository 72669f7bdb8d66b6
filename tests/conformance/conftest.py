"""Fixtures of the conformance tests: a fresh collection for each test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import live
from tests.conformance.client import WHOLE, Client, Manner
from tests.servers import CALM, spread


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    spread(metafunc)


@pytest.fixture
def manner(request: pytest.FixtureRequest) -> Manner:
    """How the client speaks; see `every_manner`."""
    return getattr(request, "param", WHOLE)


@pytest.fixture
def collection(server: live.Live, manner: Manner) -> Callable[..., Client]:
    """Makes a fresh collection with the options given, and a client for it."""

    def make(**options: Any) -> Client:
        return Client(server, server.collection(**CALM | options), manner)

    return make


@pytest.fixture
def tus(collection: Callable[..., Client]) -> Client:
    """A client for a fresh collection with the default options."""
    return collection()
