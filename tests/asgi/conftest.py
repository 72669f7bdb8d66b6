from __future__ import annotations

from pathlib import Path

import pytest

from tests.asgi.playing import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A `TusASGI` that stands alone."""
    return Site(tmp_path / "uploads")
