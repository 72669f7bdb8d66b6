"""Uploads that somebody here reads while they arrive: one thread of the process looks at each of them, however many
read it, and calls those who wait.

A writer takes no lock here and waits for nothing. Where it writes in the same process, it rings when nobody had
expected anything; elsewhere the thread sees the offset, at intervals that grow while nothing comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..errors import StoreAway, TusError
from ..upload import Upload

log = logging.getLogger("tus")

SOONEST, LATEST = 0.05, 1.0  # seconds between two looks at an upload: while it grows, and when it stands still
FARTHEST = 10.0  # … the longest where the store is far away
SLOWER = 1.5  # how much longer each interval is in which nothing came
BEAT = 5.0  # seconds after which those who wait are called in any case: their own time may be over

Look = Callable[[], Upload]
Wake = Callable[[], object]


class Watched:
    """One upload, for all who read it here."""

    def __init__(self, look: Look, *, soonest: float, latest: float) -> None:
        self._look, self._soonest, self._latest = look, soonest, latest
        self._guard = threading.Lock()
        self._waiting: list[Wake] = []
        self._called = 0.0
        self.readers = 0
        self.upload = look()
        self.error: TusError | None = None  # why there is no such upload any more
        self.version = 0  # of the two; grows last
        self.idle = False  # nothing is expected soon, so that a writer may ring
        self.grew = time.monotonic()
        self.period, self.due = soonest, 0.0

    def call(self, wake: Wake, seen: int) -> None:
        """Call this, once, when there is another version than that, or now and then. From any thread."""
        with self._guard:
            if self.version == seen:
                self._waiting.append(wake)
                return
        wake()

    def visit(self, now: float) -> None:
        """Look, and call those who wait if anything is new."""
        if self._looked(now) or now - self._called > BEAT:
            self._call_all(now)
        self.due = now + self.period
        self.idle = self.period > self._soonest

    def _looked(self, now: float) -> bool:
        """Whether anything is new."""
        before = self.upload, self.error
        try:
            self.upload, self.error = self._look(), None
        except StoreAway:  # perhaps the next time
            pass
        except TusError as error:
            self.error = error
        except Exception:
            log.exception("an upload that is read while it arrives cannot be looked at")
        if _facts(*before) == _facts(self.upload, self.error):
            self.period = min(self.period * SLOWER, self._latest)
            return False
        self.grew = now if self.upload.offset > before[0].offset else self.grew
        self.period = self._soonest
        return True

    def _call_all(self, now: float) -> None:
        with self._guard:
            self.version += 1
            waiting, self._waiting = self._waiting, []
        self._called = now
        for wake in waiting:
            try:
                wake()
            except RuntimeError:  # its event loop is closed
                log.debug("a reader is gone", exc_info=True)
            except Exception:  # all others wait for this thread
                log.exception("a reader cannot be woken")


def _facts(upload: Upload, error: TusError | None) -> tuple[object, ...]:
    """What a reader has to know."""
    return upload.offset, upload.length, upload.complete, upload.result, upload.dropped, type(error)


class Watches:
    """All that are read here."""

    def __init__(self, *, far: bool) -> None:
        self._soonest, self._latest = (LATEST, FARTHEST) if far else (SOONEST, LATEST)
        self._watched: dict[str, Watched] = {}
        self._guard = threading.Lock()
        self._bell = threading.Event()
        self._running = False
        self._threads = 0

    def ring(self, id: str, offset: int = 0) -> None:
        """Something has become of the upload."""
        watched = self._watched.get(id)
        if watched is not None and watched.idle:
            watched.idle, watched.due = False, 0.0
            self._bell.set()

    def join(self, id: str, look: Look) -> Watched:
        """What all who read this upload look at; raises what the look raises."""
        with self._guard:
            watched = self._watched.get(id)
        new = None if watched else Watched(look, soonest=self._soonest, latest=self._latest)
        with self._guard:
            watched = self._watched.get(id) or new or watched
            assert watched
            self._watched[id] = watched
            watched.readers += 1
            watched.due = 0.0  # what another reader saw may be old
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="tus-watching", daemon=True).start()
        self._bell.set()
        return watched

    def leave(self, id: str, watched: Watched) -> None:
        """One reader less."""
        with self._guard:
            watched.readers -= 1
            if not watched.readers and self._watched.get(id) is watched:
                del self._watched[id]

    def __len__(self) -> int:
        return len(self._watched)

    def hold(self, most: int) -> bool:
        """Whether one more reader may have a thread."""
        with self._guard:
            held = self._threads < most
            self._threads += held
            return held

    def free(self) -> None:
        """A reader gives its thread back."""
        with self._guard:
            self._threads -= 1

    def _run(self) -> None:
        while True:
            self._bell.clear()
            with self._guard:
                watched = list(self._watched.values())
                if not watched:
                    self._running = False
                    return
            for one in watched:
                if one.due <= (now := time.monotonic()):
                    one.visit(now)
            soonest = min(one.due for one in watched)
            del watched, one
            self._bell.wait(max(soonest - time.monotonic(), 0.0))
