"""What every Store promises; and what FileStore leaves on the disk, or finds there."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ROOT
from tests.drafting import Turns, add, begin, content, going_on, new
from tests.kinds import STORES
from tests.slow_store import PART, SlowStore
from tus import Metadata, Result, Upload
from tus.errors import Changed, Interrupted, NotFound, OffsetMismatch, StoreBroken, StoreFull, TooLarge
from tus.lockers.file import FileLocker
from tus.stores import Joinable, OnDisk, Positioned, Rereading, Reviewable, Spliceable, Store
from tus.stores.file import FileStore
from tus.upload import Chunks

FULL = Upload(
    "full",
    length=3,
    complete=True,
    metadata=Metadata("filename w6QudHh0,empty,raw /+8="),
    concat="final;/files/a /files/b",
    partial=False,
    parts=("a", "b", "a"),
    finals=("f", "g"),
    owner="adam",
    limit=9,
    created=12.5,
    expires=99.5,
    unverified_from=3,
    keyed="0123456789abcdef",
    result=Result(200, (("X-A", "1"), ("X-A", "2")), b"\x00\xff"),
    dropped=False,
)
LARGE = PART + 1000  # bytes; more than any store keeps back


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of store."""
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Store:
    return STORES[kind](tmp_path / "uploads")


@pytest.fixture
def reopen(store: Store, kind: str, tmp_path: Path) -> Callable[[], Store]:
    """The same uploads, as a process sees them that starts after a crash; what is in memory is not lost by one."""
    return lambda: store if kind == "memory" else STORES[kind](tmp_path / "uploads")


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path))


# Records


def test_unknown_upload_is_not_found(store: Store) -> None:
    """Whatever is asked of it."""
    for deed in (store.load, store.open, lambda id: store.append(id, 0, fence=Turns())):
        with pytest.raises(NotFound):
            deed("nobody")
    with pytest.raises(NotFound):
        store.save(Upload("nobody"), since=Upload("nobody"))


def test_upload_exists_once_it_is_saved(store: Store) -> None:
    """What is only begun is not an upload yet."""
    draft = begin(store)
    with pytest.raises(NotFound):
        store.load("a")
    assert list(store.ids()) == []

    store.save(Upload("a"))
    draft.close()

    assert (store.load("a").id, list(store.ids())) == ("a", ["a"])


def test_upload_exists_once_it_is_finished(store: Store) -> None:
    """All of it came with its creation."""
    draft = begin(store)
    draft.write(b"abc")

    store.finish(Upload("a", length=3, complete=True), draft)
    draft.close()

    assert (store.load("a").offset, store.load("a").complete, content(store)) == (3, True, b"abc")


@pytest.mark.parametrize("told", [{"chunks": Chunks(1, 2)}, {"expected": 3}, {"parts": ("b",)}], ids=lambda t: [*t][0])
def test_name_that_follows_from_what_a_client_says_is_given_once(store: Store, told: dict[str, Any]) -> None:
    """It looks like one that is made up each time, and two requests can say the same."""
    upload = Upload("f" * 32, length=3, **told)
    making = store.create(upload, fence=Turns())

    with pytest.raises(FileExistsError):
        store.create(upload, fence=Turns())
    store.save(upload)
    making.close()
    with pytest.raises(FileExistsError):
        store.create(upload, fence=Turns())

    assert store.load(upload.id).length == 3


def test_creation_can_be_read_before_it_is_saved(store: Store) -> None:
    """The engine looks at the content of an upload that came with its creation, and then saves it or not."""
    draft = begin(store)
    draft.write(b"abc")
    draft.commit()

    found = content(store)

    draft.close()
    assert found == b"abc"


def test_name_is_given_once(store: Store) -> None:
    """Neither what exists nor what is being made can be created, and neither is harmed."""
    new(store, "a", b"abc")
    making = begin(store, "b")
    making.write(b"x")

    for id in "ab":
        with pytest.raises(FileExistsError):
            begin(store, id)
    making.commit()
    store.save(Upload("b"))
    making.close()

    assert (content(store), content(store, "b")) == (b"abc", b"x")
    assert store.load("b").offset == 1


@pytest.mark.parametrize("id", ["0" * 32, "chosen"])
@pytest.mark.parametrize("data", [b"", b"half"])
def test_creation_that_a_crash_left_is_no_obstacle(
    store: Store, reopen: Callable[[], Store], id: str, data: bytes
) -> None:
    """Its name is free, and nothing of it is left in the next upload by this name."""
    died = begin(store, id)
    died.write(data)
    died.close()

    found = new(reopen(), id, b"new")

    assert (found.offset, content(store, id)) == (3, b"new")


@pytest.mark.without_leases
@pytest.mark.parametrize("left", [False, True], ids=["free", "half made"])
def test_of_those_who_create_at_once_one_does(store: Store, reopen: Callable[[], Store], left: bool) -> None:
    """The others hear that the name is taken, also where a crash had left something by that name."""
    if left:
        died = begin(store)
        died.write(b"half")
        died.close()
    stores = [reopen() for _ in range(8)]
    gate = threading.Barrier(len(stores))

    def create(number: int) -> int | None:
        gate.wait(5)
        try:
            draft = begin(stores[number])
        except FileExistsError:
            return None
        draft.write(b"%d" % number)
        draft.commit()
        stores[number].save(Upload("a"))
        draft.close()
        return number

    with ThreadPoolExecutor(len(stores)) as pool:
        made = [number for number in pool.map(create, range(len(stores))) if number is not None]

    assert len(made) == 1
    assert content(store) == b"%d" % made[0]


@pytest.mark.without_leases
def test_creating_and_deleting_at_once_leaves_whole_uploads(store: Store, reopen: Callable[[], Store]) -> None:
    """Who deletes what was there removes nothing of the next upload by this name."""
    stores = [reopen() for _ in range(2)]
    lease = threading.Lock()
    torn: list[object] = []

    def compete(mine: Store) -> None:
        for _ in range(40):
            try:
                draft = begin(mine)
            except FileExistsError:
                continue
            draft.write(b"abc")
            draft.commit()
            mine.save(Upload("a", length=3))
            draft.close()
            with lease:
                if content(mine) != b"abc" or mine.load("a").offset != 3:
                    torn.append(mine.load("a"))
                mine.delete("a")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(compete, one) for one in stores]:
            done.result(30)

    assert (torn, list(store.ids())) == ([], [])


@pytest.mark.parametrize(
    "field", [f for f in Upload._fields if f not in ("id", "offset", "touched", "dropped", "stored_at")], ids=str
)
def test_record_comes_back(store: Store, field: str) -> None:
    """Each field, by itself."""
    value = getattr(FULL, field)

    found = new(store, "a", **{field: value})

    assert getattr(found, field) == value


