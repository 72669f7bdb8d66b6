"""What every locker does, between threads; what more the lockers of one machine do, also between processes; and what a
locker over a socket does when the network fails."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests import lease_servers, lock_server
from tests.contract.conftest import ROOT, Other
from tests.kinds import LOCKERS, PATIENCE, PATIENT, SERVED, locker_at
from tests.lock_server import Server
from tests.socket_locker import SocketLocker
from tus.errors import Interrupted, Locked, StoreBroken
from tus.lockers import Locker, flocks
from tus.lockers.file import FileLocker

AT_ONCE = 0.1  # seconds that a newer request may wait for an older one
ONE_MACHINE = ("memory", "file", "file beside data")  # where a turn excludes every other


@pytest.fixture(params=LOCKERS)
def locker(request: pytest.FixtureRequest, tmp_path: Path) -> Locker:
    """Every kind of locker."""
    return LOCKERS[request.param](tmp_path)


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """Seconds that this kind of locker waits for what another request keeps."""
    return PATIENT.get(request.node.callspec.params["locker"], PATIENCE)


@pytest.fixture(params=ONE_MACHINE)
def near(request: pytest.FixtureRequest, tmp_path: Path) -> Locker:
    """Every kind of locker whose turns exclude each other."""
    return LOCKERS[request.param](tmp_path)


def timed(deed: Callable[[], Any]) -> float:
    """How many seconds it took."""
    start = time.monotonic()
    deed()
    return time.monotonic() - start


def take_turn(lease: Any) -> None:
    with lease.turn():
        pass


def has_turns(lease: Any) -> bool:
    with suppress(Interrupted):
        take_turn(lease)
        return True
    return False


def is_busy(deed: Callable[..., Any], *args: Any, **more: Any) -> bool:
    try:
        deed(*args, **more)
    except Locked:
        return True
    return False


def descriptors() -> set[str]:
    """Those of this process, without connections over TCP, which threads of other tests may still close."""
    local = Path("/proc/net/unix").read_text()
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed since
            link = os.readlink(f"/proc/self/fd/{fd}")
            if not link.startswith("socket:") or f" {link[8:-1]} " in local.replace("\n", " "):
                found.add(f"{fd} {link}")
    return found


def in_thread(deed: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=deed, daemon=True)
    thread.start()
    return thread


class Log:
    """A store that many machines share: it refuses a token that is older than the newest one it has seen."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self._guard = threading.Lock()

    def write(self, lease: Any) -> None:
        with lease.turn(), self._guard:
            if self.tokens and lease.token < max(self.tokens):
                raise Interrupted("a newer token has been here")
            self.tokens.append(lease.token)


# Leases


def test_owner_has_turns(locker: Locker) -> None:
    """It has any number of them, until a newer request comes."""
    lease = locker.lease("a")

    for _ in range(3):
        take_turn(lease)

    lease.release()


def test_newest_taker_owns_it(locker: Locker) -> None:
    """The leases before it have no turn any more, however often they ask."""
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


def test_stalled_holder_is_not_waited_for(locker: Locker, patience: float) -> None:
    """A request that waits for its client, outside of a turn, delays no other request."""
    stalled = locker.lease("a")
    take_turn(stalled)

    assert timed(lambda: locker.lease("a")) < patience / 2


def test_failed_turn_is_over(locker: Locker) -> None:
    """An error in a turn is passed on, and the next turn is free."""
    lease = locker.lease("a")

    with pytest.raises(ZeroDivisionError), lease.turn():
        raise ZeroDivisionError

    take_turn(lease)
    take_turn(locker.lease("a"))


def test_taking_over_waits_for_the_turn(near: Locker) -> None:
    """A write that has begun is finished before a newer request owns the upload."""
    old, order, inside = near.lease("a"), [], threading.Event()

    def write() -> None:
        with old.turn():
            inside.set()
            time.sleep(0.03)
            order.append("old")

    thread = in_thread(write)
    inside.wait(1)
    near.lease("a")
    order.append("new")
    thread.join(1)

    assert order == ["old", "new"]


