"""Leases that a real server keeps: what happens when it, the network, or a holder fails."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ROOT, Other
from tests.contract.conftest import mortal as mortal
from tests.contract.test_lockers import Log, has_turns, is_busy, take_turn, timed
from tests.engines import append, content, create
from tests.lease_servers import LeaseServer
from tests.lockers.conftest import Make
from tests.lockers.relay import Relay
from tests.slow_store import SlowStore
from tus import Engine, Options, Upload
from tus.errors import Interrupted, Locked, StoreAway
from tus.lockers import postgresql, redis
from tus.lockers.network import NetworkLocker

SOON = 10.0  # seconds; far longer than it takes, on a busy machine


def until(found: Callable[[], Any]) -> Any:
    """What is found in the end."""
    deadline = time.monotonic() + SOON
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return value


def hears(locker: NetworkLocker) -> NetworkLocker:
    """Once it has a connection on which it is told."""
    locker.share("any")
    assert locker._hears.wait(SOON)
    return locker


# A holder that is killed or stopped


def test_lease_of_a_killed_process_is_taken_over_at_once(url: str, mortal: Other) -> None:
    """Nobody waits for it, and whoever asks hears soon that it is dead."""
    from tests.kinds import locker_at

    locker = locker_at(url)
    mortal("lease", url, "killed")
    alive = until(lambda: locker.lives("killed"))
    mortal.kill()

    dead = until(lambda: not locker.lives("killed"))

    assert (alive, dead, locker.writing("killed")) == (True, True, True)
    take_turn(locker.lease("killed"))


KEEPING = """
import os, signal, sys
from tests.kinds import network_locker
locker = network_locker(sys.argv[1], prefix=sys.argv[2], ttl=1.0)
held = locker.claim("a") if sys.argv[3] == "claim" else locker.lease("a")
if sys.argv[3] == "kept":
    held.keep()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["kept", "claim"])
def test_what_a_killed_process_kept_is_free_after_its_time(make: Make, url: str, how: str, tmp_path: Path) -> None:
    """Others hear that the upload is busy until then, and who waits has it."""
    locker = make(ttl=1.0)
    run(KEEPING, url, locker._prefix, how)

    busy = is_busy(locker.claim, "a")

    assert busy
    locker.claim("a", patience=SOON).release()


def run(code: str, *words: object) -> str:
    """What another process prints."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *map(str, words)],
        env=environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert not done.stderr
    return done.stdout


STOPPING = """
import os, signal, sys
from tests.kinds import network_locker
from tests.slow_store import SlowStore
from tus.errors import Interrupted
locker = network_locker(sys.argv[1], prefix=sys.argv[2], ttl=1.0)
lease = locker.lease("a")
store = SlowStore(sys.argv[3], part=4)
with lease.turn():
    draft = store.append("a", 0, fence=lease)

