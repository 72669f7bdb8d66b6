"""`bench/scaling.py`: what docs/scaling.rst says of a million uploads, beside what a simulated process does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parent.parent.parent / "bench/scaling.py"


@pytest.fixture(scope="module")
def scaling() -> Any:
    spec = importlib.util.spec_from_file_location("scaling", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("uploads", [50, 400])
def test_formula_says_what_happens(scaling: Any, uploads: int) -> None:
    """With memory for all parts, and with a quarter of that."""
    load = scaling.Load(uploads, most=uploads)
    extra, held = scaling.pieces(load, uploads)
    parts = uploads * load.rate / load.part
    finished = uploads * load.rate / load.length

    seen = scaling.simulate(load, 450)

    assert seen.puts == pytest.approx(parts * (1 + extra) + finished * scaling.COSTS.calls_per_upload, rel=0.2)
    assert seen.gets == pytest.approx(parts * extra, rel=0.2)
    assert seen.held == pytest.approx(held, rel=0.1)


def test_page_shows_what_the_program_says(scaling: Any) -> None:
    """The first table of the page."""
    page = (SOURCE.parent.parent / "docs/scaling.rst").read_text()

    table = scaling.table([scaling.Load(10**power) for power in range(2, 7)])

    assert table in page