def test_release_twice_is_fine(locker: Locker) -> None:
    """The second time it takes nothing from the newest lease."""
    old = locker.lease("a")
    old.release()
    new = locker.lease("a")

    old.release()
    old.release(forget=True)

    take_turn(new)


@pytest.mark.parametrize("brief", [False, True])
def test_released_lease_has_no_turn(locker: Locker, brief: bool) -> None:
    """It is over, whether it was kept or not."""
    lease = locker.lease("a", brief=brief)

    lease.release()

    with pytest.raises(Interrupted):
        take_turn(lease)


@pytest.mark.parametrize("forget", [False, True])
def test_releasing_a_lost_lease_does_not_disturb_the_newest(locker: Locker, forget: bool) -> None:
    """An old request that ends late, even one that means to be the last, takes nothing away."""
    old, new = locker.lease("a"), locker.lease("a")

    old.release(forget=forget)

    take_turn(new)
    assert locker.writing("a")


def test_lost_lease_stays_lost_after_the_upload_was_forgotten(locker: Locker) -> None:
    """The count may begin anew; an old request is still an old one."""
    old = locker.lease("a")
    locker.lease("a").release(forget=True)
    new = locker.lease("a")

    with pytest.raises(Interrupted):
        take_turn(old)
    take_turn(new)


def test_writing_tells_whether_a_lease_is_held(locker: Locker) -> None:
    """It is never false while a request can write."""
    before = locker.writing("a")
    lease = locker.lease("a")
    during = locker.writing("a"), locker.lives("a")
    lease.release()

    assert (before, during, locker.writing("a"), locker.lives("a")) == (False, (True, True), False, False)


def test_asking_disturbs_no_request(locker: Locker) -> None:
    """While two threads ask again and again whether a request writes, claims, turns and leases are had all the same."""
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


def test_threads_that_compete_never_interleave(near: Locker) -> None:
    """Once a newer lease has written, an older one writes no more; and no two turns overlap."""
    log: list[int] = []
    busy: list[int] = []
    faults: list[str] = []

    def compete(first: int) -> None:
        for attempt in range(10):
            lease = near.lease("a")
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

    threads = [in_thread(partial(compete, 100 * n)) for n in range(4)]
    for thread in threads:
        thread.join(10)

    writers = [writer for writer, _ in groupby(log)]
    assert not any(thread.is_alive() for thread in threads)
    assert (faults, len(writers)) == ([], len(set(writers)))


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("forget", [False, True])
def test_each_step_can_be_done_by_another_thread(locker: Locker, forget: bool, brief: bool) -> None:
    """Only a turn is left by the thread that entered it; a request may wait in one thread and go on in the next."""
    told: list[str] = []

    def elsewhere(deed: Callable[[], Any]) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(deed).result(10)

    old = elsewhere(lambda: locker.lease("a"))
    elsewhere(lambda: old.on_lost(lambda: told.append("old")))
    elsewhere(lambda: take_turn(old))
    lease = elsewhere(lambda: locker.lease("a", brief=brief))
    elsewhere(lambda: lease.on_lost(lambda: told.append("lease")))
    elsewhere(lambda: take_turn(lease))
    elsewhere(lease.keep)
    elsewhere(lambda: take_turn(lease))
    busy = elsewhere(lambda: is_busy(locker.claim, "a"))
    elsewhere(lambda: lease.release(forget=forget))
    claim = elsewhere(lambda: locker.claim("a"))
    elsewhere(claim.release)
    share = elsewhere(lambda: locker.share("a"))
    elsewhere(lambda: take_turn(share))
    elsewhere(share.release)
    elsewhere(lambda: locker.lease("a").release())

    assert (busy, told) == (True, ["old"])


# Tokens


@pytest.mark.parametrize("brief", [False, True])
def test_token_is_higher_than_that_of_the_lease_that_was_lost(locker: Locker, brief: bool) -> None:
    """So a store can tell which of two requests is the older one."""
    leases = [locker.lease("a")]

    for forget in (False, True, False):
        leases.append(locker.lease("a"))
        only = locker.lease("a", brief=brief)
        assert leases[-2].token < leases[-1].token < only.token
        only.release()
        leases.append(locker.lease("a"))
        assert only.token < leases[-1].token
        leases[-2].release(forget=forget)  # which was lost, and has no say


