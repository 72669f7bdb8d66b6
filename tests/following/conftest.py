"""Fixtures for uploads that are read while they arrive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tests.servers import spread
from tus import Engine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    spread(metafunc)


@pytest.fixture(params=engines.KINDS)
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Engine]:
    """Makes an engine over each kind of store."""

    def make(hooks: Any = None, **given: Any) -> Engine:
        return engines.build(tmp_path, hooks, kind=request.param, **given)

    return make
