"""How uploads and downloads are stopped from another thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol, TypeVar

from .failures import Stopped


class Abortable(Protocol):
    """What may be waited for."""

    def abort(self) -> None: ...


A = TypeVar("A", bound=Abortable)


class Brake:
    """Stops everything that it was given to; what was stopped says `Stopped`."""

    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._lock = threading.Lock()
        self._under_way: list[Abortable] = []

    @property
    def pulled(self) -> bool:
        return self._pulled.is_set()

    def pull(self) -> None:
        """Stop, for good."""
        self._pulled.set()
        with self._lock:
            for each in self._under_way:
                each.abort()

    def rest(self, seconds: float) -> None:
        """Wait so long, unless it is stopped."""
        if self._pulled.wait(seconds):
            raise Stopped("stopped")

    @contextlib.contextmanager
    def on(self, each: A) -> Iterator[A]:
        """What is done here with this can be stopped."""
        with self._lock:
            self._under_way.append(each)
        try:
            if self.pulled:
                raise Stopped("stopped")
            yield each
        finally:
            with self._lock:
                self._under_way.remove(each)