def test_whole_record_comes_back(store: Store) -> None:
    """All fields together, and the metadata byte for byte."""
    found = new(store, "full", b"abc", **{f: v for f, v in FULL._asdict().items() if f != "id"})

    assert found == FULL.evolve(offset=3, touched=found.touched, stored_at=found.stored_at)
    assert found.metadata.raw == FULL.metadata.raw


@pytest.mark.parametrize("field", ["length", "limit", "unverified_from"])
def test_nought_is_not_nothing(store: Store, field: str) -> None:
    """A number of 0 bytes is another thing than no number."""
    assert getattr(new(store, "a", **{field: 0}), field) == 0
    assert getattr(new(store, "b"), field) is None


@pytest.mark.parametrize("created", [0, 1.5, True, math.inf, -math.inf, 1e300])
def test_any_number_that_a_host_gives_comes_back(store: Store, created: float) -> None:
    """A record that cannot be read is an upload that is lost."""
    assert new(store, length=5, created=created).created == created


def test_owner_without_a_name_is_not_nobody(store: Store) -> None:
    """An upload without an owner is everybody's."""
    assert new(store, length=5, owner="").owner == ""


def test_record_is_replaced_whole(store: Store) -> None:
    """What is saved is what is loaded, whatever was there before."""
    new(store, "a", **{f: v for f, v in FULL._asdict().items() if f != "id"})

    store.save(Upload("a", length=7), durable=True)

    found = store.load("a")
    assert found == Upload("a", length=7, touched=found.touched, stored_at=found.stored_at)


def test_offset_is_the_number_of_bytes(store: Store) -> None:
    """And not what the record says."""
    new(store, "a", b"abc", offset=77)

    assert store.load("a").offset == 3


def test_touched_is_the_time_of_the_last_write(store: Store) -> None:
    """Saving the record is no write."""
    before = new(store, "a", b"abc").touched
    time.sleep(0.02)
    store.save(Upload("a"))
    saved = store.load("a").touched
    add(store, 3, b"d")

    assert saved == before < store.load("a").touched


def test_record_is_replaced_if_it_is_what_was_loaded(store: Store) -> None:
    """Bytes that came since, and the time at which they came, are no change."""
    since = new(store, "a", b"abc", length=9)
    add(store, 3, b"def")

    store.save(since.evolve(owner="eve"), since=since, durable=True)

    assert (store.load("a").owner, store.load("a").offset) == ("eve", 6)


@pytest.mark.parametrize(
    "change", [{"owner": "adam"}, {"metadata": Metadata("b,a")}, {"finals": ("f",)}, {"length": 8}]
)
def test_record_that_was_changed_is_not_replaced(store: Store, reopen: Callable[[], Store], change: Any) -> None:
    """Nothing happens, and who wanted to is told to look again."""
    since = new(store, "a", b"abc", length=9, metadata=Metadata("a,b"))
    reopen().save(since.evolve(**change))

    with pytest.raises(Changed):
        store.save(since.evolve(expires=5.0), since=since)

    found = store.load("a")
    assert found == since.evolve(**change, touched=found.touched)


@pytest.mark.without_leases
def test_changes_that_come_at_once_are_all_there(store: Store, reopen: Callable[[], Store]) -> None:
    """Who finds that the record was changed begins again, so that none is lost."""
    new(store)
    stores = [reopen() for _ in range(4)]

    def name(number: int) -> None:
        for step in range(5):
            while True:
                since = stores[number].load("a")
                with suppress(Changed):
                    stores[number].save(since.evolve(finals=(*since.finals, f"{number}-{step}")), since=since)
                    break

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(name, range(len(stores))))

    assert sorted(store.load("a").finals) == sorted(f"{n}-{s}" for n in range(4) for s in range(5))


CHANGING = """
import sys
from contextlib import suppress
from pathlib import Path
from tests.drafting import Turns, add, begin, content, going_on, new
from tests.kinds import STORES
from tus.errors import Changed
store = STORES[sys.argv[1]](Path(sys.argv[2]))
print(flush=True)
sys.stdin.readline()
for step in range(20):
    while True:
        since = store.load("a")
        with suppress(Changed):
            store.save(since.evolve(finals=(*since.finals, f"{sys.argv[3]}-{step}")), since=since)
            break
"""


@pytest.mark.without_leases
def test_changes_of_two_processes_are_all_there(store: Store, kind: str, tmp_path: Path) -> None:
    """They share nothing but the storage."""
    if kind == "memory":
        pytest.skip("belongs to one process")
    new(store)
    command = [sys.executable, "-c", CHANGING, kind, str(tmp_path / "uploads")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    both = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) for name in "xy"
    ]
    for process in both:
        assert process.stdout
        process.stdout.readline()

    for process in both:
        process.communicate(b"\n", timeout=30)

    assert sorted(store.load("a").finals) == sorted(f"{name}-{step}" for name in "xy" for step in range(20))


@pytest.mark.without_leases
def test_changing_a_record_that_goes_brings_nothing_back(store: Store, reopen: Callable[[], Store]) -> None:
    """Whoever changes the record of an upload that another one deletes hears that there is none."""
    other = reopen()
    for _ in range(50):
        new(store, length=9)
        since = other.load("a")
        gate = threading.Barrier(2)

        def change(since: Upload = since, gate: threading.Barrier = gate) -> None:
            gate.wait(5)
            with suppress(NotFound):
                other.save(since.evolve(owner="eve"), since=since)

        thread = threading.Thread(target=change)
        thread.start()
        gate.wait(5)
        store.delete("a")
        thread.join(5)

        assert list(store.ids()) == []
        with pytest.raises(NotFound):
            store.load("a")


def test_removed_upload_is_not_saved_since(store: Store) -> None:
    """What was loaded is not there any more."""
    since = new(store, "a", b"abc")
    store.delete("a")

    with pytest.raises(NotFound):
        store.save(since, since=since)

    assert list(store.ids()) == []


# Bytes


@pytest.mark.parametrize("kind_of_block", [bytes, bytearray, memoryview])
def test_block_of_any_kind_is_written_whole(store: Store, kind_of_block: Any) -> None:
    """And the next byte goes behind it."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2)

    draft.write(kind_of_block(b"cdef"))

    assert (draft.taken, draft.commit(), content(store)) == (6, 6, b"abcdef")
    draft.close()


def test_writing_goes_on_at_the_offset(store: Store) -> None:
    """Several blocks, one after the other."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2)

    for block in (b"c", b"", b"de"):
        draft.write(block)
    offset = draft.commit(durable=True)
    draft.close()

    assert (content(store), offset, store.load("a").offset) == (b"abcde", 5, 5)


