"""The socket of a body that streams: waits for bytes, ends the wait from any thread, and gives up slow clients.

It never hands out a byte that came after it was ended, nor loses one that came before.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ._waitress import ClientDisconnected

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover - Windows
    fcntl = termios = None  # type: ignore[assignment]

LONGEST = 0x7FFFFFFF  # milliseconds that poll() takes
GATHER = 65536  # bytes that the kernel gathers before it wakes the thread of one upload among many
MOMENT = 2000  # milliseconds after which less than that will do
VISIT = 1 << 18  # bytes that one of many bodies may bring before the others have their turn
Taken = TypeVar("Taken", bytes, int)  # what was received, or how much


class ConnectionCut(ClientDisconnected, ConnectionResetError):
    """The client went away, or was sent away, before the body was whole."""


class BodyTooSlow(ClientDisconnected, TimeoutError):
    """The body fell silent for ``body_timeout``, or came slower than ``body_min_rate``."""


class NothingYet(Exception):
    """Nothing has come for longer than this body's reader has patience."""


class Receiver:
    """Receives from the connection's socket, which stays open for this though the loop may close it at any time. One
    thread receives; any thread may call ``end``."""

    __slots__ = (
        "_allowance",
        "_ended",
        "_grace",
        "_heard",
        "_held",
        "_lock",
        "_lowat",
        "_min_rate",
        "_open",
        "_poll",
        "_timeout",
        "_visited",
        "_waited",
        "_window",
        "patience",
        "say_continue",
        "sock",
    )

    def __init__(self, sock: socket.socket, timeout: float, min_rate: int, received: int) -> None:
        self._timeout, self._min_rate = timeout, min_rate
        self._waited, self._window = 0.0, received
        self._lock = threading.Lock()
        sock.setblocking(False)
        self.sock = sock
        self._held = sock.makefile("rb", buffering=0)  # a socket is closed when the last of its files is, too
        self._open = True
        self._poll: select.poll | None = None  # made for a thread that waits
        self._lowat = 1
        self._ended = False
        self._grace: int | None = None  # bytes that had arrived when end() was called
        self._allowance: int | None = None  # bytes that this visit may bring; None: a thread receives
        self._visited = self._heard = 0.0  # by one thread that receives for many
        self.patience: int | None = None  # milliseconds until NothingYet; None: as long as it takes
        self.say_continue: Callable[[], object] | None = None  # before the first wait

    # -- set-up and end

    def gather(self, size: int) -> None:
        """Be woken when so much has arrived, and not by each packet."""
        if size != self._lowat:
            self._lowat = size
            with suppress(OSError):  # gone: that wakes, too
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def detach(self) -> bool:
        """Receiving is an error from now on; false, if it was one before. The socket stays open until ``close``."""
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self.gather(1)
        return was_open

    def close(self) -> None:
        """Close the socket, if the connection is closed."""
        self._held.close()

    def end(self) -> None:
        """Make the reader see a cut body at once, after what has arrived; from any thread."""
        self._ended = True
        with self._lock:
            if self._open:
                with suppress(OSError):  # the connection may be gone already
                    self.sock.shutdown(socket.SHUT_RD)  # wakes a reader that waits

    # -- one thread for many

    def park(self) -> int:
        """From now on it is visited, and no thread waits; returns the file to watch."""
        self.patience = self._allowance = 0
        self._visited = self._heard = time.monotonic()
        return self.sock.fileno()

    def visit(self, now: float) -> None:
        """What comes next is received at this time."""
        self._waited += now - self._visited
        self._visited, self._allowance = now, VISIT

    def unpark(self, patience: int) -> None:
        """A thread receives again."""
        self.patience, self._allowance = patience, None
        self.gather(1)

    # -- receiving

    def take(self, receive: Callable[[int], Taken], size: int, received: int) -> Taken:
        """One receive of at most ``size`` bytes; what ``receive`` returns, which is never empty. ``received`` bytes of
        the body have come before."""
        if not self._open:
            raise ConnectionCut("the request is over")
        while True:
            if self._allowance == 0:
                raise NothingYet
            room = self._room(size, received)
            try:
                data = receive(room)
            except BlockingIOError:
                self._wait(received, room)
                continue
            except OSError as error:
                raise ConnectionCut(f"{error.strerror} after {received} bytes of the body") from error
            if not data:
                raise ConnectionCut(f"the client left after {received} bytes of the body")
            if self._grace is not None or self._allowance is not None:
                self._came(data if isinstance(data, int) else len(data))
            return data

    def _came(self, size: int) -> None:
        if self._grace is not None:
            self._grace -= size
        if self._allowance is not None:
            self._allowance = max(self._allowance - size, 0)
            self._heard = self._visited

    def _room(self, size: int, received: int) -> int:
        """How much may be received now; after end() only what had arrived by then."""
        if not self._ended:
            return size
        if self._grace is None:
            self._grace = arrived(self.sock)
        if not self._grace:
            raise ConnectionCut(f"ended after {received} bytes of the body")
        return min(size, self._grace)

    def _wait(self, received: int, room: int) -> None:
        """Until something has arrived, or it takes too long."""
        if self.say_continue is not None:
            say, self.say_continue = self.say_continue, None
            say()
        if self._waited >= self._timeout:
            if received - self._window < self._min_rate * self._waited:
                raise BodyTooSlow(f"fewer than {self._min_rate} bytes per second")
            self._waited, self._window = 0.0, received
        if self._allowance is not None:
            if self._visited - self._heard >= self._timeout:
                raise self._silence()
            raise NothingYet
        started = time.monotonic()
        if self.patience is None:
            if room < self._lowat:
                self.gather(room)
            self._wait_long()
        elif not self.patience or not self._comes(self.patience):
            raise NothingYet
        self._waited += time.monotonic() - started

    def _wait_long(self) -> None:
        # 1 ms more: poll() must not return just before the deadline.
        patience = min(int(self._timeout * 1000) + 1, LONGEST)
        if self._lowat > 1 and not self._comes(min(patience, MOMENT)) and not arrived(self.sock):
            self.gather(1)  # silence: whatever comes next ends it
        if self._lowat == 1 and not self._comes(patience):
            raise self._silence()

    def _comes(self, patience: int) -> bool:
        """Whether something comes within so many milliseconds."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
        return bool(self._poll.poll(patience))

    def _silence(self) -> BodyTooSlow:
        return BodyTooSlow(f"silent for {self._timeout:g} seconds")


def arrived(sock: socket.socket) -> int:
    """How many bytes the kernel holds for us."""
    if fcntl is None:  # pragma: no cover - Windows
        return 0
    answer = fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4)
    return int.from_bytes(answer, sys.byteorder)
