"""Resumable uploads for every Python web application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine import Engine
from .errors import OptionError, Refused, TusError
from .hooks import Hooks
from .options import Options
from .tus import Tus
from .upload import Metadata, Result, Upload

if TYPE_CHECKING:
    from .adapters.webob import WebobAdapter
    from .adapters.wsgi import Filter
    from .adapters.zope2 import Zope2RequestAdapter

    TusFilter = Filter

__version__ = "2.0.0.dev0"

__all__ = [
    "Engine",
    "Filter",
    "Hooks",
    "Metadata",
    "OptionError",
    "Options",
    "Refused",
    "Result",
    "Tus",
    "TusError",
    "TusFilter",
    "Upload",
    "WebobAdapter",
    "Zope2RequestAdapter",
]

_LAZY = {"Filter": "wsgi", "TusFilter": "wsgi", "WebobAdapter": "webob", "Zope2RequestAdapter": "zope2"}


def __getattr__(name: str) -> Any:
    """Adapters are loaded when they are asked for, so that no framework is needed that is not used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".adapters.{_LAZY[name]}", __name__)
    return getattr(module, "Filter" if name == "TusFilter" else name)
