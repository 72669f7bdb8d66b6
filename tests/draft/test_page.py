"""Keeps docs/draft.rst honest: it names no test that does not exist, and every test says what it proves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "draft.rst"


def functions() -> list[ast.FunctionDef]:
    """All tests of the draft."""
    modules = (ast.parse(path.read_text()) for path in HERE.glob("test_*.py"))
    found = (node for module in modules for node in module.body if isinstance(node, ast.FunctionDef))
    return [function for function in found if function.name.startswith("test_")]


def test_tests_on_the_page_exist() -> None:
    """Whoever looks for one finds it."""
    named = set(re.findall(r"``(test_\w+)``", PAGE.read_text()))

    assert len(named) > 100
    assert not named - {function.name for function in functions()}


def test_names_are_unique() -> None:
    """The page gives no files."""
    names = [function.name for function in functions() if function.name != "test_names_are_unique"]

    assert len(names) == len(set(names))


def test_each_test_says_what_it_proves() -> None:
    """In a docstring of its own."""
    assert not [function.name for function in functions() if not ast.get_docstring(function)]