def test_what_is_told_is_never_more_than_what_is_there(store: Store, reopen: Callable[[], Store]) -> None:
    """The next byte may go ahead of what is committed; the commit brings all of it, and a crash takes none of that."""
    data = os.urandom(LARGE)
    new(store)
    draft, _ = going_on(store, 0)

    draft.write(data[:PART])
    draft.write(data[PART:])
    before = store.load("a").offset
    told = draft.commit()

    assert before <= LARGE == draft.taken == told == store.load("a").offset
    assert content(reopen()) == data
    draft.close()


def test_what_was_not_committed_may_be_there_after_a_crash_but_only_in_order(
    store: Store, reopen: Callable[[], Store]
) -> None:
    """What was committed is there, and perhaps more of what follows; never anything else."""
    data = os.urandom(2 * LARGE)
    new(store, "a", data[:10])
    draft, _ = going_on(store, 10)
    draft.write(data[10:])
    draft.close()

    found = reopen().load("a").offset

    assert 10 <= found <= len(data)
    assert content(reopen())[:found] == data[:found]


def test_draft_goes_on_after_a_commit(store: Store) -> None:
    """As often as one likes; a commit of nothing is fine."""
    new(store)
    draft, _ = going_on(store, 0)

    offsets = [draft.commit()]
    for block in (b"abc", b"", b"d"):
        draft.write(block)
        offsets.append(draft.commit())
    draft.close()

    assert (offsets, content(store)) == ([0, 3, 3, 4], b"abcd")


def test_draft_is_used_by_any_thread(store: Store) -> None:
    """One at a time."""
    new(store)
    draft, _ = going_on(store, 0, exact=True)

    for deed in (lambda: draft.write(b"abc"), lambda: draft.write(b"def"), draft.commit, draft.close):
        thread = threading.Thread(target=deed)
        thread.start()
        thread.join(5)

    assert content(store) == b"abcdef"


def test_closing_twice_is_fine(store: Store) -> None:
    """And closing takes no turn, so that a request that lost its lease can do it."""
    new(store)
    draft, fence = going_on(store, 0)
    draft.write(b"abc")
    draft.commit()
    fence.lost = True
    turns = fence.taken

    draft.close()
    draft.close()

    assert (fence.taken, content(store)) == (turns, b"abc")


def test_draft_of_a_lost_lease_changes_nothing(store: Store) -> None:
    """Neither with what it has nor with what still comes; and what it says is true."""
    new(store, "a", b"ab")
    draft, fence = going_on(store, 2, exact=True)
    draft.write(b"c")
    fence.lost = True

    with pytest.raises(Interrupted):
        draft.write(b"d")
    with pytest.raises(Interrupted):
        draft.commit()
    draft.close()

    assert (store.load("a").offset, content(store)[:2]) == (2, b"ab")


def test_forgotten_bytes_are_replaced(store: Store) -> None:
    """What follows goes where they were."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2)
    draft.write(b"c")
    draft.commit()
    draft.write(b"XXXX")

    draft.abort()
    draft.write(b"de")

    assert (draft.taken, draft.commit(), content(store)) == (5, 5, b"abcde")
    draft.close()


@pytest.mark.parametrize("size", [5, 2 * LARGE])
def test_aborted_draft_of_a_new_upload_has_nothing(store: Store, size: int) -> None:
    """It can be saved without."""
    draft = begin(store)
    draft.write(os.urandom(size))

    draft.abort()
    store.save(Upload("a", length=size))
    draft.close()

    assert (store.load("a").offset, content(store)) == (0, b"")


@pytest.mark.parametrize("offset", [0, 4, 6])
def test_what_lies_behind_the_offset_is_forgotten(store: Store, reopen: Callable[[], Store], offset: int) -> None:
    """At once, whether anything follows or not; and what follows takes its place."""
    new(store, "a", b"abc")
    add(store, 3, b"def")

    draft, _ = going_on(store, offset)
    after = store.load("a").offset
    draft.close()
    add(reopen(), offset, b"X")

    assert (after, content(store)) == (offset, b"abcdef"[:offset] + b"X")


def test_no_hole_comes_into_an_upload(store: Store) -> None:
    """Who goes on behind the end is wrong about it."""
    new(store, "a", b"abc")

    with pytest.raises(OffsetMismatch):
        going_on(store, 4)

    assert content(store) == b"abc"


def test_known_record_need_not_be_read_again(store: Store) -> None:
    """Who has just loaded it says so; it makes no difference."""
    known = new(store, "a", b"abc")
    fence = Turns(2)

    with fence.turn():
        draft = store.append("a", 3, fence=fence, known=known)
    draft.write(b"d")
    draft.commit()
    draft.close()

    assert content(store) == b"abcd"


@pytest.mark.parametrize("start", [0, 4])
def test_reader_can_seek(store: Store, start: int) -> None:
    """Ranges are read from the middle, also of what still arrives."""
    new(store, "a", b"abcdef", length=9)

    with store.open("a", start) as file:
        first = file.read(1)
        file.seek(5)
        rest = file.read()

    assert (first, rest) == (b"abcdef"[start : start + 1], b"f")


@pytest.mark.skipif(not hasattr(os, "splice"), reason="needs os.splice")
@pytest.mark.parametrize("exact", [False, True])
def test_bytes_come_through_a_pipe(store: Store, exact: bool) -> None:
    """At most as many as asked for, and the next byte goes behind them."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2, exact=exact)
    if not isinstance(draft, Spliceable):
        pytest.skip("takes no pipe")
    out, into = os.pipe()
    os.write(into, b"cdefgh")
    os.close(into)

    moved = 0
    while moved < 4:
        moved += draft.splice(out, 4 - moved)

    assert (draft.taken, draft.commit(), content(store)) == (6, 6, b"abcdef")
    os.close(out)
    draft.close()


@pytest.mark.parametrize("size", [0, 1, 5, 3_000_000])
def test_upload_is_taken_into_another(store: Store, size: int) -> None:
    """As far as it goes, and the next byte goes behind it."""
    data = os.urandom(size)
    new(store, "a", data)
    new(store, "b", b"head")
    draft, _ = going_on(store, 4, "b")
    if not isinstance(draft, Joinable):
        pytest.skip("cannot join")

    draft.join("a", size + 7)
    taken = draft.taken
    draft.write(b"tail")
    draft.commit()
    draft.close()

    assert (taken, content(store, "b")) == (4 + size, b"head" + data + b"tail")


def test_beginning_of_an_upload_is_taken_into_another(store: Store) -> None:
    """No more than was asked for, even if it goes on growing."""
    new(store, "a", b"abcdef")
    new(store, "b")
    draft, _ = going_on(store, 0, "b")
    if not isinstance(draft, Joinable):
        pytest.skip("cannot join")

    draft.join("a", 4)
    draft.commit()
    draft.close()

    assert content(store, "b") == b"abcd"


