"""Where connections come in: as many as the system has room for, and the others wait outside."""

from __future__ import annotations

import errno
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

from ._waitress import BaseWSGIServer
from .settings import CONNECTED, Settings

if TYPE_CHECKING:
    from .channel import Channel
    from .loop import Loop

logger = logging.getLogger("tus.server")
ACCEPTED = 64  # connections that are accepted before others have their turn
REST = 0.5  # seconds without accepting, where the system has no room for another connection
SILENCE = 5.0  # seconds between two lines that say the same
FULL = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Door(BaseWSGIServer):
    """waitress's listener, which accepts all who wait while there is room."""

    adj: Settings
    active_channels: dict[int, Channel]
    interest = 0
    loop: Loop | None = None
    _rests_until = _said = 0.0

    def handle_accept(self) -> None:
        """All who wait, where several things happen at once: a HEAD may be behind a thousand uploads."""
        super().handle_accept()
        if self.loop is None or not self.loop.several:
            return
        for _ in range(ACCEPTED):
            before = len(self.active_channels)
            if self.readable():
                super().handle_accept()
            if len(self.active_channels) == before:
                return

    def accept(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._rest(error.strerror or "")
            return None
        # The system gives the lowest number that is free, so it tells how many files are open.
        if accepted is not None and accepted[0].fileno() > self.adj.open_files * CONNECTED:
            self._rest("nearly as many files are open as this process may open")
        return accepted

    def _rest(self, why: str) -> None:
        """Without this the loop would do nothing but fail: the connection that waits stays there."""
        now = time.monotonic()
        self._rests_until = now + REST
        if now >= self._said + SILENCE:
            self._said = now
            logger.error("No more connections for a moment: %s", why)

    def readable(self) -> bool:
        accepts = super().readable()
        if self.loop is None:
            self.glance()
        return accepts and not self.rests

    @property
    def rests(self) -> bool:
        """For a moment no connection is accepted."""
        return time.monotonic() < self._rests_until

    def relieved(self) -> None:
        """A connection is closed: there is room for another."""
        if self._rests_until or self.in_connection_overflow:
            self._rests_until = 0.0
            if self.loop is not None:
                self.loop.update(self)

    def glance(self) -> None:
        """Look at the requests that arrive; in the loop's thread."""
        raise NotImplementedError
