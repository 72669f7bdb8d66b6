"""Who may import whom: a module uses only what stands before it, and only the outside knows a framework.

Read from the source, so that an import inside a function counts as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tus"
LAYERS = (
    ("errors", "old_names", "upload", "checksum", "http", "hooks", "options", "keywords"),
    ("events", "stores", "lockers"),
    ("engine",),
    ("exchange", "cors", "visitors", "progress", "forms", "downloads", "protocols", "talk"),
    ("tus",),
    ("adapters", "server", "site", "demo", "client", "doctor", "cli"),
)
ORDER = [name for layer in LAYERS for name in layer]
OUTSIDE = LAYERS[-1]
CLIENTS = ("client", "doctor")
STRANGERS = ("stores", "lockers", "protocols")  # what lies in these knows nothing of its neighbours
# But for what all stores or lockers of one kind have in common.
SHARED = {"disk", "drafts", "ear", "filesystems", "infos", "notes", "records", "secret"}
FACE = (PACKAGE / "__init__.py", PACKAGE / "__main__.py")
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path not in FACE]


def parts(path: Path) -> tuple[str, ...]:
    """The module's name within the package: ("stores", "file"), ("stores", "__init__"), ("engine",)."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """What the module imports, in full: ("tus", "stores", "file", "FileStore"), ("os",)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
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
    optional = {"botocore", "google_crc32c", "multipart", "typing_extensions"}

    used = {imported[0] for imported in imports(path)} - {"tus"}

    assert used - optional <= set(sys.stdlib_module_names)


def test_import_needs_the_standard_library_only() -> None:
    """`import tus` works in a Python that has nothing installed."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tus; print(tus.__version__)"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
