"""The kinds of stores and lockers that all suites run on: one registry for all of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tests import lease_servers, real
from tests.lock_server import Server
from tests.shelves import Objects
from tests.slow_store import SlowStore
from tests.socket_locker import SocketLocker
from tus import Engine, TusFilter
from tus.lockers import Claim, Lease, Locker, Share
from tus.lockers.file import FileLocker
from tus.lockers.memory import MemoryLocker
from tus.lockers.network import TTL, NetworkLocker
from tus.lockers.s3 import BucketLeases
from tus.lockers.servers import settings
from tus.stores import Store
from tus.stores.file import FileStore
from tus.stores.memory import MemoryStore
from tus.stores.s3 import S3Store
from tus.stores.s3.bucket import Bucket
from tus.tus import Sweeper

PATIENCE = 0.2  # seconds that a locker waits for what another request keeps
PATIENT = {"s3": 2.0}  # … of those that have a way to go for each answer

server = cache(Server)  # one for the process; each directory has uploads of its own there


def _clock(clock: Callable[[], float] | None) -> dict[str, Any]:
    return {"clock": clock} if clock else {}


def at_server(kind: str, directory: Path) -> Locker:
    """A locker at a server of ours; the test is skipped where it cannot be had."""
    lease_servers.available(kind)
    return network_locker(lease_servers.shared(kind).url, prefix=f"{directory}/")


def leases_in_bucket(directory: Path, *, bucket: Bucket | None = None, **given: Any) -> NetworkLocker:
    """A locker in a bucket; by default the one that all tests share, where the directory is the prefix."""
    prefix = hashlib.blake2b(str(directory).encode(), digest_size=8).hexdigest()
    return NetworkLocker(BucketLeases(bucket or real.bucket(), f"{prefix}/"), **{"patience": PATIENCE, **given})


def network_locker(url: str, **given: Any) -> NetworkLocker:
    """A locker at this URL, which is connected."""
    url, said = settings(url)
    how: dict[str, Any] = {"ttl": TTL, "patience": PATIENCE, **said, **given}
    locker = NetworkLocker(_server(url, how["ttl"]), **how)
    locker.writing("any")
    return locker


def _server(url: str, ttl: float) -> Any:
    if url.startswith("redis"):
        from tus.lockers.redis import RedisServer

        return RedisServer(url)
    from tus.lockers.postgresql import PostgresqlServer

    server = PostgresqlServer(url)
    server.prepare(ttl)
    return server


# With `clock`, what tells the time, where a store does not leave that to the disk; with `certify`, as FileStore has it.
STORES: dict[str, Callable[..., Store]] = {
    "memory": lambda directory, clock=None, certify=False: MemoryStore(**_clock(clock)),
    "file": lambda directory, clock=None, certify=False: FileStore(str(directory), certify=certify),
    "slow": lambda directory, clock=None, certify=False: SlowStore(directory, **_clock(clock)),
}


def s3_kind(engine: str) -> str:
    """What a store on this engine is called."""
    return "s3" if engine == real.USUAL else f"s3-{engine}"


def _s3(engine: str, directory: Path, clock: Callable[[], float] | None = None, certify: bool = False) -> Store:
    """In a bucket that all tests share; the directory is its prefix there."""
    real.chosen(engine, but="azurite")
    prefix = hashlib.blake2b(str(directory).encode(), digest_size=8).hexdigest()
    return S3Store(real.bucket(engine), f"{prefix}/", unknown=5 << 20, **_clock(clock))


STORES.update({s3_kind(engine): partial(_s3, engine) for engine in real.ENGINES})
STORES["azblob"] = partial(_s3, "azurite")
NEED_LEASES = {"s3-swift"}  # whose engine cannot tell which one of several who write at once was first


def with_data(directory: Path) -> Path:
    """Where the uploads of the contract tests have their files: a brief lease needs none of its own then."""
    for id in "ab":
        (directory / id).touch()
    return directory


LOCKERS: dict[str, Callable[[Path], Locker]] = {
    "memory": lambda directory: MemoryLocker(patience=PATIENCE),
    "file": lambda directory: FileLocker(str(directory), patience=PATIENCE),
    "file beside data": lambda directory: FileLocker(str(with_data(directory)), patience=PATIENCE),
    "socket": lambda directory: SocketLocker(server().address, patience=PATIENCE, prefix=f"{directory}/"),
    "redis": partial(at_server, "redis"),
    "valkey": partial(at_server, "valkey"),
    "postgresql": partial(at_server, "postgresql"),
}

SERVED = {"redis", "valkey", "postgresql"}  # tests of these kinds have the marker `engines`

# What the suites of the engine run on: a store, and the locker that belongs to it.
PAIRS = {
    "memory": ("memory", "memory"),
    "file": ("file", "file"),
    "slow": ("slow", "socket"),
    "redis": ("slow", "redis"),
}
if not real.missing(real.USUAL):  # which says at the end of a run why it did not run
    PAIRS["s3"] = ("s3", "socket")
    LOCKERS["s3"] = lambda directory: leases_in_bucket(directory, patience=PATIENT["s3"])


def pair(kind: str, directory: Path, **given: Any) -> tuple[Store, Locker]:
    """A store and a locker on this directory; what of `given` is None, or means nothing to the store, is left out."""
    store, locker = PAIRS[kind]
    return STORES[store](directory, **given), LOCKERS[locker](directory)


def locker_at(place: str) -> Locker:
    """A locker that meets those of other processes: in a directory, at the address or URL of a server, or in the usual
    bucket, at `bucket:` and any name."""
    if place.startswith("bucket:"):
        return leases_in_bucket(Path(place))
    if "://" in place:
        return network_locker(place)
    host, _, port = place.partition(":")
    return SocketLocker((host, int(port)), patience=PATIENCE) if port else FileLocker(place, patience=PATIENCE)


# Servers in processes of their own

# The variables that name the pair, the server of the leases, and the seconds after which it forgets who died.
PAIR, LOCKS, LEASED = "LIVE_PAIR", "LIVE_LOCKS", "LIVE_LEASED"


def environ(kind: str, *, ttl: float = 10.0) -> dict[str, str]:
    """What a process of that kind finds in its environment."""
    host, port = server().address
    return {PAIR: kind, LOCKS: f"{host}:{port}", LEASED: str(ttl)}


class Within:
    """The one locker of this process, for the uploads of one collection: there may be hundreds of those."""

    def __init__(self, directory: Path) -> None:
        self._prefix = f"{directory}/"

    def lease(self, id: str, **how: Any) -> Lease:
        return _shared().lease(self._prefix + id, **how)

    def share(self, id: str) -> Share:
        return _shared().share(self._prefix + id)

    def claim(self, id: str, **how: Any) -> Claim:
        return _shared().claim(self._prefix + id, **how)

    def writing(self, id: str) -> bool:
        return _shared().writing(self._prefix + id)

    def lives(self, id: str) -> bool:
        return _shared().lives(self._prefix + id)

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        """Everything times out by itself."""


@cache
def _shared() -> SocketLocker:
    host, _, port = os.environ.get(LOCKS, ":").partition(":")
    ttl = float(os.environ.get(LEASED, "10"))
    return SocketLocker((host, int(port)) if port else server().address, ttl=ttl)


def filtered(app: Any, directory: Path, kind: str = "", **options: Any) -> TusFilter:
    """A filter over a store of that kind, or of the one that this process is told to have, in the directory."""
    made = TusFilter(app, tmp_file_dir=str(directory), **options)
    if (kind or os.environ.get(PAIR, "file")) == "file":
        return made
    store = STORES[PAIRS[kind or os.environ[PAIR]][0]](directory)
    if isinstance(store, SlowStore):
        store.took = Objects(directory).note
    given, old = made._given, made.engine
    made.engine = given.engine = made._hand_over._engine = Engine(
        store, Within(directory), made.options, given.hooks, delivers=old.delivers
    )
    given.sweeper = Sweeper(made.engine, made.options.sweep_interval)
    return made


for module in os.environ.get("KINDS", "").split():  # of others, who add theirs: docs/extending.rst
    import_module(module)
