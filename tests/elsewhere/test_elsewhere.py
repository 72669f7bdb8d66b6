"""The package on systems that lack what Linux has, in processes that lack it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import live
from tests.conformance.client import Client

HERE = Path(__file__).resolve().parent


def run(system: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Python there."""
    path = os.pathsep.join((str(HERE / system), str(live.ROOT)))
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=live.ROOT,
        env={**environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["tests/contract", "tests/conformance"])
def test_everything_works_without_the_calls_of_linux(what: str) -> None:
    """The contract of store and locker, and the conformance suite on our own server."""
    done = run("macos", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", what, "-k", "not gunicorn and not"
               " waitress and not bytewise")  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("system", ["macos", "windows"])
def test_package_can_be_imported(system: str) -> None:
    """With everything that `import tus` promises."""
    done = run(system, "-c", "import tus; [getattr(tus, name) for name in tus.__all__]; print('fine')")

    assert done.stdout == "fine\n", done.stderr


def test_put_works_on_windows(tmp_path: Path) -> None:
    """It needs nothing that only POSIX has."""
    (tmp_path / "film.mp4").write_bytes(b"x" * 100_000)
    with live.start("ours", durable="none", hand_over="none") as server:
        done = run("windows", "-m", "tus", "put", str(tmp_path / "film.mp4"), server.url)
        tus = Client(server, "")
        (name,) = [name for name in tus.files() if name.endswith(".info")]

    assert done.returncode == 0, done.stderr
    assert name


def test_server_says_that_it_needs_posix(tmp_path: Path) -> None:
    """In a line, and not with a traceback."""
    done = run("windows", "-c", f"import tus; tus.TusFilter(None, tmp_file_dir={str(tmp_path)!r})")

    assert "POSIX" in done.stderr.strip().splitlines()[-1]
