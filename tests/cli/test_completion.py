"""What shells complete, asked in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT

ASK = """
source "$1"
COMP_WORDS=(tus "${@:2}")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_tus
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, tmp_path: Path) -> Path:
    """What the command prints, in a file."""
    said = subprocess.run([sys.executable, "-m", "tus", "completion", shell], cwd=ROOT, capture_output=True, check=True)
    (tmp_path / "script").write_bytes(said.stdout)
    return tmp_path / "script"


@pytest.mark.parametrize(
    ("words", "found"),
    [(["pu"], ["put"]), (["put", "--para"], ["--parallel"]), (["get", "--out"], ["--output"]), (["put", "fi"], [""])],
)
def test_bash_completes(words: list[str], found: list[str], tmp_path: Path) -> None:
    """Commands and options; files are left to bash."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")

    done = subprocess.run(
        ["bash", "-c", ASK, "ask", script("bash", tmp_path), *words], capture_output=True, text=True, check=True
    )

    assert done.stdout.split("\n")[:-1] == found


def test_fish_completes(tmp_path: Path) -> None:
    """Options with what they are for."""
    if not shutil.which("fish"):
        pytest.skip("fish is not installed (apt install fish)")

    ask = f"source {script('fish', tmp_path)}; complete -C 'tus put --para'"
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["fish", "-c", ask], capture_output=True, text=True, check=True, env=environ)

    assert done.stdout.startswith("--parallel\tparts of one file at once")


def test_zsh_takes_the_script(tmp_path: Path) -> None:
    """It is read without a complaint, and knows the command then."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed (apt install zsh)")

    ask = f"autoload -U compinit && compinit -D -u; source {script('zsh', tmp_path)}; print $_comps[tus]"
    done = subprocess.run(["zsh", "-f", "-c", ask], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "_tus" in done.stdout
