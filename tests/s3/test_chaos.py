"""Servers, leases and the engine die and come back, again and again, while clients upload."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import lease_servers, real
from tests.s3.cluster import hurt
from tests.s3.foreign import present

SECONDS = float(os.environ.get("CHAOS", "30"))


@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.parametrize("leases", ["redis", "s3"])
def test_every_file_is_right_whatever_dies(tmp_path: Path, leases: str) -> None:
    """No offset that a client was told ever falls; each file is what was sent and was handed over, and not again once
    its client was told that it is finished. Clients of others upload as well, where they are installed."""
    real.needed(real.USUAL)
    lease_servers.available("redis")

    happened = hurt(SECONDS, tmp_path, leases=leases)

    assert happened["files"] > 5
    assert all(happened["seen"][f"{name} finished"] for name in present())
    assert set(happened["trouble"]) >= {"calls", "kill", "freeze"} | ({"redis", "cut"} if leases == "redis" else set())
