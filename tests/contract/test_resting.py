"""What waits for a slow client without an open file: it goes on where it stood, and is lost like any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Other
from tests.contract.test_lockers import AT_ONCE, descriptors, has_turns, take_turn
from tests.drafting import begin, content, going_on, new
from tests.kinds import LOCKERS, STORES
from tests.live import until
from tus.errors import Interrupted
from tus.lockers import Locker
from tus.lockers.file import FileLocker
from tus.stores import Resting, Spliceable, Store
from tus.stores.file import FileStore


@pytest.fixture(params=[name for name in STORES if name.startswith("file")])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every kind of store that keeps files open."""
    return STORES[request.param](tmp_path / "uploads")


@pytest.fixture(params=[name for name in LOCKERS if name.startswith("file")])
def locker(request: pytest.FixtureRequest, tmp_path: Path) -> Locker:
    """Every kind of locker that keeps files open."""
    return LOCKERS[request.param](tmp_path)


def rest(one: Any) -> None:
    """As the writer of a request does it."""
    assert isinstance(one, Resting)
    one.rest()
    one.rest()


# Drafts


@pytest.mark.parametrize("exact", [False, True])
def test_draft_goes_on_after_a_rest(store: Store, exact: bool) -> None:
    """The next byte goes behind the last one."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2, exact=exact)
    draft.write(b"cd")
    rest(draft)

    draft.write(b"ef")

    assert (draft.commit(), content(store)) == (6, b"abcdef")
    draft.close()


@pytest.mark.skipif(not hasattr(os, "splice"), reason="needs os.splice")
def test_resting_draft_takes_a_pipe(store: Store) -> None:
    """A thread may go on with what waited."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2)
    assert isinstance(draft, Spliceable)
    out, into = os.pipe()
    os.write(into, b"cd")
    os.close(into)
    rest(draft)

    moved = draft.splice(out, 2)

    assert (moved, draft.commit(), content(store)) == (2, 4, b"abcd")
    os.close(out)
    draft.close()


def test_resting_draft_is_made_durable(store: Store) -> None:
    """What waited in the end is on the disk as well."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2)
    draft.write(b"cd")
    rest(draft)

    assert draft.commit(durable=True) == 4
    draft.close()


def test_resting_draft_is_taken_back(store: Store) -> None:
    """As if the request had never been."""
    new(store, "a", b"ab")
    draft, _ = going_on(store, 2)
    draft.write(b"cd")
    rest(draft)

    draft.abort()
    draft.close()

    assert content(store) == b"ab"


def test_resting_draft_that_was_lost_opens_nothing(store: Store) -> None:
    """The file by this name may be another's by now."""
    new(store, "a", b"ab")
    draft, fence = going_on(store, 2)
    rest(draft)
    fence.lost = True

    with pytest.raises(Interrupted):
        draft.write(b"cd")

    draft.close()
    assert content(store) == b"ab"


def test_creation_keeps_its_files(tmp_path: Path) -> None:
    """Its locks are on them: nobody else begins an upload by this id."""
    store = FileStore(str(tmp_path))
    draft = begin(store)
    before = len(os.listdir("/proc/self/fd"))

    rest(draft)

    assert len(os.listdir("/proc/self/fd")) == before
    draft.close()


# Leases


def test_lease_is_ours_after_a_rest(locker: Locker) -> None:
    """It has its turns, and tells of its end."""
    lease = locker.lease("a")
    rest(lease)

    take_turn(lease)
    rest(lease)
    lease.release()

    assert not locker.writing("a")


def test_resting_lease_is_held(locker: Locker) -> None:
    """Those who ask are told that somebody writes."""
    lease = locker.lease("a")
    rest(lease)

    assert (locker.writing("a"), locker.lives("a")) == (True, True)
    lease.release()


def test_resting_lease_is_lost(locker: Locker) -> None:
    """To a newer request, and its holder is told at once."""
    told: list[int] = []
    lease = locker.lease("a")
    lease.on_lost(lambda: told.append(1))
    rest(lease)

    newer = locker.lease("a")

    assert (has_turns(lease), has_turns(newer), told) == (False, True, [1])
    newer.release()


def test_resting_holder_is_told_from_another_process(tmp_path: Path, other: Other) -> None:
    """Its socket is not its file."""
    lease = FileLocker(str(tmp_path)).lease("a")
    told: list[int] = []
    lease.on_lost(lambda: told.append(1))
    rest(lease)

    other("lease", tmp_path, "a")

    until(lambda: told, within=20 * AT_ONCE)
    assert not has_turns(lease)


@pytest.mark.parametrize("again", [False, True])
def test_lease_whose_file_was_removed_is_lost(tmp_path: Path, again: bool) -> None:
    """Also if there is another one by its name, with the same number in it."""
    locker = FileLocker(str(tmp_path))
    lease = locker.lease("a")
    rest(lease)
    locker.claim("a").release()

    if again:
        locker.lease("a")

    assert not has_turns(lease)


def test_many_leases_rest_without_a_file(tmp_path: Path) -> None:
    """Nor do they mix up who is told."""
    locker = FileLocker(str(tmp_path))
    locker.lease("x").on_lost(bool)  # what a process keeps open once it had a lease
    told: dict[str, bool] = {}
    before = descriptors()
    leases = {id: locker.lease(id) for id in "abcdefgh"}
    for id, lease in leases.items():
        lease.on_lost(lambda id=id: told.setdefault(id, True))
        rest(lease)

    newer = locker.lease("c")

    assert len(descriptors() - before) <= 1  # the newer one's
    assert told == {"c": True}
    assert [id for id, lease in leases.items() if has_turns(lease)] == list("abdefgh")
    newer.release()
