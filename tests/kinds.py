"""The kinds of stores and lockers that all suites run on: one registry for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.lock_server import Server
from tests.slow_store import SlowStore
from tests.socket_locker import SocketLocker
from tus.lockers import Locker
from tus.lockers.file import FileLocker
from tus.lockers.memory import MemoryLocker
from tus.stores import Store
from tus.stores.file import FileStore
from tus.stores.memory import MemoryStore

PATIENCE = 0.2  # seconds that a locker waits for what another request keeps

server = cache(Server)  # one for the process; each directory has uploads of its own there


def _clock(clock: Callable[[], float] | None) -> dict[str, Any]:
    return {"clock": clock} if clock else {}


# With `clock`, what tells the time, where a store does not leave that to the disk; with `certify`, as FileStore has it.
STORES: dict[str, Callable[..., Store]] = {
    "memory": lambda directory, clock=None, certify=False: MemoryStore(**_clock(clock)),
    "file": lambda directory, clock=None, certify=False: FileStore(str(directory), certify=certify),
    "slow": lambda directory, clock=None, certify=False: SlowStore(directory, **_clock(clock)),
}

LOCKERS: dict[str, Callable[[Path], Locker]] = {
    "memory": lambda directory: MemoryLocker(patience=PATIENCE),
    "file": lambda directory: FileLocker(str(directory), patience=PATIENCE),
    "socket": lambda directory: SocketLocker(server().address, patience=PATIENCE, prefix=f"{directory}/"),
}

# What the suites of the engine run on: a store, and the locker that belongs to it.
PAIRS = {"memory": ("memory", "memory"), "file": ("file", "file"), "slow": ("slow", "socket")}


def pair(kind: str, directory: Path, **given: Any) -> tuple[Store, Locker]:
    """A store and a locker on this directory; what of `given` is None, or means nothing to the store, is left out."""
    store, locker = PAIRS[kind]
    return STORES[store](directory, **given), LOCKERS[locker](directory)


def locker_at(place: str) -> Locker:
    """A locker that meets those of other processes: in a directory, or at the address of a server."""
    host, _, port = place.partition(":")
    return SocketLocker((host, int(port)), patience=PATIENCE) if port else FileLocker(place, patience=PATIENCE)
