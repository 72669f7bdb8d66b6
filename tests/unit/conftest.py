"""Engines for unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tus import Engine


@pytest.fixture(params=engines.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of store, with its locker."""
    return str(request.param)


@pytest.fixture
def directory(kind: str, tmp_path: Path) -> Path | None:
    """Where the files are; None for what has none."""
    return tmp_path / "uploads" if kind == "file" else None


@pytest.fixture
def build(kind: str, tmp_path: Path) -> Callable[..., Engine]:
    """Makes an engine of that kind."""

    def built(hooks: Any = None, **options: Any) -> Engine:
        return engines.build(tmp_path / "uploads", hooks, kind=kind, **options)

    return built
