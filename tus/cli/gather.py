"""The files that `tus put` is asked to send: files, directories, patterns, and the standard input."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FileToSend:
    """One file to send."""

    path: str  # - for the standard input
    relative: str = ""  # its place below the directory that was named, with the directory's name
    size: int = 0
    modified: int = 0  # nanoseconds

    @property
    def name(self) -> str:
        """What it is called on the screen."""
        return "stdin" if self.path == "-" else self.relative or os.path.basename(self.path)

    def known_as(self, url: str) -> tuple[Any, ...]:
        """What makes it the same file in a manifest."""
        return (self.path, self.size, self.modified, url)


def gather(words: list[str], *, say: Callable[[str], None]) -> list[FileToSend]:
    """Every file, once; a wrong name is found before the first upload begins, not after the tenth. `say` hears of what
    holds nothing that can be sent."""
    if words.count("-") > 1:
        raise ValueError("the standard input can be read only once")
    found: dict[tuple[str, str], FileToSend] = {}
    for word in words:
        for item in _items(word, say):
            found.setdefault((os.path.abspath(item.path), item.relative), item)
    return list(found.values())


def _items(word: str, say: Callable[[str], None]) -> Iterator[FileToSend]:
    if word == "-":
        yield FileToSend("-")
    elif os.path.isdir(word):
        found = list(_below(word, say))
        yield from found
        if not found:
            say(f"{word}: no file is in this directory")
    elif os.path.lexists(word) or not glob.has_magic(word):
        yield _item(word, "")
    else:  # a pattern that no shell has filled in
        paths = sorted(glob.glob(word, recursive=True))
        if not paths:
            raise ValueError(f"{word}: no file fits")
        for path in paths:
            yield from _items(path, say)


def _below(directory: str, say: Callable[[str], None]) -> Iterator[FileToSend]:
    """Each regular file in it, in order. Links to directories are not followed: they may lead back."""

    def fail(error: OSError) -> None:
        raise error

    root = os.path.basename(os.path.abspath(directory))
    for path, directories, names in os.walk(directory, onerror=fail):
        directories.sort()
        for name in sorted(names):
            whole = os.path.join(path, name)
            if os.path.islink(whole) and not os.path.exists(whole):
                say(f"{whole}: this link leads nowhere, and is left out")
            elif stat.S_ISREG(os.stat(whole).st_mode):
                relative = os.path.normpath(os.path.join(root, os.path.relpath(path, directory), name))
                yield _item(whole, relative.replace(os.sep, "/"))


def _item(path: str, relative: str) -> FileToSend:
    if not os.access(path, os.R_OK):
        os.stat(path)
        raise PermissionError(13, "may not be read", path)
    status = os.stat(path)
    return FileToSend(path, relative, status.st_size if stat.S_ISREG(status.st_mode) else 0, status.st_mtime_ns)


class Manifest:
    """What is there already: a file of JSON lines as `--json` prints them, to which each new upload is added."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = set(_known(path)) if os.path.exists(path) else set()
        with open(path, "a"):  # it can be written: found before the first upload
            pass

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in self._known

    def add(self, line: str) -> None:
        """In one piece, also if several commands write to it."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def _known(path: str) -> Iterator[tuple[Any, ...]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                key = record["file"], record["size"], record["modified"], record["to"]
            except (ValueError, KeyError, TypeError):
                if line.endswith("\n"):  # the last line may have been cut
                    raise ValueError(f"{path}, line {number}: not a line as `tus put --json` prints it") from None
                continue
            if record.get("error") is None:
                yield key
