"""How those who hold a lease are told that they lost it, between threads and between processes."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from . import marks

log = logging.getLogger("tus")

_SHORTLY = 1.0  # seconds; longer than it takes to end a read


class Ends:
    """What to call when a lease is lost: once, and never after it was forgotten."""

    def __init__(self) -> None:
        self._guard = threading.RLock()  # the garbage collector may release a lease while its thread is in here
        self._calling = threading.RLock()
        self._ends: dict[int, tuple[str, int, Callable[[], None]]] = {}

    def listen(self, key: int, id: str, token: int, end: Callable[[], None]) -> None:
        with self._guard:
            self._ends[key] = id, token, end

    def forget(self, key: int) -> None:
        with self._guard:
            known = self._ends.pop(key, None)
        # It is called in this moment: the connection may serve another request as soon as we return. The wait has an
        # end, as the garbage collector may have brought us here while the caller waits for this thread.
        if not known and self._calling.acquire(timeout=_SHORTLY):
            self._calling.release()

    def end(self, id: str, newest: int) -> None:
        """Every holder of an older lease than `newest` has lost it."""
        with self._calling:
            with self._guard:
                lost = [key for key, (of, token, _) in list(self._ends.items()) if of == id and token < newest]
                ends = [self._ends.pop(key)[2] for key in lost]
            for end in ends:
                try:
                    end()
                except Exception:  # the newcomer, or the thread that listens for all, must not suffer for it
                    log.exception("ending a request that lost %s failed", id)


def owner_of(number: int) -> str:
    """Of the process that leaves such marks."""
    return f"tus-{number:016x}"


class Ear:
    """Where this process is told that it lost a lease, so that it need not find out at its next write.

    A datagram socket in Linux's abstract name space; elsewhere processes are not told, and fencing alone holds.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._number = 0
        self._address = ""
        self._socket: socket.socket | None = None
        self.ends = Ends()

    def address(self) -> str:
        """Our own, opened at the first lease; a process that never writes needs none."""
        if not self._address:
            with self._guard:
                if not self._address:
                    self._open()
        return self._address

    def number(self) -> int:
        """The address as a number that fits into a mark."""
        self.address()
        return self._number

    def _open(self) -> None:
        self._number = secrets.randbits(marks.BITS) or 1
        address = owner_of(self._number)
        with suppress(OSError):
            ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ear.bind("\0" + address)
            self._socket = ear
            threading.Thread(target=self._hear, args=(ear, self.ends), name="tus-leases", daemon=True).start()
        self._address = address

    def _hear(self, ear: socket.socket, ends: Ends) -> None:
        while True:
            id, _, token = ear.recv(256).decode("ascii", "replace").partition(" ")
            if token.isdigit():
                ends.end(id, int(token))

    def tell(self, owner: str, id: str, newest: int) -> None:
        """Every holder of an older lease than `newest` has lost it."""
        if owner == self._address:
            self.ends.end(id, newest)
        elif self._socket:
            with suppress(OSError):  # dead, or too busy to listen: it finds out at its next turn
                self._socket.sendto(f"{id} {newest}".encode(), socket.MSG_DONTWAIT, "\0" + owner)

    def reaches(self, owner: str) -> bool:
        """Whether the process that listens there is certainly alive."""
        if not owner or owner == self._address:
            return bool(owner)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
            caller.connect("\0" + owner)
            return True
        return False
