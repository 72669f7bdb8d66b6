"""The pages as people start them: `tus serve`, with and without, and development.ini."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import free_port

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """The server's address, while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", "serve", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        said = process.stdout.readline()
        found = re.search(r"http://[^/\s]+", said)
        assert found, said + process.stdout.read()
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


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
        assert "<table>" in page(origin + "/~tus/operators/")


def test_development_ini_serves_the_demonstration(tmp_path: Path) -> None:
    """The very file, but for the port and the directory."""
    text = (ROOT / "development.ini").read_text()
    ini = tmp_path / "development.ini"
    ini.write_text(text.replace("127.0.0.1:8080", f"127.0.0.1:{free_port()}"))

    with serving(str(ini)) as origin:
        assert 'data-endpoint="files"' in page(origin + "/")
        assert "<table>" in page(origin + "/~tus/operators/")


def test_missing_directory_is_named() -> None:
    """`tus serve --gallery` of nothing says so."""
    pytest.importorskip("PIL")
    command = [sys.executable, "-m", "tus", "serve", "--gallery", "/nonexistent", "--port", "0"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)

    assert done.returncode == 2
    assert "/nonexistent is no directory" in done.stderr
