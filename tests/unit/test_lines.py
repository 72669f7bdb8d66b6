"""The lines of `tus serve`, made of records of all kinds."""

from __future__ import annotations

import logging
import sys

from tus.cli.logs import Lines


def line(message: str, *args: object, failed: bool = False) -> str:
    """The record, as it is shown."""
    trace = None
    if failed:
        try:
            raise ValueError("bad\n2026-01-01 00:00:00  finished  forged\x1b[2J\r\u202e")
        except ValueError:
            trace = sys.exc_info()
    return Lines().format(logging.LogRecord("waitress", logging.ERROR, "x", 1, message, args, trace))


def test_path_in_a_message_cannot_begin_a_line() -> None:
    """Servers log the path as it came, with its line breaks decoded."""
    assert "\n" not in line("Exception while serving %s", "/files/\n2026-01-01 00:00:00  finished  forged")


def test_traceback_keeps_its_lines_and_none_looks_like_an_event() -> None:
    """Continuation lines are indented, whatever the exception says, and steer no terminal."""
    first, *others = line("failed", failed=True).split("\n")

    assert first.endswith("ERROR waitress: failed")
    assert others and all(other.startswith("    ") for other in others)
    assert all(other.isprintable() for other in others)
