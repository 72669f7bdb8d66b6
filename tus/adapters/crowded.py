"""What conversations do differently where thousands have one at a time, so that nobody waits for them and
memory does not grow.

A client that trickles is looked at from time to time, and not for each of its packets; its files are closed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

RATE = 4000  # conversations a second that bring little; each takes a step of its own
LATEST = 2.5  # seconds for which what came of such a one may wait with the server
WORTH = 1 << 16  # bytes at once that are worth a step at any time; servers hold as many for us
HELD = 1 << 26  # bytes that all servers' buffers may hold for that long
FILES = 3  # the connection, the lease and the data


class Conversations:
    """Those of this process that have begun, and what each brought the last time."""

    def __init__(self, open_files: Callable[[], int] | None = None) -> None:
        self._open_files = open_files or _open_files
        self._count = self._held = 0

    def enter(self) -> None:
        self._count += 1

    def leave(self, last: int) -> None:
        self._count -= 1
        self._held -= last

    def brought(self, before: int, now: int) -> None:
        self._held += now - before

    def pause(self, brought: int) -> float:
        """Seconds until one that brought so much is looked at again."""
        if brought >= WORTH:
            return 0.0
        seconds = min(self._count / RATE, LATEST)
        if seconds < LATEST / 100:
            return 0.0  # so few that each may have its step as it comes
        return seconds if self._held <= HELD else seconds * HELD / self._held

    @property
    def lack_files(self) -> bool:
        """Whether so many need open files that others may want."""
        return self._count * FILES > self._open_files() // 8


def _open_files() -> int:
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows has no such limit
        return 1024
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit if limit >= 0 else 1 << 20
