"""The page of headers names those that the code reads and writes, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "headers.rst"
# What reads and writes the headers of tus 1.0, and of downloads.
MODULES = [
    "downloads.py",
    "errors.py",
    "http/headers.py",
    "http/ranges.py",
    "protocols/__init__.py",
    "protocols/tus1.py",
]
SINGLE = {"allow", "etag", "location", "range"}
# What looks like a header, and is a value of one, or a character set.
VALUES = {"utf-8", "latin-1", "iso-8859-1", "no-store", "max-age"}
# With a hyphen, of letters only; a value such as "sha-256" has digits.
NAME = re.compile(r"[A-Za-z]+(-[A-Za-z]+)+", re.ASCII)


def used() -> set[str]:
    """The headers in the code, in small letters."""
    found = set()
    for module in MODULES:
        for node in ast.walk(ast.parse((ROOT / "tus" / module).read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.lower()
                if text in SINGLE or NAME.fullmatch(text):
                    found.add(text)
    return found - VALUES


def documented() -> set[str]:
    """Those that begin a line of a table, but for names of an environ."""
    return {
        name.lower()
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("``")
        for name in re.findall(r"``([A-Za-z-]+)``", line.partition("  ")[0])
    }


def test_page_names_the_headers_that_the_code_uses() -> None:
    """Exactly those of tus 1.0 and of downloads; `tus.upload` and `HTTP_…` are for applications, and no headers."""
    assert documented() == used()
