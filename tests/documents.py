"""The code blocks of the documents, as a reader sees them: every test of a page takes its code from here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
INCLUDED = ("changes", "contributing")  # which are files of the top directory
_BLOCK = re.compile(r"^(?P<indent> *)\.\. code-block:: *(?P<language>\S+)$")
_INCLUDE = re.compile(r"^(?P<indent> *)\.\. literalinclude:: *(?P<path>\S+)$")
_OPTION = re.compile(r"^ +:(?P<name>[\w-]+): *(?P<value>.*)$")
_LITERAL = re.compile(r"^(?P<indent> *)(?!\.\. ).*::$")


@dataclass(frozen=True)
class Block:
    """One piece of code, where it stands, and which file a reader would put it into."""

    page: Path
    line: int
    language: str  # "" for a paragraph that ends in two colons
    caption: str
    code: str
    kind: str = ""  # the class that the page gives it
    included: str = ""  # the path of the file that it is, if the page includes one

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page that people write, the README included."""
    written = [path for path in sorted(DOCS.rglob("*.rst")) if "_build" not in path.parts]
    return [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *(path for path in written if path.stem not in INCLUDED)]


def page(name: str) -> Path:
    """README, or the page of that name below docs/."""
    return ROOT / "README.rst" if name == "README" else DOCS / f"{name}.rst"


@cache
def blocks(path: Path, language: str | None = None) -> list[Block]:
    """Those of the page, in its order; of that language only, if one is named."""
    return [block for block in _parsed(path) if language in (None, block.language)]


def block(path: Path, word: str, *, language: str | None = None) -> Block:
    """The first one in which the word occurs."""
    return next(block for block in blocks(path, language) if word in block.code)


def every(*languages: str) -> list[Block]:
    """Those of all pages in one of these languages."""
    return [block for path in pages() for block in blocks(path) if block.language in languages]


def files(path: Path) -> dict[str, str]:
    """What a reader has who writes each block with a caption into the file of that name: later ones go behind."""
    found: dict[str, str] = {}
    for block in blocks(path):
        if block.caption:
            found[block.caption] = "\n\n".join(filter(None, [found.get(block.caption, "").rstrip("\n"), block.code]))
    return found


def write(path: Path, home: Path) -> None:
    """Write the files of the page into a directory; a caption may say that a block belongs to the end of a file."""
    for caption, text in files(path).items():
        name, _, where = caption.partition(", ")
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.read_text() + text if where == "at the end" else text)


def _parsed(path: Path) -> Iterator[Block]:
    lines = path.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        line, number = lines[number], number + 1
        start = number
        if found := _BLOCK.match(line):
            options, number = _options(lines, number)
            code, number = _code(lines, number, len(found["indent"]))
            yield Block(path, start, found["language"], options.get("caption", ""), code, options.get("class", ""))
        elif found := _INCLUDE.match(line):
            options, number = _options(lines, number)
            code = (path.parent / found["path"]).read_text("utf-8")
            words = options.get("language", ""), options.get("caption", ""), code
            yield Block(path, start, *words, included=found["path"])
        elif found := _LITERAL.match(line):
            code, number = _code(lines, number, len(found["indent"]))
            yield Block(path, start, "", "", code)


def _options(lines: list[str], number: int) -> tuple[dict[str, str], int]:
    options = {}
    while number < len(lines) and (found := _OPTION.match(lines[number])):
        options[found["name"]] = found["value"]
        number += 1
    return options, number


def _code(lines: list[str], number: int, indent: int) -> tuple[str, int]:
    """The lines that stand further in, and the number of the line after them."""
    taken = []
    while number < len(lines) and (not lines[number].strip() or _depth(lines[number]) > indent):
        taken.append(lines[number])
        number += 1
    return dedent("\n".join(taken)).strip("\n") + "\n", number


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
