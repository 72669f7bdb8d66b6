"""The Writer: what an adapter fills with the body of one request.

Each block is one turn of the lease, so a request that was overtaken can write nothing more. It must never read from
the network, and never believe a count that the client sent.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from .checksum import Checksum, Hash
from .errors import Interrupted, TooLarge, TusError
from .lockers import Lease
from .stores import Place
from .upload import Upload


class Writer:
    """Takes bytes for one upload, as long as its lease holds."""

    def __init__(
        self,
        upload: Upload,
        *,
        room: int | None = 0,
        announced: int | None = 0,
        lease: Lease | None = None,
        place: Place | None = None,
        cut_back: Callable[[], Upload] | None = None,
        checksum: Checksum | None = None,
        unverified: bool = False,
        progressed: Callable[[int], None] | None = None,
        write_back: bool = False,
    ) -> None:
        self.upload = upload  # as it was before the first byte
        self.announced = announced  # bytes that this request says it has; None when only its end tells
        self.lease = lease
        self.checksum = checksum
        self.received = 0
        self._room = room
        self._place = place
        self._cut_back = cut_back
        self._unverified = unverified
        self._hash: Hash | None = checksum.hash() if checksum else None
        self._progressed = progressed
        self._write_back = write_back

    @property
    def wanted(self) -> int | None:
        """How many bytes may still come; None means any number."""
        left = [limit - self.received for limit in (self._room, self.announced) if limit is not None]
        return min(left) if left else None

    @property
    def splices(self) -> bool:
        """Whether blocks may come through a pipe; not if they have to be hashed."""
        return self._hash is None and self._place is not None

    @property
    def offset(self) -> int:
        """Where the upload ends now."""
        return self._place.position if self._place else self.upload.offset

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Store a block; raises Interrupted, TooLarge or StoreFull, and keeps what came before."""
        assert self._place and self.lease
        if not len(block):
            return
        if self._room is not None and self.received + len(block) > self._room:
            raise TooLarge(f"the body goes beyond the {self._room} bytes that there is room for")
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

    def _after(self) -> None:
        if self._write_back and self._place:
            self._place.start_sync()
        if self._progressed:
            self._progressed(self.offset)

    def verified(self) -> bool:
        """Whether the bytes are those that the checksum in the header speaks of."""
        return self.checksum is None or self._hash is None or self.checksum.matches(self._hash)

    def cut_back(self) -> None:
        """Forget every byte of this request."""
        if self._cut_back:
            self.upload = self._cut_back()
            self._cut_back = None
            if self._place:
                self._place.close()
                self._place = None

    def sync(self) -> None:
        """Come back when all is on stable storage."""
        if self._place:
            self._place.sync()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, TooLarge) or (error is not None and self._unverified):
                self._forget_quietly()
            if isinstance(error, TusError) and error.offset is None and not isinstance(error, Interrupted):
                error.offset = self.offset
        finally:
            self.close()

    def _forget_quietly(self) -> None:
        """Cut back, if the upload is still ours; whoever took it over did so already."""
        try:
            self.cut_back()
        except TusError:
            self._cut_back = None

    def close(self, *, forget: bool = False) -> None:
        """Let go of the file and the lease; with `forget` nobody will write to this upload again."""
        place, self._place = self._place, None
        lease, self.lease = self.lease, None
        if place:
            self.upload = self.upload.evolve(offset=place.position)
            place.close()
        if lease:
            lease.release(forget=forget)