def test_token_never_falls_over_releases(locker: Locker) -> None:
    """A store remembers the newest token that it has seen, also between requests. Where an older request can still
    write after the release, since its turn excludes no other, the token grows."""
    tokens = []
    for _ in range(3):
        lease = locker.lease("a")
        tokens.append(lease.token)
        lease.release()

    assert tokens == sorted(tokens)
    assert isinstance(locker, FileLocker) or len(set(tokens)) == len(tokens)


def test_share_has_the_token_of_the_newest_lease(locker: Locker) -> None:
    """All shares at one time have the same, and none of them is newer to a store than another."""
    lease = locker.lease("a")
    shares = [locker.share("a")]
    locker.lease("b").release()
    shares.append(locker.share("a"))

    assert [share.token for share in shares] == [lease.token] * 2
    assert locker.lease("a").token > lease.token


def test_shares_without_a_lease_have_one_token(locker: Locker) -> None:
    """A chunk that began before another one is not refused after it; and a lease is newer than both."""
    first = locker.share("a")
    locker.lease("b").release()

    assert locker.share("a").token == first.token
    assert locker.lease("a").token > first.token


def test_store_that_looks_at_tokens_has_one_writer_at_a_time(locker: Locker) -> None:
    """Also where turns do not exclude each other: what an older lease writes too late is refused."""
    log, first = Log(), locker.lease("a")
    log.write(first)

    def compete() -> None:
        for _ in range(10):
            lease = locker.lease("a")
            with suppress(Interrupted):
                for _ in range(4):
                    log.write(lease)
            lease.release()

    threads = [in_thread(compete) for _ in range(4)]
    for thread in threads:
        thread.join(20)

    writers = [token for token, _ in groupby(log.tokens)]
    assert not any(thread.is_alive() for thread in threads)
    assert writers == sorted(set(writers))
    assert len(writers) > 1
    assert not has_turns(first)


# Leases that are brief


def test_brief_lease_makes_others_wait(locker: Locker) -> None:
    """A request that wants to take over waits for the release; and one that asks hears that a request writes."""
    first = locker.lease("a", brief=True)
    order: list[Any] = []

    def take_over() -> None:
        locker.lease("a", patience=5)
        order.append("second")

    thread = in_thread(take_over)
    time.sleep(0.03)
    take_turn(first)
    order.append(locker.writing("a"))
    first.release()
    thread.join(5)

    assert order == [True, "second"]
    with pytest.raises(Interrupted):
        take_turn(first)


def test_brief_lease_is_not_told_of_others(locker: Locker) -> None:
    """It will be over at once, and there is no read to be ended."""
    brief, lost = locker.lease("a", brief=True), threading.Event()
    brief.on_lost(lost.set)

    with pytest.raises(Locked):
        locker.lease("a")

    take_turn(brief)
    assert not lost.is_set()


@pytest.mark.parametrize("forget", [False, True])
def test_brief_lease_ends_the_lease_before_it(locker: Locker, forget: bool) -> None:
    """Also if it wrote nothing but one turn."""
    before = locker.lease("a")
    only = locker.lease("a", brief=True)
    take_turn(only)
    only.release(forget=forget)

    with pytest.raises(Interrupted):
        take_turn(before)
    assert not locker.writing("a")
    take_turn(locker.lease("a"))


@pytest.mark.parametrize("forget", [False, True])
def test_brief_lease_ends_shares(locker: Locker, forget: bool) -> None:
    """Also if there was no lease before."""
    share = locker.share("a")
    locker.lease("a", brief=True).release(forget=forget)

    with pytest.raises(Interrupted):
        take_turn(share)


def test_brief_lease_leaves_nothing_behind(tmp_path: Path) -> None:
    """Small uploads would leave a file for each."""
    FileLocker(str(tmp_path)).lease("a", brief=True).release()

    assert not list(tmp_path.iterdir())


# Leases that are kept


@pytest.mark.parametrize("how", ["lease", "claim", "share"])
def test_kept_lease_makes_others_busy(locker: Locker, how: str) -> None:
    """What is under way must end first; its turns go on."""
    kept = locker.lease("a")
    kept.keep()

    for _ in range(2):
        with pytest.raises(Locked):
            getattr(locker, how)("a")

    take_turn(kept)
    kept.release()
    getattr(locker, how)("a").release()


