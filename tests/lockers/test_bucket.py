"""Leases in a bucket: between processes, on real engines, and what each costs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import real
from tests.contract.conftest import ROOT
from tests.contract.test_lockers import has_turns, is_busy, take_turn
from tests.kinds import leases_in_bucket
from tests.lockers.test_network import SOON, until
from tests.s3 import proxy as proxies
from tests.s3.proxy import Handler, Proxy
from tus import OptionError, Options
from tus.backends import locker_of
from tus.lockers import s3
from tus.lockers.network import NetworkLocker
from tus.lockers.s3 import s3_locker
from tus.lockers.s3.race import check_races
from tus.stores.memory import MemoryStore
from tus.stores.s3 import S3Store

pytestmark = [pytest.mark.engines, pytest.mark.slow]
Make = Callable[..., NetworkLocker]


@pytest.fixture(params=["versitygw", "ceph"])
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where it is."""
    real.needed(request.param)
    return real.engine(request.param)


@pytest.fixture
def proxy(engine: dict[str, str]) -> Iterator[Proxy]:
    with proxies.running(engine["S3_ENDPOINT"]) as found:
        yield found


@pytest.fixture
def make(proxy: Proxy, engine: dict[str, str], tmp_path: Path) -> Make:
    """Makes a locker, as one process has it; all that are made in a test meet each other."""

    def made(**given: Any) -> NetworkLocker:
        return leases_in_bucket(tmp_path, bucket=real.bucket_at(proxy.endpoint, engine), **given)

    return made


# Between processes


def test_newest_request_has_it_and_the_older_one_is_told(make: Make) -> None:
    """It need not be asked: its process looks at what it is told."""
    one, other, lost = make(), make(), threading.Event()
    old = one.lease("a")
    old.on_lost(lost.set)

    new = other.lease("a")

    take_turn(new)
    assert lost.wait(SOON)
    assert (has_turns(old), new.token > old.token, new.before) == (False, True, old.token)


def test_share_elsewhere_ends_with_a_lease(make: Make) -> None:
    """A chunk writes nothing into an upload that is removed."""
    one, other = make(), make()
    share, lease = one.share("a"), one.lease("b")  # with which its process listens

    other.lease("a")

    assert until(lambda: not has_turns(share))
    lease.release()


@pytest.mark.parametrize("how", ["kept", "claim"])
def test_what_is_kept_elsewhere_is_waited_for(make: Make, how: str) -> None:
    """Until it is released there; it is renewed as long as that takes."""
    one, other = make(ttl=1.0), make(ttl=1.0)
    held = one.claim("a") if how == "claim" else one.lease("a")
    if how == "kept":
        held.keep()  # type: ignore[attr-defined]

    busy = is_busy(other.lease, "a", patience=4.5), is_busy(other.claim, "a")
    held.release()

    assert busy == (True, True)
    other.claim("a", patience=SOON).release()


DYING = """
import os, signal, sys
from pathlib import Path
from tests import real
from tests.kinds import leases_in_bucket
facts = real.engine(sys.argv[2])
locker = leases_in_bucket(Path(sys.argv[1]), bucket=real.bucket_at(facts["S3_ENDPOINT"], facts), ttl=1.0)
if sys.argv[3] == "lease":
    held = locker.lease("a")
else:
    held = locker.claim("a")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["lease", "claim"])
def test_process_that_is_killed_leaves_it_to_others(
    make: Make, tmp_path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    """A plain lease at once; a claim after its time, by the clock of the storage."""
    words = [sys.executable, "-c", DYING, str(tmp_path), request.node.callspec.params["engine"], how]
    died = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert died.returncode == -9
    locker = make(ttl=1.0)

    if how == "lease":
        assert (locker.writing("a"), locker.lives("a")) == (True, False)
        take_turn(locker.lease("a"))
    else:
        assert is_busy(locker.claim, "a")
        locker.claim("a", patience=SOON).release()


COMPETING = """
import sys
from pathlib import Path
from tests import real
from tests.kinds import leases_in_bucket
from tus.errors import Locked, StoreAway
facts = real.engine(sys.argv[2])
locker = leases_in_bucket(Path(sys.argv[1]), bucket=real.bucket_at(facts["S3_ENDPOINT"], facts), patience=30.0)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    try:
        lease = locker.lease("a", brief=True)
    except (Locked, StoreAway):
        continue
    print("token", lease.token, flush=True)
    lease.release()
