"""Many slow clients at once: what their requests hold together is bounded, and no byte waits for another client."""

from __future__ import annotations

import os
import random
import threading

import pytest

from tests.drafting import Turns, begin, content, going_on, new
from tests.s3.conftest import MIB, PART, Reopen
from tests.s3.proxy import Proxy
from tus import Upload
from tus.errors import StoreBroken
from tus.stores.s3.budget import Budget
from tus.stores.s3.gathered import Gathered

pytestmark = [pytest.mark.engines, pytest.mark.slow]


@pytest.mark.parametrize("exact", [False, True])
def test_slow_clients_stay_within_the_budget(reopen: Reopen, exact: bool) -> None:
    """Each sends a little now and then, ten times as much together as may be held."""
    store = reopen(budget=4 * MIB)
    chance = random.Random(5)
    clients = [(f"{number:032x}", os.urandom(chance.choice((MIB, PART + MIB)))) for number in range(24)]
    drafts = []
    for id, data in clients:
        new(store, id, length=len(data))
        drafts.append(going_on(store, 0, id, exact=exact)[0])
    most, sent = 0, [0] * len(clients)

    while left := [n for n, (_, data) in enumerate(clients) if sent[n] < len(data)]:
        for n in left:
            data = clients[n][1]
            drafts[n].write(data[sent[n] : sent[n] + 256 * 1024])
            sent[n] = min(sent[n] + 256 * 1024, len(data))
            most = max(most, store.budget.used)
    before = {store.load(id).offset for id, _ in clients} if exact else {0}
    for (id, _), draft in zip(clients, drafts, strict=True):
        store.finish(store.load(id).evolve(complete=True), draft)
        draft.close()

    assert before == {0}
    assert most <= 4 * MIB + PART
    assert store.budget.used == 0
    for id, data in clients:
        assert content(reopen(), id) == data


def test_parts_on_their_way_count(reopen: Reopen, proxy: Proxy) -> None:
    """A client that sends faster than the storage takes waits."""
    store, go = reopen(budget=2 * PART), threading.Event()
    data = os.urandom(6 * PART)
    new(store, length=len(data))
    held = proxy.hold("UploadPart ", go, times=100)
    draft, _ = going_on(store, 0)

    writing = threading.Thread(target=lambda: [draft.write(data[at : at + MIB]) for at in range(0, len(data), MIB)])
    writing.start()
    assert held.met.wait(10)
    writing.join(0.3)
    waits, used = writing.is_alive(), store.budget.used
    go.set()
    writing.join(30)

    assert waits and used <= 2 * PART
    assert draft.commit() == len(data)
    draft.close()
    assert store.budget.used == 0


@pytest.mark.parametrize("ending", ["close", "abort", "fail"])
def test_what_is_held_is_given_back(reopen: Reopen, proxy: Proxy, ending: str) -> None:
    """However a request ends."""
    store = reopen()
    draft = begin(store)
    draft.write(os.urandom(2 * PART + 7))

    if ending == "fail":
        proxy.fail("PutObject", times=4)
        with pytest.raises(StoreBroken):
            draft.commit()
    elif ending == "abort":
        draft.abort()
        store.save(Upload("a"))
    draft.close()

    assert store.budget.used == 0


class Phone:
    """Holds bytes of a client that waits."""

    def __init__(self, holds: int, touched: float) -> None:
        self.holds, self.touched, self.spilled = holds, touched, False

    def spill(self) -> bool:
        self.spilled = True
        return True


def test_who_holds_most_stores_first() -> None:
    """Of those that wait for their clients."""
    budget = Budget(10)
    phones = [Phone(3, 0), Phone(5, 0), Phone(9, float("inf")), Phone(1, 0)]
    for phone in phones:
        budget.take(0, phone)

    assert budget.relieve(phones[0])

    assert [phone.spilled for phone in phones] == [False, True, False, False]


