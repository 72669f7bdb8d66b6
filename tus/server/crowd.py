"""What thousands of uploads that wait must not cost others: the interpreter and open files."""

from __future__ import annotations

import time
from typing import Protocol

MOMENT = 0.0005  # seconds
MOMENTS = 4  # that the loop has for what it does; it may be stuck in the application
TURNS = 8  # visits after which whoever waits for the interpreter gets it
NAP = 0.0001  # seconds; shorter, and a thread that waits on another processor would not be awake in time
FILES = 3  # the connection, the lease and the data


class Wakeful(Protocol):
    """The loop."""

    awake: bool


class Crowd:
    """The manners of the threads that serve those who wait."""

    def __init__(self, loop: Wakeful, open_files: int) -> None:
        self._loop = loop
        self._files = open_files
        self._turns = 0

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
