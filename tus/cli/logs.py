"""What `tus serve` writes to standard error: events of uploads for people, one line each.

No text from a client can begin another line or control the terminal.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from ..client.meter import human
from ..events import shown

_EVENT = 11  # columns; the longest event is "handed over"


class Lines(logging.Formatter):
    """Time, event, name, size, and the rest; other records as usual, with their continuation lines indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", "")
        if event:
            return f"{self.formatTime(record, self.datefmt)}  {event:{_EVENT}}  {summary(vars(record))}"
        return super().format(record).replace("\n", "\n    ")

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(shown, super().formatException(ei).split("\n")))

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = shown(record.message)
        return super().formatMessage(record)


def summary(fields: Mapping[str, Any]) -> str:
    """What a person wants to know first: the name, how much, how fast, why; then whose it is."""
    size, offset = fields.get("size"), fields.get("offset")
    words = [str(fields.get("file") or fields.get("upload") or "")]
    if offset is not None and offset != size:
        words.append(f"{human(offset)} of {human(size)}" if size is not None else f"at {human(offset)}")
    elif size is not None:
        words.append(human(size))
    if "speed" in fields:
        words.append(f"in {fields['seconds']:.1f} s, {human(fields['speed'])}/s")
    if "reason" in fields:
        words.append(" ".join(str(fields[key]) for key in ("status", "reason") if key in fields))
    whose = [str(fields[key]) for key in ("upload", "peer", "owner") if fields.get(key)]
    return "  ".join([*filter(None, words), f"({', '.join(whose)})" if whose else ""]).rstrip()


def configure(*, quiet: bool, verbose: bool) -> None:
    """Send what is logged to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger("tus").setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
