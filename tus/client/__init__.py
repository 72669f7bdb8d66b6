"""What sends files: an HTTP client that hears early answers, and uploads that resume. It uses nothing of the server.

`from tus.client import Client` is for applications; it needs the standard library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .brake import Brake
    from .download import Fetched
    from .failures import (
        AlreadyThere,
        FileChanged,
        Stopped,
        TransferError,
        TransferRefused,
        Unreachable,
        Unwanted,
        WrongDigest,
    )
    from .uploading import Client, Uploaded
    from .waiting import AsyncClient

_PLACES = {
    "AlreadyThere": "failures",
    "AsyncClient": "waiting",
    "Brake": "brake",
    "Client": "uploading",
    "Fetched": "download",
    "FileChanged": "failures",
    "Stopped": "failures",
    "TransferError": "failures",
    "TransferRefused": "failures",
    "Unreachable": "failures",
    "Unwanted": "failures",
    "Uploaded": "uploading",
    "WrongDigest": "failures",
}

__all__ = [
    "AlreadyThere",
    "AsyncClient",
    "Brake",
    "Client",
    "Fetched",
    "FileChanged",
    "Stopped",
    "TransferError",
    "TransferRefused",
    "Unreachable",
    "Unwanted",
    "Uploaded",
    "WrongDigest",
]


def __getattr__(name: str) -> Any:
    """Loaded when it is asked for: the server uses a module of this package, and none of these."""
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
