"""A URL that is wrong, or a server that is not there, is an error at the start, which says what to do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import lease_servers
from tests.contract.test_lockers import take_turn
from tests.lease_servers import LeaseServer
from tests.lockers.test_network import until
from tus.errors import OptionError
from tus.lockers import Locker, postgresql, redis, servers

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.engines


@pytest.fixture
def factory(kind: str) -> Callable[..., Locker]:
    """What the entry point names."""
    return {"redis": redis.redis_locker, "postgresql": postgresql.postgresql_locker}[kind]


@pytest.fixture
def own() -> Iterator[LeaseServer]:
    """A Redis whose settings a test may change."""
    lease_servers.available("redis")
    with LeaseServer("redis") as server:
        yield server


def told(url: str, *words: Any) -> Any:
    """What that Redis answers."""
    import redis as client

    with client.Redis.from_url(url) as connection:
        return connection.execute_command(*words)


def reach_once(factory: Callable[..., Locker], url: str) -> Locker:
    """Without any patience."""
    patience, servers.START = servers.START, 0.0
    try:
        return factory(url)
    finally:
        servers.START = patience


def test_factory_opens_a_locker(factory: Callable[..., Locker], url: str) -> None:
    """With the settings that its URL has besides those of the client."""
    locker: Any = factory(f"{url}?ttl=3&patience=2&prefix=site", None)

    lease = locker.lease("a")

    take_turn(lease)
    assert (locker._ttl, locker._patience, lease.id) == (3.0, 2.0, "site:a")
    lease.release()


def test_prefix_keeps_sites_apart(factory: Callable[..., Locker], url: str) -> None:
    """Two sites may share a server, and have uploads of the same name."""
    one, other = factory(f"{url}?prefix=one").claim("same"), factory(f"{url}?prefix=other").claim("same")

    for claim in (one, other):
        claim.release()


@pytest.mark.parametrize("wrong", ["ttl=0", "ttl=300", "ttl=x", "patience=-1", "prefix=a/b"])
def test_setting_that_makes_no_sense_is_named(factory: Callable[..., Locker], url: str, wrong: str) -> None:
    """And what it should be."""
    with pytest.raises(OptionError, match=f"option locker: {wrong} in its URL should be"):
        factory(f"{url}?{wrong}")


def test_unknown_setting_is_named(factory: Callable[..., Locker], url: str) -> None:
    """A misspelled one is not ignored."""
    with pytest.raises(OptionError, match="option locker: .*ttll"):
        factory(f"{url}?ttll=3")


def test_no_server_is_said_at_the_start(factory: Callable[..., Locker], kind: str) -> None:
    """Not at the first upload."""
    with pytest.raises(OptionError, match="option locker: .*refused.*may we reach it"):
        reach_once(factory, f"{kind}://127.0.0.1:1/0")


@pytest.mark.parametrize("module", ["redis", "psycopg"])
def test_missing_client_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """It is an extra of this package."""
    factory = {"redis": redis.redis_locker, "psycopg": postgresql.postgresql_locker}[module]
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(OptionError, match=r"pip install tus\[(redis|postgresql)\]"):
        factory("redis://localhost")


def test_entry_points_name_the_factories() -> None:
    """So that the option `locker` finds them."""
    text = (ROOT / "setup.py").read_text()

    for scheme, kind in (("redis", "redis"), ("rediss", "redis"), ("postgresql", "postgresql")):
        assert f'"{scheme} = tus.lockers.{kind}:{kind}_locker"' in text


KILLED = """
import os, signal, sys
from tests.lease_servers import LeaseServer
from tests.lockers.test_network import until
print(LeaseServer(sys.argv[1]).url, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_server_for_tests_ends_with_its_process(factory: Callable[..., Locker], kind: str) -> None:
    """However that one ends."""
    words = [sys.executable, "-c", KILLED, kind]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})

    assert done.stdout.startswith(f"{kind}://")
    assert until(lambda: is_gone(factory, done.stdout.strip()))


