"""Names that the library of 2013 had, for code that was written then. Our own code does not use them."""

from __future__ import annotations

import os

from .errors import TusError

TusException = TusError


def safe_join(directory: str, name: str) -> str | None:
    """The path of `name` in the directory; None if the name leads out of it."""
    root = os.path.join(os.path.abspath(directory), "")
    path = os.path.abspath(os.path.join(root, name))
    return os.path.join(directory, name) if path.startswith(root) else None
