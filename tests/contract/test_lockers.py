"""What every Locker does, between threads; and what FileLocker does between processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ROOT, Other
from tus.engine.pieces import Alone
from tus.errors import Interrupted, Locked
from tus.lockers import Locker, file
from tus.lockers.file import FileLocker
from tus.lockers.memory import MemoryLocker

AT_ONCE = 0.1  # seconds that a newer request may wait for an older one


@pytest.fixture(params=["memory", "file"])
def locker(request: pytest.FixtureRequest, tmp_path: Path) -> Locker:
    """Every kind of locker."""
    return MemoryLocker() if request.param == "memory" else FileLocker(str(tmp_path), patience=0.2)


def timed(deed: Callable[[], Any]) -> float:
    """How many seconds it took."""
    start = time.monotonic()
    deed()
    return time.monotonic() - start


def take_turn(lease: Any) -> None:
    with lease.turn():
        pass


def in_thread(deed: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=deed, daemon=True)
    thread.start()
    return thread


# Leases


def test_owner_has_turns(locker: Locker) -> None:
    """As many as it likes, as long as nobody else comes."""
    lease = locker.lease("a")

    for _ in range(3):
        take_turn(lease)

    lease.release()


def test_newest_taker_owns_it(locker: Locker) -> None:
    """Whoever held it before has no turn any more, however often it asks."""
    leases = [locker.lease("a") for _ in range(4)]

    for old in leases[:-1]:
        for _ in range(2):
            with pytest.raises(Interrupted):
                take_turn(old)
    take_turn(leases[-1])


def test_uploads_do_not_disturb_each_other(locker: Locker) -> None:
    """A lease is on one id."""
    a, b = locker.lease("a"), locker.lease("b")

    take_turn(a)
    take_turn(b)


def test_stalled_holder_is_not_waited_for(locker: Locker) -> None:
    """A request that waits for its client, outside of a turn, holds nobody up."""
    stalled = locker.lease("a")
    take_turn(stalled)

    assert timed(lambda: locker.lease("a")) < AT_ONCE


def test_failed_turn_is_over(locker: Locker) -> None:
    """An error in a turn goes on to whoever took it, and the next turn is free."""
    lease = locker.lease("a")

    with pytest.raises(ZeroDivisionError), lease.turn():
        raise ZeroDivisionError

    take_turn(lease)
    take_turn(locker.lease("a"))


def test_taking_over_waits_for_the_turn(locker: Locker) -> None:
    """A write that has begun is finished before a newer request owns the upload."""
    old, order, inside = locker.lease("a"), [], threading.Event()

    def write() -> None:
        with old.turn():
            inside.set()
            time.sleep(0.03)
            order.append("old")

    thread = in_thread(write)
    inside.wait(1)
    locker.lease("a")
    order.append("new")
    thread.join(1)

    assert order == ["old", "new"]


def test_release_twice_is_fine(locker: Locker) -> None:
    """And the second time it takes nothing from anybody."""
    old = locker.lease("a")
    old.release()
    new = locker.lease("a")

    old.release()
    old.release(forget=True)

    take_turn(new)


@pytest.mark.parametrize("forget", [False, True])
def test_releasing_a_lost_lease_does_not_disturb_the_newest(locker: Locker, forget: bool) -> None:
    """An old request that ends late, even one that means to be the last, takes nothing away."""
    old, new = locker.lease("a"), locker.lease("a")

    old.release(forget=forget)

    take_turn(new)
    assert locker.writing("a")


def test_forgotten_lease_fences_whoever_was_before(locker: Locker) -> None:
    """The count may begin anew; an old request is still an old one."""
    old = locker.lease("a")
    locker.lease("a").release(forget=True)
    new = locker.lease("a")

    with pytest.raises(Interrupted):
        take_turn(old)
    take_turn(new)


def test_writing_tells_whether_a_lease_is_out(locker: Locker) -> None:
    """It is never false while somebody can write."""
    before = locker.writing("a")
    lease = locker.lease("a")
    during = locker.writing("a")
    lease.release()

    assert (before, during, locker.writing("a")) == (False, True, False)


def test_asking_disturbs_nobody(locker: Locker) -> None:
    """While somebody asks again and again whether anybody writes, claims, turns and leases are had all the same."""
    stop = threading.Event()

    def asks() -> None:
        while not stop.is_set():
            locker.writing("a")

    threads = [in_thread(asks) for _ in range(2)]
    for _ in range(50):
        lease = locker.lease("a")
        take_turn(lease)
        lease.release()
        locker.claim("a").release()
    stop.set()
    for thread in threads:
        thread.join(1)


def test_threads_that_compete_never_interleave(locker: Locker) -> None:
    """Once a newer lease has written, an older one writes no more; and no two turns overlap."""
    log: list[int] = []
    busy: list[int] = []
    faults: list[str] = []

    def compete(first: int) -> None:
        for attempt in range(10):
            lease = locker.lease("a")
            try:
                for _ in range(4):
                    with lease.turn():
                        busy.append(1)
                        log.append(first + attempt)
                        time.sleep(0)
                        if len(busy) != 1:
                            faults.append("two turns at once")
                        busy.pop()
            except Interrupted:
                pass
            lease.release()

    threads = [in_thread(lambda n=n: compete(100 * n)) for n in range(4)]
    for thread in threads:
        thread.join(10)

    writers = [writer for writer, _ in groupby(log)]
    assert not any(thread.is_alive() for thread in threads)
    assert (faults, len(writers)) == ([], len(set(writers)))


# Leases that begin with a turn


def test_first_turn_excludes_everybody(locker: Locker) -> None:
    """Until it is over: whoever wants to take over waits, and whoever asks hears that somebody writes."""
    first, order = locker.lease("a", locked=True), []

    def take_over() -> None:
        locker.lease("a")
        order.append("second")

    thread = in_thread(take_over)
    time.sleep(0.03)
    order.append(locker.writing("a"))
    first.unlock()
    thread.join(1)

    assert order == [True, "second"]
    with pytest.raises(Interrupted):
        take_turn(first)


@pytest.mark.parametrize("forget", [False, True])
def test_lease_of_one_turn_fences_whoever_was_before(locker: Locker, forget: bool) -> None:
    """Though it is released without having been unlocked."""
    before = locker.lease("a")
    only = locker.lease("a", locked=True)
    take_turn(only)
    only.release(forget=forget)

    with pytest.raises(Interrupted):
        take_turn(before)
    assert not locker.writing("a")
    take_turn(locker.lease("a"))


def test_check_that_fails_ends_nobody(locker: Locker) -> None:
    """Who finds there that it is not the newest after all takes nothing, and the owner goes on."""
    owner = locker.lease("a")

    def fail() -> None:
        raise Interrupted("a newer request came before")

    for locked in (False, True):
        with pytest.raises(Interrupted):
            locker.lease("a", locked=locked, check=fail)

    take_turn(owner)
    owner.release(forget=True)
    assert not locker.writing("a")


def test_check_is_called_where_somebody_would_lose(locker: Locker) -> None:
    """Nobody is asked for nothing: not where nobody ever wrote, and not where nobody writes any more."""
    calls: list[int] = []
    first = locker.lease("a", check=lambda: calls.append(1))
    first.release()
    second = locker.lease("a", check=lambda: calls.append(2))

    locker.lease("a", check=lambda: calls.append(3))

    assert calls == [3]
    with pytest.raises(Interrupted):
        take_turn(second)


def test_lost_chunk_is_not_held_though_its_upload_is_shared(locker: Locker) -> None:
    """Whoever lost it to a newer request may not say how large it is."""
    older, newer = Alone(locker.lease("a-0")), Alone(locker.lease("a-0"))
    for one in (older, newer):
        one.join(locker.share("a"))

    assert (older.holds(), newer.holds()) == (False, True)


@pytest.mark.parametrize("forget", [False, True])
def test_lease_of_one_turn_ends_shares(locker: Locker, forget: bool) -> None:
    """Also where nobody had a lease before."""
    share = locker.share("a")
    locker.lease("a", locked=True).release(forget=forget)

    assert not share.holds()
    with pytest.raises(Interrupted), share.turn():
        pass


def test_lease_of_one_turn_leaves_nothing_behind(tmp_path: Path) -> None:
    """Small uploads would leave a file for each."""
    FileLocker(str(tmp_path)).lease("a", locked=True).release()

    assert not list(tmp_path.iterdir())


def test_locked_lease_is_free_once_released(locker: Locker) -> None:
    """Who locked it in the end need not unlock it."""
    lease = locker.lease("a")
    lease.lock()
    lease.release()

    take_turn(locker.lease("a", patient=False))


def test_whoever_has_gone_writes_no_more(locker: Locker) -> None:
    """Though he left the file behind, as a mutex does and a crash."""
    with locker.mutex("a"):
        pass

    assert not locker.writing("a")


# Being told


def test_holder_is_told_that_it_lost(locker: Locker) -> None:
    """At once, so that a blocked read can be ended."""
    old, lost = locker.lease("a"), threading.Event()
    old.on_lost(lost.set)

    new = locker.lease("a")

    assert lost.wait(AT_ONCE)
    take_turn(new)


def test_holder_that_lost_already_is_told_at_once(locker: Locker) -> None:
    """The newer request may come before the older one could say how it is to be ended."""
    old, lost = locker.lease("a"), threading.Event()
    locker.lease("a")

    old.on_lost(lost.set)

    assert lost.is_set()


def test_holder_that_released_is_not_told(locker: Locker) -> None:
    """Its connection may serve another request by then."""
    lost = threading.Event()
    lease = locker.lease("a")
    lease.on_lost(lost.set)
    lease.release()

    locker.lease("a")

    assert not lost.wait(0.02)


def test_newest_is_not_told(locker: Locker) -> None:
    """Only whoever lost it."""
    told: list[str] = []
    first = locker.lease("a")
    first.on_lost(lambda: told.append("first"))
    second = locker.lease("a")
    second.on_lost(lambda: told.append("second"))
    locker.lease("b").on_lost(lambda: told.append("b"))

    locker.lease("a")

    time.sleep(0.02)
    assert told == ["first", "second"]


# Mutex and claims


def test_mutex_takes_no_lease_away(locker: Locker) -> None:
    """A moment in between, and the holder goes on."""
    lease = locker.lease("a")

    with locker.mutex("a"):
        pass

    take_turn(lease)


def test_mutex_excludes_turns(locker: Locker) -> None:
    """Whoever has a turn waits for the moment to be over."""
    lease, order = locker.lease("a"), []

    def write() -> None:
        with lease.turn():
            order.append("turn")

    with locker.mutex("a"):
        thread = in_thread(write)
        time.sleep(0.03)
        order.append("mutex")
    thread.join(1)

    assert order == ["mutex", "turn"]


def test_claim_is_exclusive(locker: Locker) -> None:
    """A second one is refused at once, and nobody takes over what is being handed over."""
    claim = locker.claim("a")

    def refused() -> None:
        with pytest.raises(Locked):
            locker.claim("a")

    assert timed(refused) < AT_ONCE
    with pytest.raises(Locked):
        locker.lease("a")
    with pytest.raises(Locked), locker.mutex("a"):
        pass
    claim.release()


def test_claim_that_is_released_is_free(locker: Locker) -> None:
    """Twice is fine, and the second time takes nothing from whoever has it now."""
    claim = locker.claim("a")
    claim.release()
    second = locker.claim("a")
    claim.release()

    with pytest.raises(Locked):
        locker.claim("a")
    second.release()
    locker.lease("a").release()


def test_claims_are_on_one_upload(locker: Locker) -> None:
    """Others are handed over meanwhile."""
    claims = [locker.claim(id) for id in "abc"]

    for claim in claims:
        claim.release()


def test_claim_that_nobody_knows_of_is_released(locker: Locker) -> None:
    """A request that was torn down keeps no upload from being handed over."""
    locker.claim("a")
    gc.collect()

    locker.claim("a").release()


def test_collected_claim_does_not_lock_up_its_thread(locker: Locker) -> None:
    """The garbage collector may find one at any moment, also while its thread holds another mutex."""
    done = threading.Event()

    def collect() -> None:
        claim = locker.claim("a")
        with locker.mutex("b"):
            del claim
            gc.collect()
        done.set()

    in_thread(collect)

    assert done.wait(10)


def test_collected_lease_does_not_lock_up_its_thread(tmp_path: Path) -> None:
    """The same for a lease, while its thread says who is to be told of what."""
    locker, done = FileLocker(str(tmp_path)), threading.Event()

    def collect() -> None:
        lease = locker.lease("a")
        with file._ear._guard:
            del lease
            gc.collect()
        done.set()

    in_thread(collect)

    assert done.wait(10)


def test_only_one_of_many_gets_the_claim(locker: Locker) -> None:
    """However many ask at the same moment."""
    barrier, got = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(2)
        with suppress(Locked):
            got.append(locker.claim("a"))

    threads = [in_thread(ask) for _ in range(8)]
    for thread in threads:
        thread.join(5)

    assert len(got) == 1


# Between processes


def test_newest_wins_between_processes(tmp_path: Path, other: Other) -> None:
    """A request in another process is overtaken as one in this process is, and as fast."""
    locker = FileLocker(str(tmp_path))
    other("lease", tmp_path, "a")
    took: list[Any] = []

    seconds = timed(lambda: took.append(locker.lease("a")))

    assert seconds < AT_ONCE
    assert other("turn", tmp_path, "a") == "Interrupted"
    take_turn(took[0])


def test_older_process_learns_that_it_lost(tmp_path: Path, other: Other) -> None:
    """In both directions, so that a read that is blocked there is ended."""
    locker, lost = FileLocker(str(tmp_path)), threading.Event()
    other("lease", tmp_path, "a")
    mine = locker.lease("a")
    mine.on_lost(lost.set)

    assert other("told", tmp_path, "a") is True
    assert other("lease", tmp_path, "a") is None
    assert lost.wait(AT_ONCE)
    with pytest.raises(Interrupted):
        take_turn(mine)


def test_claim_excludes_other_processes(tmp_path: Path, other: Other) -> None:
    """In both directions."""
    locker = FileLocker(str(tmp_path), patience=0.1)
    mine = locker.claim("a")

    assert other("claim", tmp_path, "a") == "Locked"
    assert other("lease", tmp_path, "a") == "Locked"
    mine.release()
    assert other("claim", tmp_path, "a") is None
    with pytest.raises(Locked):
        locker.claim("a")
    other("release", tmp_path, "a")


def test_claim_dies_with_its_process(tmp_path: Path, mortal: Other) -> None:
    """What was being handed over when a process was killed can be handed over at once."""
    locker = FileLocker(str(tmp_path))
    mortal("claim", tmp_path, "a")
    with pytest.raises(Locked):
        locker.claim("a")

    mortal.kill()

    assert timed(lambda: locker.claim("a").release()) < AT_ONCE


def test_lease_of_a_dead_process_is_taken_over(tmp_path: Path, mortal: Other) -> None:
    """Nobody can tell that it will not write any more, but nobody waits for it either."""
    locker = FileLocker(str(tmp_path))
    mortal("lease", tmp_path, "a")
    mortal.kill()

    assert locker.writing("a")
    assert timed(lambda: take_turn(locker.lease("a"))) < AT_ONCE


def test_processes_that_compete_never_interleave(tmp_path: Path, other: Other, mortal: Other) -> None:
    """Each line is whole, and the lines of one lease stand together."""
    others = (other, mortal)
    for process in others:
        process.tell("compete", tmp_path, "a", 30)

    answers = [process.answer() for process in others]

    lines = (tmp_path / "log").read_text().splitlines()
    writers = [writer for writer, _ in groupby(lines)]
    known = {str(process.process.pid) for process in others}
    assert answers == [None, None]
    assert {line.partition("-")[0] for line in lines} == known
    assert len(writers) == len(set(writers))


FORKING = """
import gc, os, sys
from tus.errors import Locked
from tus.lockers.file import FileLocker