def test_patience_says_how_long_a_kept_lease_is_waited_for(locker: Locker, patience: float) -> None:
    """None is the locker's own patience; a claim has none."""
    kept = locker.lease("a")
    kept.keep()

    waits = [
        timed(lambda: is_busy(locker.lease, "a")),
        timed(lambda: is_busy(locker.share, "a")),
        timed(lambda: is_busy(locker.claim, "a", patience=patience)),
    ]
    impatient = [timed(lambda: is_busy(locker.lease, "a", patience=0)), timed(lambda: is_busy(locker.claim, "a"))]

    assert min(waits) >= patience > max(impatient)


@pytest.mark.parametrize("how", ["lease", "claim"])
def test_patient_request_has_what_is_released_meanwhile(locker: Locker, how: str) -> None:
    """It need not ask again."""
    kept = locker.lease("a")
    kept.keep()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(getattr(locker, how), "a", patience=10)
        time.sleep(0.02)
        kept.release()

        waiting.result(10).release()


def test_lost_lease_cannot_be_kept(locker: Locker) -> None:
    """Neither if a newer lease took it, nor if a claim did."""
    for take in (locker.lease, locker.claim):
        old = locker.lease("a")
        new = take("a")

        with pytest.raises(Interrupted):
            old.keep()

        new.release()


def test_kept_lease_is_free_once_released(locker: Locker) -> None:
    """Nothing else has to be said."""
    lease = locker.lease("a")
    lease.keep()
    lease.keep()
    lease.release()

    take_turn(locker.lease("a", patience=0))


def test_share_has_no_turn_while_a_lease_is_kept(locker: Locker) -> None:
    """It would write into what is being finished."""
    lease = locker.lease("a")
    share = locker.share("a")
    lease.keep()

    with pytest.raises(Interrupted):
        take_turn(share)


@pytest.mark.parametrize("how", ["lease", "brief", "claim", "share"])
def test_what_was_released_writes_no_more(locker: Locker, how: str) -> None:
    """Though a file is left behind, or what a crash left."""
    held = locker.lease("a", brief=True) if how == "brief" else getattr(locker, how)("a")

    held.release()

    assert not locker.writing("a")
    assert not locker.lives("a")


# The check


@pytest.mark.parametrize("brief", [False, True])
def test_check_that_fails_ends_no_lease(locker: Locker, brief: bool) -> None:
    """A request that finds there that it is not the newest takes nothing, and the owner goes on."""
    owner, lost = locker.lease("a"), threading.Event()
    owner.on_lost(lost.set)

    def fail() -> None:
        raise Interrupted("a newer request came before")

    with pytest.raises(Interrupted):
        locker.lease("a", brief=brief, check=fail)

    take_turn(owner)
    assert not lost.is_set()
    owner.release(forget=True)
    assert not locker.writing("a")


def test_check_is_called_if_a_lease_would_be_lost(locker: Locker) -> None:
    """It is not called if no request ever wrote, and not if none writes any more."""
    calls: list[int] = []
    first = locker.lease("a", check=lambda: calls.append(1))
    first.release()
    second = locker.lease("a", check=lambda: calls.append(2))

    locker.lease("a", check=lambda: calls.append(3))

    assert calls == [3]
    with pytest.raises(Interrupted):
        take_turn(second)


def test_check_is_called_before_a_lease_is_lost(locker: Locker) -> None:
    """The owner is neither lost nor told by then."""
    owner, found, lost = locker.lease("a"), [], threading.Event()
    owner.on_lost(lost.set)

    newer = locker.lease("a", check=lambda: found.append((locker.writing("a"), lost.is_set())))

    assert found == [(True, False)]
    assert lost.wait(AT_ONCE)
    take_turn(newer)


def test_no_turn_begins_during_the_check(near: Locker) -> None:
    """What the check finds is still so when the lease is taken."""
    owner, order = near.lease("a"), []

    def write() -> None:
        order.append("turn" if has_turns(owner) else "lost")

    def check() -> None:
        threads.append(in_thread(write))
        time.sleep(0.03)
        order.append("checked")

    threads: list[threading.Thread] = []
    near.lease("a", check=check)
    threads[0].join(5)

    assert order == ["checked", "lost"]


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
    lease.on_lost(lost.set)

    assert not lost.wait(0.02)