@pytest.mark.slow
def test_server_that_starts_at_the_same_time_is_waited_for(factory: Callable[..., Locker], server: LeaseServer) -> None:
    """It may be there a moment later, and nobody need start us again."""
    server.crash()
    began = threading.Timer(1.0, server.start)  # it takes its time
    began.start()

    locker = factory(server.url)

    began.join()
    locker.lease("a").release()


def is_gone(factory: Callable[..., Locker], url: str) -> bool:
    try:
        reach_once(factory, url)
    except OptionError as error:
        return "refused" in str(error)
    return False


# Redis


@pytest.mark.parametrize(
    ("user", "remedy"),
    [
        ("", "put the password into the URL"),
        (":wrong@", "put the right password into the URL"),
        ("who:wrong@", "put the right password into the URL"),
        (":sesame@", ""),
    ],
)
def test_password_of_redis(own: LeaseServer, user: str, remedy: str) -> None:
    """What is wrong with it, and that one is needed."""
    told(own.url, "CONFIG", "SET", "requirepass", "sesame")
    url = own.url.replace("//", f"//{user}")

    if not remedy:
        redis.redis_locker(url).lease("a").release()
        return
    with pytest.raises(OptionError, match=f"option locker: .*{remedy}") as failure:
        redis.redis_locker(url)
    assert "wrong" not in str(failure.value)


RIGHTS = "+@connection +evalsha +eval +hmget +hset +pexpire +time +publish +subscribe +pubsub +info ~tus:* &tus:*"


def test_rights_that_redis_needs_are_those_of_the_documentation(own: LeaseServer) -> None:
    """With them everything works, and each of them is needed at the start, or for what comes later."""
    documented = (ROOT / "docs" / "scaling.rst").read_text()
    told(own.url, "ACL", "SETUSER", "tus", "on", ">pass", *RIGHTS.split())
    locker = redis.redis_locker(own.url.replace("//", "//tus:pass@"))

    lease = locker.lease("a")
    lease.keep()
    lease.release()

    assert RIGHTS in documented
    assert locker.lives("a") is False
    told(own.url, "ACL", "SETUSER", "tus", "-evalsha")
    with pytest.raises(OptionError, match="no permissions.*docs/scaling.rst lists"):
        redis.redis_locker(own.url.replace("//", "//tus:pass@"))


@pytest.mark.parametrize(("path", "remedy"), [("zero", "the number of a database"), ("77", "mostly 0")])
def test_database_of_redis(own: LeaseServer, path: str, remedy: str) -> None:
    """What is no number, and one that does not exist."""
    with pytest.raises(OptionError, match=f"option locker: .*{remedy}"):
        redis.redis_locker(own.url.removesuffix("0") + path)


