"""`tus serve` over HTTPS: the same WSGI application on a server of ASGI, which speaks HTTP/2 and perhaps HTTP/3.

What it needs is the extra `tus[asgi]`, so nothing else imports this package before it is asked for.
"""

from __future__ import annotations

from .serving import serve_asgi

__all__ = ["serve_asgi"]