def test_holder_is_told_once(locker: Locker) -> None:
    """However many newer requests come."""
    told: list[int] = []
    old = locker.lease("a")
    old.on_lost(lambda: told.append(1))

    for _ in range(3):
        locker.lease("a")

    time.sleep(0.02)
    assert told == [1]


def test_newest_is_not_told(locker: Locker) -> None:
    """Only those that lost their lease are."""
    told: list[str] = []
    first = locker.lease("a")
    first.on_lost(lambda: told.append("first"))
    second = locker.lease("a")
    second.on_lost(lambda: told.append("second"))
    locker.lease("b").on_lost(lambda: told.append("b"))

    locker.lease("a")

    time.sleep(0.02)
    assert told == ["first", "second"]


def test_release_of_an_older_lease_does_not_keep_a_newer_one_from_being_told(locker: Locker) -> None:
    """Though both may have the same token, if the upload was forgotten between them."""
    old = locker.lease("a")
    old.on_lost(lambda: None)
    locker.lease("a").release(forget=True)
    new, lost = locker.lease("a"), threading.Event()
    new.on_lost(lost.set)

    old.release()
    locker.lease("a")

    assert lost.wait(AT_ONCE)


def test_release_waits_for_the_call_that_is_under_way(locker: Locker) -> None:
    """After the release the connection may serve another request, which must not be ended."""
    old, inside, go, order = locker.lease("a"), threading.Event(), threading.Event(), []

    def end() -> None:
        inside.set()
        go.wait(5)
        order.append("told")

    def release() -> None:
        old.release()
        order.append("released")

    old.on_lost(end)
    taking = in_thread(lambda: locker.lease("a"))
    assert inside.wait(5)
    releasing = in_thread(release)
    time.sleep(0.03)
    go.set()
    for thread in (taking, releasing):
        thread.join(5)

    assert order == ["told", "released"]


def test_end_that_fails_does_not_hurt_the_newer_request(locker: Locker) -> None:
    """It is logged, and the newer request writes."""
    old = locker.lease("a")

    def end() -> None:
        raise ZeroDivisionError

    old.on_lost(end)

    take_turn(locker.lease("a"))


# Shares


def test_shares_do_not_end_each_other(locker: Locker) -> None:
    """Three chunks are written at the same time."""
    shares = [locker.share("a") for _ in range(3)]

    for share in shares * 2:
        take_turn(share)


def test_shares_have_turns_at_the_same_time(tmp_path: Path) -> None:
    """Between processes one turn does not wait for another."""
    one, two = (FileLocker(str(tmp_path)).share("a") for _ in range(2))

    with one.turn(), two.turn():
        pass


def test_lease_ends_every_share(locker: Locker) -> None:
    """A request that removes an upload is the only one that has it."""
    shares = [locker.share("a") for _ in range(2)]

    lease = locker.lease("a")

    for share in shares:
        with pytest.raises(Interrupted):
            take_turn(share)
    take_turn(lease)


def test_share_after_a_lease(locker: Locker) -> None:
    """What begins later is not ended by what came before."""
    locker.lease("a").release()

    take_turn(locker.share("a"))


def test_claim_ends_every_share(locker: Locker) -> None:
    """An old request writes nothing into a file that was finished and handed over."""
    share = locker.share("a")

    locker.claim("a").release()

    with pytest.raises(Interrupted):
        take_turn(share)
    take_turn(locker.share("a"))


def test_no_share_while_there_is_a_claim(locker: Locker) -> None:
    """It would write into what is being handed over."""
    claim = locker.claim("a")

    with pytest.raises(Locked):
        locker.share("a")

    claim.release()
    locker.share("a").release()


def test_released_share_is_over(locker: Locker) -> None:
    """Its release may be called twice, and the other share goes on."""
    one, two = locker.share("a"), locker.share("a")
    one.release()
    one.release()

    take_turn(two)
    with pytest.raises(Interrupted):
        take_turn(one)


