"""Uploads as lines: a table for people, exact lines for scripts, objects for programs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TextIO

from ..client.meter import counted, human
from ..engine.known import Summary
from ..upload import harmless


def add_format(parser: argparse.ArgumentParser) -> None:
    """How uploads are shown."""
    parser.add_argument("--bytes", action="store_true", help="exact sizes on a terminal; elsewhere they always are")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def report(uploads: Iterable[Summary], args: argparse.Namespace, deed: str = "", *, out: TextIO | None = None) -> int:
    """Show them, and how many there are; returns that number."""
    out = out or sys.stdout
    terminal = out.isatty() and not args.json
    amount = human if terminal and not args.bytes else str
    if terminal:
        print(_columns("id", "received", "size", "last byte", "state", "name", room=_room(amount)), file=out)
    count = size = 0
    for upload in uploads:
        count += 1
        size += upload.kept
        print(json.dumps(upload.brief()) if args.json else _line(upload, amount), file=out)
    if not args.json:
        total = human(size) if amount is human else f"{size} bytes"
        print(f"{counted(count, 'upload')}, {total} {deed}".rstrip(), file=out)
    return count


def name_bad_records(bad: list[str]) -> int:
    """Say which records cannot be read; the exit status."""
    for id in bad:
        print(f"tus: the record {harmless(id)}.info cannot be read; other uploads are not affected", file=sys.stderr)
    return 1 if bad else 0


def _room(amount: Callable[[int], str]) -> int:
    """Columns of a size."""
    return 13 if amount is str else 8


def _columns(id: str, offset: str, length: str, touched: str, state: str, name: str, *, room: int) -> str:
    return f"{id:<32}  {offset:>{room}}/{length:<{room}} {touched:<16}  {state:<11} {name}".rstrip()


def _line(upload: Summary, amount: Callable[[int], str]) -> str:
    length = "?" if upload.length is None else amount(upload.length)
    touched = _minute(int(upload.touched) // 60)
    words = (upload.id, amount(upload.offset), length, touched, upload.state, upload.filename)
    line = harmless(_columns(*words, room=_room(amount)))
    return f"{line}  refused: {harmless(upload.reason)}" if upload.reason else line


@lru_cache(256)
def _minute(minute: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(minute * 60))
