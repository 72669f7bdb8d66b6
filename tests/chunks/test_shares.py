"""Shares of a lease, between threads and between processes; and the marks of a store."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.drafting import Turns, begin, content, new
from tests.kinds import LOCKERS, STORES
from tus.engine.pieces import MOST
from tus.errors import NotFound, StoreBroken
from tus.lockers import Locker
from tus.stores import Positioned
from tus.stores.apart import Apart
from tus.stores.file import FileStore
from tus.upload import Chunks

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=LOCKERS)
def locker(request: pytest.FixtureRequest, tmp_path: Path) -> Locker:
    """Every kind of locker."""
    return LOCKERS[request.param](tmp_path)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Every kind of store, with the places that it may lack."""
    made: Any = STORES[request.param](tmp_path)
    return made if isinstance(made, Positioned) else Apart(made)


@pytest.fixture
def apart(tmp_path: Path) -> Apart:
    """The slow store, which has no places."""
    return Apart(STORES["slow"](tmp_path))


def put(store: Any, start: int, data: bytes) -> None:
    """A chunk without its mark."""
    with closing(store.place("a", start, fence=Turns())) as draft:
        draft.write(data)
        draft.commit()


def test_creation_can_be_read_before_it_is_saved(store: Any) -> None:
    """Also through what keeps chunks apart, which looks at the record."""
    with closing(begin(store)) as draft:
        draft.write(b"abc")
        draft.commit()

        assert content(store) == b"abc"


def test_shares_leave_nothing_behind(locker: Locker, tmp_path: Path) -> None:
    """Released, twice too, and the file goes with the last lease."""
    before = list(tmp_path.iterdir())  # the data, where a lease lies beside it
    share = locker.share("a")
    share.release()
    share.release()

    locker.lease("a").release(forget=True)

    assert list(tmp_path.iterdir()) == before


def test_marks_say_what_is_there(store: Any) -> None:
    """The offset is the sum of the chunks that are marked, and never the size of a sparse file."""
    upload = new(store, length=25, chunks=Chunks(10, 3))
    draft = store.place("a", 20, fence=Turns())
    draft.write(b"x" * 5)
    draft.commit()
    draft.close()
    assert store.load("a").offset == 0

    offsets = []
    for number in (2, 0, 0, 1):
        store.mark("a", number)
        offsets.append(store.load("a").offset)

    assert offsets == [5, 15, 15, 25]
    assert store.marks("a") == b"\1\1\1"
    assert store.load("a").chunks == upload.chunks


def test_longer_last_chunk(store: Any) -> None:
    """By the floor rule the last chunk may have nearly twice the size."""
    new(store, length=39, chunks=Chunks(10, 3))

    store.mark("a", 2)

    assert store.load("a").offset == 19


def test_marks_go_with_the_upload(store: Any) -> None:
    """Nothing of an upload is left for the next one by its name."""
    for remove in (store.delete, store.drop):
        new(store, length=1, chunks=Chunks(1, 1))
        store.mark("a", 0)

        remove("a")

        assert store.marks("a") == b""
        store.delete("a")


def test_chunks_become_one_upload(store: Any) -> None:
    """In whatever order they came, one of them twice; and nothing but the whole is left."""
    new(store, "a", length=25, chunks=Chunks(10, 3))
    for number, data in ((2, b"ccccc"), (0, b"cut"), (0, b"a" * 10), (1, b"b" * 10)):
        put(store, number * 10, data)
        store.mark("a", number)

    store.finish(store.load("a").evolve(complete=True))

    with store.open("a") as file:
        assert file.read() == b"a" * 10 + b"b" * 10 + b"ccccc"
    assert (list(store.ids()), store.load("a").offset) == (["a"], 25)


def test_chunk_that_is_there_can_be_read(store: Any) -> None:
    """A client that sends it again may send something else, and that is compared."""
    new(store, "a", length=25, chunks=Chunks(10, 3))
    put(store, 10, b"0123456789")
    store.mark("a", 1)

    with store.open("a", 10) as file:
        assert file.read(10) == b"0123456789"