"""


def test_processes_that_compete_never_have_the_same_token(
    engine: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Eight of them want the same upload at the same time."""
    words = [sys.executable, "-c", COMPETING, str(tmp_path), request.node.callspec.params["engine"]]
    environ, pipe = {**os.environ, "PYTHONPATH": str(ROOT)}, subprocess.PIPE
    crowd = [subprocess.Popen(words, env=environ, stdin=pipe, stdout=pipe, text=True) for _ in range(8)]
    for one in crowd:
        assert one.stdout and one.stdin and one.stdout.readline() == "ready\n"
    for one in crowd:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()

    said = "".join(one.communicate(timeout=120)[0] for one in crowd)

    tokens = [int(line.split()[1]) for line in said.splitlines()]
    assert len(tokens) > 20
    assert len(tokens) == len(set(tokens))


# When the storage fails


def test_answer_that_got_lost_is_no_lost_race(make: Make, proxy: Proxy) -> None:
    """The object is looked at: it is the one that was stored."""
    locker = make()
    proxy.lose("PutObject .*lease", times=1)

    lease = locker.lease("a")

    take_turn(lease)
    proxy.lose("PutObject .*lease", times=1)
    lease.release()
    assert not locker.writing("a")


def test_holder_that_finds_its_object_gone_stores_it_again(make: Make, tmp_path: Path) -> None:
    """Somebody removed it by hand, and the claim is still one."""
    one, other = make(ttl=1.0), make(ttl=1.0)
    claim = one.claim("a")
    server: Any = one._server

    server._bucket.delete(server._own + "a")

    assert until(lambda: server.find(server._own + "a")[0])
    assert is_busy(other.claim, "a")
    claim.release()


def test_renewal_in_the_moment_of_keep_lets_it_time_out(make: Make) -> None:
    """The thread that renews does not know yet that the lease is kept, and its process dies: others have it after its
    time, and not after that of a plain one."""
    one, other = make(ttl=1.0), make(ttl=1.0)
    lease = one.lease("a")
    server: Any = one._server

    server.keep(lease, 1.0)
    server.renew([lease], 1.0)
    one.forked()  # what it held is nobody's from here on

    take_turn(other.lease("a", patience=SOON))


# What it costs


class Calls:
    """Those about leases, without the looks at what a process is told."""

    def __init__(self, proxy: Proxy) -> None:
        self._seen: list[str] = []
        proxy._on("Object .*/lease/", self._see, times=1_000_000)

    def _see(self, call: Handler) -> bool:
        self._seen.append(call.operation)
        return False

    def since(self) -> list[str]:
        seen, self._seen = self._seen, []
        return seen


def test_calls_of_a_lease(make: Make, proxy: Proxy) -> None:
    """Two to take it and one to let it go; for a process that had the last one, one and one."""
    locker, other = make(), make()
    other.lease("b", brief=True).release()
    counts, calls = [], Calls(proxy)
    for one in (locker, locker, other):
        lease = one.lease("a", brief=True)
        took = calls.since()
        lease.release()
        counts.append((took, calls.since()))

    cold, warm = (["GetObject", "PutObject"], ["PutObject"]), (["PutObject"], ["PutObject"])
    assert counts[1:] == [warm, cold]  # Ceph's way with ETags is learnt at the first


