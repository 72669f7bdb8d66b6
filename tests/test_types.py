"""What a type checker and an editor know of the options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tus.keywords import OptionsDict
from tus.options import BY_NAME

pytest.importorskip("mypy")
ROOT = Path(__file__).resolve().parent.parent


def complaints(code: str, directory: Path) -> str:
    """What mypy says of a program of somebody who has this package installed, and none of its settings."""
    (directory / "program.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", "program.py"]
    environ = {**os.environ, "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": "cache"}
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=300)
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


@pytest.mark.slow
def test_tus_takes_every_adapter(tmp_path: Path) -> None:
    """Those of the package are what it asks for, also to a type checker."""
    said = complaints(
        "from tus import Tus, WebobAdapter, Zope2RequestAdapter\n"
        "def view(webob: WebobAdapter, zope: Zope2RequestAdapter) -> None:\n"
        "    Tus(webob)\n"
        "    Tus(zope)\n",
        tmp_path,
    )

    assert "error" not in said, said