def test_shares_leave_no_file_behind(tmp_path: Path) -> None:
    """The file goes with the last lease."""
    locker = FileLocker(str(tmp_path))
    share = locker.share("a")
    share.release()
    share.release()

    locker.lease("a").release(forget=True)

    assert list(tmp_path.iterdir()) == []


def test_lost_lease_on_a_chunk_has_no_turn_though_its_upload_is_shared(locker: Locker) -> None:
    """The newest request for a chunk has it, and both have a share in the upload."""
    older, newer = locker.lease("a-0"), locker.lease("a-0")
    shares = [locker.share("a") for _ in range(2)]

    assert (has_turns(older), has_turns(newer)) == (False, True)
    assert all(has_turns(share) for share in shares)


def test_claim_waits_for_no_dead_share(tmp_path: Path) -> None:
    """The kernel ends the turn of a process that was killed."""
    code = f"""
import os, signal
from tus.lockers.file import FileLocker
share = FileLocker({str(tmp_path)!r}).share("a")
with share.turn():
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    assert died.returncode == -9

    FileLocker(str(tmp_path), patience=0.2).claim("a").release()


@pytest.mark.parametrize("how", ["lease", "share"])
def test_claim_waits_for_a_turn(tmp_path: Path, how: str) -> None:
    """A write that has begun ends before the upload is handed over."""
    locker, order = FileLocker(str(tmp_path)), []
    writer, inside, on = getattr(locker, how)("a"), threading.Event(), threading.Event()

    def write() -> None:
        with writer.turn():
            inside.set()
            on.wait(5)
            order.append("written")

    thread = in_thread(write)
    inside.wait(5)
    with pytest.raises(Locked):
        locker.claim("a")
    on.set()
    thread.join()
    locker.claim("a").release()
    order.append("claimed")

    assert order == ["written", "claimed"]


# Claims


def test_claim_leaves_a_writer_no_turn_and_does_not_tell_it(locker: Locker) -> None:
    """Neither while it is held nor after it, and another claim does not wait for the lease."""
    writer, lost = locker.lease("a"), threading.Event()
    writer.on_lost(lost.set)

    claim = locker.claim("a")
    during = has_turns(writer)
    claim.release()

    assert (during, has_turns(writer), lost.wait(0.02)) == (False, False, False)
    locker.claim("a").release()


def test_lease_after_a_claim_is_newer_than_the_writer_before_it(locker: Locker) -> None:
    """The writer before the claim is not taken for the newest one again."""
    writer = locker.lease("a")
    locker.claim("a").release()

    leases = [locker.lease("a") for _ in range(3)]

    assert [has_turns(lease) for lease in (writer, *leases)] == [False, False, False, True]


def test_claim_is_exclusive(locker: Locker, patience: float) -> None:
    """A second one is refused at once, and no request takes over what is being handed over."""
    claim = locker.claim("a")

    def refused() -> None:
        with pytest.raises(Locked):
            locker.claim("a")

    assert timed(refused) < patience / 2
    for brief in (False, True):
        with pytest.raises(Locked):
            locker.lease("a", brief=brief)
    claim.release()


def test_claim_that_is_released_is_free(locker: Locker) -> None:
    """Twice is fine, and the second time takes nothing from the claim after it."""
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


@pytest.mark.slow
@pytest.mark.parametrize("how", ["claim", "brief", "kept", "share"])
def test_what_is_forgotten_without_a_release_is_released(locker: Locker, how: str) -> None:
    """A request that was torn down keeps no upload from being handed over."""

    def take() -> None:
        held = locker.lease("a", brief=True) if how == "brief" else locker.claim("a") if how == "claim" else None
        if how == "kept":
            held = locker.lease("a")
            held.keep()
        del held

    take()
    gc.collect()

    locker.claim("a").release()


def test_collected_claim_does_not_lock_up_its_thread(locker: Locker) -> None:
    """The garbage collector may find one at any moment, also while its thread has a turn."""
    done = threading.Event()

    def collect() -> None:
        claim = locker.claim("a")
        with locker.lease("b").turn():
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
        lease.on_lost(lambda: None)
        with flocks.ear.ends._guard:
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


@pytest.fixture(params=["file", "socket", *sorted(SERVED)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where lockers of several processes meet."""
    if request.param == "file":
        yield str(tmp_path)
        return
    if request.param in SERVED:
        lease_servers.available(request.param)
        yield f"{lease_servers.shared(request.param).url}?prefix={tmp_path.name}"
        return
    server = Server()
    yield f"{server.address[0]}:{server.address[1]}"
    server.stop()


