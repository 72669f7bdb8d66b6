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


@pytest.fixture(params=["versitygw", "ceph"])
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where it is. These two speak dialects that differ in much."""
    real.needed(request.param)
    return real.engine(request.param)


@pytest.fixture
def proxy(engine: dict[str, str]) -> Iterator[Proxy]:
    with proxies.running(engine["S3_ENDPOINT"]) as found:
        yield found


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}/"


@pytest.fixture
def reopen(proxy: Proxy, engine: dict[str, str], prefix: str) -> Iterator[Reopen]:
    """The same uploads, as another process sees them."""
    bucket = real.bucket_at(proxy.endpoint, engine)

    def made(**how: Any) -> S3Store:
        return S3Store(bucket, prefix, **{"unknown": PART, **how})

    yield made
    bucket.client.close()


@pytest.fixture
def store(reopen: Reopen) -> S3Store:
    return reopen()
