"""What a type checker and an editor know of the options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tus.keywords import OptionsDict
from tus.options import BY_NAME

pytest.importorskip("mypy")
ROOT = Path(__file__).resolve().parent.parent


def complaints(code: str, directory: Path) -> str:
    """What mypy says of a program."""
    program = directory / "program.py"
    program.write_text(code)
    cache = str(directory / "cache")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, str(program)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_every_option_is_a_keyword() -> None:
    """No more and no less than the table has."""
    assert set(OptionsDict.__annotations__) == set(BY_NAME)


@pytest.mark.slow
def test_slip_in_an_option_is_an_error_of_the_type_checker(tmp_path: Path) -> None:
    """In its name and in its value, for the filter and for views; what is right is taken."""
    said = complaints(
        "from tus import Tus, TusFilter\n"
        "from tus.tus import Adapter\n"
        "def right(adapter: Adapter) -> None:\n"
        "    TusFilter(None, tmp_file_dir='/x', max_size='3GB', upload_valid_duration=60, cors_origins=['https://a'])\n"
        "    Tus(adapter, '/x', send_file=True, durable='none')\n"
        "def wrong(adapter: Adapter) -> None:\n"
        "    TusFilter(None, max_sise=3)\n"
        "    TusFilter(None, durable='alway')\n"
        "    Tus(adapter, max_sise=3)\n",
        tmp_path,
    )

    assert [line.split(":")[1] for line in said.splitlines() if ": error:" in line] == ["7", "8", "9"], said
    assert 'did you mean "max_size"?' in said