def test_newest_wins_between_processes(place: str, other: Other) -> None:
    """A request in another process is overtaken as one in this process is, and as fast."""
    locker = locker_at(place)
    other("lease", place, "a")
    took: list[Any] = []

    seconds = timed(lambda: took.append(locker.lease("a")))

    assert seconds < AT_ONCE
    assert other("told", place, "a") is True
    assert other("turn", place, "a") == "Interrupted"
    take_turn(took[0])


def test_older_process_learns_that_it_lost(place: str, other: Other) -> None:
    """In both directions, so that a read that is blocked there is ended."""
    locker, lost = locker_at(place), threading.Event()
    other("lease", place, "a")
    mine = locker.lease("a")
    mine.on_lost(lost.set)

    assert other("told", place, "a") is True
    assert other("lease", place, "a") is None
    assert lost.wait(AT_ONCE)
    with pytest.raises(Interrupted):
        take_turn(mine)


def test_claim_excludes_other_processes(place: str, other: Other) -> None:
    """In both directions."""
    locker = locker_at(place)
    mine = locker.claim("a")

    assert other("claim", place, "a") == "Locked"
    assert other("lease", place, "a") == "Locked"
    mine.release()
    assert other("claim", place, "a") is None
    with pytest.raises(Locked):
        locker.claim("a")
    other("release", place, "a")


def test_kept_lease_excludes_other_processes(place: str, other: Other) -> None:
    """Until it is released there."""
    locker = locker_at(place)
    other("lease", place, "a")
    other("keep", place, "a")

    with pytest.raises(Locked):
        locker.lease("a")
    assert other("turn", place, "a") is None
    other("release", place, "a")

    take_turn(locker.lease("a", patience=0))


def test_claim_dies_with_its_process(tmp_path: Path, mortal: Other) -> None:
    """What was being handed over when a process was killed can be handed over at once."""
    locker = FileLocker(str(tmp_path))
    mortal("claim", tmp_path, "a")
    with pytest.raises(Locked):
        locker.claim("a")

    mortal.kill()

    assert timed(lambda: locker.claim("a").release()) < AT_ONCE


def test_lease_of_a_dead_process_is_taken_over(tmp_path: Path, mortal: Other) -> None:
    """It cannot be told that it will not write any more, but no request waits for it either."""
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
    before = descriptors()

    for _ in range(20):
        old, new = locker.lease("a"), locker.lease("a")
        take_turn(new)
        with pytest.raises(Interrupted):
            take_turn(old)
        locker.writing("a")
        old.release()
        new.release(forget=True)
        locker.claim("a").release()

    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before


def test_refusal_leaks_no_descriptor(tmp_path: Path) -> None:
    """A request that is told to come again holds nothing meanwhile."""
    locker = FileLocker(str(tmp_path), patience=0.01)
    claim = locker.claim("a")
    before = descriptors()

    for _ in range(5):
        for deed in (locker.claim, locker.lease, locker.share):
            with pytest.raises(Locked):
                deed("a")

    assert descriptors() == before
    claim.release()


def test_lease_file_is_not_followed_through_a_link(tmp_path: Path) -> None:
    """A person who can make a link there cannot have another file overwritten."""
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


