"""The reference names everything that is promised, and every hook is explained."""

from __future__ import annotations

import inspect
import re
from typing import get_args

import pytest

import tus
from tests import documents

REFERENCE = documents.page("reference").read_text("utf-8")
EXPLAINED = documents.page("hooks").read_text("utf-8")
HOOKS = [name for name in vars(tus.Hooks) if not name.startswith("_")]


@pytest.mark.parametrize("name", tus.__all__)
def test_every_promised_name_has_an_entry(name: str) -> None:
    """A directive of its own, which takes its text from the docstring or has one."""
    assert re.search(rf"^\.\. (auto)?(class|data|function):: tus\.{name}\b", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_explained_with_its_arguments(name: str) -> None:
    """As it is called, followed by more than a word."""
    _, *arguments = inspect.signature(getattr(tus.Hooks, name)).parameters
    entry = f"\n``{name}({', '.join(arguments)})``\n    "

    assert entry in EXPLAINED
    assert len(EXPLAINED.partition(entry)[2].partition("\n``")[0]) > 30


@pytest.mark.parametrize("name", HOOKS)
def test_list_names_every_hook(name: str) -> None:
    """In one list, before they are explained."""
    listed = EXPLAINED.partition("All hooks:")[2].partition("explained below")[0]

    assert f"``{name}``" in listed


@pytest.mark.parametrize("intent", get_args(tus.Intent))
def test_every_intent_is_listed(intent: str) -> None:
    """Where the hook that gets it is explained."""
    assert f"``{intent}``" in EXPLAINED.partition("``authorise(")[2].partition("\n``")[0]


def test_origin_of_the_user_is_said() -> None:
    """It is what the server says, and nothing that this package looks for."""
    assert re.search(r"``request\.user``[^.]*\bis\s+``REMOTE_USER``", EXPLAINED)
