"""Resumable uploads for every Python web application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .engine import Engine, Followed
from .errors import Abandoned, OptionError, Refused, Silent, TusError
from .hooks import Hooks, Intent
from .http.messages import Request
from .lockers import Claim, Lease, Locker, Share
from .options import Options
from .stores import Draft, Fence, Store
from .tus import Tus
from .upload import Metadata, Result, Upload

if TYPE_CHECKING:
    from .adapters.asgi import TusASGI
    from .adapters.endpoint import AsyncTus
    from .adapters.webob import WebobAdapter
    from .adapters.wsgi import Filter
    from .adapters.zope2 import Zope2RequestAdapter

    TusFilter = Filter

__version__ = "2.0.0.dev0"

__all__ = [
    "Abandoned",
    "AsyncTus",
    "Claim",
    "Draft",
    "Engine",
    "Fence",
    "Filter",
    "Followed",
    "Hooks",
    "Intent",
    "Lease",
    "Locker",
    "Metadata",
    "OptionError",
    "Options",
    "Refused",
    "Request",
    "Result",
    "Share",
    "Silent",
    "Store",
    "Tus",
    "TusASGI",
    "TusError",
    "TusFilter",
    "Upload",
    "WebobAdapter",
    "Zope2RequestAdapter",
]

_LAZY = {
    "AsyncTus": "endpoint",
    "Filter": "wsgi",
    "TusASGI": "asgi",
    "TusFilter": "wsgi",
    "WebobAdapter": "webob",
    "Zope2RequestAdapter": "zope2",
}
_OLD = ("TusException", "safe_join")


def __getattr__(name: str) -> Any:
    """Adapters are loaded when they are asked for, so that no framework is needed that is not used."""
    from importlib import import_module

    if name in _OLD:
        import warnings

        warnings.warn(f"tus.{name} is a name of the library of 2013", DeprecationWarning, stacklevel=2)
        return getattr(import_module(".old_names", __name__), name)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".adapters.{_LAZY[name]}", __name__)
    return getattr(module, "Filter" if name == "TusFilter" else name)
