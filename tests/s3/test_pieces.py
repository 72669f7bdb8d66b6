"""What does not fill a part: many small pieces, and parts that are larger than what may be held."""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests import live, real
from tests.drafting import add, content, going_on, new
from tests.s3.conftest import MIB, PART, Reopen
from tests.s3.proxy import Proxy, count
from tus.stores.s3 import S3Store

pytestmark = [pytest.mark.engines, pytest.mark.slow]
KIB = 1 << 10


@pytest.mark.parametrize("again", [False, True], ids=["one process", "many processes"])
def test_many_small_requests_leave_few_pieces(reopen: Reopen, proxy: Proxy, again: bool) -> None:
    """Each is one object more; sixteen of them become one, with no call more where the bytes are remembered."""
    data, step, store = os.urandom(40 * 32 * KIB), 32 * KIB, reopen()
    new(store, length=PART)
    proxy.calls.clear()

    for offset in range(0, len(data), step):
        store = reopen() if again else store
        add(store, offset, data[offset : offset + step])

    puts = proxy.calls.count("PutObject")
    state = reopen().uploads.find("a")
    assert puts == 40
    assert len(state.pieces) <= 15 + 2
    assert content(reopen(), "a") == data


def test_merged_piece_that_breaks_off_harms_nothing(reopen: Reopen, proxy: Proxy) -> None:
    """What it was to replace is there until the part is."""
    data, step = os.urandom(17 * KIB), KIB
    new(reopen(), length=PART)
    for offset in range(0, 15 * step, step):
        add(reopen(), offset, data[offset : offset + step])

    proxy.cut("PutObject .*/tail/", 10 * KIB, times=1000)
    with pytest.raises(Exception, match="cannot be reached"):
        add(reopen(), 15 * step, data[15 * step : 16 * step])
    proxy.rules.clear()

    assert (reopen().load("a").offset, content(reopen(), "a")) == (15 * step, data[: 15 * step])
    add(reopen(), 15 * step, data[15 * step :])
    assert content(reopen(), "a") == data


def test_pieces_go_once_parts_cover_them(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of them stays short, however long an upload takes."""
    monkeypatch.setattr("tus.stores.s3.uploads._LITTER", 20)
    store, data, step = reopen(), os.urandom(3 * PART), PART // 16
    new(store, length=4 * PART)

    for offset in range(0, len(data), step):
        add(store, offset, data[offset : offset + step])

    state = reopen().uploads.find("a")
    assert (state.end, len(state.litter) <= 20 + 16) == (len(data), True)
    add(reopen(), len(data), data[:PART])
    assert content(reopen(), "a") == data + data[:PART]


@pytest.mark.parametrize("exact", [False, True])
def test_part_that_is_larger_than_may_be_held_goes_up_piece_by_piece(
    engine: dict[str, str], prefix: str, exact: bool
) -> None:
    """As in a file of terabytes, whose parts have hundreds of megabytes. Neither a byte nor a part is held whole."""
    part, most = 40 * MIB, 6 * MIB
    bucket = real.bucket_at(engine["S3_ENDPOINT"], engine)  # a proxy would hold the parts, in this process
    store, data = S3Store(bucket, prefix, part=part, most=most), os.urandom(MIB)
    new(store, length=2 * part + MIB)
    tracemalloc.start()

    draft, _ = going_on(store, 0, exact=exact)
    for _ in range(2 * part // MIB + 1):
        draft.write(data)
    store.finish(store.load("a").evolve(complete=True), draft)
    draft.close()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert held < part // 2
    assert store.budget.used == 0
    with S3Store(bucket, prefix).open("a") as file:
        assert all(file.read(MIB) == data for _ in range(2 * part // MIB + 1)) and not file.read(1)


@pytest.mark.parametrize("engine", ["versitygw"], indirect=True)
def test_a_thousand_slow_phones_stay_within_the_budget(reopen: Reopen) -> None:
    """What they hold together, and what Python has in memory for them."""
    store, many, step = reopen(budget=16 * MIB), 1000, 24 * KIB
    data = os.urandom(4 * step)
    ids = [f"{number:032x}" for number in range(many)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda id: new(store, id, length=PART), ids))
    most = 0
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    drafts = [going_on(store, 0, id)[0] for id in ids]
    for at in range(0, len(data), step):
        for draft in drafts:
            draft.write(data[at : at + step])
            most = max(most, store.budget.used)
    held = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    with ThreadPoolExecutor(8) as pool:
        offsets = list(pool.map(lambda draft: draft.commit(), drafts))
    for draft in drafts:
        draft.close()

    assert most <= 16 * MIB < many * len(data) // 5
    assert held < 16 * MIB + many * 16 * KIB  # a draft without its bytes is small
    assert offsets == [len(data)] * many and store.budget.used == 0
    assert content(reopen(), ids[0]) == content(reopen(), ids[-1]) == data


def test_parts_of_one_request_go_up_side_by_side(store: S3Store, proxy: Proxy) -> None:
    """While the next one is received."""
    go, data = Event(), os.urandom(MIB)
    new(store, length=5 * PART)
    held = proxy.hold("UploadPart ", go, times=3)
    draft, _ = going_on(store, 0)

    for _ in range(3 * PART // MIB + 2):
        draft.write(data)
    live.until(lambda: proxy.calls.count("UploadPart") == 3, within=20)
    taken = draft.taken
    go.set()

    assert held.met.is_set()
    assert taken == 3 * PART + 2 * MIB
    assert draft.commit() == taken
    draft.close()
    assert count(proxy.calls)["UploadPart"] == 3
