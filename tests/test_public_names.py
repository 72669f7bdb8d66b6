"""What `import tus` promises: the names in `__all__`, no more and no less, each with a word of explanation."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

import tus

ROOT = Path(__file__).resolve().parent.parent
# Each name and what has to be installed for it; "" for what the standard library can do.
NEEDS = {"WebobAdapter": "webob", "Zope2RequestAdapter": "ZPublisher"}
# Names that several modules have, since a caller chooses the module first.
AGREED = {
    "exchange": "each protocol: a request, in its words",
    "main": "each command: what it does",
    "add_arguments": "each command: what it understands",
    "with_uploads": "each site: the application and the filter in front of it",
}


def test_promise_is_in_order() -> None:
    """Sorted and without doubles, so that a change to it is seen."""
    assert tus.__all__ == sorted(set(tus.__all__))


def test_what_is_visible_is_promised() -> None:
    """Besides its modules and `annotations`, the package shows nothing else."""
    visible = {
        name
        for name, value in vars(tus).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and value not in vars(tus)["_LAZY"].values()
    }
    imported = {"Any", "TYPE_CHECKING", "annotations"}

    assert visible - imported <= set(tus.__all__)


@pytest.mark.parametrize("name", sorted({*tus.__all__} - {"Intent"}))
def test_promised_name_is_there_and_explained(name: str) -> None:
    """With a docstring of its own."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")

    value = getattr(tus, name)

    assert inspect.isclass(value)
    assert value.__doc__ and not value.__doc__.startswith(f"{value.__name__}(")


def test_intents_are_words() -> None:
    """The one promise that is no class: what a request may be about to do."""
    assert "create" in get_args(tus.Intent)


def test_other_name_is_an_ordinary_error() -> None:
    """Loading late does not change what a slip of the finger gives."""
    with pytest.raises(AttributeError, match="module 'tus' has no attribute 'Filtre'"):
        tus.Filtre  # noqa: B018


def test_filter_has_two_names() -> None:
    """The second one is for those who import several filters."""
    assert tus.TusFilter is tus.Filter


def test_import_loads_nothing_that_must_be_installed() -> None:
    """Nor do the engine and the filter, so that no framework is needed that is not used."""
    code = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT)!r})\n"
        "import tus; tus.Filter\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(tops - set(sys.stdlib_module_names) - {'tus'}))"
    )

    for isolation in (["-I", "-S"], ["-I"]):
        done = subprocess.run([sys.executable, *isolation, "-c", code], capture_output=True, text=True)

        assert (done.stdout, done.stderr) == ("[]\n", "")


def test_no_two_public_things_have_one_name() -> None:
    """A class or function has a name of its own in the whole package, so that a search for it finds one thing."""
    places = defaultdict(list)

    for path in sorted((ROOT / "tus").rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                places[node.name].append(str(path.relative_to(ROOT)))

    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in shared.items() if name not in AGREED} == {}
    assert set(AGREED) <= set(shared)
