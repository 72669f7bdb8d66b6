"""What thousands of uploads that wait must not cost others: the interpreter, open files, and long garbage
collections."""

from __future__ import annotations

import gc
import time
from typing import Protocol

CROWD = 64  # bodies; more of them that called for each packet would keep the others waiting
MOMENT = 0.0005  # seconds
MOMENTS = 4  # that the loop has for what it does; it may be stuck in the application
TURNS = 8  # visits after which whoever waits for the interpreter gets it
NAP = 0.0001  # seconds; shorter, and a thread that waits on another processor would not be awake in time
FROZEN = 256  # bodies that begin between two times that the collector is told to leave alone what there is
THAW = 100  # times after which it looks at everything again
FILES = 3  # the connection, the lease and the data

_freeze, _unfreeze = getattr(gc, "freeze", None), getattr(gc, "unfreeze", None)


class Wakeful(Protocol):
    """The loop."""

    awake: bool


class Crowd:
    """The manners of the threads that serve those who wait."""

    def __init__(self, loop: Wakeful, open_files: int) -> None:
        self._loop = loop
        self._files = open_files
        self._turns = self._begun = self._froze = 0

    def give_way(self) -> None:
        """Before each piece of work: the loop goes first, with the short requests. A thread that does little between
        two system calls keeps the interpreter through all of them, if it never sleeps."""
        self._turns += 1
        if self._turns % TURNS == 0:
            time.sleep(NAP)
        for _ in range(MOMENTS):
            if not self._loop.awake:
                return
            time.sleep(MOMENT)

    def lacks_files(self, parked: int) -> bool:
        """Whether so many bodies that wait need files that others may want."""
        return parked * FILES > self._files // 8

    def began(self, parked: int) -> None:
        """Of a crowd, what was there before is there after each collection, and to look at it takes a tenth of a
        second."""
        self._begun += 1
        if parked <= CROWD or self._froze >= THAW:
            self._thaw()
        elif self._begun % FROZEN == 0 and _freeze:
            self._froze += 1
            _freeze()

    def ended(self, parked: int) -> None:
        if parked <= CROWD:
            self._thaw()

    def _thaw(self) -> None:
        if self._froze and _unfreeze:
            _unfreeze()
        self._froze = 0
