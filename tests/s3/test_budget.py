"""Many slow clients at once: what their requests hold together is bounded, and no byte waits for another client."""

from __future__ import annotations

import os
import random
import threading
from hashlib import sha256
from typing import Any

import pytest

from tests.drafting import Turns, begin, content, going_on, new
from tests.s3.conftest import MIB, PART, Reopen
from tests.s3.proxy import Proxy
from tus import Upload
from tus.errors import Interrupted, StoreBroken
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

    def seen(held: Gathered, **how: bool) -> None:
        buffers.append(held.buffer)
        back(held, **how)

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


def received(draft: Any, data: bytes, block: int) -> int:
    """What a server does that can receive where it is told; how many bytes needed no copy."""
    at = straight = 0
    while piece := memoryview(data)[at : at + block]:
        space = draft.space(len(piece))
        if space is None:
            draft.write(piece)
        else:
            piece = piece[: len(space)]
            space[: len(piece)] = piece
            draft.took(len(piece))
            straight += len(piece)
        at += len(piece)
    return straight


@pytest.mark.parametrize("start", [0, MIB + 5, PART - 1])
def test_what_comes_fast_is_received_where_it_is_sent_from(reopen: Reopen, start: int) -> None:
    """All of it but the first block, wherever in a part an upload goes on; and the file is right."""
    store, data = reopen(), os.urandom(4 * PART + 7)
    new(store, length=len(data))
    draft, _ = going_on(store, 0)
    draft.write(data[:start])
    draft.commit()
    draft.close()

    draft, _ = going_on(store, start)
    straight = received(draft, data[start:], MIB)
    store.finish(store.load("a").evolve(complete=True), draft)
    draft.close()

    assert straight >= len(data) - start - 2 * MIB
    assert store.budget.used == 0
    assert content(reopen()) == data


def test_memory_that_a_server_receives_into_is_nobody_elses(reopen: Reopen) -> None:
    """While a server waits for its client, another request has what is held stored; that memory is not used for others'
    parts, and what the server puts there afterwards is taken all the same."""
    store, data = reopen(), os.urandom(PART + 3 * MIB)
    for name in ("a", "b"):
        new(store, name, length=len(data))
    draft, other = (going_on(store, 0, name)[0] for name in ("a", "b"))
    draft.write(data[:MIB])
    space = draft.space(MIB)
    assert space is not None

    assert draft.spill()
    received(other, bytes(len(data)), MIB)
    space[:] = data[MIB : 2 * MIB]
    draft.took(MIB)
    received(draft, data[2 * MIB :], MIB)
    for name, one in (("a", draft), ("b", other)):
        store.finish(store.load(name).evolve(complete=True), one)
        one.close()

    assert store.budget.used == 0
    assert content(reopen(), "a") == data
    assert content(reopen(), "b") == bytes(len(data))


def test_memory_of_clients_that_fell_silent_stays_counted(reopen: Reopen) -> None:
    """A server waits for each of them with the memory of a part in hand: no other request has that stored to get new
    memory, which would be beyond the budget."""
    store, drafts, spaces = reopen(budget=4 * PART), [], []
    for number in range(6):
        new(store, f"{number:032x}", length=PART + 1)
        draft, _ = going_on(store, 0, f"{number:032x}")
        draft.write(bytes(MIB))
        if (space := draft.space(MIB)) is not None:
            spaces.append(space)
        draft.touched -= 1  # it waits for its client
        drafts.append(draft)
        store.budget.relieve(Phone(0, 0))  # another one needs room

    held = sum(len(space.obj) for space in spaces)
    for draft in drafts:
        draft.close()

    assert PART <= held <= store.budget.size
    assert store.budget.used == 0


def test_what_is_received_after_the_lease_was_lost_does_not_count(reopen: Reopen) -> None:
    """It is taken as `write` takes it."""
    store, data = reopen(), os.urandom(2 * PART)
    new(store, length=len(data))
    draft, lease = going_on(store, 0)
    draft.write(data[:MIB])
    space = draft.space(MIB)
    assert space is not None

    lease.lost = True
    with pytest.raises(Interrupted):
        draft.took(MIB)

    assert draft.taken == MIB
    draft.close()
    assert store.budget.used == 0


@pytest.mark.parametrize(("length", "exact"), [(2 * PART, True), (MIB, False)])
def test_what_may_not_gather_in_a_part_is_written(reopen: Reopen, length: int, exact: bool) -> None:
    """Bytes that wait for a checksum, and files that are no parts."""
    store = reopen()
    new(store, length=length)
    draft, _ = going_on(store, 0, exact=exact)

    straight = received(draft, os.urandom(length), 1 << 18)
    draft.close()

    assert straight == 0


def test_memory_is_kept_for_the_next_part_within_the_budget() -> None:
    """A quarter of it at most, and none once it is needed."""
    budget, phone = Budget(160), Phone(0, 0)
    taken = [budget.part(10, phone) for _ in range(5)]
    assert [one is not None for one in taken] == [True] * 4 + [False]
    for memory in taken[:3]:
        budget.back(Gathered(sha256, memory))

    again = budget.part(10, phone)

    assert again is not None and any(again is one for one in taken)
    assert budget.used == 20
    assert budget.take(140, phone)
    assert budget.part(10, phone) is None


def test_memory_of_another_size_is_left_alone() -> None:
    """Parts of a longer upload are larger."""
    budget, phone = Budget(160), Phone(0, 0)
    memory = budget.part(10, phone)
    budget.back(Gathered(sha256, memory))

    assert budget.part(20, phone) is not memory
    assert budget.part(10, phone) is memory


def test_what_gathers_in_used_memory_is_only_what_came() -> None:
    """Not what was there before; and so is its hash, wherever it goes."""
    held = Gathered(sha256, bytearray(b"old bytes"))

    held.add(b"new")
    held.space(9)[:2] = b"er"
    held.took(b"er")

    assert (bytes(held.view()), held.since(3), len(held), held.cost) == (b"newer", b"er", 5, 9)
    assert (held.apart().cost, held.apart().whole, bytes(held.apart().view())) == (5, False, b"newer")
    assert {one.digest() for one in (held, held.apart(), held.apart().into(bytearray(7)))} == {
        sha256(b"newer").digest()
    }


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