def test_what_is_not_committed_can_be_looked_through(store: Store) -> None:
    """From its first byte on."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2, exact=True)
    if not isinstance(draft, Reviewable):
        pytest.skip("cannot be read before")
    draft.write(b"cd")
    draft.commit()
    draft.write(b"e")
    draft.write(b"f")

    with draft.review() as file:
        seen = file.read()

    assert seen == b"ef"
    draft.close()


# Exact


def test_exact_draft_is_not_seen_before_its_commit(store: Store, reopen: Callable[[], Store]) -> None:
    """Neither by this process nor by the one after a crash; and then all of it is there."""
    data = os.urandom(2 * LARGE)
    new(store, "a", b"ab", length=len(data) + 2)
    draft, _ = going_on(store, 2, exact=True)

    draft.write(data[:LARGE])
    draft.write(data[LARGE:])
    before = (draft.taken, store.load("a").offset, reopen().load("a").offset)
    told = draft.commit()

    assert (before, told) == ((2 + len(data), 2, 2), 2 + len(data))
    assert (store.load("a").offset, reopen().load("a").offset) == (told, told)
    assert content(store) == b"ab" + data
    draft.close()


def test_committed_exact_draft_hides_what_follows(store: Store, reopen: Callable[[], Store]) -> None:
    """Each commit is by itself."""
    new(store)
    draft, _ = going_on(store, 0, exact=True)
    offsets = []

    for block in (b"abc", b"def"):
        draft.write(block)
        offsets.append(reopen().load("a").offset)
        draft.commit()
    draft.write(b"g")
    draft.close()

    assert (offsets, reopen().load("a").offset) == ([0, 3], 6)


@pytest.mark.parametrize("ended", ["abort", "close", "crash"])
@pytest.mark.parametrize("size", [5, 2 * LARGE])
def test_exact_draft_that_was_never_committed_leaves_no_trace(
    store: Store, reopen: Callable[[], Store], ended: str, size: int
) -> None:
    """However it ended; the next request goes on where it began."""
    before = new(store, "a", b"ab", length=9)
    draft, _ = going_on(store, 2, exact=True)
    draft.write(os.urandom(size))

    if ended != "crash":
        getattr(draft, ended)()
    after = reopen()
    found = after.load("a")
    add(after, 2, b"cd")

    assert (found.offset, found.length) == (2, before.length)
    assert (after.load("a").offset, content(after)) == (4, b"abcd")
    draft.close()


def test_record_that_changes_beside_an_exact_draft_keeps_both(store: Store) -> None:
    """The commit loses no change, and the change reveals no byte."""
    new(store, length=9)
    draft, _ = going_on(store, 0, exact=True)
    draft.write(b"abc")
    since = store.load("a")

    store.save(since.evolve(owner="eve"), since=since)
    before = store.load("a").offset
    draft.commit()
    draft.close()

    assert (before, store.load("a").offset, store.load("a").owner) == (0, 3, "eve")


def test_change_of_a_record_loaded_before_an_exact_draft_reveals_nothing(store: Store) -> None:
    """What the store itself notes meanwhile is neither lost nor an obstacle."""
    since = new(store, length=9)
    draft, _ = going_on(store, 0, exact=True)
    draft.write(b"abc")

    store.save(since.evolve(owner="eve"), since=since)

    assert store.load("a").offset == 0
    assert (draft.commit(), store.load("a").owner, store.load("a").offset) == (3, "eve", 3)
    draft.close()


# Finishing


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_finishing_commits_and_saves(store: Store, reopen: Callable[[], Store], exact: bool, durable: bool) -> None:
    """In one step."""
    data = os.urandom(LARGE)
    since = new(store, "a", b"ab", length=LARGE + 2)
    draft, _ = going_on(store, 2, exact=exact)
    draft.write(data)

    store.finish(since.evolve(complete=True), draft, since=since, durable=durable)
    draft.close()

    found = reopen().load("a")
    assert (found.complete, found.offset, found.filled) == (True, LARGE + 2, True)
    assert content(reopen()) == b"ab" + data


def test_finishing_needs_no_draft(store: Store) -> None:
    """Every byte was committed before."""
    since = new(store, "a", b"abc", length=3)

    store.finish(since.evolve(complete=True), durable=True)

    assert (store.load("a").complete, content(store)) == (True, b"abc")


def test_changed_upload_is_not_finished(store: Store) -> None:
    """Who finds that looks again; the bytes are there."""
    since = new(store, length=3)
    draft, _ = going_on(store, 0)
    draft.write(b"abc")
    store.save(since.evolve(finals=("f",)))

    with pytest.raises(Changed):
        store.finish(since.evolve(complete=True), draft, since=since)
    draft.commit()
    draft.close()

    found = store.load("a")
    assert (found.complete, found.offset, found.finals) == (False, 3, ("f",))


# Durable


def test_durable_commit_is_certain(kind: str, tmp_path: Path) -> None:
    """That much outlives a power cut, for every process."""
    store = STORES[kind](tmp_path, certify=True)
    new(store)
    draft, _ = going_on(store, 0)
    offsets = []

    for block in (b"abc", b"def"):
        draft.write(block)
        offsets.append(draft.commit(durable=True))
        offsets.append(store.load("a", durable=True).offset)
    draft.write(b"g")
    draft.commit()
    draft.close()

    assert offsets == [3, 3, 6, 6]
    assert 6 <= store.load("a", durable=True).offset <= store.load("a").offset == 7


def test_what_was_forgotten_is_not_certain(kind: str, tmp_path: Path) -> None:
    """Other bytes may come in its place."""
    store = STORES[kind](tmp_path, certify=True)
    new(store)
    draft, _ = going_on(store, 0)
    draft.write(b"abcdef")
    draft.commit(durable=True)
    draft.close()

    add(store, 2, b"XYZ")

    assert store.load("a").offset == 5
    assert store.load("a", durable=True).offset in ((2,) if kind == "file" else (5,))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets these system calls fail, as on a disk that is broken; without any, it is whole again."""
    if not hasattr(os, "fdatasync"):
        pytest.skip("no fdatasync here that could fail")
    names = ("fdatasync", "ftruncate", "rename")
    whole = {name: getattr(os, name) for name in names}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def switch(*failing: str) -> None:
        for name in names:
            monkeypatch.setattr(os, name, fail if name in failing else whole[name])

    return switch


Broken = Callable[..., None]


