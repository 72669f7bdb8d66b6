"""Who may import whom: a module uses only what stands before it, and only the outside knows a framework. And how large
a thing may become.

Read from the source, so that an import inside a function counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tus"
LAYERS = (
    ("errors", "old_names", "waiting", "upload", "checksum", "http", "hooks", "values", "options"),
    ("events", "stores", "lockers", "keywords", "backends"),
    ("engine",),
    ("exchange", "cors", "visitors", "progress", "forms", "downloads", "protocols", "talk"),
    ("tus",),
    ("adapters", "server", "https", "site", "demo", "client", "doctor", "cli"),
)
ORDER = [name for layer in LAYERS for name in layer]
OUTSIDE = LAYERS[-1]
CLIENTS = ("client", "doctor")
STRANGERS = ("stores", "lockers", "protocols")  # what lies in these knows nothing of its neighbours
# But for what all stores or lockers of one kind have in common.
SHARED = {
    "disk", "drafts", "ear", "filesystems", "flocks", "infos", "leasefile", "marks", "network", "notes", "ondata",
    "placed", "pool", "records", "secret", "servers", "tidying", "wholes",
}  # fmt: skip
# The engine: each module has some deeds, and uses those to its left.
ENGINE = (
    "writer", "pieces", "watching", "core", "following", "admission", "finishing", "delivering", "known", "removing",
    "creating", "repeating", "joining", "writing", "numbered", "__init__",
)  # fmt: skip
# What may be larger or deeper than the rest, until somebody makes it smaller. Nothing new goes in here.
LARGE_MODULES: set[str] = set()
DEEP_CLASSES = {"GunicornSocket", "Polyglot", "ChunkExchange", "FilePondExchange", "Keyed", "ProgressExchange",
                "FormExchange"}  # fmt: skip
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 40
MOST_LINES_OF_A_CLASS, MOST_METHODS = 300, 15
FACE = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path not in FACE]


def parts(path: Path) -> tuple[str, ...]:
    """The module's name within the package: ("stores", "file"), ("stores", "__init__"), ("engine",)."""
    return path.relative_to(PACKAGE).with_suffix("").parts


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """What the module imports, in full: ("tus", "stores", "file", "FileStore"), ("os",)."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ("tus", *parts(path)[: -node.level]) if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            yield from ((*package, *module, alias.name) for alias in node.names)


def name(path: Path) -> str:
    return ".".join(parts(path))


def place(module: str) -> int:
    """Where the module stands; whatever else the package offers comes from its face, which is as high as `tus`."""
    return ORDER.index(module if module in ORDER else "tus")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_uses_only_what_stands_before_it(path: Path) -> None:
    """Imports within the package point down the layers, and to the left inside one."""
    own = parts(path)[0]
    assert own in ORDER, f"say in LAYERS where {own} stands"

    used = {imported[1] for imported in imports(path) if imported[0] == "tus" and len(imported) > 1}

    assert [other for other in used if place(other) > place(own)] == []


@pytest.mark.parametrize("path", [path for path in MODULES if parts(path)[0] in STRANGERS], ids=name)
def test_neighbours_are_strangers(path: Path) -> None:
    """No store, locker or protocol imports another one; only their package may know them all."""
    own = parts(path)
    others = {other.stem for other in path.parent.glob("*.py")} - {"__init__", own[-1]} - SHARED

    used = {i[2] for i in imports(path) if i[:2] == ("tus", own[0]) and len(i) > 2}

    assert own[-1] == "__init__" or not used & others


@pytest.mark.parametrize("path", [path for path in MODULES if parts(path)[0] in CLIENTS], ids=name)
def test_clients_use_nothing_of_the_server(path: Path) -> None:
    """What sends and what asks from outside knows HTTP, and no engine, store or adapter."""
    used = {imported[1] for imported in imports(path) if imported[0] == "tus" and len(imported) > 1}

    assert used <= {"__version__", "checksum", "errors", "http", "options", *CLIENTS}


@pytest.mark.parametrize("path", [path for path in MODULES if parts(path)[0] not in OUTSIDE], ids=name)
def test_core_knows_no_framework(path: Path) -> None:
    """Below the outermost layer there is the standard library, and what a module can do without."""
    optional = {"azure", "botocore", "google_crc32c", "multipart", "psycopg", "redis", "typing_extensions"}

    used = {imported[0] for imported in imports(path)} - {"tus"}

    assert used - optional <= set(sys.stdlib_module_names)


def test_import_needs_the_standard_library_only() -> None:
    """`import tus` works in a Python that has nothing installed."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tus; print(tus.__version__)"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def inside(path: Path, *kinds: type) -> list[Any]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, kinds)]


def length(node: Any) -> int:
    return int(node.end_lineno - node.lineno + 1)


def public(node: ast.ClassDef) -> list[str]:
    """The names of its methods that others may call; also those that are functions of other modules."""
    names = [item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Attribute):
            names += [target.id for target in item.targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def test_engine_uses_what_stands_before_it() -> None:
    """No deed knows those that build on it."""
    for path in (PACKAGE / "engine").glob("*.py"):
        own = path.stem
        assert own in ENGINE, f"say in ENGINE where {own} stands"
        used = {i[2] for i in imports(path) if i[:2] == ("tus", "engine") and len(i) > 2 and i[2] in ENGINE}

        assert [other for other in used if ENGINE.index(other) >= ENGINE.index(own)] == [], own


def test_modules_are_short() -> None:
    """At that size there is a second subject in it."""
    long = {name(path) for path in MODULES if len(path.read_text("utf-8").splitlines()) > MOST_LINES}

    assert long == LARGE_MODULES


def test_functions_are_short() -> None:
    """About ten lines, and never more than this."""
    functions = [(path, node) for path in MODULES for node in inside(path, ast.FunctionDef, ast.AsyncFunctionDef)]

    long = [f"{name(path)}.{node.name}" for path, node in functions if length(node) > MOST_LINES_OF_A_FUNCTION]

    assert long == []


def test_classes_of_the_engine_are_small() -> None:
    """Parts, and not a tower."""
    for path in (PACKAGE / "engine").glob("*.py"):
        for node in inside(path, ast.ClassDef):
            assert length(node) <= MOST_LINES_OF_A_CLASS, node.name
            assert len(public(node)) <= MOST_METHODS, node.name


def test_inheritance_is_one_deep() -> None:
    """A class of ours has a parent of ours, and that one has none; errors are kinds of errors, however deep."""
    classes = {node.name: node for path in MODULES for node in inside(path, ast.ClassDef)}

    def parents(node: ast.ClassDef) -> list[ast.ClassDef]:
        names = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        return [classes[name] for name in names if name in classes]

    deep = {
        node.name
        for node in classes.values()
        if any(parents(parent) for parent in parents(node)) and "TusError" not in ancestors(node, parents)
    }

    assert deep == DEEP_CLASSES


def ancestors(node: ast.ClassDef, parents: Callable[[ast.ClassDef], list[ast.ClassDef]]) -> set[str]:
    return {node.name}.union(*(ancestors(parent, parents) for parent in parents(node)))
