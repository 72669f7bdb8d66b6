"""Connections to a server, for the threads of a process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from ..errors import StoreAway

log = logging.getLogger("tus")

SIZE = 8  # connections at most; each is needed for less than a millisecond
PATIENCE = 5.0  # seconds to wait for one of them, which is long enough for one time-out of the others


class Pooled(Protocol):
    """What can be put back."""

    def close(self) -> None: ...

    def abandon(self) -> None:
        """We are a child of the process that opened it: let go, and send nothing."""


C = TypeVar("C", bound=Pooled)
T = TypeVar("T")


class Broken(Exception):
    """The connection is of no use any more. `late`: since there was no answer in time."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


class Pool(Generic[C]):
    """Opens a connection when it is needed; one that died since the last request is replaced."""

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._begin()

    def _begin(self) -> None:
        self._places = threading.BoundedSemaphore(SIZE)
        self._idle: list[C] = []
        self._open: set[C] = set()
        self._away = False

    def ask(self, deed: Callable[[C], T]) -> T:
        """What the deed brings; raises StoreAway. It may be done twice."""
        if not self._places.acquire(timeout=PATIENCE):
            raise StoreAway("the server of the leases is too slow")
        try:
            while self._idle:
                try:
                    return self._done(self._idle.pop(), deed)
                except Broken as error:
                    if error.late:
                        raise
                except IndexError:  # another thread was faster
                    break
            return self._done(self.open(), deed)
        except Broken as error:
            self._tell(error)
            raise StoreAway("the server of the leases does not answer") from error
        finally:
            self._places.release()

    def open(self, connect: Callable[[], C] | None = None) -> C:
        """A new connection, which the caller closes by `close`."""
        connection = (connect or self._connect)()
        self._open.add(connection)
        return connection

    def close(self, connection: C) -> None:
        self._open.discard(connection)
        connection.close()

    def _done(self, connection: C, deed: Callable[[C], T]) -> T:
        try:
            result = deed(connection)
        except BaseException:
            self.close(connection)
            raise
        self._idle.append(connection)
        if self._away:
            self._away = False
            log.warning("the server of the leases answers again")
        return result

    def _tell(self, error: Broken) -> None:
        """Clients need not know where it is; and the operator hears of it once."""
        if not self._away:
            self._away = True
            log.error("the server of the leases does not answer: %s", error)

    def once(self, deed: Callable[[C], T]) -> T:
        """What the deed brings, on a connection for it alone; raises Broken."""
        connection = self.open()
        try:
            return deed(connection)
        finally:
            self.close(connection)

    def close_all(self) -> None:
        for connection in list(self._open):
            self.close(connection)
        self._idle.clear()

    def __del__(self) -> None:
        with suppress(AttributeError, TypeError):  # half made, or at the end of the process
            self.close_all()

    def forked(self) -> None:
        """We are a child: what is open is the parent's."""
        for connection in list(self._open):
            connection.abandon()
        self._begin()