def test_what_could_not_be_stored_for_another_client_is_told_to_its_own(reopen: Reopen, proxy: Proxy) -> None:
    """Bytes that got lost on behalf of another request are missing: the next ones do not take their place."""
    store, data = reopen(budget=2 * MIB), os.urandom(4 * MIB)
    for id in ("a", "b"):
        new(store, id, length=len(data))
    mine, other = (going_on(store, 0, id)[0] for id in ("a", "b"))
    mine.write(data[: 2 * MIB])
    proxy.fail("PutObject .*/tail/a/", 503, times=4)
    mine.touched -= 1  # it waits for its client

    other.write(data[:MIB])
    with pytest.raises(StoreBroken) as raised:
        mine.write(data[2 * MIB : 3 * MIB])

    assert raised.value.offset == 0
    mine.write(data)
    store.finish(store.load("a").evolve(complete=True), mine)
    mine.close()
    other.close()
    assert content(reopen(), "a") == data


def test_parts_of_a_fast_client_use_the_same_memory(reopen: Reopen) -> None:
    """To get it from the kernel costs more than to receive a part. The file is right, and nothing stays held."""
    store, data = reopen(), os.urandom(12 * PART + 7)
    made = store.create(Upload("a", length=len(data)), fence=Turns())
    store.save(Upload("a", length=len(data)))
    made.close()
    back, buffers = store.budget.back, list[bytearray]()

    def seen(held: Gathered, part: int) -> None:
        buffers.append(held.buffer)
        back(held, part)

    store.budget.back = seen  # type: ignore[method-assign]
    draft, _ = going_on(store, 0)
    for at in range(0, len(data), MIB):
        draft.write(memoryview(data)[at : at + MIB])
    draft.commit()
    store.finish(store.load("a").evolve(complete=True), draft)
    draft.close()

    full = [id(one) for one in buffers if len(one) == PART]
    assert (len(full), len(set(full)) < 7) == (12, True)
    assert store.budget.used == 0
    assert content(reopen(), "a") == data


def stored(budget: Budget, size: int) -> None:
    """A part was held, and is stored."""
    budget.force(size)
    budget.back(Gathered(bytes(size)), size)


def test_memory_is_kept_for_the_next_part_within_the_budget() -> None:
    """An eighth of it at most, and none once it is needed."""
    budget = Budget(160)
    for _ in range(4):
        stored(budget, 10)

    kept = [budget.reuse(10, Phone(0, 0)).reused for _ in range(3)]

    assert (kept, budget.used) == ([True, True, False], 20)
    budget.give(20)
    stored(budget, 10)
    assert budget.take(155, Phone(0, 0))
    assert not budget.reuse(10, Phone(0, 0)).reused


def test_memory_of_another_size_is_left_alone() -> None:
    """Parts of a longer upload are larger."""
    budget = Budget(160)
    stored(budget, 10)

    assert not budget.reuse(20, Phone(0, 0)).reused
    assert budget.reuse(10, Phone(0, 0)).reused


def test_what_gathers_in_used_memory_is_only_what_came() -> None:
    """Not what was there before."""
    held = Gathered(reused=bytearray(b"old bytes"))

    held.add(b"new")
    held.add(b"er")

    assert (bytes(held.view()), held.since(3), len(held), held.cost) == (b"newer", b"er", 5, 9)
    assert (held.apart(9).cost, held.apart(9).reused) == (5, False)


def test_what_is_remembered_is_no_spare_memory(reopen: Reopen) -> None:
    """An upload of exactly one part is all there, and waits for its end while others fill their parts."""
    store, data = reopen(), os.urandom(PART)
    new(store, length=PART)
    draft, _ = going_on(store, 0)
    draft.write(data)
    draft.commit()
    draft.close()
    new(store, "b", length=3 * PART)
    other, _ = going_on(store, 0, "b")
    other.write(bytes(PART // 2))

    fence = Turns(3)
    fence.before = 2  # type: ignore[attr-defined]
    upload = store.current("a", PART, fence=fence)
    last = store.append("a", PART, fence=fence, known=upload)
    store.finish(upload.evolve(complete=True), last)
    last.close()
    other.close()

    assert content(reopen()) == data