def test_whole_can_be_read_before_it_is_finished(store: Any) -> None:
    """The host looks at all of it, and not at its first chunk, before it says yes."""
    new(store, "a", length=25, chunks=Chunks(10, 3))
    for number, data in enumerate((b"0123456789", b"abcdefghij", b"ABCDE")):
        put(store, number * 10, data)
        store.mark("a", number)

    with store.open("a") as file:
        whole = file.read(25)
        file.seek(8)
        piece = file.read(14)

    assert (whole, piece) == (b"0123456789abcdefghijABCDE", b"89abcdefghijAB")


def test_chunks_that_are_kept_apart_are_no_uploads(apart: Apart) -> None:
    """They have no owner, so that anybody who knows the address of the whole could read them by theirs."""
    new(apart, "a", length=25, chunks=Chunks(10, 3))
    put(apart, 10, b"0123456789")
    apart.mark("a", 1)

    for id in set(apart.ids()) - {"a"}:
        with pytest.raises(NotFound):
            apart.load(id)
    assert len(set(apart.ids())) == 3


def test_removing_costs_what_was_sent(apart: Apart) -> None:
    """A client may announce a million chunks and send one: it is that one which is removed."""
    new(apart, "a", length=10 << 20, chunks=Chunks(10, 1 << 20))
    put(apart, 0, b"0123456789")
    apart.mark("a", 0)

    started = time.monotonic()
    apart.delete("a")

    assert list(apart.ids()) == []
    assert time.monotonic() - started < 60  # with a call for each that was announced it would be half an hour


def test_tidying_takes_chunks_that_belong_to_nothing(apart: Apart) -> None:
    """A process died after it had stored a chunk, or had put them together; others still arrive."""
    for id in ("gone", "done", "arrives"):
        new(apart, id, length=20, chunks=Chunks(10, 2))
        with closing(apart.place(id, 10, fence=Turns())) as draft:
            draft.write(b"x" * 10)
            draft.commit()
    apart.delete("gone")
    apart.save(apart.load("done").evolve(complete=True))

    apart.tidy(time.time() + 10)

    assert sorted(apart.ids()) == ["arrives", "arrives-10", "done"]


def test_nothing_is_finished_of_chunks_that_are_not_whole(apart: Apart) -> None:
    """The marks say that all is there, and the store has less."""
    new(apart, "a", length=20, chunks=Chunks(10, 2))
    for number, data in enumerate((b"0123456789", b"short")):
        put(apart, number * 10, data)
        apart.mark("a", number)

    with pytest.raises(StoreBroken):
        apart.finish(apart.load("a").evolve(complete=True))

    assert not apart.load("a").complete


@pytest.mark.without_leases
def test_chunks_that_are_marked_at_once_all_count(store: Any) -> None:
    """No mark replaces another one."""
    new(store, "a", length=80, chunks=Chunks(10, 8))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.mark("a", number), range(8)))

    assert store.marks("a") == b"\1" * 8


def test_a_million_chunks_have_marks(store: Any) -> None:
    """As many as a client may say; of one that comes late, all before it may be missing."""
    new(store, length=MOST, chunks=Chunks(1, MOST))

    for number in (MOST - 1, 20_000):
        store.mark("a", number)

    marks = store.marks("a")
    assert (len(marks), marks.count(1), marks[20_000]) == (MOST, 2, 1)
    assert store.load("a").offset == 2


def test_upload_is_touched_by_its_chunks(store: Any) -> None:
    """While they come, it does not expire."""
    new(store, "a", length=25, chunks=Chunks(10, 3))
    before = store.load("a").touched
    time.sleep(0.02)

    put(store, 10, b"0123456789")
    store.mark("a", 1)

    assert store.load("a").touched > before


def test_secret_is_the_same_for_everybody(tmp_path: Path) -> None:
    """Two processes that start at once agree."""
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(FileStore(str(tmp_path)).secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert os.listdir(tmp_path) == [".secret"]
    assert (tmp_path / ".secret").stat().st_mode & 0o077 == 0
