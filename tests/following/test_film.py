"""A film that is watched in a real browser while it arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.test_browser import play, scenarios

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios("film.js"))
def test_film(scenario: str, tmp_path: Path) -> None:
    """It plays from the first part on, and to its end."""
    play("film.js", scenario, tmp_path, "--download", "live")
