"""The pages as people start them: `tus serve`, with and without, and development.ini."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import START, free_port, until
from tus.options import Options
from tus.site.operators import token
from tus.tus import Application

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def serving(*arguments: str, said: list[str] | None = None) -> Iterator[str]:
    """The server's address, while it runs; and what it says."""
    said = [] if said is None else said
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", "serve", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    listening = threading.Thread(target=said.extend, args=[process.stdout], daemon=True)
    listening.start()
    try:
        until(lambda: said or not listening.is_alive(), within=START)
        found = re.search(r"http://[^/\s]+", "".join(said))
        assert found, said
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=20)
        listening.join(timeout=20)
        process.stdout.close()


def operators(directory: Path) -> str:
    """The way to the operators' page over this directory of uploads."""
    return f"/~tus/operators/?token={token(Application(Options({'tmp_file_dir': str(directory)})).engine)}"


def page(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code}"


def test_serve_shows_the_page(tmp_path: Path) -> None:
    """Without a word of configuration."""
    with serving(str(tmp_path), "--port", "0", "--max-size", "5MB") as origin:
        assert 'data-endpoint="files"' in page(origin + "/")
        assert 'data-max-size="5000000"' in page(origin + "/")
        assert page(origin + "/~tus/operators/") == "404"


def test_serve_without_the_page(tmp_path: Path) -> None:
    """`--no-page` serves uploads, and nothing else."""
    with serving(str(tmp_path), "--port", "0", "--no-page") as origin:
        assert page(origin + "/") == "404"


def test_serve_shows_a_gallery(photos: Path) -> None:
    """`--gallery` with two processes, and the operators' page."""
    with serving("--gallery", str(photos), "--port", "0", "--operators", "--workers", "2") as origin:
        assert "Trip/" in page(origin + "/")
        for _ in range(6):  # whichever of them is asked
            assert page(origin + "/~tus/operators/") == "403"
            assert "<table>" in page(origin + operators(photos / ".tus" / "uploads"))


def test_development_ini_serves_the_demonstration(tmp_path: Path) -> None:
    """The very file, but for the port and the directory."""
    text = (ROOT / "development.ini").read_text()
    ini = tmp_path / "development.ini"
    ini.write_text(text.replace("127.0.0.1:8080", f"127.0.0.1:{free_port()}"))

    with serving(str(ini)) as origin:
        assert 'data-endpoint="files"' in page(origin + "/")
        assert page(origin + "/~tus/operators/") == "403"
        assert "<table>" in page(origin + operators(tmp_path / "uploads"))


@pytest.mark.parametrize("ini", [False, True])
def test_link_for_operators_is_printed_at_the_start(tmp_path: Path, ini: bool) -> None:
    """Whoever sees what the server prints is an operator; nobody else is, on this machine or behind a proxy on it."""
    arguments = [str(tmp_path), "--port", "0", "--operators"]
    if ini:
        (tmp_path / "ours.ini").write_text(
            (ROOT / "development.ini").read_text().replace("127.0.0.1:8080", f"127.0.0.1:{free_port()}")
        )
        arguments = [str(tmp_path / "ours.ini")]
    said: list[str] = []

    with serving(*arguments, said=said) as origin:
        link = until(lambda: next((line for line in said if "/~tus/operators/" in line), None)).split()[-1]

        assert link.startswith(origin + "/~tus/operators/?token=")
        assert "<table>" in page(link)
        assert page(origin + "/~tus/operators/") == "403"


def test_missing_directory_is_named() -> None:
    """`tus serve --gallery` of nothing says so."""
    pytest.importorskip("PIL")
    command = [sys.executable, "-m", "tus", "serve", "--gallery", "/nonexistent", "--port", "0"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)

    assert done.returncode == 2
    assert "/nonexistent is not a directory" in done.stderr