locker = FileLocker(sys.argv[1], patience=0.1)
lease, claim = locker.lease("lease"), locker.claim("claim")
lost = []
lease.on_lost(lambda: lost.append(1))
out, into = os.pipe()
child = os.fork()
if not child:
    os.close(into)
    kept = os.dup(lease._fd), os.dup(claim._fd)  # as in a child that lets go of nothing
    lease.release()
    del claim
    gc.collect()
    mine = FileLocker(sys.argv[1], patience=0.1).lease("other")
    with mine.turn():
        pass
    mine.release()
    print("child", flush=True)
    os.read(out, 1)
    os._exit(0)
while not os.path.exists(os.path.join(sys.argv[1], "other.lease")):
    pass
import time
time.sleep(0.05)
with lease.turn():
    pass
print("turn", locker.writing("lease"))
try:
    locker.claim("claim")
except Locked:
    print("claimed")
lease.release()
claim.release()
locker.lease("lease")
locker.claim("claim")
print("free")
os.close(into)
os.waitpid(child, 0)
"""


def test_fork_gives_nothing_back_and_keeps_nothing(tmp_path: Path) -> None:
    """A child that inherits a lease and a claim can neither give them back nor hold them longer than its parent."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=20,
    )

    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == ["child", "claimed", "free", "turn True"]


