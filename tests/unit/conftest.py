"""Engines for unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tus import Engine


@pytest.fixture(params=engines.KINDS)
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the uploads are; None for memory."""
    return tmp_path / "uploads" if request.param == "file" else None


@pytest.fixture
def build(directory: Path | None) -> Callable[..., Engine]:
    """Makes an engine over memory, and one over files."""

    def built(hooks: Any = None, **options: Any) -> Engine:
        return engines.build(directory, hooks, **options)

    return built
