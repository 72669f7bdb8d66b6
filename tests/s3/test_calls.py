"""What requests cost: how often a store asks its engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import engines, kinds, lease_servers
from tests.s3.conftest import MIB, PART, Reopen
from tests.s3.proxy import Proxy, count
from tests.socket_locker import SocketLocker
from tus import Engine, Options
from tus.engine.repeating import begin_once
from tus.lockers import Locker

pytestmark = [pytest.mark.engines, pytest.mark.slow]
Calls = Callable[[], dict[str, int]]


@pytest.fixture(params=["socket", "postgresql", "redis"])
def made(request: pytest.FixtureRequest, reopen: Reopen, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """The same uploads on another machine: its leases know of each other."""
    if request.param in kinds.SERVED:
        lease_servers.available(request.param)

    def locker() -> Locker:
        if request.param in kinds.SERVED:
            return kinds.network_locker(lease_servers.shared(request.param).url, prefix=f"{tmp_path.name}/")
        return SocketLocker(kinds.server().address, patience=1.0, prefix=f"{tmp_path}/")

    yield lambda: Engine(reopen(), locker(), Options({}, environ={}), None)


@pytest.fixture
def calls(proxy: Proxy) -> Calls:
    """What was asked since the last time."""

    def since() -> dict[str, int]:
        found = count(proxy.calls)
        proxy.calls.clear()
        return found

    return since


def test_small_upload_takes_two_calls(made: Callable[[], Engine], calls: Calls) -> None:
    """One for its creation, and one for all of its bytes."""
    engine, data = made(), os.urandom(MIB)

    upload = engines.create(engine, MIB)
    first = calls()
    done = engines.append(engine, upload.id, data)

    assert (first, calls()) == ({"PutObject": 1}, {"PutObject": 1})
    assert done.complete and engines.content(made(), done) == data


def test_upload_that_comes_with_its_creation_takes_one_call(made: Callable[[], Engine], calls: Calls) -> None:
    """The object with the bytes holds the record as well."""
    engine, data = made(), os.urandom(MIB)

    with engine.begin(engines.ask(), length=MIB, metadata=engines.Metadata(), announced=MIB) as writer:
        writer.write(data)
        done = engine.conclude(writer)

    assert calls() == {"PutObject": 1}
    assert engines.content(made(), done) == data


def test_next_request_of_the_same_process_takes_one_call(made: Callable[[], Engine], calls: Calls) -> None:
    """A PATCH of 5 MiB is a part."""
    engine, data = made(), os.urandom(4 * PART)
    upload = engines.create(engine, len(data))
    calls()
    found = []

    for offset in range(0, 3 * PART, PART):
        engines.append(engine, upload.id, data[offset : offset + PART], offset=offset)
        found.append(calls())

    assert found == [{"UploadPart": 1}] * 3


def test_small_chunks_of_the_same_process_take_one_call_each(made: Callable[[], Engine], calls: Calls) -> None:
    """Each is a piece, and the last one ends the part; nothing is read back."""
    engine, data = made(), os.urandom(2 * PART)
    upload = engines.create(engine, len(data))
    calls()

    for offset in range(0, PART, MIB):
        engines.append(engine, upload.id, data[offset : offset + MIB], offset=offset)

    assert calls() == {"PutObject": 4, "UploadPart": 1}


def test_next_request_on_another_machine_takes_four_calls(made: Callable[[], Engine], calls: Calls) -> None:
    """The record, what there is, and the part."""
    data = os.urandom(4 * PART)
    upload = engines.create(made(), len(data))
    found = []

    for offset in range(0, 3 * PART, PART):
        calls()
        engines.append(made(), upload.id, data[offset : offset + PART], offset=offset)
        found.append(calls())

    assert found == [{"GetObject": 1, "ListObjects": 1, "ListParts": 1, "UploadPart": 1}] * 3


def test_request_elsewhere_ends_what_is_remembered(made: Callable[[], Engine], calls: Calls) -> None:
    """The lease knows that another machine had one since."""
    here, elsewhere, data = made(), made(), os.urandom(4 * PART)
    upload = engines.create(here, len(data))

    for number, engine in enumerate((here, elsewhere, here)):
        calls()
        offset = number * PART
        engines.append(engine, upload.id, data[offset : offset + PART], offset=offset)
    last = calls()
    done = engines.append(here, upload.id, data[3 * PART :], offset=3 * PART)

    assert last["ListParts"] == 1
    assert engines.content(made(), done) == data


def test_key_costs_a_creation_nothing(made: Callable[[], Engine], calls: Calls) -> None:
    """The record is stored on a condition, and leads to what another request made."""
    engine = made()
    engine.store.secret()  # once for each process
    calls()

    with begin_once(engine, engines.ask(), key="a", length=MIB, metadata=engines.Metadata()) as writer:
        first = engine.conclude(writer)
    cost = calls()
    with begin_once(made(), engines.ask(), key="a", length=MIB, metadata=engines.Metadata()) as writer:
        again = engine.conclude(writer)

    assert cost == {"PutObject": 1}
    assert again.id == first.id


def test_key_costs_a_creation_with_its_bytes_one_call(made: Callable[[], Engine], calls: Calls) -> None:
    """The record comes first, so that a repetition can take over while the bytes arrive."""
    engine, data = made(), os.urandom(MIB)
    engine.store.secret()
    calls()

    with begin_once(engine, engines.ask(), key="a", length=MIB, metadata=engines.Metadata(), announced=MIB) as writer:
        writer.write(data)
        done = engine.conclude(writer)

    assert calls() == {"PutObject": 2}
    assert engines.content(made(), done) == data
