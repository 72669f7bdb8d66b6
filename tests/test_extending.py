"""docs/extending.rst is true: its programs are put together as they stand there, and work.

A block belongs to the file in its caption.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from tests import live, wire
from tests.test_types import complaints
from tus import TusFilter, protocols
from tus.tus import Application

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/extending.rst").read_text("utf-8")
CONTENT = bytes(range(256)) * 8192  # 2 MiB, so more than a piece
PROGRAMS = ("sqlite_store.py", "sqlite_locker.py", "sqlite_kinds.py")


def program(caption: str) -> str:
    """The blocks with that caption, one after the other."""
    pattern = rf"\.\. code-block:: python\n    :caption: {re.escape(caption)}\n\n((?:    .*\n|\n)+)"
    blocks = [re.sub("^    ", "", block, flags=re.MULTILINE).strip("\n") for block in re.findall(pattern, PAGE)]
    assert blocks, caption
    return "\n\n".join(blocks) + "\n"


def points() -> dict[str, list[str]]:
    """The entry points that the page's setup.py declares."""
    said: dict[str, Any] = {}
    exec(program("setup.py").replace("from setuptools import setup\n", ""), {"setup": said.update})
    found: dict[str, list[str]] = said["entry_points"]
    return found


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's package, as if it were installed."""
    home = tmp_path / "package"
    meta = home / "tus_sqlite-1.0.dist-info"
    meta.mkdir(parents=True)
    for name in PROGRAMS:
        (home / name).write_text(program(name))
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: tus-sqlite\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "\n".join(names) for group, names in points().items()]
    (meta / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(home)
    for name in PROGRAMS:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    return home


def ask(address: tuple[str, int], method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Any:
    return wire.ask(address, method, target, {**headers, "Content-Length": str(len(body))}, body)


class Host:
    """An application that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.got.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("204 No Content", [])
        return [b""]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Tests say what went wrong."""


@contextmanager
def serving(app: Any) -> Iterator[tuple[str, int]]:
    """Its address, on a server with one thread."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield "127.0.0.1", server.server_port
        server.shutdown()
        thread.join(5)


@pytest.mark.slow
def test_store_and_locker_keep_their_contracts(package: Path) -> None:
    """The suites of stores, lockers and the engine run on them, started as the page says."""
    (line,) = re.findall(r"^    (KINDS=.*)$", PAGE, re.MULTILINE)
    words = line.split()
    kinds, arguments = words[0].removeprefix("KINDS="), words[words.index("pytest") + 1 :]
    environ = {**os.environ, "KINDS": kinds, "PYTHONPATH": str(package)}

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    passed = re.search(r"([0-9]+) passed", done.stdout)
    assert passed and int(passed[1]) > 200


@pytest.mark.slow
def test_programs_have_right_types(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mypy --strict has nothing to say of them, and knows that they are a store and a locker."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    ends = {
        "sqlite_store.py": "promised: Store = SqliteStore('')",
        "sqlite_locker.py": "promised: Locker = SqliteLocker('')",
    }

    for name, end in ends.items():
        said = complaints(f"{program(name)}\n\nfrom tus import Locker, Store\n{end}\n", tmp_path)

        assert "error" not in said, said


def test_whole_upload_goes_through_them(package: Path, tmp_path: Path) -> None:
    """Over HTTP, in two pieces, named by URLs; and the application gets the file, since there is no path."""
    host = Host()
    app = TusFilter(host, store=f"sqlite:{tmp_path}/uploads.db", locker=f"sqlite:{tmp_path}/leases.db")
    tus = {"Tus-Resumable": "1.0.0"}
    kind = {**tus, "Content-Type": "application/offset+octet-stream"}

    with serving(app) as address:
        made = ask(address, "POST", "/upload", {**tus, "Upload-Length": str(len(CONTENT))})
        url = "/upload/" + made["Location"].rpartition("/")[2]
        first = ask(address, "PATCH", url, {**kind, "Upload-Offset": "0"}, CONTENT[:1_500_000])
        asked = ask(address, "HEAD", url, tus)
        last = ask(address, "PATCH", url, {**kind, "Upload-Offset": "1500000"}, CONTENT[1_500_000:])

    assert (made.status, first.status, last.status) == (201, 204, 204)
    assert (asked["Upload-Offset"], last["Upload-Offset"]) == ("1500000", str(len(CONTENT)))
    assert host.got == [CONTENT]


def test_object_is_as_good_as_its_url(package: Path, tmp_path: Path) -> None:
    """Another application sees the same uploads."""
    from sqlite_store import SqliteStore  # type: ignore[import-not-found]

    one = Application(TusFilter(store="memory:").options, store=SqliteStore(f"{tmp_path}/x.db"), locker="memory:")
    two = Application(one.options, store=f"sqlite:{tmp_path}/x.db", locker="memory:")

    assert one.engine.store.secret() == two.engine.store.secret()


def test_wrong_place_is_told_at_the_start(package: Path, tmp_path: Path) -> None:
    """As the page promises."""
    with pytest.raises(ValueError, match="option store: sqlite:/nowhere/x.db cannot be opened: unable to open"):
        TusFilter(store="sqlite:/nowhere/x.db")


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's protocol, in its place."""
    path = tmp_path / "put.py"
    path.write_text(program("put.py"))
    spec = importlib.util.spec_from_file_location("tus.protocols.put", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tus.protocols.put", module)
    spec.loader.exec_module(module)
    for name, possible in eval("{" + program("_PROTOCOLS") + "}").items():
        monkeypatch.setitem(protocols._PROTOCOLS, name, possible)
    yield
    protocols._module.cache_clear()


def test_protocol_takes_a_whole_file(put: None, tmp_path: Path) -> None:
    """The application gets it under its name, and it can be fetched."""
    host = Host()
    with serving(TusFilter(host, tmp_file_dir=str(tmp_path / "up"), hand_over="file", cleanup=False)) as address:
        made = ask(address, "PUT", "/upload/film.mp4", {}, CONTENT)
        fetched = wire.ask(address, "GET", made["Location"])

    assert made.status == 201
    assert host.got == [CONTENT]
    assert fetched.body == CONTENT
    assert "film.mp4" in fetched["Content-Disposition"]


def test_protocol_keeps_nothing_of_a_file_that_was_refused(put: None, tmp_path: Path) -> None:
    """It is too large, and the client hears why."""
    with serving(TusFilter(Host(), tmp_file_dir=str(tmp_path / "up"), max_size=1000)) as address:
        answer = ask(address, "PUT", "/upload/film.mp4", {}, b"x" * 1001)

    assert answer.status == 413
    assert not list((tmp_path / "up").glob("*.info"))


def test_protocol_keeps_nothing_of_a_file_that_was_cut(put: None, tmp_path: Path) -> None:
    """Its client could not find the rest."""
    up = tmp_path / "up"
    with serving(TusFilter(Host(), tmp_file_dir=str(up))) as address:
        with wire.Wire(address) as cut:
            cut.offer(wire.head("PUT", "/upload/film.mp4", {"Content-Length": "1000"}) + b"x" * 500)
            assert live.until(lambda: list(up.glob("*.info")))

        assert live.until(lambda: not [path for path in up.iterdir() if path.name[0] != "."])


def test_files_to_touch_are_there() -> None:
    """Each file and each table that the page tells to change exists under that name."""
    plan = PAGE.partition("Which files to touch\n")[2].partition("\nUsing them\n")[0]
    files = {name for name in re.findall(r"``((?:tus|tests)/[\w/]+\.py)``", plan) if "NAME" not in name}
    rooms = {name.rpartition("/")[0] for name in re.findall(r"``(tus/\w+/NAME\.py)``", plan)}

    assert files == {"tus/backends.py", "tests/kinds.py", "tus/protocols/__init__.py"}
    assert all((ROOT / name).exists() for name in files | rooms)
    for name, word in (
        ("tus/backends.py", "_BUILT_IN"),
        ("tests/kinds.py", "STORES"),
        ("tests/kinds.py", "LOCKERS"),
        ("tus/protocols/__init__.py", "_PROTOCOLS"),
        ("tus/values.py", "_UPLOADERS"),
    ):
        assert f"``{word}``" in plan or f"{word}``" in plan
        assert re.search(rf"^{word}\b.* = ", (ROOT / name).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("name", "most"), [("sqlite_store.py", 165), ("sqlite_locker.py", 200), ("put.py", 50)])
def test_programs_are_small(name: str, most: int) -> None:
    """Lines that are not blank: a newcomer reads them in one go."""
    assert len([line for line in program(name).splitlines() if line.strip()]) <= most
