"""How a worker notices that its supervisor is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._waitress import wasyncore


class Lifeline(wasyncore.file_dispatcher):
    """The end of a pipe that the supervisor holds: when it closes, the supervisor is gone."""

    def __init__(self, fd: int, map: dict[int, Any], stop: Callable[[], None]) -> None:
        super().__init__(fd, map=map)
        self._stop = stop

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.handle_close()

    def handle_close(self) -> None:
        self.close()
        self._stop()
