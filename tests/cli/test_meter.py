"""The line on a terminal that says how far `tus put` is."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest

from tus.client.meter import Meter


class Terminal:
    """A terminal with few columns, and what was written on it."""

    columns = 48

    def __init__(self) -> None:
        self._far, near = pty.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.columns, 0, 0))
        self.out = os.fdopen(near, "w", encoding="utf-8")

    def said(self) -> str:
        """Everything so far; a terminal hands it out in pieces."""
        print(end="\0", file=self.out, flush=True)
        found = b""
        while not found.endswith(b"\0"):
            found += os.read(self._far, 65536)
        return found[:-1].decode()

    def close(self) -> None:
        self.out.close()
        os.close(self._far)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def columns_of(text: str) -> int:
    return sum(0 if c == "\u0301" else 2 if ord(c) > 0x2E80 else 1 for c in text)


@pytest.mark.parametrize(
    "name", ["東京の夜景と富士山の写真.jpg", "e\u0301te\u0301 a\u0301 la mer.jpg", "🎉🎉🎉🎉🎉🎉.mov"]
)
def test_meter_stays_on_one_line_of_the_terminal(name: str, terminal: Terminal) -> None:
    """A name with wide or combining characters never makes a line too long, and the line goes away whole."""
    meter = Meter(name, out=terminal.out, quiet=False)

    meter.show(0, 1000)
    meter.show(1000, 1000)
    meter.clear()

    first, last, blank = terminal.said().split("\r")[1:4]
    assert columns_of(first) < terminal.columns
    assert columns_of(last.rstrip()) <= columns_of(blank) < terminal.columns
    assert blank.isspace()


def test_meter_leaves_nothing_of_a_longer_line(terminal: Terminal) -> None:
    """What was there before is covered with blanks, as many as it took columns."""
    meter = Meter("写.jpg", out=terminal.out, quiet=False)

    meter.show(1, 10**12)
    meter.show(10, 10)

    longer, shorter = terminal.said().split("\r")[1:3]
    assert columns_of(shorter) >= columns_of(longer)
