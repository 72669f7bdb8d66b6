"""`docs/proxies.rst` says what the tests found."""

from __future__ import annotations

import re

import pytest

from tests import documents
from tests.fronts import FRONTS, RECIPES, Front

PAGE = documents.page("proxies").read_text("utf-8")


def rows() -> dict[str, list[str]]:
    """The cells of the table, by the name of the proxy."""
    table = PAGE.partition("list-table::")[2].partition("\n\n*")[0]
    found = (re.split(r"\n     - ", row) for row in table.split("\n   * - ")[1:])
    return {cells[0].strip(): [" ".join(cell.split()) for cell in cells[1:]] for cells in found}


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
def test_row_says_what_the_tests_found(front: Front) -> None:
    """Of each proxy: its versions of HTTP, its trailers, and the 104."""
    assert rows()[front.name][:3] == front.row


@pytest.mark.parametrize("front", FRONTS.values(), ids=list(FRONTS))
def test_page_shows_the_file_that_runs(front: Front) -> None:
    """A reader copies what the test runs."""
    assert f".. literalinclude:: ../deploy/proxies/{front.recipe}\n" in PAGE


def test_every_file_is_in_the_table() -> None:
    """None lies there untested."""
    assert {file.name for file in RECIPES.iterdir()} == {front.recipe for front in FRONTS.values()}