def test_to_keep_a_brief_lease_costs_no_call(make: Make, proxy: Proxy) -> None:
    """It is kept from the beginning; only a plain one has to say so, and that is still a lease then."""
    locker = make()
    brief, plain = locker.lease("a", brief=True), locker.lease("b")
    calls = Calls(proxy)

    brief.keep()
    cost = calls.since()
    plain.keep()

    assert cost == []
    assert "PutObject" in calls.since()
    for lease in (brief, plain):
        take_turn(lease)
        assert is_busy(make().lease, lease.id)
        lease.release()


def test_process_that_holds_nothing_calls_nobody(make: Make, proxy: Proxy) -> None:
    """Looking costs money, so that it ends with the last lease."""
    locker = make(ttl=1.0)
    lease = locker.lease("a")
    assert until(lambda: proxy.calls.count("GetObject") > 2)  # it looks
    lease.release()
    until(lambda: not locker._server.held)  # type: ignore[attr-defined]
    del proxy.calls[:]

    time.sleep(2 * s3._LOOKS + 0.5)  # nothing happens, which no event says

    assert proxy.calls == []


# What is left


def test_sweep_removes_leases_of_uploads_that_are_gone(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day later; and no object by a name that may come back."""
    locker, gone, there = make(), "0" * 32, "1" * 32
    for id in (gone, there, "film.mp4", f"{gone}-3"):
        locker.lease(id).release()
    server: Any = locker._server
    names = lambda: sorted(one.key.rpartition("/")[2] for one in server._bucket.objects(server._own))  # noqa: E731

    locker.tidy(time.time() + 100, lambda id: id == there)
    young = names()
    monkeypatch.setattr(s3, "_OLD", -100.0)
    locker.tidy(time.time() + 100, lambda id: id == there)

    assert young == sorted([gone, there, "film.mp4", f"{gone}-3"])
    assert names() == [there, "film.mp4"]


# At the start


def test_engine_whose_conditions_hold_is_trusted(proxy: Proxy, engine: dict[str, str], tmp_path: Path) -> None:
    """It is raced once, and that is remembered in the bucket."""
    bucket, prefix = real.bucket_at(proxy.endpoint, engine), f"{tmp_path.name}-{os.getpid()}-{time.time_ns()}/"

    check_races(bucket, prefix)
    raced = proxy.calls.count("PutObject")
    check_races(bucket, prefix)

    assert raced > 100
    assert proxy.calls.count("PutObject") == raced


def test_engine_without_conditions_is_refused(proxy: Proxy, engine: dict[str, str], tmp_path: Path) -> None:
    """One that does not know them takes what everybody sends."""
    bucket = real.bucket_at(proxy.endpoint, engine)

    def take(call: Handler) -> bool:
        call._answer(200, [("ETag", '"any"')], b"")
        return True

    proxy._on("PutObject .*race", take, times=10_000)

    with pytest.raises(OptionError, match="8 of 8 conditional writes came through.*use redis: or postgresql:"):
        check_races(bucket, f"{time.time_ns()}/")


def test_locker_s3_needs_a_store_there() -> None:
    """Its objects lie beside the uploads."""
    with pytest.raises(OptionError, match="option locker: s3: .*store = s3://"):
        locker_of("s3:", Options({}, environ={}), MemoryStore())


def test_locker_s3_is_opened_by_its_name(proxy: Proxy, engine: dict[str, str]) -> None:
    """With the settings in its URL; a wrong one is named."""
    store = S3Store(real.bucket_at(proxy.endpoint, engine), f"{time.time_ns()}/")

    locker = locker_of("s3:?ttl=30", Options({}, environ={}), store)

    locker.claim("a").release()
    assert locker._ttl == 30.0  # type: ignore[attr-defined]
    for wrong in ("s3:?ttl=x", "s3:?prefix=a", "s3://other", "s3:?tll=3"):
        with pytest.raises(OptionError, match="option locker: "):
            s3_locker(wrong, store)