# When the network fails


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that the test may stop."""
    server = Server()
    yield server
    server.stop()


def test_kept_lease_that_is_not_renewed_is_taken_over(server: Server) -> None:
    """Its holder was cut off and may be dead; and it knows as soon as the next one has the lease."""
    cut, other = (SocketLocker(server.address, ttl=0.4) for _ in range(2))
    old = cut.lease("a")
    old.keep()
    cut.cut()

    with pytest.raises(Locked):
        other.claim("a")
    new = other.lease("a", patience=10)

    assert (has_turns(old), has_turns(new)) == (False, True)
    assert new.token > old.token


def test_claim_that_is_not_renewed_is_taken_over(server: Server) -> None:
    """A process that was killed keeps no upload for ever."""
    cut, other = (SocketLocker(server.address, ttl=0.4) for _ in range(2))
    claim = cut.claim("a")
    cut.cut()

    with pytest.raises(Locked):
        other.claim("a")
    other.claim("a", patience=10).release()
    claim.release()


def test_holder_that_cannot_renew_is_told_when_its_time_is_over(server: Server) -> None:
    """Its client waits for nothing."""
    cut, lost = SocketLocker(server.address, ttl=0.3), threading.Event()
    lease = cut.lease("a")
    lease.on_lost(lost.set)

    cut.cut()

    assert lost.wait(10)
    with pytest.raises(Interrupted):
        take_turn(lease)


@pytest.mark.slow
def test_lease_that_is_renewed_outlives_its_time(server: Server) -> None:
    """A large body may take hours."""
    one, other = (SocketLocker(server.address, ttl=1.0) for _ in range(2))
    writer, kept, claim = one.lease("a"), one.lease("b"), one.claim("c")
    kept.keep()

    busy = is_busy(other.lease, "b", patience=2.5), is_busy(other.claim, "c")

    assert (busy, has_turns(writer), has_turns(kept)) == ((True, True), True, True)
    claim.release()


def test_holder_that_was_cut_off_comes_back_with_an_old_token(server: Server) -> None:
    """It does not know that it lost, so that it has turns, and the store must refuse it; later it is told."""
    cut, other = (SocketLocker(server.address) for _ in range(2))
    log, lost = Log(), threading.Event()
    old = cut.lease("a")
    old.on_lost(lost.set)
    log.write(old)
    cut.cut()

    new = other.lease("a")
    before = has_turns(old), lost.is_set()
    log.write(new)
    with pytest.raises(Interrupted):
        log.write(old)
    cut.heal()

    assert before == (True, False)
    assert lost.wait(10)
    assert (has_turns(old), has_turns(new)) == (False, True)
    assert log.tokens == [old.token, new.token]


def test_who_is_cut_off_is_told_so(server: Server) -> None:
    """A request fails at once; what it held is free as soon as the network is back."""
    cut, other = (SocketLocker(server.address) for _ in range(2))
    lease, claim = cut.lease("a"), cut.claim("b")
    cut.cut()

    for deed in (cut.lease, cut.share, cut.claim, cut.writing, cut.lives):
        with pytest.raises(StoreBroken, match="cut off"):
            deed("c")
    with pytest.raises(StoreBroken):
        lease.keep()
    claim.release()
    assert is_busy(other.claim, "b")
    cut.heal()

    other.claim("b", patience=10).release()


def test_leases_outlive_a_restart_of_the_server(server: Server) -> None:
    """While it is down nothing is granted; then tokens go on to grow, and holders are still told."""
    one, other = (SocketLocker(server.address) for _ in range(2))
    lease, kept, lost = one.lease("a"), one.lease("b"), threading.Event()
    lease.on_lost(lost.set)
    kept.keep()

    server.stop()
    with pytest.raises(StoreBroken, match="does not answer"):
        other.lease("a")
    turns = has_turns(lease)
    server.start()

    assert turns
    assert is_busy(other.lease, "b", patience=0)
    assert other.lease("a").token > lease.token
    assert lost.wait(10)


def test_new_server_gives_newer_tokens(server: Server) -> None:
    """One that knows nothing of the leases before it makes no old request the newest one."""
    old = SocketLocker(server.address).lease("a")
    second = Server()

    new = SocketLocker(second.address).lease("a")

    second.stop()
    assert new.token > old.token


def test_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error of the storage, soon."""
    monkeypatch.setattr(lock_server, "ANSWER", 0.1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        locker = SocketLocker(silent.getsockname())
        with pytest.raises(StoreBroken, match="does not answer"):
            locker.lease("a")


def test_locker_that_is_not_needed_any_more_ends_its_thread(server: Server) -> None:
    """Each test makes some."""
    before = threading.active_count()
    for _ in range(5):
        SocketLocker(server.address).lease("a").release()

    gc.collect()

    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