def stop():
    print("stopping", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

def write(where):
    try:
        if where == "inside":
            with lease.turn():
                stop()
                store.put("a", lease.token, 0, b"late")  # what `write` does in its turn
        else:
            stop()
            draft.write(b"late")
        return "written"
    except Interrupted as error:
        return str(error)

print(write(sys.argv[4]), flush=True)
"""


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_holder_that_was_stopped_writes_nothing_too_late(make: Make, url: str, where: str, tmp_path: Path) -> None:
    """Outside of a turn it sees that its time is over; inside, where it cannot look again, the store refuses it."""
    locker, store = make(ttl=1.0), SlowStore(tmp_path, part=4)
    make_upload(store)
    words = [sys.executable, "-c", STOPPING, url, locker._prefix, str(tmp_path), where]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout and process.stdout.readline() == "stopping\n"
    os.waitpid(process.pid, os.WUNTRACED)

    newer = locker.lease("a")
    with newer.turn():
        draft = store.append("a", 0, fence=newer)
    draft.write(b"good")
    draft.commit()
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=60)[0].strip()

    assert "a newer request took over" in said
    assert store.open("a").read() == b"good"


def make_upload(store: SlowStore) -> None:
    from tests.contract.test_stores import Turns

    draft = store.create(Upload(id="a", length=100), fence=Turns())
    store.save(Upload(id="a", length=100))
    draft.close()


def test_holder_whose_time_is_over_has_no_turn_though_nobody_told_it(make: Make, behind: str, relay: Relay) -> None:
    """Its own clock says so, before another request can have what it kept."""
    cut, other, lost = make(behind, ttl=1.0), make(ttl=1.0), threading.Event()
    kept = cut.lease("a")
    kept.on_lost(lost.set)
    kept.keep()
    relay.cut()

    busy = is_busy(other.claim, "a")
    claim = other.claim("a", patience=SOON)

    assert busy
    assert not has_turns(kept)
    assert lost.wait(SOON)
    claim.release()


# The network


def test_holder_that_was_cut_off_comes_back_with_an_old_token(make: Make, behind: str, relay: Relay) -> None:
    """It does not know that it lost, so that the store must refuse it; it is told as soon as it can be."""
    cut, other, log, lost = hears(make(behind)), make(), Log(), threading.Event()
    old = cut.lease("a")
    old.on_lost(lost.set)
    log.write(old)
    relay.cut()

    new = other.lease("a")
    before = has_turns(old), lost.is_set()
    log.write(new)
    with pytest.raises(Interrupted):
        log.write(old)
    relay.heal()

    assert before == (True, False)
    assert lost.wait(SOON)
    assert (has_turns(old), has_turns(new)) == (False, True)


def test_who_is_cut_off_is_told_so(make: Make, behind: str, relay: Relay) -> None:
    """A request fails at once, and may be sent again; what was released meanwhile is free once the network is back."""
    cut, other = make(behind), make()
    lease, claim = cut.lease("a"), cut.claim("b")
    relay.cut()

    for deed in (cut.lease, cut.share, cut.claim, cut.writing, cut.lives):
        with pytest.raises(StoreAway, match="does not answer") as failure:
            deed("c")
        assert failure.value.headers["Retry-After"]
    with pytest.raises(StoreAway):
        lease.keep()
    claim.release()
    assert is_busy(other.claim, "b")
    relay.heal()

    other.claim("b", patience=SOON).release()


@pytest.mark.slow
def test_server_that_is_silent_is_not_waited_for(make: Make, behind: str, relay: Relay, monkeypatch: Any) -> None:
    """The request ends in bounded time, and so does a release."""
    for module in (redis, postgresql):
        monkeypatch.setattr(module, "ANSWER", 0.5)
    stalled = make(behind)
    held = stalled.claim("a")
    relay.stall()

    def ask() -> None:
        with pytest.raises(StoreAway, match="does not answer"):
            stalled.lease("b")

    assert timed(ask) < 5
    assert timed(held.release) < 5
    relay.heal()
    stalled.claim("b").release()


def test_cut_while_a_request_waits_loses_no_wake_up(make: Make, behind: str, relay: Relay) -> None:
    """It asks again when it can hear again, or soon at the latest."""
    waiting, other = hears(make(behind)), make()
    kept = other.lease("a", brief=True)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(waiting.lease("a", patience=SOON)))
    thread.start()
    assert until(lambda: waiting._waiting)
    for pair in list(relay._pairs):  # the connections break; new ones work
        pair[1].shutdown(2)

    kept.release()
    thread.join(SOON)

    assert got
    take_turn(got[0])


# The server


def test_leases_outlive_a_crash_of_the_server(server: LeaseServer, make: Make) -> None:
    """It forgets everything. Those that hold something say so again, tokens grow, and holders are still told."""
    one, other = (hears(make(server.url)) for _ in range(2))
    lease, kept, claim, share, lost = one.lease("a"), one.lease("b"), one.claim("c"), one.share("d"), threading.Event()
    lease.on_lost(lost.set)
    kept.keep()

    server.crash()
    with pytest.raises(StoreAway, match="does not answer"):
        other.lease("a")
    turns = has_turns(lease)
    assert until(lambda: not one._hears.is_set() and not other._hears.is_set())
    server.start()
    assert until(lambda: all(locker._hears.is_set() and locker._renewal for locker in (one, other)))

    busy = is_busy(other.claim, "b"), is_busy(other.claim, "c")
    newer = other.lease("a")

    assert busy == (True, True)
    assert turns and has_turns(kept) and has_turns(share)
    assert newer.token > lease.token
    assert lost.wait(SOON)
    claim.release()
    other.claim("c", patience=SOON).release()


def test_server_that_comes_back_gives_newer_tokens(server: LeaseServer, make: Make) -> None:
    """Though nobody told it of the leases before: the upload's last request ended before the crash."""
    locker = make(server.url)
    old = locker.lease("a")
    old.release()
    server.crash()
    server.start()

    assert until(lambda: not is_away(locker))
    assert locker.lease("a").token > old.token


def is_away(locker: NetworkLocker) -> bool:
    try:
        locker.writing("a")
    except StoreAway:
        return True
    return False


def test_older_lease_does_not_come_back_after_a_crash(server: LeaseServer, make: Make) -> None:
    """A holder that was overtaken while it could hear nothing says what it held, and the server knows better."""
    old = make(server.url)
    lease = old.lease("a")
    old._renewal = time.monotonic() + SOON  # its thread does not renew by itself
    server.crash()
    server.start()
    other = make(server.url)
    newer = other.lease("a")
    newer.release(forget=True)

    old._renewal = 0.0

    assert until(lambda: not has_turns(lease))


def test_upload_goes_on_once_the_server_is_back(server: LeaseServer, make: Make, tmp_path: Path) -> None:
    """Meanwhile its client is told to come again; and nothing is lost."""
    engine = Engine(SlowStore(tmp_path), make(server.url), Options({"durable": "none"}, environ={}))
    upload = create(engine, 10)
    append(engine, upload.id, b"hello")

    server.crash()
    with pytest.raises(StoreAway) as failure:
        append(engine, upload.id, b"there", offset=5)
    server.start()
    done = append(engine, upload.id, b"there", offset=5)

    assert (failure.value.status, failure.value.headers) == (503, {"Retry-After": "1"})
    assert (done.complete, content(engine, done)) == (True, b"hellothere")


# Time


@pytest.mark.slow
def test_what_is_renewed_outlives_its_time(make: Make) -> None:
    """A large body may take hours."""
    one, other = make(ttl=1.0), make(ttl=1.0)
    writer, kept, claim, share = one.lease("a"), one.lease("b"), one.claim("c"), one.share("d")
    kept.keep()

    busy = is_busy(other.lease, "b", patience=2.5), is_busy(other.claim, "c")

    assert (busy, has_turns(writer), has_turns(kept), has_turns(share)) == ((True, True), True, True, True)
    claim.release()


def test_share_in_another_process_ends_with_a_lease_here(make: Make) -> None:
    """It is told, and need not be asked."""
    one, other = hears(make()), make()
    share = one.share("a")

    lease = other.lease("a")

    assert until(lambda: not has_turns(share))
    lease.release()
    assert has_turns(one.share("a"))


def test_hand_over_to_the_newest_request_takes_milliseconds(make: Make) -> None:
    """Between two processes it has the upload within 50 ms, and the older one is told as soon."""
    one, other = hears(make()), hears(make())
    took: list[float] = []
    told: list[float] = []
    for _ in range(20):
        lost, old = threading.Event(), one.lease("a")
        old.on_lost(lost.set)
        began = time.monotonic()
        new = other.lease("a")
        took.append(time.monotonic() - began)
        assert lost.wait(SOON)
        told.append(time.monotonic() - began)
        new.release()

    assert sorted(took)[10] < 0.05
    assert sorted(told)[10] < 0.05


def test_release_wakes_the_request_that_waits(make: Make) -> None:
    """It does not ask again and again."""
    one, other = hears(make()), hears(make())
    waits: list[float] = []
    for _ in range(5):
        kept, gone = one.lease("a", brief=True), threading.Event()

        def take(gone: threading.Event = gone) -> None:
            other.lease("a", patience=SOON).release()
            waits.append(time.monotonic())
            gone.set()

        threading.Thread(target=take, daemon=True).start()
        assert until(lambda: other._waiting)
        time.sleep(0.05)
        began = time.monotonic()
        kept.release()
        assert gone.wait(SOON)
        waits[-1] -= began

    assert sorted(waits)[2] < 0.1


# What is left


FORKING = """
import gc, os, sys
from tests.kinds import network_locker
from tus.errors import Interrupted, Locked

locker = network_locker(sys.argv[1], prefix=sys.argv[2])
lease, claim = locker.lease("lease"), locker.claim("claim")
out, into = os.pipe()
child = os.fork()
if not child:
    os.close(into)
    try:
        with lease.turn():
            print("child has a turn")
    except Interrupted:
        pass
    lease.release()
    del claim
    gc.collect()
    mine = locker.lease("other")
    with mine.turn():
        pass
    print("child", locker.writing("lease"), flush=True)
    os.read(out, 1)
    mine.release()
    os._exit(0)
while not locker.writing("other"):
    pass
with lease.turn():
    pass
print("turn", locker.writing("lease"))
try:
    locker.claim("claim")
except Locked:
    print("claimed")
lease.release()
claim.release()
locker.lease("lease").release()
locker.claim("claim").release()
print("free")
os.close(into)
os.waitpid(child, 0)
"""


def test_fork_gives_nothing_back_and_keeps_nothing(make: Make, url: str) -> None:
    """A child has connections of its own, and what its parent holds is none of its business."""
    said = run(FORKING, url, make()._prefix)

    assert sorted(said.splitlines()) == ["child True", "claimed", "free", "turn True"]


def test_locker_that_is_not_needed_any_more_ends_its_thread(make: Make) -> None:
    """And its connections."""
    before = threading.active_count()
    for _ in range(3):
        hears(make()).lease("a").release()

    gc.collect()

    assert until(lambda: threading.active_count() <= before)


def test_claim_that_is_forgotten_with_its_locker_is_free(make: Make) -> None:
    """The thread says so at its end."""
    make().claim("a")

    gc.collect()

    make().claim("a", patience=SOON / 2).release()


def test_error_is_no_lease(make: Make, behind: str, relay: Relay, monkeypatch: Any) -> None:
    """A request that heard no answer may have got what it asked for: that is given back."""
    for module in (redis, postgresql):
        monkeypatch.setattr(module, "ANSWER", 0.3)
    cut, other = make(behind), make()
    cut.writing("a")
    relay.stall()
    with pytest.raises(StoreAway):
        cut.claim("a")
    relay.heal()

    other.claim("a", patience=SOON / 2).release()


def test_locked_is_said_when_patience_is_over(make: Make) -> None:
    """The upload is busy, and the client may come again."""
    claim = make().claim("a")

    with pytest.raises(Locked):
        make(patience=0.1).lease("a")

    claim.release()


def test_lease_knows_which_one_was_before_it(make: Make) -> None:
    """In whatever process that was taken, and also once it was released."""
    here, elsewhere = make(), make()
    first = here.lease("a")
    first.release()

    second = elsewhere.lease("a")
    third = here.lease("a")

    assert (first.before, second.before, third.before) == (0, first.token, second.token)
    third.release()
    second.release()