@pytest.mark.parametrize("certify", [False, True])
@pytest.mark.parametrize("failing", [("fdatasync",), ("fdatasync", "ftruncate")], ids=" ".join)
def test_failed_sync_goes_back_to_what_is_certain(
    tmp_path: Path, broken: Broken, certify: bool, failing: tuple[str, ...]
) -> None:
    """Of the commits before, those count that were certified. Other processes see it, and what comes next is kept."""
    store = FileStore(str(tmp_path), certify=certify)
    new(store, length=9)
    draft, _ = going_on(store, 0)
    draft.write(b"abc")
    draft.commit(durable=True)
    draft.write(b"def")
    broken(*failing)
    certain = 3 if certify else 0

    with pytest.raises(StoreBroken) as raised:
        draft.commit(durable=True)
    broken()
    again = draft.commit(durable=True)  # which the disk takes
    draft.close()

    offsets = [raised.value.offset, again, store.load("a").offset, FileStore(str(tmp_path)).load("a").offset]
    assert offsets == [certain] * 4
    add(store, certain, b"XYZ")
    assert content(store) == b"abc"[:certain] + b"XYZ"


def test_doubtful_bytes_never_count_while_nothing_can_be_written_down(files: FileStore, broken: Broken) -> None:
    """The upload is refused until it can be cut back."""
    new(files, length=9)
    draft, _ = going_on(files, 0)
    draft.write(b"abc")
    broken("fdatasync", "ftruncate", "rename")
    for durable in (True, False):
        with pytest.raises(StoreBroken):
            draft.commit(durable=durable)
    draft.close()

    with pytest.raises(StoreBroken):
        going_on(files, 0)
    while_failing = files.load("a").offset
    broken()
    after = files.load("a").offset
    add(files, 0, b"X")

    assert (while_failing, after, content(files)) == (0, 0, b"X")


def test_failed_sync_of_a_request_that_was_overtaken_cuts_nothing(files: FileStore, broken: Broken) -> None:
    """Its lease is lost; who takes the newest one cuts back, and what is doubtful does not count before."""
    new(files, length=9)
    draft, fence = going_on(files, 0)
    draft.write(b"abc")
    broken("fdatasync")
    fence.lost = True

    with pytest.raises(StoreBroken) as raised:
        draft.commit(durable=True)
    draft.close()
    size, before = os.stat(files.path("a")).st_size, files.load("a").offset
    going_on(files, raised.value.offset or 0)[0].close()

    assert (size, before, os.stat(files.path("a")).st_size) == (3, 0, 0)
    assert FileStore(files.directory).load("a").offset == 0


def test_doubt_ends_with_the_upload(files: FileStore, broken: Broken) -> None:
    """Another one by the same name is not cut back to what was certain of the first."""
    new(files, length=9)
    draft, _ = going_on(files, 0)
    draft.write(b"abc")
    broken("fdatasync", "ftruncate", "rename")
    with pytest.raises(StoreBroken):
        draft.commit(durable=True)
    draft.close()
    broken()
    files.delete("a")

    assert new(files, "a", b"abc").offset == 3


@pytest.mark.parametrize("exact", [False, True])
def test_nothing_is_finished_of_bytes_that_the_disk_lost(files: FileStore, broken: Broken, exact: bool) -> None:
    """The record stays as it was."""
    since = new(files, "a", b"ab", length=5)
    draft, _ = going_on(files, 2, exact=exact)
    draft.write(b"cde")
    broken("fdatasync")

    with pytest.raises(StoreBroken) as raised:
        files.finish(since.evolve(complete=True), draft, since=since, durable=True)
    draft.close()

    found = files.load("a")
    assert (raised.value.offset, found.offset, found.complete) == (0, 0, False)


def test_part_that_fails_is_tried_again(tmp_path: Path) -> None:
    """By the store itself, and nobody notices."""
    store = SlowStore(tmp_path, part=4, late=0)
    new(store)
    draft, _ = going_on(store, 0)

    draft.write(bytes(range(100)))
    draft.commit()
    draft.close()

    assert content(store) == bytes(range(100))


@pytest.mark.parametrize("exact", [False, True])
def test_part_that_is_lost_takes_back_what_was_not_committed(tmp_path: Path, exact: bool) -> None:
    """The offset that is told is the one that holds, and the next request goes on there."""
    store = SlowStore(tmp_path, part=4, late=0, stubborn=True)
    new(store)
    draft, _ = going_on(store, 0, exact=exact)
    draft.write(b"ab")
    draft.commit()

    with pytest.raises(StoreBroken) as raised:
        for _ in range(10):
            draft.write(b"XXXX")
        draft.commit()
    found = SlowStore(tmp_path).load("a").offset
    draft.close()
    add(store, 2, b"cd")

    assert (raised.value.offset, draft.taken, found, content(store)) == (2, 2, 2, b"abcd")


def test_older_token_is_refused(tmp_path: Path) -> None:
    """A request that does not know yet that it was overtaken commits nothing more."""
    store = SlowStore(tmp_path, late=0)
    new(store)
    old, _ = going_on(store, 0, token=2)
    old.write(b"old")
    newest, _ = going_on(store, 0, token=3)

    with pytest.raises(Interrupted):
        old.commit()
    with pytest.raises(Interrupted):
        going_on(store, 0, token=2)
    newest.write(b"new")
    newest.commit()

    assert content(SlowStore(tmp_path)) == b"new"
    old.close()
    newest.close()


def test_upload_that_grew_before_the_token_was_shown_is_not_cut(tmp_path: Path) -> None:
    """An older request could still commit, and its client was told so."""
    store = SlowStore(tmp_path, late=0)
    known = new(store)
    add(store, 0, b"old")

    with pytest.raises(Changed):
        store.append("a", 0, fence=Turns(3), known=known)

    assert content(store) == b"old"


# Numbered chunks


def placed(store: Store, start: int, data: bytes, number: int, id: str = "a", *, durable: bool = False) -> None:
    """One chunk, from its first byte to its mark."""
    assert isinstance(store, Positioned)
    fence = Turns()
    with fence.turn():
        draft = store.place(id, start, fence=fence)
    draft.write(data)
    draft.commit(durable=durable)
    with fence.turn():
        store.mark(id, number, durable=durable)
    draft.close()


@pytest.fixture
def positioned(store: Store) -> Any:
    """The stores that take numbered chunks."""
    if not isinstance(store, Positioned):
        pytest.skip("has no places")
    return store