def test_redis_that_may_forget_is_warned_of(own: LeaseServer, caplog: pytest.LogCaptureFixture) -> None:
    """It throws away what it has, when its memory is full."""
    told(own.url, "CONFIG", "SET", "maxmemory", "100mb")
    told(own.url, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    with caplog.at_level(logging.WARNING, "tus"):
        redis.redis_locker(own.url)

    assert "set its maxmemory-policy to noeviction" in caplog.text


def test_replica_is_refused(own: LeaseServer) -> None:
    """It could not write who has a lease."""
    told(own.url, "REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(OptionError, match="name the primary server"):
        redis.redis_locker(own.url)


def test_keys_expire(own: LeaseServer) -> None:
    """Nothing is left behind for uploads that are gone."""
    locker = redis.redis_locker(own.url)
    for how in ("lease", "claim"):
        getattr(locker, how)(how).release()
    locker.lease("gone").release(forget=True)
    locker.share("share").release()
    held = locker.lease("held")

    keys = set(told(own.url, "KEYS", "*")) - {b"tus:/began"}

    assert len(keys) == 5
    assert all(0 < told(own.url, "TTL", key) <= 600 for key in keys)
    assert told(own.url, "TTL", "tus:gone") <= 20
    held.release()


def test_lease_and_release_are_one_message_each(own: LeaseServer) -> None:
    """And a share is one, since nobody need hear that it is over."""
    locker = redis.redis_locker(own.url)
    locker.lease("warm").release()

    def cost(deed: Callable[[], Any]) -> int:
        before = count(own.url)
        deed()
        return count(own.url) - before

    assert cost(lambda: locker.lease("a").release()) == 2
    assert cost(lambda: locker.lease("a", brief=True, check=lambda: None).release(forget=True)) == 2
    assert cost(lambda: locker.share("a").release()) == 1
    assert cost(lambda: locker.claim("a").release()) == 2


def count(url: str) -> int:
    """How many deeds were asked of it."""
    calls = told(url, "INFO", "commandstats")
    return sum(int(facts["calls"]) for name, facts in calls.items() if name in ("cmdstat_evalsha", "cmdstat_eval"))


# PostgreSQL


def connected(url: str) -> Any:
    import psycopg

    return psycopg.connect(url, autocommit=True)


@pytest.fixture
def base() -> str:
    """The URL of a PostgreSQL that others use, too."""
    lease_servers.available("postgresql")
    return lease_servers.shared("postgresql").url


def test_postgresql_that_lacks_something_says_what(base: str) -> None:
    """A database, a role, a right, or TLS."""
    server = urlsplit(base)
    host = f"{server.hostname}:{server.port}"
    with connected(base) as connection:
        for line in ("DROP DATABASE IF EXISTS tus_empty", "DROP ROLE IF EXISTS tus_poor", "CREATE ROLE tus_poor LOGIN"):
            connection.execute(line)
        connection.execute("CREATE DATABASE tus_empty")
    postgresql.postgresql_locker(base)

    for url, remedy in {
        f"postgresql://postgres@{host}/nowhere": "correct its name in the URL",
        f"postgresql://nobody@{host}/postgres": "correct its name in the URL",
        f"postgresql://tus_poor@{host}/tus_empty": "GRANT CREATE ON SCHEMA",
        f"postgresql://tus_poor@{host}/postgres": "GRANT ALL ON tus_leases",
        f"postgresql://postgres@{host}/postgres?sslmode=require": "sslmode= in the URL",
    }.items():
        with pytest.raises(OptionError, match=f"option locker: .*{remedy}"):
            postgresql.postgresql_locker(url)


def test_rows_are_removed(base: str, tmp_path: Path) -> None:
    """Those of uploads that are gone; what is held stays."""
    locker: Any = postgresql.postgresql_locker(f"{base}?prefix={tmp_path.name}")
    held = locker.lease("held")
    locker.lease("gone").release()
    with connected(base) as connection:
        connection.execute("UPDATE tus_leases SET remembered = 0 WHERE id LIKE %s", [f"{tmp_path.name}:%"])

        locker.tidy(0.0, lambda id: False)

        rows = connection.execute("SELECT id FROM tus_leases WHERE id LIKE %s", [f"{tmp_path.name}:%"]).fetchall()
    assert rows == [(f"{tmp_path.name}:held",)]
    held.release()


def test_many_processes_may_start_at_once(base: str) -> None:
    """Each of them makes what is missing."""
    from concurrent.futures import ThreadPoolExecutor

    with connected(base) as connection:
        connection.execute("DROP DATABASE IF EXISTS tus_many")
        connection.execute("CREATE DATABASE tus_many")
    url = base.rpartition("/")[0] + "/tus_many"

    with ThreadPoolExecutor(6) as threads:
        lockers = list(threads.map(lambda _: postgresql.postgresql_locker(url), range(6)))

    assert lockers[0].lease("a").token < lockers[1].lease("a").token
