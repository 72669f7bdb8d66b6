"""What `tus ls` shows to people and to scripts, and which uploads it leaves out."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.cli.test_commands import aged, command, stored

SIZE = 1_234_567  # bytes
DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d"


def on_terminal(*words: str) -> list[str]:
    """The lines that a command shows on a terminal."""
    far, near = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tus", *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=near, stderr=near
    )
    os.close(near)
    said = b""
    with open(far, "rb", buffering=0) as shown:
        try:
            while data := shown.read(65536):
                said += data
        except OSError:  # the command has ended
            pass
    assert process.wait(30) == 0
    return said.decode().splitlines()


def test_ls_shows_people_a_header_and_sizes_that_can_be_read(tmp_path: Path) -> None:
    """On a terminal, each column below its name."""
    id = stored(tmp_path, content=bytes(SIZE), length=4 * SIZE)

    header, line, total = on_terminal("ls", str(tmp_path))

    assert header.split() == ["id", "received/size", "last", "byte", "state", "name"]
    assert re.fullmatch(rf"{id} +1\.2 MB/4\.9 MB +{DATE}  unfinished", line)
    assert total == "1 upload, 1.2 MB"
    assert [header.index(word) for word in ("/", "last byte", "state")] == [
        line.index(word) for word in ("/", re.findall(DATE, line)[0], "unfinished")
    ]


def test_ls_shows_exact_sizes_if_asked(tmp_path: Path) -> None:
    """`--bytes`, with the header."""
    stored(tmp_path, content=bytes(SIZE), length=4 * SIZE)

    header, line, total = on_terminal("ls", str(tmp_path), "--bytes")

    assert f" {SIZE}/{4 * SIZE} " in line and header.index("/") == line.index("/")
    assert total == f"1 upload, {SIZE} bytes"


def test_ls_prints_scripts_what_it_always_did(tmp_path: Path) -> None:
    """No header and exact sizes where it is no terminal; and no header among the objects on one."""
    id = stored(tmp_path, content=b"he")

    lines = command("ls", str(tmp_path)).stdout.splitlines()
    objects = on_terminal("ls", str(tmp_path), "--json")

    assert re.fullmatch(rf"{id}  {2:>13}/{5:<13} {DATE}  unfinished", lines[0])
    assert lines[1:] == ["1 upload, 2 bytes"]
    assert objects == command("ls", str(tmp_path), "--json").stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], {"whole", "half", "old"}),
        (["--open"], {"half", "old"}),
        (["--unfinished"], {"half", "old"}),
        (["--finished"], {"whole"}),
        (["--expired"], {"old"}),
        (["--open", "--expired"], {"old"}),
        (["--finished", "--expired"], set()),
    ],
)
def test_ls_leaves_out_what_nobody_asked_for(tmp_path: Path, words: list[str], shown: set[str]) -> None:
    """Each filter, and two of them at once."""
    ids = {"whole": stored(tmp_path), "half": stored(tmp_path, content=b"he"), "old": stored(tmp_path, content=b"h")}
    aged(tmp_path, ids["old"])

    listed = command("ls", str(tmp_path), *words).stdout

    assert {name for name, id in ids.items() if id in listed} == shown


def test_ls_of_open_and_finished_is_a_contradiction(tmp_path: Path) -> None:
    """Nothing would be left."""
    assert command("ls", str(tmp_path), "--open", "--finished").returncode == 2
