"""How processes tell each other that they took over an upload."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger("tus")


class Ear:
    """Where this process is told that it lost a lease, so that it need not find out at its next write.

    A datagram socket in Linux's abstract name space; elsewhere processes are not told, and fencing alone holds.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._guard = threading.RLock()  # the garbage collector may release a lease while its thread is in here
        self._address = ""
        self._socket: socket.socket | None = None
        self._ends: dict[tuple[str, int], Callable[[], None]] = {}

    def address(self) -> str:
        """Our own, opened at the first lease; a process that never writes needs none."""
        if not self._address:
            with self._guard:
                if not self._address:
                    self._open()
        return self._address

    def _open(self) -> None:
        address = f"tus-{os.getpid()}-{secrets.token_hex(8)}"
        with suppress(OSError):
            ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ear.bind("\0" + address)
            self._socket = ear
            threading.Thread(target=self._hear, args=(ear,), name="tus-leases", daemon=True).start()
        self._address = address

    def _hear(self, ear: socket.socket) -> None:
        while True:
            id, _, number = ear.recv(256).decode("ascii", "replace").partition(" ")
            if number.isdigit():
                self._end(id, int(number))

    def listen(self, id: str, number: int, end: Callable[[], None]) -> None:
        with self._guard:
            self._ends[id, number] = end

    def forget(self, id: str, number: int) -> None:
        with self._guard:
            self._ends.pop((id, number), None)

    def tell(self, owner: str, id: str, newest: int) -> None:
        """Every holder of an older lease than `newest` has lost it."""
        if owner == self._address:
            self._end(id, newest)
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

    def _end(self, id: str, newest: int) -> None:
        with self._guard:
            lost = [key for key in list(self._ends) if key[0] == id and key[1] < newest]
            ends = [self._ends.pop(key) for key in lost]
        for end in ends:
            try:
                end()
            except Exception:  # the newcomer, or the thread that listens for all, must not suffer for it
                log.exception("ending a request that lost %s failed", id)
