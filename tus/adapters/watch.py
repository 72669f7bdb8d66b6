"""Which steps an event loop takes by itself: those of a kind that is quick.

A small file is read or written sooner than a thread is woken. But a disk can be slow, and nobody knows before: so each
step is timed, in a thread at first. Where one was quick, the loop takes the next ones, until one of them is slow: then
that kind goes to threads for a while, and must be quick there before the loop takes it again. So the loop waits once
for a disk that becomes slow, and never for one that stays slow. A slow step among hundreds of quick ones is forgiven:
on a busy machine, or in a container with a limit, any system call may take some milliseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Outcome = TypeVar("Outcome")

QUICK = 0.002  # seconds; to wake a thread, and to come back, takes a thirtieth of this
SHORTEST = 1.0  # seconds in which steps go to threads, which costs little; doubled each time
LONGEST = 60.0  # seconds
_GOOD = 10  # times as long must the loop have found all steps quick, or the next time is twice as long
_WARY = 1.0  # seconds after a slow step in which it is looked at why they are slow
_EARNED = 0.0001  # seconds that each quick step of the loop earns for slow ones: a host may stop us, and no disk
_CREDIT = 0.05  # seconds of these at most
_files: dict[int, int] = {}  # where the system tells how long a thread has waited for a processor; by the thread


class Watch:
    """One kind of steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, worked: Callable[[], float] | None = None) -> None:
        self._clock, self._busy = clock, worked or busy
        self.trusts = False  # whether the loop may take the next step
        self._turned = 0.0  # when it began to trust, or when it may again
        self._rest = 0.0  # seconds of the last time without
        self._credit = 0.0  # seconds that may be lost without consequences
        self._wary = 0.0  # until when it is asked how long a thread had no processor

    def timed(self, act: Callable[..., Outcome], *args: object) -> Outcome:
        """One step, here."""
        began = self._clock()
        wary = began < self._wary
        if wary:
            worked = self._busy()
            began = self._clock()  # read last: this thread may have lost its processor meanwhile
        outcome = act(*args)
        now = self._clock()
        if now - began <= QUICK:
            self._was_quick(now)
            return outcome
        self._wary = now + _WARY
        if wary:
            # At work, or without a processor, no other thread would be quicker. It is asked only where it matters.
            slow = now - began - (self._busy() - worked)
            if slow <= QUICK:
                self._was_quick(now)
            else:
                self._was_slow(now, slow)
        return outcome

    def _was_quick(self, now: float) -> None:
        if self.trusts:
            self._credit = min(self._credit + _EARNED, _CREDIT)
        elif now >= self._turned:
            self.trusts, self._turned = True, now

    def _was_slow(self, now: float, seconds: float) -> None:
        if self._credit >= seconds:
            self._credit -= seconds
        elif self.trusts:
            again = now - self._turned < _GOOD * self._rest
            self._rest = min(2 * self._rest, LONGEST) if again else SHORTEST
            self.trusts, self._turned, self._credit = False, now + self._rest, 0.0
        self._wary = max(now, self._turned) + _WARY


def busy() -> float:
    """Seconds in which this thread has worked, or could have worked and had no processor: what is left of the time
    that passes, it has waited for something. To collect garbage is work, too, and may take longer than a disk."""
    return time.thread_time() + queued()


def queued() -> float:
    """Seconds that this thread could have run and had no processor; 0.0 where the system does not say."""
    thread = threading.get_native_id()
    try:
        if thread not in _files:
            _files[thread] = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        return int(os.pread(_files[thread], 64, 0).split()[1]) / 1e9
    except (OSError, IndexError):
        file = _files.pop(thread, -1)  # that of a thread which is over
        if file >= 0:
            os.close(file)
        return 0.0
