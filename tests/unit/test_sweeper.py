"""The thread that looks for expired uploads, when the clock does strange things."""

from __future__ import annotations

import time

import pytest

import tus.tus
from tests import live
from tests.drafting import new
from tus import Options
from tus.engine import Engine
from tus.lockers.memory import MemoryLocker
from tus.stores.memory import MemoryStore
from tus.tus import Sweeper


def test_nothing_is_swept_when_the_clock_has_just_jumped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What seems to have expired then is looked at again when its clients had time to write."""
    store, looks = MemoryStore(), []
    engine = Engine(store, MemoryLocker(), Options({}), clock=lambda: time.time() + 8 * 86400)
    new(store, length=5)

    def behind() -> float:
        looks.append(list(store.ids()))
        return 0.0 if len(looks) == 1 else 8 * 86400.0

    monkeypatch.setattr(tus.tus, "_behind", behind)
    Sweeper(engine, 0.001).start()

    live.until(lambda: not list(store.ids()))
    assert looks[:3] == [["a"]] * 3
    assert "jumped by 691200 seconds" in caplog.text
