"""The manual page, read by the programs that show such pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT
from tus.cli import COMMANDS, parser_of

# What of `man` we use; a text that begins like one of them would be lost.
REQUEST = re.compile(r"\.(TH|SH|SS|TP|PP|B|BR)\b")
ESCAPED = {r"\-": "-", r"\(aq": "'", r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\e": "\\"}
COLUMNS = "900"  # so that no word is broken
SHOW = {
    "man": ["man", "-l", "-"],
    "mandoc": ["mandoc", "-T", "utf8", "-O", f"width={COLUMNS}"],
    "groff": ["groff", "-man", "-ww", "-T", "utf8", f"-rLL={COLUMNS}n"],
}


@pytest.fixture(scope="module")
def page() -> str:
    """What the command prints."""
    return subprocess.run(
        [sys.executable, "-m", "tus", "man"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def helped(command: str) -> list[str]:
    """Each name of an option that `--help` shows, and what it says of it."""
    parser = parser_of(command)
    formatter = parser._get_formatter()
    actions = [action for action in parser._actions if action.help]
    names = [name for action in actions for name in action.option_strings]
    return [*names, *(" ".join(formatter._expand_help(action).split()) for action in actions)]


def test_page_has_what_help_says_of_each_command(page: str) -> None:
    """Every option and every explanation, below the heading of its command."""
    sections = dict(re.findall(r"^\.SS tus (\w+)\n(.*?)(?=^\.SS |\Z)", page, re.MULTILINE | re.DOTALL))

    assert list(sections) == list(COMMANDS)
    for command, text in sections.items():
        plain = " ".join(text.split())
        for escaped, character in ESCAPED.items():
            plain = plain.replace(escaped, character)
        assert [said for said in helped(command) if said not in plain] == []


def test_page_begins_no_line_like_an_instruction_by_chance(page: str) -> None:
    """Such a line of text would not be shown."""
    begun = [line for line in page.splitlines() if line.startswith((".", "'"))]

    assert [line for line in begun if not REQUEST.match(line)] == []


@pytest.mark.parametrize("program", SHOW)
def test_page_is_shown(page: str, program: str) -> None:
    """Without a complaint, and with characters that can be copied into a shell."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed (apt install man-db mandoc groff)")

    environ = {"PATH": "/usr/bin:/bin", "MANWIDTH": COLUMNS, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(SHOW[program], input=page, capture_output=True, text=True, env=environ)

    if "minimized" in done.stdout:
        pytest.skip("this machine has a man that shows nothing (unminimize)")
    shown = re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert "-H 'NAME: VALUE', --header 'NAME: VALUE'" in shown
    assert "`tus serve --tls-self-signed`" in shown


def test_page_has_no_faults(page: str) -> None:
    """By the rules of mandoc."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed (apt install mandoc)")

    done = subprocess.run(["mandoc", "-T", "lint", "-W", "error"], input=page, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")
