"""The progress of an upload: one line that rewrites itself on a terminal, else a line for every 10 %.

It never writes a control character that came from a name or a server, and no colours.
"""

from __future__ import annotations

import os
import time
import unicodedata
from typing import TextIO

from .wire import printable


class Meter:
    """Shows how far an upload is: one line that rewrites itself on a terminal, else a line for every 10 %."""

    def __init__(self, name: str, *, out: TextIO, quiet: bool) -> None:
        self.name = printable(name)
        self._out = out
        self._quiet = quiet
        self._live = out.isatty()
        self._began = time.monotonic()
        self._first: int | None = None  # where this run began
        self._shown = 0.0  # when the line was last written
        self._tenth = 0
        self._line = ""

    def show(self, offset: int, length: int | None) -> None:
        """Tell how far it is."""
        if self._first is None:
            self._first = offset
            self._tenth = 10 * offset // length if length else 0
        if not self._quiet and self._live:
            self._rewrite(offset, length)
        elif not self._quiet and length and self._tenth < 10 * offset // length < 10:
            self._tenth = 10 * offset // length
            print(f"{self.name}: {self._state(offset, length)}", file=self._out, flush=True)

    def skip(self, count: int) -> None:
        """So many bytes were there before, and say nothing of the speed."""
        self._first = (self._first or 0) + count

    def done(self, length: int) -> None:
        """Tell that everything arrived."""
        seconds = max(time.monotonic() - self._began, 0.001)
        rate = (length - (self._first or 0)) / seconds
        self.say(f"100 % of {human(length)} in {seconds:.1f} s, {human(rate)}/s")

    def say(self, text: str) -> None:
        """Tell something else, on a line of its own."""
        if not self._quiet:
            self.clear()
            print(f"{self.name}: {text}", file=self._out, flush=True)

    def fail(self, text: str) -> None:
        """Tell why it does not work, whoever wanted quiet."""
        self.clear()
        print(printable(text), file=self._out, flush=True)

    def clear(self) -> None:
        """Take the live line away."""
        if self._line:
            print("\r" + " " * width(self._line) + "\r", end="", file=self._out, flush=True)
        self._line = ""

    def _rewrite(self, offset: int, length: int | None) -> None:
        now = time.monotonic()
        if now - self._shown < 0.1 and offset != length:
            return
        self._shown = now
        columns = breadth(self._out) - 1
        state = self._state(offset, length)
        line = cut(f"{cut(self.name, max(8, columns - width(state) - 2))}: {state}", columns)
        rest = " " * (width(self._line) - width(line))  # of a longer line that stood here before
        print(f"\r{line}{rest}", end="", file=self._out, flush=True)
        self._line = line

    def _state(self, offset: int, length: int | None) -> str:
        seconds = max(time.monotonic() - self._began, 0.001)
        rate = (offset - (self._first or 0)) / seconds
        if length is None:
            return f"{human(offset)}, {human(rate)}/s"
        left = f"{lasting((length - offset) / rate)} left" if rate > 0 else "beginning"
        if offset == length:
            left = "finishing"  # sent, but the server has not said yet that it arrived
        return f"{100 * offset // (length or 1)} % of {human(length)}, {human(rate)}/s, {left}"


def lasting(seconds: float) -> str:
    """A time for a person."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def human(count: float) -> str:
    """A number of bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: int, noun: str) -> str:
    """1 file, 2 files."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def width(text: str) -> int:
    """How many columns of a terminal this text takes."""
    return sum(map(_columns_of, text))


def cut(text: str, columns: int) -> str:
    """The longest beginning of this text that fits into that many columns."""
    for end, character in enumerate(text):
        columns -= _columns_of(character)
        if columns < 0:
            return text[:end]
    return text


def _columns_of(character: str) -> int:
    """Two for what East Asian scripts and emoji take, none for what stands on the character before."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def breadth(out: TextIO) -> int:
    """The columns of this terminal."""
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
