"""The pictures of the documents are small, described, and made by a script that still works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import documents


def pictures() -> list[tuple[Path, str]]:
    """The file and the options of each picture that a page shows."""
    found = []
    for page in documents.pages():
        for name, options in re.findall(r"^\.\. image:: (\S+)\n((?: +:.*\n)*)", page.read_text("utf-8"), re.MULTILINE):
            found.append((page.parent / name, options))
    return found


def test_every_picture_is_there_small_and_described() -> None:
    """Under 300 kB, with words for those who do not see it."""
    for path, options in pictures():
        assert path.stat().st_size < 300_000, path
        assert re.search(r":alt: .{20}", options), path
    assert len(pictures()) >= 5


@pytest.mark.slow
def test_recording_of_the_terminal_is_made_by_its_script(tmp_path: Path) -> None:
    """It shows a command that was interrupted and goes on where it was."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    script = [sys.executable, str(documents.ROOT / "scripts/pictures"), "put.svg", "--to", str(tmp_path)]

    subprocess.run(script, check=True, capture_output=True, timeout=120)

    said = " ".join(element.text or "" for element in ElementTree.parse(tmp_path / "put.svg").iter())
    assert "the same command resumes it" in said
    assert re.search(r"resuming at \d", said)
    assert re.search(r"100 % of", said)
