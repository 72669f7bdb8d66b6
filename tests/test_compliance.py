"""Keeps docs/compliance.rst honest: it names every conformance test, and no test that does not exist."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compliance.rst"

# How many rules the sections of the protocol have, counted where it is told in full; numbers run from 1.
RULES = {
    "CORE-HEAD": 7,
    "CORE-PATCH": 17,
    "CORE-OPT": 6,
    "CORE-RES": 4,
    "CORE-MAX": 2,
    "CORE-XMO": 2,
    "CREA": 16,
    "META": 10,
    "DEFER": 8,
    "CWU": 9,
    "EXP": 9,
    "CSUM": 13,
    "CSUM-T": 3,
    "TERM": 5,
    "CONC": 20,
    "R10": 7,
}
# Those of the IETF's protocol have sections, too; their tests are in tests/draft.
DRAFT = {"V": 2, "C": 8, "L": 2, "O": 5, "A": 7, "D": 1, "P": 3, "X": 2, "T": 3}
SINGLE = {"CORE-1", "CORE-OFF-1", "CORE-LEN-1", "CORE-VER-1", "CORE-EXT-1", "CORE-URL-1"}
STATUS = {"kept", "client's duty"}


@dataclass(frozen=True)
class Row:
    rule: str
    who: str
    status: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    """The rows of the page's tables, without their heads."""
    found = []
    for text in re.split(r"^   \* - ", PAGE.read_text(), flags=re.M)[1:]:
        rule, who, _, status, tests = re.split(r"\n     -(?: |$)", text.split("\n\n")[0], flags=re.M)
        if rule != "Rule":
            found.append(Row(rule.strip(), who.strip(), status.strip(), tuple(re.findall(r"``(\w+)``", tests))))
    return found


@cache
def conformance_tests(suite: str = "conformance") -> list[str]:
    """The names of all conformance tests, or of another suite's."""
    modules = sorted((ROOT / "tests" / suite).glob("test_*.py"))
    return [
        node.name
        for module in modules
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_every_rule_is_listed_once() -> None:
    """Each rule of the protocol has one row."""
    numbered = {
        f"{name}{'' if name == 'CSUM-T' else '-'}{n}" for name, many in RULES.items() for n in range(1, many + 1)
    }
    numbered |= {f"R9-{name}{n}" for name, many in DRAFT.items() for n in range(1, many + 1)}

    listed = Counter(row.rule for row in rows())

    assert numbered | SINGLE <= set(listed)
    assert not [rule for rule, times in listed.items() if times > 1]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.rule)
def test_rule_has_tests_that_exist(row: Row) -> None:
    """What is said to be kept is shown by a test, and the test is there."""
    assert row.status in STATUS
    assert row.tests or row.status == "client's duty"
    assert set(row.tests) <= set(conformance_tests("draft" if row.rule.startswith("R") else "conformance"))


def test_every_conformance_test_is_listed() -> None:
    """A test without a rule belongs elsewhere, or has a rule that nobody wrote down."""
    listed = {name for row in rows() for name in row.tests}

    assert not set(conformance_tests()) - listed


def test_names_are_unique() -> None:
    """A name stands for one test, since the page gives no file."""
    assert not [name for name, times in Counter(conformance_tests()).items() if times > 1]


def test_every_conformance_test_says_what_it_proves() -> None:
    """Each has a docstring of its own."""
    for module in (ROOT / "tests" / "conformance").glob("test_*.py"):
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{module.name}: {node.name}"
