"""granian in our own event loop: HTTP/1.1 and HTTP/2, with TLS or without.

Its streams have windows of their own, and it resets the stream of a request that was answered before its end.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.net import SocketHolder
from granian.server.embed import Server

from .certificates import Pair

_HEAD = 20_000  # milliseconds from the first byte of a request's head to its last


class Http2(Server):  # type: ignore[misc] # which has no types
    """Serves one listening socket, from `serve` to `stop`; then what it has begun comes to its end."""

    def __init__(self, app: Any, sock: socket.socket, pair: Pair | None, *, connections: int) -> None:
        self._listening, self._most = sock, connections
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            backlog=connections,
            backpressure=connections,
            http1_settings=HTTP1Settings(header_read_timeout=_HEAD),
            log_enabled=False,
            ssl_cert=Path(pair.certificate) if pair else None,
            ssl_key=Path(pair.key) if pair else None,
            ssl_protocol_min=SSLProtocols.tls12,
            websockets=False,
        )

    def _init_shared_socket(self) -> None:
        # A copy, which it closes. Two of them on one socket take turns, so that a new certificate refuses nobody.
        unix = self._listening.family not in (socket.AF_INET, socket.AF_INET6)
        self._ssp, self._shd = None, SocketHolder(os.dup(self._listening.fileno()), unix, self._most)
