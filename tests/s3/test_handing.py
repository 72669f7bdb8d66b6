"""What the host said of an upload is in its record, also where the storage is away in that moment."""

from __future__ import annotations

import pytest

from tests.engines import append, ask, create
from tests.s3.conftest import Reopen
from tests.s3.proxy import Proxy
from tus import Engine, Hooks, Metadata, Options, Result, Upload
from tus.errors import Changed
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


def deferred(engine: Engine) -> Upload:
    """An upload whose length nobody knows yet, with a byte."""
    with engine.begin(ask(), length=None, metadata=Metadata(), last=False) as writer:
        upload = engine.conclude(writer)
    return append(engine, upload.id, b"h", last=False)


def test_length_that_was_said_late_is_known_to_a_process_that_remembers(reopen: Reopen) -> None:
    """A request elsewhere says it, and has lost its lease by then: the last byte finishes the upload all the same."""
    engine = Engine(reopen(), MemoryLocker(), Options({}, environ={}), None)
    upload = deferred(engine)
    reopen().save(upload.evolve(length=5))

    done = append(engine, upload.id, b"ello", offset=1)

    assert done.complete
    assert reopen().load(upload.id).complete


def test_last_request_may_say_how_long_the_upload_is(reopen: Reopen) -> None:
    """In this process, and in one that finds the upload."""
    engine, elsewhere = (Engine(reopen(), MemoryLocker(), Options({}, environ={}), None) for _ in range(2))

    for last in (engine, elsewhere):
        upload = deferred(engine)
        assert append(last, upload.id, b"ello", offset=1, length=5).complete


def test_length_that_is_said_too_late_changes_no_finished_upload(reopen: Reopen) -> None:
    """The request that says it stood still between its lease and that; another one has finished the upload."""
    engine, elsewhere = (Engine(reopen(), MemoryLocker(), Options({}, environ={}), None) for _ in range(2))
    upload = deferred(engine)
    store = engine.store
    save = store.save

    def late(new: Upload, **how: object) -> None:
        store.save = save  # type: ignore[method-assign]
        append(elsewhere, upload.id, b"ello", offset=1, length=5)
        save(new, **how)  # type: ignore[arg-type]

    store.save = late  # type: ignore[method-assign]
    with pytest.raises(Changed):
        append(engine, upload.id, b"e", offset=1, length=5)

    assert reopen().load(upload.id).complete
