"""waitress with streaming request bodies: an upload reaches the application while it arrives.

The filter works under any WSGI server, so nothing else in `tus` needs this package; it imports nothing but waitress.
"""

from __future__ import annotations

from .process import create_server
from .serving import paste_main, serve

__all__ = ["create_server", "paste_main", "serve"]