# Leaving nothing behind


def test_nothing_is_left_of_what_was_forgotten(tmp_path: Path) -> None:
    """Neither a file nor a descriptor."""
    locker = FileLocker(str(tmp_path))
    locker.lease("first").release(forget=True)  # opens the socket on which this process is told
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(20):
        old, new = locker.lease("a"), locker.lease("a")
        take_turn(new)
        with pytest.raises(Interrupted):
            take_turn(old)
        with locker.mutex("a"):
            locker.writing("a")
        old.release()
        new.release(forget=True)
        locker.claim("a").release()

    assert list(tmp_path.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) == before


def test_refusal_leaks_no_descriptor(tmp_path: Path) -> None:
    """Whoever is told to come again holds nothing meanwhile."""
    locker = FileLocker(str(tmp_path), patience=0.01)
    claim = locker.claim("a")
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(5):
        for deed in (locker.claim, locker.lease):
            with pytest.raises(Locked):
                deed("a")

    assert set(os.listdir("/proc/self/fd")) == before
    claim.release()


def test_lease_file_is_not_followed_through_a_link(tmp_path: Path) -> None:
    """Somebody who can make a link there cannot have another file overwritten."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "a.lease").symlink_to(target)
    locker = FileLocker(str(tmp_path))

    with pytest.raises(OSError):
        locker.lease("a")

    assert target.read_text() == "precious"


def test_damaged_lease_file_is_begun_anew(tmp_path: Path) -> None:
    """Whatever a power cut left in it."""
    for damage in (b"", b"\0" * 64, b"999", b"x" * 100):
        (tmp_path / "a.lease").write_bytes(damage)
        lease = FileLocker(str(tmp_path)).lease("a")

        take_turn(lease)

        lease.release()
