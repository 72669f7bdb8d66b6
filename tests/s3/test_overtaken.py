"""Requests on several machines for one upload, of which one fails when another has gone on: nothing that a client was
told goes back."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import live
from tests.drafting import add, content, going_on, new
from tests.engines import append, ask, create
from tests.s3.conftest import PART, Reopen, calls_for
from tests.s3.proxy import Proxy
from tus import Engine, Options
from tus.errors import BodyCut, Interrupted, Locked, NotFound, Overrun, StoreBroken, TusError
from tus.lockers.memory import MemoryLocker
from tus.stores.s3 import S3Store
from tus.stores.s3.tidying import Tidying

pytestmark = [pytest.mark.engines, pytest.mark.slow]
ATTEMPTS = 4  # times that a call is tried
Machines = tuple[Engine, Engine]


@pytest.fixture
def machines(reopen: Reopen) -> Machines:
    """Two, with one locker."""
    locker, options = MemoryLocker(), Options({}, environ={})
    return Engine(reopen(), locker, options, None), Engine(reopen(), locker, options, None)


def test_part_that_fails_late_takes_back_nothing_of_a_newer_request(
    machines: Machines, reopen: Reopen, proxy: Proxy
) -> None:
    """A part of the old request fails when the new one has stored more, and its client has been told so."""
    old, newer = machines
    data = os.urandom(3 * PART)
    id = create(old, len(data)).id
    failing = proxy.fail("UploadPart", 503, times=ATTEMPTS)

    with pytest.raises(BodyCut), old.append(ask(id), 0, announced=len(data)) as writer:
        writer.write(data[:PART])
        assert live.until(lambda: failing.times == 0)
        told = append(newer, id, data[: PART + 7]).offset
        old.conclude(writer, ConnectionError("the client went away"))

    assert reopen().load(id).offset == told == PART + 7
    assert append(newer, id, data[told:], offset=told).complete
    assert content(reopen(), id) == data


@pytest.mark.parametrize("spoilt", ["CompleteMultipartUpload", "PutObject .*/info/"])
def test_upload_is_complete_only_as_one_object(machines: Machines, reopen: Reopen, proxy: Proxy, spoilt: str) -> None:
    """Every byte is there, and the engine does not put the parts together, or the record is not saved: it does not say
    that it is complete, and the next HEAD finishes it, on any machine."""
    here, elsewhere = machines
    data = os.urandom(PART + 7)
    id = create(here, len(data)).id
    proxy.fail(spoilt, 503, times=ATTEMPTS, skip=spoilt != "CompleteMultipartUpload")

    with pytest.raises(StoreBroken):
        append(here, id, data)

    found = reopen().load(id)
    assert (found.offset, found.complete) == (len(data), False)
    assert elsewhere.seize(ask(id)).complete
    assert content(reopen(), id) == data


def test_removed_upload_does_not_come_back_with_a_late_request(
    machines: Machines, reopen: Reopen, proxy: Proxy, prefix: str
) -> None:
    """A machine that was cut off from everything stores the whole of it, once it can; meanwhile it was finished by
    another one, and then removed."""
    (old, _), data = machines, os.urandom(1000)
    other = Engine(reopen(), MemoryLocker(), Options({}, environ={}), None)  # the lease of the old one has timed out
    id, go = create(old, len(data)).id, threading.Event()
    held = proxy.hold(f"PutObject .*{id}", go)

    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(append, old, id, data)
        assert held.met.wait(20)
        append(other, id, data)
        other.store.delete(id)
        go.set()
    assert late.exception() is None or isinstance(late.exception(), TusError)

    with pytest.raises(NotFound):
        reopen().load(id)
    assert list(reopen().ids()) == []
    Tidying(reopen().uploads, time.time() + 60, (), young=-60)()
    assert [found.key for found in reopen().uploads.bucket.objects(prefix) if id in found.key] == []


@pytest.mark.parametrize("committed", [0, PART])
def test_what_is_cut_off_was_told_to_nobody(
    machines: Machines, proxy: Proxy, engine: dict[str, str], committed: int
) -> None:
    """A body that is too long is forgotten as a whole, which takes a while where parts of it are stored. A HEAD to the
    other machine in the middle of that is not answered with bytes that are gone a moment later."""
    calls_for(engine, "CreateMultipartUpload")
    here, elsewhere = machines
    data, go = os.urandom(2 * PART), threading.Event()
    id = create(here, 4 * PART).id
    append(here, id, data[:committed])
    size = {"offset": committed, "announced": None}
    held = proxy.hold("CreateMultipartUpload", go)

    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(append, here, id, data, then=lambda writer: writer.write(2 * data), **size)
        assert held.met.wait(20)
        with pytest.raises(Locked):
            elsewhere.seize(ask(id))
        go.set()

    assert isinstance(late.exception(), Overrun)
    assert elsewhere.seize(ask(id)).offset == committed


@pytest.mark.parametrize("committed", [0, PART])
def test_request_that_stood_still_cuts_off_nothing(
    store: S3Store, reopen: Reopen, proxy: Proxy, engine: dict[str, str], committed: int
) -> None:
    """Its lease has timed out while it laid the upload out anew, and what it had stored was told to a client."""
    calls_for(engine, "CreateMultipartUpload")
    data, go = os.urandom(3 * PART), threading.Event()
    new(store, length=len(data) + 1)
    add(store, 0, data[:committed])
    draft, fence = going_on(store, committed)
    draft.write(data[committed:])
    draft.settle()
    held = proxy.hold("CreateMultipartUpload", go)

    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(draft.abort)
        assert held.met.wait(20)
        fence.lost = True
        told = reopen().load("a").offset
        go.set()

    assert isinstance(late.exception(), Interrupted)
    assert told == reopen().load("a").offset == len(data)
    assert content(reopen()) == data
    draft.close()