@pytest.mark.parametrize("durable", [False, True])
def test_chunks_come_in_any_order(positioned: Any, durable: bool) -> None:
    """The offset is the sum of those that are marked, and the file is whole in the end."""
    new(positioned, length=25, chunks=Chunks(10, 3))
    offsets = []

    for number, data in ((2, b"ccccc"), (0, b"a" * 10), (0, b"a" * 10), (1, b"b" * 10)):
        placed(positioned, number * 10, data, number, durable=durable)
        offsets.append(positioned.load("a").offset)
    positioned.finish(positioned.load("a").evolve(complete=True), durable=durable)

    assert (offsets, positioned.marks("a")) == ([5, 15, 15, 25], b"\1\1\1")
    assert content(positioned) == b"a" * 10 + b"b" * 10 + b"ccccc"
    assert positioned.load("a").offset == 25


def test_chunk_without_a_mark_does_not_count(positioned: Any) -> None:
    """Given up or not, it harms no other, and may come again."""
    new(positioned, length=20, chunks=Chunks(10, 2))
    placed(positioned, 10, b"b" * 10, 1)
    draft = positioned.place("a", 0, fence=Turns())

    draft.write(b"XXX")
    draft.abort()
    taken, offset = draft.taken, positioned.load("a").offset
    draft.close()
    placed(positioned, 0, b"a" * 10, 0)

    assert (taken, offset, content(positioned)) == (0, 10, b"a" * 10 + b"b" * 10)


def test_chunks_are_written_side_by_side(positioned: Any) -> None:
    """Each draft at its own place."""
    new(positioned, length=20, chunks=Chunks(10, 2))
    drafts = [positioned.place("a", start, fence=Turns()) for start in (10, 0)]

    for byte in range(10):
        for draft in drafts:
            draft.write(b"%d" % byte)

    assert [draft.commit() for draft in drafts] == [20, 10]
    assert content(positioned) == b"0123456789" * 2
    for draft in drafts:
        draft.close()


def test_chunk_of_an_unknown_upload_is_refused(positioned: Any) -> None:
    """Nothing is made of it."""
    with pytest.raises(NotFound):
        positioned.place("nobody", 0, fence=Turns())


# Looking again


def test_held_record_is_looked_at_again(store: Store) -> None:
    """Bytes and changes are seen; and closing twice is fine."""
    if not isinstance(store, Rereading):
        pytest.skip("has no shorter way")
    new(store, "a", b"abc")
    reading = store.hold("a")

    add(store, 3, b"d")
    grown = reading.again().offset
    store.save(Upload("a", owner="eve"))
    changed = reading.again()
    store.delete("a")
    with pytest.raises(NotFound):
        reading.again()
    reading.close()
    reading.close()

    assert (reading.upload.offset, grown, changed.owner) == (3, 4, "eve")


# Removing


def test_deleted_upload_is_unknown(store: Store) -> None:
    """Deleting it twice is fine, and its name is free again."""
    new(store, "a", b"abc", length=3)

    store.delete("a")
    store.delete("a")

    with pytest.raises(NotFound):
        store.load("a")
    with pytest.raises(NotFound):
        store.open("a")
    assert list(store.ids()) == []
    assert new(store).offset == 0


def test_creation_that_was_given_up_can_be_deleted(store: Store) -> None:
    """It leaves nothing."""
    draft = begin(store)
    draft.write(b"abc")

    store.delete("a")
    draft.close()

    assert new(store).offset == 0


def test_dropped_data_leaves_the_record(store: Store) -> None:
    """Late questions are answered: the offset is the length."""
    upload = new(store, "a", b"abc", length=3, complete=True)
    store.save(upload.evolve(dropped=True))

    store.drop("a")
    store.drop("a")

    found = store.load("a")
    assert (found.offset, found.dropped, found.complete) == (3, True, True)
    with pytest.raises(NotFound):
        store.open("a")


def test_record_of_dropped_data_can_be_changed(store: Store) -> None:
    """Whether it says itself that they were dropped, or not yet."""
    for dropped in (False, True):
        upload = new(store, "a", b"abc", length=3, complete=True, result=Result())
        store.save(upload.evolve(dropped=dropped))
        before = store.load("a")
        store.drop("a")

        store.save(before.evolve(owner="eve"), since=before)
        after = store.load("a")
        store.save(after.evolve(owner="adam"), since=after)

        assert store.load("a").owner == "adam"
        store.delete("a")


def test_ids_bear_that_uploads_go(store: Store) -> None:
    """A sweep removes what it looks at."""
    for id in "abc":
        new(store, id)

    seen = [id for id in store.ids() if store.delete(id) is None]

    assert (sorted(seen), list(store.ids())) == (["a", "b", "c"], [])


def test_tidying_leaves_what_is_alive(store: Store) -> None:
    """Neither an upload nor what is being made is removed."""
    new(store, "a", b"abc")
    draft = begin(store, "b")
    draft.write(b"x")
    draft.commit()

    store.tidy(time.time() - 3600)

    store.save(Upload("b"))
    assert (store.load("a").offset, store.load("b").offset) == (3, 1)
    draft.close()


def test_creation_under_way_outlives_a_clock_that_jumps(store: Store, reopen: Callable[[], Store]) -> None:
    """It looks old, and somebody writes to it."""
    draft = begin(store, "0" * 32)
    draft.write(b"abc")
    draft.commit()

    reopen().tidy(time.time() + 8 * 86400)
    store.save(Upload("0" * 32))

    assert content(store, "0" * 32) == b"abc"
    draft.close()


def test_secret_is_the_same_for_everybody(store: Store, reopen: Callable[[], Store]) -> None:
    """And long enough."""
    assert len(store.secret()) == 32
    assert reopen().secret() == store.secret()


# Files


def test_path_is_the_data(files: FileStore) -> None:
    """The host is given it, and may read or move the file."""
    new(files, "a", b"abc")

    assert Path(files.path("a")).read_bytes() == b"abc"


def test_only_files_have_paths(store: Store, kind: str) -> None:
    """A host that wants one is told so when the application is built."""
    assert isinstance(store, OnDisk) is (kind == "file")


def test_files_are_ours_alone(tmp_path: Path) -> None:
    """Nobody else on the machine can read an upload."""
    store = FileStore(str(tmp_path / "new" / "uploads"))
    new(store, "a", b"abc")

    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "new" / "uploads").iterdir()}

    assert modes == {"a": 0o600, "a.info": 0o600}
    assert stat.S_IMODE((tmp_path / "new" / "uploads").stat().st_mode) == 0o700


def test_tidying_removes_what_a_crash_left_half_made(files: FileStore, tmp_path: Path) -> None:
    """But only after a while, and nobody else's files."""
    new(files, "a", b"abc")
    begin(files, "b").close()
    (tmp_path / "a.new").touch()
    (tmp_path / "other.txt").touch()
    (tmp_path / "ä.new").touch()

    files.tidy(time.time() + 1)

    assert {p.name for p in tmp_path.iterdir()} == {"a", "a.info", "other.txt", "ä.new"}


