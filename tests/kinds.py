"""The kinds of stores and lockers that all suites run on: one registry for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.lock_server import Server
from tests.socket_locker import SocketLocker
from tus.lockers import Locker
from tus.lockers.file import FileLocker
from tus.lockers.memory import MemoryLocker

PATIENCE = 0.2  # seconds that a locker waits for what another request keeps

server = cache(Server)  # one for the process; each directory has uploads of its own there

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
