"""Where uploads are kept: a handful of primitives. The engine decides what a protocol can do with them.

No method checks an id, takes a lock or knows why it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from ..upload import Upload

UNCHUNKED = 32  # marks that a store keeps to itself: it may write there how much is certain


class Place(Protocol):
    """A position in the data of one upload, from where bytes are written. Nothing is buffered."""

    def write(self, block: bytes | bytearray | memoryview) -> int:
        """Write the whole block, or raise StoreFull; `position` says how far it came."""

    def splice(self, pipe: int, size: int) -> int:
        """Move up to `size` bytes that wait in a pipe; return the number of bytes moved, at least one."""

    def copy(self, source: BinaryIO, size: int) -> int:
        """Append up to `size` bytes of another upload's data, without moving them through Python if possible."""

    @property
    def position(self) -> int:
        """Where the next byte goes."""

    def truncate(self, size: int) -> None:
        """Drop what lies behind `size`, if anything does, and go on from there."""

    def start_sync(self) -> None:
        """Let what has gathered be written back, without waiting."""

    def sync(self) -> None:
        """Block until everything written is on stable storage; raises StoreFull or StoreBroken if it never will be,
        and then nothing written since the last success is certain, even if a later call succeeds."""

    def close(self) -> None: ...


class Record(Protocol):
    """A record as it was read."""

    upload: Upload

    def again(self) -> Upload:
        """As it is now; cheap, if it was not saved since."""

    def close(self) -> None: ...


class Store(Protocol):
    """One implementation a kind of storage. An unknown id raises NotFound."""

    def reserve(self, id: str) -> Place:
        """Room for a new upload, which exists once it is saved; raises FileExistsError if the id is taken."""

    def load(self, id: str) -> Upload:
        """The record, with the offset and the time of the last write as the storage has them."""

    def hold(self, id: str) -> Record:
        """The same, to be looked at again in a moment."""

    def save(self, upload: Upload, *, durable: bool = False) -> None:
        """Replace the record: all or nothing."""

    def writer(self, id: str, offset: int) -> Place: ...

    def truncate(self, id: str, size: int) -> None:
        """Drop what lies behind `size`, if anything does."""

    def open(self, id: str) -> BinaryIO:
        """The data, to read."""

    def path(self, id: str) -> str:
        """The data as a file for others; raises NotImplementedError where there is none."""

    def lend(self, id: str) -> str:
        """The same, for the host to read or to take away. What it took, `regain` brings back, until `give`."""

    def regain(self, id: str) -> None:
        """Have the data that was lent, whatever the host did with its file; twice is fine."""

    def give(self, id: str) -> None:
        """The host may keep what was lent."""

    def sync(self, id: str) -> None:
        """Block until the data is on stable storage; raises as the one of a Place does."""

    def certify(self, id: str, size: int) -> None:
        """So many bytes are on stable storage: remembered for other processes."""

    def certain(self, id: str) -> int:
        """How many bytes were certified, and not truncated since."""

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        """The chunk with this number is in the data; numbers count from 0. Of an upload that does not come
        in chunks, the first `UNCHUNKED` marks are the store's own; the others count how often a part is used."""

    def marks(self, id: str) -> bytes:
        """A byte for each chunk, 1 if it is there; as many as there are up to the last one that is."""

    def secret(self) -> bytes:
        """Random bytes, the same for every process that has this store, and unknown to all others."""

    def drop(self, id: str) -> None:
        """Remove the data and keep the record; twice is fine."""

    def delete(self, id: str) -> None:
        """Remove everything; twice is fine."""

    def ids(self) -> Iterator[str]:
        """Every upload there is, in no order, while others come and go."""

    def tidy(self, before: float) -> None:
        """Remove what a crash left behind before that time."""