def test_tidying_leaves_what_may_be_a_strangers(files: FileStore, tmp_path: Path) -> None:
    """A letter, and a newer one that is empty or begins as a record does, are not certainly ours."""
    texts = {"letter": "Dear", "letter.new": "", "memo": "Dear", "memo.new": '{"ID', "note": "Dear"}
    texts["note.new"] = '{"ID":"another"}'
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    files.tidy(time.time() + 1)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == texts


@pytest.mark.parametrize("id", ["0" * 32, "chosen"])
def test_creation_that_a_crash_left_is_tidied_away_by_any_name(files: FileStore, tmp_path: Path, id: str) -> None:
    """Also one that the host has chosen, which strangers' files could have."""
    begin(files, id).close()

    files.tidy(time.time() + 1)

    assert list(tmp_path.iterdir()) == []


def test_long_creation_is_not_tidied_away(files: FileStore, tmp_path: Path) -> None:
    """A body that takes hours belongs to a record that was begun hours ago."""
    draft = begin(files)
    draft.write(b"abc")
    os.utime(tmp_path / "a.info", (1, 1))

    files.tidy(time.time() - 3600)
    files.save(Upload("a"))

    assert content(files) == b"abc"
    draft.close()


def test_removed_file_of_an_accepted_upload_counts_as_dropped(files: FileStore, tmp_path: Path) -> None:
    """The host may move the file away."""
    new(files, "a", b"abc", length=3, complete=True, result=Result())

    (tmp_path / "a").unlink()

    found = files.load("a")
    assert (found.offset, found.dropped) == (3, True)


def test_removed_file_of_a_pending_upload_is_an_error(files: FileStore, tmp_path: Path) -> None:
    """Nobody said that he has it, so nobody may be told that all is well."""
    new(files, "a", b"abc", length=3, complete=True)

    (tmp_path / "a").unlink()

    for deed in (files.load, files.lend):
        with pytest.raises(StoreBroken, match="gone"):
            deed("a")


@pytest.fixture
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, or one without, such as FAT."""

    def none(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if not request.param:
        monkeypatch.setattr(os, "link", none)


both_ways = pytest.mark.parametrize("links", [True, False], ids=["links", "copies"], indirect=True)


@both_ways
@pytest.mark.usefixtures("links")
def test_secret_is_one_for_all_who_begin_at_once(tmp_path: Path) -> None:
    """Whoever comes second takes what is there, and nothing half made is left."""
    stores = [FileStore(str(tmp_path)) for _ in range(8)]
    gate = threading.Barrier(len(stores))

    def ask(store: FileStore) -> bytes:
        gate.wait(5)
        return store.secret()

    with ThreadPoolExecutor(len(stores)) as pool:
        secrets = set(pool.map(ask, stores))

    assert [len(secret) for secret in secrets] == [32]
    assert os.listdir(tmp_path) == [".secret"]


@both_ways
@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("taken", [os.unlink, lambda path: os.rename(path, path + ".elsewhere"), lambda path: None])
def test_lent_file_comes_back(files: FileStore, tmp_path: Path, taken: Any) -> None:
    """Whatever the host did with it; and as often as it is lent."""
    new(files, "a", b"abc", length=3, complete=True)

    for _ in range(2):
        taken(files.lend("a"))
        assert (files.load("a").offset, files.load("a").pending) == (3, True)
        files.regain("a")

    assert content(files) == b"abc"
    assert not (tmp_path / "a.kept").exists()


@both_ways
@pytest.mark.usefixtures("links")
def test_file_that_was_lent_when_a_process_died_is_lent_again(files: FileStore, tmp_path: Path) -> None:
    """Taken or not, and also when the process died while it copied."""
    new(files, "a", b"abc", length=3, complete=True)
    os.unlink(files.lend("a"))

    again = Path(files.lend("a")).read_bytes()
    (tmp_path / "a.kept").unlink()
    (tmp_path / "a.kept").write_bytes(b"a")

    assert again == Path(files.lend("a")).read_bytes() == (tmp_path / "a.kept").read_bytes() == b"abc"


def test_given_file_has_one_name(files: FileStore, tmp_path: Path) -> None:
    """So that it is gone when the host takes it away or removes it."""
    new(files, "a", b"abc", length=3, complete=True)
    files.lend("a")

    files.give("a")

    assert os.stat(tmp_path / "a").st_nlink == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_tidying_removes_second_names_that_a_crash_left(files: FileStore, tmp_path: Path, accepted: bool) -> None:
    """Those of accepted uploads: of the others they may be the only name. And never a stranger's."""
    new(files, "a", b"abc", length=3, complete=True)
    files.lend("a")
    if accepted:
        files.save(files.load("a").evolve(result=Result()))
    (tmp_path / "letter.kept").write_text("for ever")

    files.tidy(time.time() + 1)

    assert (tmp_path / "a.kept").exists() is not accepted
    assert (tmp_path / "letter.kept").exists()


def test_dropped_and_deleted_files_have_no_second_name(files: FileStore, tmp_path: Path) -> None:
    """Their bytes would stay on the disk."""
    for id in "ab":
        new(files, id, b"abc", length=3, complete=True)
        files.lend(id)

    files.drop("a")
    files.delete("b")

    assert [path.name for path in tmp_path.iterdir()] == ["a.info"]


def test_removed_file_of_an_unfinished_upload_is_an_unknown_upload(files: FileStore, tmp_path: Path) -> None:
    """Its bytes are gone, so the client begins anew."""
    new(files, "a", b"abc", length=9)

    (tmp_path / "a").unlink()

    with pytest.raises(NotFound):
        files.load("a")


@pytest.mark.parametrize("name", ["a", "a.info"])
def test_link_is_not_followed(files: FileStore, tmp_path: Path, name: str) -> None:
    """Whoever can make a link there can neither read nor write another file through an upload."""
    new(files, "a", b"abc")
    target = tmp_path / "target"
    (tmp_path / name).rename(target)
    (tmp_path / name).symlink_to(target)
    before = target.read_bytes()

    with pytest.raises(NotFound):
        files.load("a")
    if name == "a":
        for deed in (
            files.open,
            lambda id: files.append(id, 0, fence=Turns()),
            lambda id: files.place(id, 0, fence=Turns()),
        ):
            with pytest.raises(NotFound):
                deed("a")

    assert target.read_bytes() == before


def test_link_in_place_of_a_new_record_is_not_followed(files: FileStore, tmp_path: Path) -> None:
    """The record is written beside, and that is no link either."""
    new(files)
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "a.new").symlink_to(target)

    with pytest.raises(OSError):
        files.save(Upload("a", length=9))

    assert target.read_text() == "precious"


