"""The Writer: what an adapter fills with the body of one request.

Each block is one turn of the lease, so a request that was overtaken can write nothing more. It never reads from the
network, and checks every count that the client sent.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from ..checksum import Checksum, Hash
from ..errors import Overrun, TooLarge, TusError
from ..lockers import Lease
from ..stores import Place
from ..upload import Upload


class Sink(Protocol):
    """What an adapter fills: a Writer, or what looks at the body before it gives it to one."""

    @property
    def lease(self) -> Any:
        """Not None, if there is somebody to be told when the lease is lost, by `on_lost`."""

    @property
    def wanted(self) -> int | None: ...
    @property
    def splices(self) -> bool: ...
    def write(self, block: bytes | bytearray | memoryview) -> None: ...
    def splice(self, pipe: int, size: int) -> int: ...


class Writer:
    """Takes bytes for one upload while its lease holds."""

    def __init__(
        self,
        upload: Upload,
        *,
        room: int | None = 0,
        announced: int | None = 0,
        lease: Lease | None = None,
        place: Place | None = None,
        fresh: bool = False,
        unverified: bool = False,
        last: bool | None = None,
        checksum: Checksum | None = None,
        write_back: bool = False,
        progressed: Callable[[int], None] | None = None,
        failed: Callable[[Writer, BaseException], None] | None = None,
    ) -> None:
        self.upload = upload  # as it was before the first byte
        self.announced = announced  # bytes that this request says it has; None when only its end tells
        self.lease = lease  # None: the upload is complete, and nothing is left to do
        self.fresh = fresh  # no other request knows of this upload yet
        self.unverified = unverified  # a checksum is going to decide whether anything is kept
        self.last = last  # whether the client says that this ends the upload; None: its length alone tells
        self.received = 0
        self._end = upload.offset
        self._room = room
        self._place = place
        self._checksum = checksum
        self._hash: Hash | None = checksum.hash() if checksum else None
        self._write_back = write_back
        self._progressed = progressed
        self._failed = failed

    @property
    def wanted(self) -> int | None:
        """How many bytes may still come; None means any number."""
        room, announced = self._room, self.announced
        if announced is None:
            return None if room is None else room - self.received
        return (announced if room is None or announced < room else room) - self.received

    @property
    def splices(self) -> bool:
        """Whether blocks may come through a pipe; not if they have to be hashed."""
        return self._hash is None and self._place is not None

    @property
    def offset(self) -> int:
        """Where the upload ends now."""
        return self._place.position if self._place else self._end

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Store a block; raises Interrupted, TooLarge or StoreFull, and keeps what came before."""
        if not len(block):
            return
        if self._room is not None and self.received + len(block) > self._room:
            overrun = Overrun if self.upload.length is not None else TooLarge
            error = overrun(f"the body goes beyond the {self._room} bytes that there is room for")
            error.limit = self.upload.offset + self._room
            raise error
        assert self._place and self.lease
        start = self._place.position
        try:
            with self.lease.turn():
                self._place.write(block)
        finally:
            self.received += self._place.position - start
        if self._hash:
            self._hash.update(block)
        self._after()

    def splice(self, pipe: int, size: int) -> int:
        """Store up to `size` bytes that wait in a pipe, without bringing them into Python."""
        assert self._place and self.lease
        with self.lease.turn():
            moved = self._place.splice(pipe, size)
        self.received += moved
        self._after()
        return moved

    def tell(self, told: Callable[[int], None]) -> None:
        """Call this as well, with the offset, after each block."""
        first = self._progressed

        def both(offset: int) -> None:
            if first:
                first(offset)
            told(offset)

        self._progressed = both

    def _after(self) -> None:
        if self._write_back and self._place:
            self._place.start_sync()
        if self._progressed:
            self._progressed(self.offset)

    def matches(self) -> bool:
        """Whether the bytes are those that the checksum in front of the body speaks of."""
        return self._checksum is None or self._hash is None or self._checksum.matches(self._hash)

    def truncate(self) -> None:
        """Forget every byte of this request. Only in a turn."""
        if self._place:
            self._place.truncate(self.upload.offset)

    def fall_back(self, size: int) -> None:
        """Forget every byte behind `size`, also of earlier requests. Only in a turn."""
        if self._place:
            self._place.truncate(size)

    def sync(self) -> None:
        """Block until everything is on stable storage."""
        if self._place:
            self._place.sync()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and self._failed:
                self._failed(self, error)
            if isinstance(error, TusError):
                error.upload = self.upload.evolve(offset=self.offset)
        finally:
            self.close()

    def close(self, *, forget: bool = False) -> None:
        """Release the file and the lease; with `forget` no request will write to this upload again."""
        place, self._place = self._place, None
        lease, self.lease = self.lease, None
        self._failed = None
        if place:
            self._end = place.position
            place.close()
        if lease:
            lease.release(forget=forget)
