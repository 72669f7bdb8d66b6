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


@pytest.fixture(params=[*real.ENGINES, "azurite"])
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where it is."""
    real.chosen(request.param)
    return real.engine(request.param)


@pytest.fixture
def proxy(engine: dict[str, str]) -> Iterator[Proxy]:
    with proxies.running(real.endpoint(engine)) as found:
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


def calls_for(engine: dict[str, str], call: str) -> None:
    """Skip a test about a call that this engine's protocol does not have."""
    if "AZURE_KEY" in engine and call in ("CreateMultipartUpload", "UploadPartCopy"):
        pytest.skip(f"Azure has no {call}")
