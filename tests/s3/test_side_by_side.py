"""Requests of many clients wait for a storage that is far away side by side, and not one after the other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import live, real
from tests.cli.test_commands import create, serving
from tests.s3.proxy import Proxy

pytestmark = [pytest.mark.engines, pytest.mark.slow]
CLIENTS = 16


@pytest.fixture
def engine() -> dict[str, str]:
    """Any will do."""
    real.needed(real.USUAL)
    return real.engine()


def test_creations_of_sixteen_clients_wait_for_the_storage_side_by_side(
    engine: dict[str, str], proxy: Proxy, prefix: str
) -> None:
    """With fewer threads than that, some would wait for the others: and each of them again for its own call."""
    keys = f"access_key={engine['S3_KEY']}&secret={engine['S3_SECRET']}&region={engine['S3_REGION']}"
    store = f"s3://{real.BUCKET}/{prefix}?endpoint={proxy.endpoint}&{keys}"
    go = threading.Event()

    with (
        serving("--store", store, "--locker", "memory:", "--port", "0", "--quiet") as (url, _),
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        proxy.hold("^PutObject .*/info/", go, times=CLIENTS)
        before = len(proxy.calls)
        answers = [clients.submit(create, url) for _ in range(CLIENTS)]
        try:
            live.until(lambda: len(proxy.calls) - before == CLIENTS, within=15)
        finally:
            go.set()
        created = {answer.result().status for answer in answers}

    assert created == {201}
