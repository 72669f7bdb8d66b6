"""The progress of all files of one command: one line for one file, and one for the total of several.

It is drawn by `rich` on a terminal where that is installed, else by ourselves.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol, TextIO

from .meter import Meter, breadth, human
from .wire import printable

_BROAD = 70  # columns; on fewer, rich breaks its line or leaves the name out
_NOT_DRAWN_ON = ("dumb", "unknown")  # kinds of terminals where rich shows nothing until the end


class FileRow(Protocol):
    """Where one file tells how far it is."""

    def show(self, offset: int, length: int | None) -> None: ...
    def say(self, text: str) -> None: ...
    def done(self, length: int) -> None: ...
    def fail(self, text: str) -> None: ...


class Board(Protocol):
    """Where all of them are shown."""

    def row(self, name: str) -> FileRow: ...
    def close(self) -> None: ...


def board_for(count: int, size: int, *, out: TextIO, quiet: bool) -> Board:
    """The best that there is for this terminal."""
    drawn = out.isatty() and os.environ.get("TERM", "dumb") not in _NOT_DRAWN_ON and breadth(out) >= _BROAD
    if drawn and not quiet:
        try:
            return RichBoard(count, size, out)
        except ImportError:
            pass
    return Total(count, size, out=out, quiet=quiet) if count > 1 else Single(out=out, quiet=quiet)


class Single:
    """One file: one line."""

    def __init__(self, *, out: TextIO, quiet: bool) -> None:
        self._out, self._quiet = out, quiet

    def row(self, name: str) -> FileRow:
        return Meter(name, out=self._out, quiet=self._quiet)

    def close(self) -> None:
        """Nothing stays."""


class Total:
    """Several files: how many are done, how much of all bytes, and how long the rest takes."""

    def __init__(self, count: int, size: int, *, out: TextIO, quiet: bool) -> None:
        self._count, self._size = count, size
        self._out, self._quiet = out, quiet
        self._files = self._bytes = 0
        self._lock = threading.RLock()
        self._meter = Meter("", out=out, quiet=quiet)
        self._meter.show(0, 0)
        self._name()

    def row(self, name: str) -> FileRow:
        return _Row(self, printable(name))

    def close(self) -> None:
        with self._lock:
            self._meter.clear()
            if self._files:
                self._meter.done(self._bytes)

    def add(self, count: int, *, before: bool) -> None:
        """So many more bytes are there; `before`: since before this command."""
        with self._lock:
            if before:
                self._meter.skip(count)
            self._bytes += count
            self._meter.show(self._bytes, max(self._size, self._bytes))

    def finish(self) -> None:
        """One more file is there."""
        with self._lock:
            self._files += 1
            self._name()

    def tell(self, text: str, *, always: bool = False) -> None:
        """A line of its own."""
        with self._lock:
            if always or not self._quiet:
                self._meter.fail(text)

    def _name(self) -> None:
        self._meter.name = f"{self._files} of {self._count} files"


class _Row:
    """One of several files."""

    def __init__(self, total: Total, name: str) -> None:
        self._total, self._name = total, name
        self._offset: int | None = None

    def show(self, offset: int, length: int | None) -> None:
        self._total.add(offset - (self._offset or 0), before=self._offset is None)
        self._offset = offset

    def say(self, text: str) -> None:
        self._total.tell(f"{self._name}: {text}")

    def done(self, length: int) -> None:
        self._total.finish()

    def fail(self, text: str) -> None:
        self._total.tell(text, always=True)


class RichBoard:
    """Drawn by `rich`: a bar for each file that is running, and one for all of them."""

    def __init__(self, count: int, size: int, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed
        from rich.table import Column

        name = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        columns = (name, BarColumn(20), DownloadColumn(), Speed(), TimeRemainingColumn(compact=True))
        self.progress = Progress(*columns, console=Console(file=out), transient=True, expand=True)
        self.total = self.progress.add_task(f"0 of {count} files", total=size) if count > 1 else None
        self.count, self.files, self.lock = count, 0, threading.Lock()
        self.progress.start()

    def row(self, name: str) -> FileRow:
        return _RichRow(self, printable(name))

    def close(self) -> None:
        self.progress.stop()


class _RichRow:
    """A bar of one file."""

    def __init__(self, board: RichBoard, name: str) -> None:
        from rich.markup import escape

        self._board, self._name = board, name
        self._task: Any = board.progress.add_task(escape(name), total=None)
        self._offset = 0

    def show(self, offset: int, length: int | None) -> None:
        progress = self._board.progress
        progress.update(self._task, completed=offset, total=length)
        if self._board.total is not None:
            progress.advance(self._board.total, offset - self._offset)
        self._offset = offset

    def say(self, text: str) -> None:
        self._board.progress.console.print(f"{self._name}: {text}", markup=False, highlight=False, soft_wrap=True)

    def done(self, length: int) -> None:
        board = self._board
        with board.lock:
            board.files += 1
            if board.total is not None:
                board.progress.update(board.total, description=f"{board.files} of {board.count} files")
        board.progress.update(self._task, visible=False)
        if board.total is None:
            self.say(f"100 % of {human(length)}")

    def fail(self, text: str) -> None:
        self._board.progress.update(self._task, visible=False)
        self._board.progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
