"""waitress with streaming request bodies: an upload reaches the application while it arrives.

It must never be needed: the filter works under any WSGI server, and nothing but waitress may be imported here.
"""

from __future__ import annotations

from .listener import create_server
from .serving import paste_main, serve

__all__ = ["create_server", "paste_main", "serve"]
