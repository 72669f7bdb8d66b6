"""The locker in memory, and the garbage collector, which stops any thread at any time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tus.lockers.memory import MemoryLocker


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("way", ["lease", "share", "claim"])
def test_what_is_forgotten_waits_for_no_turn(way: str, released: bool) -> None:
    """The thread that has the turn may wait for that in which the garbage collector runs: a store asks in others."""
    locker = MemoryLocker()
    held: list[Any] = [getattr(locker, way)("a")]
    if released:
        held[0].release()
    collecting = threading.Thread(target=held.clear, daemon=True)

    with locker.lease("b").turn():
        collecting.start()
        collecting.join(5)
        waits = collecting.is_alive()

    assert not waits
    locker.claim("a").release()
    assert not locker._uploads.get("a")
