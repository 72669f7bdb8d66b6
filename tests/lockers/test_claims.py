"""An upload is handed over once: also where the server of the claims forgets everything, or cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.contract.test_lockers import is_busy
from tests.engines import append, create
from tests.lease_servers import LeaseServer
from tests.lockers.conftest import Make
from tests.lockers.relay import Relay
from tests.lockers.test_network import SOON, hears, is_away, until
from tests.slow_store import SlowStore
from tus import Engine, Hooks, Options, Result, Upload
from tus.errors import Locked

TTL = 4.0  # seconds


class Ears(Hooks):
    """A host that has to be told of uploads."""

    def finished(self, upload: Upload) -> Result:
        return Result()


def crash(server: LeaseServer) -> None:
    server.crash()
    server.start()


def empty(server: LeaseServer) -> None:
    """It runs on, and knows nothing any more."""
    if server.kind == "redis":
        import redis

        with redis.Redis.from_url(server.url) as line:
            line.flushall()
        return
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("TRUNCATE tus_leases")


@pytest.fixture(params=[crash, empty])
def forget(request: pytest.FixtureRequest, server: LeaseServer) -> Callable[[], None]:
    """The server forgets everything."""
    return lambda: request.param(server)


@pytest.fixture
def cable(server: LeaseServer) -> Iterator[Relay]:
    """A cable to the server that may be killed."""
    parts = urlsplit(server.url)
    relay = Relay(parts.hostname or "", parts.port or 0)
    yield relay
    relay.close()


@pytest.fixture
def far(cable: Relay, server: LeaseServer) -> str:
    """That server, at the other end of the cable."""
    parts = urlsplit(server.url)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{cable.port}"))


def engine_at(home: Path, locker: Any) -> Engine:
    return Engine(SlowStore(home), locker, Options({"durable": "none"}, environ={}), Ears())


def finished(engine: Engine) -> str:
    """An upload that waits to be handed over."""
    upload = create(engine, 5)
    append(engine, upload.id, b"hello")
    return upload.id


@pytest.mark.slow
def test_server_that_forgot_lets_nobody_hand_over_again(
    server: LeaseServer, make: Make, forget: Callable[[], None], tmp_path: Path
) -> None:
    """Between claim and answer it loses its memory: who asks then is told to come again, and finds the answer."""
    one, other = (engine_at(tmp_path, hears(make(server.url, ttl=TTL))) for _ in range(2))
    id = finished(one)
    delivery = one.claim(id)

    forget()
    with pytest.raises(Locked):
        assert until(lambda: not is_away(other.locker))  # type: ignore[arg-type]
        other.claim(id)
    delivery.accept(Result(204))
    again = other.claim(id, patience=SOON)

    assert (again.upload.pending, again.upload.result) == (False, Result(204))
    again.release()


@pytest.mark.slow
def test_no_claim_until_every_holder_could_say_that_it_holds_one(
    server: LeaseServer, make: Make, forget: Callable[[], None], cable: Relay, far: str
) -> None:
    """A holder that is cut off while the server forgets comes back within a ttl, and has its claim still."""
    holder, other = hears(make(far, ttl=TTL)), hears(make(server.url, ttl=TTL))
    claim = holder.claim("a")
    cable.cut()
    forget()
    assert until(lambda: not is_away(other))

    early = is_busy(other.claim, "a"), is_busy(other.claim, "b")
    cable.heal()
    free = until(lambda: not is_busy(other.claim, "b"))
    late = is_busy(other.claim, "a")

    assert early == (True, True)
    assert (free, late, claim.over()) == (True, True, False)
    claim.release()
    other.claim("a", patience=SOON).release()


def test_new_server_is_waited_for_once(server: LeaseServer, make: Make) -> None:
    """After a ttl it is known that nobody has anything there."""
    empty(server)
    locker, began = make(server.url, ttl=1.0), time.monotonic()

    locker.claim("a", patience=SOON).release()
    waited = time.monotonic() - began
    quick = time.monotonic()
    locker.claim("b").release()

    assert waited >= 0.9
    assert time.monotonic() - quick < 0.9


def test_claim_that_timed_out_comes_back_if_nobody_took_it(make: Make, behind: str, relay: Relay) -> None:
    """Its holder may have told the host already, and cannot go back."""
    holder, other = hears(make(behind, ttl=1.0)), hears(make(ttl=1.0))
    claim = holder.claim("a")
    relay.cut()
    assert until(claim.over)

    relay.heal()

    assert until(lambda: not claim.over())
    assert is_busy(other.claim, "a")
    claim.release()
    other.claim("a", patience=SOON).release()


def test_claim_that_another_took_does_not_come_back(make: Make, behind: str, relay: Relay) -> None:
    """The one that has it now is not disturbed."""
    holder, other = hears(make(behind, ttl=1.0)), hears(make(ttl=1.0))
    old = holder.claim("a")
    relay.cut()
    new = other.claim("a", patience=SOON)
    relay.heal()

    assert until(lambda: old.lost)
    assert not new.over()
    new.release()
    other.claim("a").release()


class Late(SlowStore):
    """One whose reads wait for something."""

    wait: Callable[[], object] = staticmethod(lambda: None)

    def load(self, id: str, *, durable: bool = False) -> Upload:
        found = super().load(id, durable=durable)
        self.wait()
        return found


def test_claim_that_is_over_before_the_host_hears_of_it_is_none(
    make: Make, behind: str, relay: Relay, tmp_path: Path
) -> None:
    """While the record was read, the server was out of reach for too long: another request may have the claim."""
    locker, store = hears(make(behind, ttl=1.0)), Late(tmp_path)
    engine = Engine(store, locker, Options({"durable": "none"}, environ={}), Ears())
    id = finished(engine)

    def cut() -> None:
        relay.cut()
        time.sleep(1.1)  # no event says that time passed

    store.wait = cut  # type: ignore[method-assign]
    with pytest.raises(Locked, match="cannot be reached"):
        engine.claim(id)

    relay.heal()
