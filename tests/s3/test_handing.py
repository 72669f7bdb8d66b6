"""What the host said of an upload is in its record, also where the storage is away in that moment."""

from __future__ import annotations

import pytest

from tests.engines import append, create
from tests.s3.conftest import Reopen
from tests.s3.proxy import Proxy
from tus import Engine, Hooks, Options, Result, Upload
from tus.lockers.memory import MemoryLocker

pytestmark = [pytest.mark.engines, pytest.mark.slow]


class Ears(Hooks):
    """A host that has to be told of uploads."""

    def finished(self, upload: Upload) -> Result:
        return Result()


@pytest.mark.parametrize("call", ["PutObject", "GetObject"])
def test_answer_of_the_host_waits_for_the_storage(reopen: Reopen, proxy: Proxy, call: str) -> None:
    """It cannot be asked again whether it has the upload: no failure that passes makes another request hand it over."""
    engine = Engine(reopen(), MemoryLocker(), Options({}, environ={}), Ears())
    id = create(engine, 5).id
    append(engine, id, b"hello")
    delivery = engine.claim(id)
    failing = proxy.fail(f"{call} ", 503, times=12)  # three times as many as one call is tried

    delivery.accept(Result(204))

    assert failing.times == 0
    assert reopen().load(id).result == Result(204)
