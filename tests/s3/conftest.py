"""A store on a real engine, and a proxy in between."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import real
from tests.s3 import proxy as proxies
from tests.s3.proxy import Proxy
from tus.stores.s3 import S3Store

MIB = 1 << 20
PART = 5 * MIB
Reopen = Callable[..., S3Store]


@pytest.fixture(autouse=True)
def _engines(request: pytest.FixtureRequest) -> None:
    if "proxy" in request.fixturenames:
        real.needed(real.USUAL)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    real.needed(real.USUAL)
    with proxies.running(real.engine()["S3_ENDPOINT"]) as found:
        yield found


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}/"


@pytest.fixture
def reopen(proxy: Proxy, prefix: str) -> Iterator[Reopen]:
    """The same uploads, as another process sees them."""
    bucket = real.bucket_at(proxy.endpoint, real.engine())

    def made(**how: Any) -> S3Store:
        return S3Store(bucket, prefix, **{"unknown": PART, **how})

    yield made
    bucket.client.close()


@pytest.fixture
def store(reopen: Reopen) -> S3Store:
    return reopen()
