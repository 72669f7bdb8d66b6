"""Questions to the person at the terminal, before something is lost."""

from __future__ import annotations

import sys


def can_be_asked() -> bool:
    """Whether somebody is there."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str) -> bool:
    """Whether the person says yes; anything else is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
