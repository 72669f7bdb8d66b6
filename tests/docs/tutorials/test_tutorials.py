"""Each tutorial, as a reader follows it: its files in an empty folder, its commands, and a visitor at the form.

Nothing is copied from the pages: the code, the commands and the addresses are read there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import documents, live, wire
from tests.site.test_browser import CHROMIUM, missing
from tests.zope.environment import ZOPES, Uninstallable

HERE = Path(__file__).parent
FILM = random.Random(17).randbytes(6_000_000)
START = 240.0  # seconds that a framework may take to be imported on a busy machine
PREPARED = re.compile(r"^(pip install|python3 -m venv|mkdir [\w-]+ && cd)\b")  # what the tests have already
PLONE = ZOPES["plone-6.2.2"]

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@dataclass(frozen=True)
class Tutorial:
    """What a test has to know of one beside its page."""

    kept: str  # where films are in the end
    path: str = "/"  # of the form
    needs: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def programs(self) -> str:
        """The directory with the commands that pip installed."""
        return str(Path(sys.executable).parent if self.needs else PLONE.program(""))


ADMIN = {"Authorization": "Basic YWRtaW46YWRtaW4="}
TUTORIALS = {
    "flask": Tutorial("films/*", needs="flask"),
    "fastapi": Tutorial("films/*", needs="fastapi"),
    "pyramid": Tutorial("kept/*", needs="pyramid"),
    "django": Tutorial("media/films/*", needs="django"),
    "plone": Tutorial("var/blobs/**/*", path="/Plone/@@send-film", headers=ADMIN),
}
CASES = [pytest.param(name, marks=[] if tutorial.needs else [pytest.mark.zope]) for name, tutorial in TUTORIALS.items()]


def page(name: str) -> Path:
    return documents.page(f"tutorials/{name}")


def commands(name: str, kind: str) -> list[str]:
    """What the page says to type, of its blocks of that class."""
    blocks = [block for block in documents.blocks(page(name), "console") if block.kind == kind]
    lines = [line.removeprefix("$ ") for block in blocks for line in block.code.splitlines()]
    return [line for line in lines if not PREPARED.match(line)]


def follow(name: str, home: Path, port: int) -> None:
    """Everything up to the last command, which serves."""
    for line in commands(name, ""):
        if not line.startswith("tus put"):
            run(name, line, home)
    documents.write(page(name), home)
    for file in home.glob("**/*.ini"):
        file.write_text(file.read_text().replace("port = 8000", f"port = {port}"))
    for line in commands(name, "after"):
        run(name, line, home)


def environ(name: str) -> dict[str, str]:
    path = os.pathsep.join([TUTORIALS[name].programs, os.environ["PATH"]])
    found = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    return {key: value for key, value in found.items() if key != "PYTHONPATH"}


def run(name: str, line: str, home: Path) -> None:
    done = subprocess.run(line, shell=True, cwd=home, env=environ(name), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (line, done.stdout, done.stderr)


@contextmanager
def serving(name: str, home: Path, port: int) -> Iterator[None]:
    """The server, by the page's own command."""
    (line,) = commands(name, "serve")
    given = {word.partition("=")[0]: word.partition("=")[2] for word in shlex.split(line) if word.startswith("PYTHON")}
    words = [word.replace("8000", str(port)) for word in shlex.split(line) if word.partition("=")[0] not in given]
    log = home / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=home,
            env={**environ(name), **given},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait(process, port, log)
        yield
    finally:
        if not live.ended(process):
            os.kill(process.pid, signal.SIGTERM)
            with suppress(AssertionError):
                live.until(lambda: live.ended(process), within=10)
        # Not waited for yet, so the group is still ours.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START
    while not live.ended(process) and time.monotonic() < until:
        with suppress(OSError, wire.Broken):
            wire.ask(("127.0.0.1", port), "GET", "/", {"Host": "127.0.0.1", "Connection": "close"}, timeout=60)
            return
        time.sleep(0.05)
    raise RuntimeError(f"no answer; it printed:\n{log.read_text()[-3000:]}")


def needed(name: str) -> None:
    if (module := TUTORIALS[name].needs) and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (pip install -e .[examples])")
    if not module:
        try:
            PLONE.install()
        except Uninstallable as why:
            pytest.skip(str(why))


def left(uploads: Path) -> list[str]:
    """Uploads whose bytes are still there."""
    return [path.name for path in uploads.iterdir() if not path.suffix and path.stat().st_size == len(FILM)]


@pytest.mark.parametrize("name", CASES)
def test_tutorial_leads_to_a_form_that_survives_a_cut(name: str, tmp_path: Path) -> None:
    """From an empty folder: a film that a browser sends, whose connection breaks on the way, is where the page says."""
    needed(name)
    if why := missing(CHROMIUM):
        pytest.skip(why)
    home, port = tmp_path / "site", live.free_port()
    home.mkdir()
    film = tmp_path / "a film.mkv"
    film.write_bytes(FILM)
    tutorial = TUTORIALS[name]
    plan = {
        "port": port,
        "path": tutorial.path,
        "file": str(film),
        "headers": tutorial.headers,
        "home": str(tmp_path),
        "uploads": str(home / "uploads"),
    }
    follow(name, home, port)

    with serving(name, home, port):
        visitor = ["node", str(HERE / "form.js"), json.dumps(plan)]
        done = subprocess.run(visitor, capture_output=True, text=True, timeout=240)
        # The filter cleans up when the answer is out.
        live.until(lambda: not left(home / "uploads"), within=30)

    assert done.returncode == 0, done.stderr + (home / "output.txt").read_text()[-3000:]
    kept = [path.read_bytes() for path in home.glob(tutorial.kept) if path.is_file()]
    assert kept.count(FILM) == 1


@pytest.mark.parametrize("name", [name for name in TUTORIALS if name != "plone"])
def test_tutorial_takes_a_file_from_the_command_line(name: str, tmp_path: Path) -> None:
    """`tus put`, as the page says it."""
    needed(name)
    home, port = tmp_path / "site", live.free_port()
    home.mkdir()
    (home / "film.mp4").write_bytes(FILM)
    (line,) = [line for line in put_lines() if line.startswith("tus put")]
    follow(name, home, port)

    with serving(name, home, port):
        run(name, line.replace("8000", str(port)), home)

    assert [path.read_bytes() for path in home.glob(TUTORIALS[name].kept)] == [FILM]


def put_lines() -> list[str]:
    """The commands that all tutorials have in common."""
    return [line[2:] for block in documents.blocks(page("try").with_suffix(".inc")) for line in block.code.splitlines()]


def test_every_tutorial_is_run() -> None:
    """A page that no test follows is one that will not work some day."""
    assert {path.stem for path in documents.DOCS.glob("tutorials/*.rst")} == set(TUTORIALS)