def test_creating_does_not_follow_a_link(files: FileStore, tmp_path: Path) -> None:
    """Nor does it take over what lies there."""
    (tmp_path / "a").symlink_to(tmp_path / "target")

    with pytest.raises(FileExistsError):
        begin(files)

    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "a.new").exists()


def test_record_that_cannot_be_written_leaves_the_old_one(files: FileStore, tmp_path: Path) -> None:
    """All or nothing, also when the disk is full."""
    new(files, "a", length=5)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
        with pytest.raises(StoreFull):
            files.save(Upload("a", length=6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)

    assert files.load("a").length == 5


def test_file_that_may_grow_no_more_keeps_what_fitted(files: FileStore) -> None:
    """The draft says how far a block came."""
    new(files)
    draft, _ = going_on(files, 0)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
        with pytest.raises(TooLarge):
            draft.write(b"x" * 16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)

    assert (draft.taken, draft.commit(), files.load("a").offset) == (10, 10, 10)
    draft.close()


def test_no_descriptor_is_leaked(files: FileStore, tmp_path: Path) -> None:
    """Whether it goes well or not."""
    gc.collect()  # what other tests left open must not be closed, and its number taken, in between
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(5):
        since = new(files, "a", b"abc")
        with pytest.raises(FileExistsError):
            begin(files)
        with files.open("a"):
            add(files, 1, b"d")
        with pytest.raises(OffsetMismatch):
            going_on(files, 9)
        draft, _ = going_on(files, 2, exact=True)
        draft.commit(durable=True)
        draft.close()
        files.save(since.evolve(owner="eve"), since=since)
        with pytest.raises(Changed):
            files.save(since, since=since)
        (tmp_path / "b.info").write_text("no record")
        with pytest.raises(NotFound):
            files.load("b")
        files.tidy(0)
        files.delete("a")

    assert set(os.listdir("/proc/self/fd")) == before


# tusd


def tusd(directory: Path, id: str, data: bytes, size: int, **changes: Any) -> None:
    """An upload as tusd 2 writes it."""
    record = {
        "ID": id,
        "Size": size,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {"filename": "ä b.txt", "empty": ""},
        "IsPartial": False,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": {"InfoPath": f"{directory}/{id}.info", "Path": f"{directory}/{id}", "Type": "filestore"},
        **changes,
    }
    (directory / id).write_bytes(data)
    (directory / f"{id}.info").write_text(json.dumps(record))


def test_upload_of_tusd_is_understood(files: FileStore, tmp_path: Path) -> None:
    """Its offset is the size of its file, and its metadata are there."""
    tusd(tmp_path, "a", b"abc", 9)

    found = files.load("a")

    assert (found.length, found.offset, found.complete) == (9, 3, False)
    assert dict(found.metadata) == {"filename": "ä b.txt".encode(), "empty": b""}


def test_finished_upload_of_tusd_is_not_handed_over_again(files: FileStore, tmp_path: Path) -> None:
    """tusd told whoever had to know."""
    tusd(tmp_path, "a", b"abc", 3)

    found = files.load("a")

    assert (found.complete, found.pending) == (True, False)


def test_deferred_length_of_tusd_is_understood(files: FileStore, tmp_path: Path) -> None:
    """It is no length of 0."""
    tusd(tmp_path, "a", b"", 0, SizeIsDeferred=True)

    found = files.load("a")

    assert (found.length, found.complete) == (None, False)


def test_concatenation_of_tusd_is_understood(files: FileStore, tmp_path: Path) -> None:
    """Parts and finals are what they were."""
    tusd(tmp_path, "a", b"abc", 3, IsPartial=True)
    tusd(tmp_path, "b", b"abcabc", 6, IsFinal=True, PartialUploads=["a", "a"], MetaData=None)

    part, final = files.load("a"), files.load("b")

    assert (part.partial, part.concat) == (True, "partial")
    assert (final.final, final.parts, final.complete) == (True, ("a", "a"), True)


def test_record_is_what_tusd_expects(files: FileStore, tmp_path: Path) -> None:
    """The same keys with the same meaning, so that the directory can go back."""
    new(files, "a", b"abc", length=9, metadata=Metadata("filename w6QudHh0"), partial=True)

    record = json.loads((tmp_path / "a.info").read_text())
    del record["tus"]

    assert record == {
        "ID": "a",
        "Size": 9,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {"filename": "ä.txt"},
        "IsPartial": True,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": None,
    }


def test_name_of_a_file_never_comes_out_of_a_file(files: FileStore, tmp_path: Path) -> None:
    """A record that calls itself otherwise is still the upload by whose name it lies there."""
    tusd(tmp_path, "a", b"abc", 9, ID="../../etc/passwd")

    assert files.load("a").id == "a"


def test_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """Under a running server; what was in it is unknown, and what comes is stored."""
    place = tmp_path / "uploads"
    files, locker = FileStore(str(place)), FileLocker(str(place))
    new(files, "a", b"abc")
    shutil.rmtree(place)

    with pytest.raises(NotFound):
        files.load("a")
    new(files, "b", b"abc")
    locker.lease("b").release()

    assert content(files, "b") == Path(files.path("b")).read_bytes() == b"abc"


def test_directory_that_was_made_again_by_another_is_found(tmp_path: Path) -> None:
    """Another process has stored something in it already."""
    files = FileStore(str(tmp_path / "uploads"))
    shutil.rmtree(tmp_path / "uploads")
    new(FileStore(str(tmp_path / "uploads")), "a", b"abc")

    assert files.load("a").offset == 3


def test_secret_that_is_not_whole_is_said_to_be(files: FileStore, tmp_path: Path) -> None:
    """A power cut can leave an empty one, and nobody may wait for it to grow."""
    (tmp_path / ".secret").touch()

    with pytest.raises(StoreBroken, match="remove it"):
        files.secret()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_group_may_read_where_that_is_wanted(tmp_path: Path, umask: int) -> None:
    """The data and the directory, whatever the umask; the records are ours alone."""
    before = os.umask(umask)
    try:
        store = FileStore(str(tmp_path / "uploads"), file_mode=0o640, directory_mode=0o2750)
        new(store, "a", b"abc")
    finally:
        os.umask(before)

    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "uploads").iterdir()}
    assert modes == {"a": 0o640, "a.info": 0o600}
    assert stat.S_IMODE((tmp_path / "uploads").stat().st_mode) == 0o2750


def test_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """Its owner has chosen it."""
    (tmp_path / "uploads").mkdir(mode=0o711)

    FileStore(str(tmp_path / "uploads"), directory_mode=0o750)

    assert stat.S_IMODE((tmp_path / "uploads").stat().st_mode) == 0o711
