"""How uploads and downloads are stopped from another thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from .failures import Stopped
from .link import Link


class Brake:
    """Stops everything that it was given to; what was stopped says `Stopped`."""

    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._lock = threading.Lock()
        self._links: list[Link] = []

    @property
    def pulled(self) -> bool:
        return self._pulled.is_set()

    def pull(self) -> None:
        """Stop, for good."""
        self._pulled.set()
        with self._lock:
            for link in self._links:
                link.abort()

    def rest(self, seconds: float) -> None:
        """Wait so long, unless it is stopped."""
        if self._pulled.wait(seconds):
            raise Stopped("stopped")

    @contextlib.contextmanager
    def on(self, link: Link) -> Iterator[Link]:
        """What is done here with this link can be stopped."""
        with self._lock:
            self._links.append(link)
        try:
            if self.pulled:
                raise Stopped("stopped")
            yield link
        finally:
            with self._lock:
                self._links.remove(link)
