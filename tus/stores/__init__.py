"""Where uploads are kept. A store is one kind of storage; the engine decides what a protocol can do with it.

What one request brings goes into a `Draft`. A draft may hold bytes back, in memory or on their way to another machine;
`commit` makes all that it took part of the upload, and returns the one number that a client may be told. Who writes
shows a `Fence`: a store of one machine writes inside its turns, and a store that many machines share also refuses a
token that is older than the newest one it has seen.

What only some stores can do is a small protocol of its own: `Spliceable`, `Receiving`, `Joinable`, `Gathering`,
`Reviewable`, `Eager`, `Positioned`, `OnDisk`, `Linked`, `Rereading`, `Distant`, `Prompt`. The engine has another way
for stores that cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Protocol, runtime_checkable

from ..upload import PartPlace, Upload

Block = bytes | bytearray | memoryview


class Fence(Protocol):
    """What keeps an old request from writing once a newer one took over. Every lease is one."""

    @property
    def token(self) -> int:
        """Grows with each request that takes the same upload over; 0 where no other can write."""

    def turn(self) -> AbstractContextManager[object]:
        """A moment for one change; raises Interrupted once a newer request took over. Turns do not nest."""


class Free:
    """The fence where nobody else can write: the upload is new, or a claim keeps others out."""

    token = 0
    _turn = nullcontext()

    def turn(self) -> AbstractContextManager[None]:
        return self._turn


@runtime_checkable
class Following(Protocol):
    """A fence that knows which one was before it, on whatever machine: it tells a store what it need not ask."""

    @property
    def before(self) -> int:
        """The token of the lease before; 0 if there was none within the last five minutes."""


class Draft(Protocol):
    """The bytes of one request, on their way into one upload. It takes the turns that it needs by itself, so no turn
    of the same fence is open while one of these is called. Any thread may call them, one at a time."""

    @property
    def taken(self) -> int:
        """Where the next byte goes. It may be ahead of what is committed."""

    def write(self, block: Block) -> None:
        """Take the whole block, or raise StoreFull, StoreBroken, TooLarge or Interrupted; `taken` says how far it
        came."""

    def commit(self, *, durable: bool = False) -> int:
        """Make all that was taken part of the upload, and return its offset: the number of bytes that a client may be
        told. With `durable` they are on stable storage by then. If that fails, StoreFull or StoreBroken is raised with
        the offset that is certain, and `load` says no more than that from then on: what came since the last good
        commit is unknown, even if a later one would succeed. May be called again after more was taken."""

    def abort(self) -> None:
        """Forget what was taken since the last commit. An `exact` draft that was never committed leaves no trace."""

    def close(self) -> None:
        """Let go, without a word to the upload: what was committed is there, and perhaps more. Needs no turn, and may
        be called twice."""


class Store(Protocol):
    """One implementation for each kind of storage. An unknown id raises NotFound; no method checks an id, takes a lease
    or knows why it is called. Whatever changes an upload that others can know is called in a turn of its lease, or
    says `since`."""

    def create(self, upload: Upload, *, fence: Fence) -> Draft:
        """Room for a new upload by this id, which exists for others once it is saved or finished. Raises
        FileExistsError if the id is taken, or is being taken in this moment; what a crash left half made by that name
        does not count."""

    def load(self, id: str, *, durable: bool = False) -> Upload:
        """The record, with the offset and the time of the last write as the storage has them: what is committed, and no
        byte of an `exact` draft before its commit. With `durable`, the offset counts only what is certain to outlive a
        power cut."""

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        """Replace the record: all or nothing. With `since`, only if what is stored is still what `load` gave then,
        apart from offset and time; otherwise Changed is raised, and nothing happened."""

    def append(self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None) -> Draft:
        """Go on at `offset`, which is not behind the committed end; what lies after it is forgotten, before this
        returns. Called in a turn. `exact`: nothing that is not committed may ever be seen, also not after a crash.
        `known` is the record, if the caller has loaded it in this same turn: it need not be read again."""

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        """Commit the draft, if there is one, make the upload one readable whole, and save this record of it, complete:
        all or nothing. Called while the lease is kept, or under a claim. Raises what `commit` and `save` raise; also
        Interrupted, if a store that many machines share has seen a newer token than that of the draft, even if nothing
        of the draft is left to be committed: its request may have been cut off while the host looked at the content."""

    def open(self, id: str, start: int = 0) -> BinaryIO:
        """The committed data from there on, to read and to seek in, also of an upload that still arrives, and of one
        that is not saved yet. What lies behind the offset that `load` gives, if anything does, is not data."""

    def secret(self) -> bytes:
        """Random bytes, the same for every process that has this store, and unknown to all others."""

    def drop(self, id: str) -> None:
        """Remove the data and keep the record; twice is fine."""

    def delete(self, id: str) -> None:
        """Remove everything; twice is fine."""

    def ids(self) -> Iterator[str]:
        """Every upload there is, in no order, while others come and go."""

    def tidy(self, before: float) -> None:
        """Remove what a crash left behind before that time, in seconds since the epoch."""


@runtime_checkable
class Spliceable(Protocol):
    """A draft that the kernel can fill, without bringing the bytes into Python."""

    def splice(self, pipe: int, size: int) -> int:
        """Move up to `size` bytes that wait in a pipe; return the number of bytes moved, at least one."""


@runtime_checkable
class Receiving(Protocol):
    """A draft into whose memory a server can receive, so that nothing is copied."""

    def space(self, size: int) -> memoryview | None:
        """Where the next bytes, at most `size`, may be put; None, if they have to be written. What is put there counts
        once it is `took`, and may be overwritten by whatever is called before that."""

    def took(self, size: int) -> None:
        """So many bytes lie at the beginning of that space: take them, as `write` does. It may be called though they
        are not kept there any more, if another thread had the draft let go of its memory meanwhile."""


@runtime_checkable
class Joinable(Protocol):
    """A draft that can take another upload's data inside the store."""

    def join(self, id: str, size: int) -> None:
        """Take the first `size` bytes of another upload, as `write` would. If there are fewer, take what there is."""


@runtime_checkable
class Gathering(Protocol):
    """A store where parts can lie in their final place from the beginning, so that to put them together copies nothing.
    Such a part is created empty and gets its bytes by `append`; nothing else about it is different."""

    def reserve(self, whole: str, start: int, total: int) -> PartPlace | None:
        """What to create a part with, so that it lies there in the whole of this name, which has 32 hexadecimal digits.
        The caller gives no place twice. None, where parts cannot have places."""

    def gather(self, id: str, parts: Sequence[Upload], *, fence: Fence) -> Draft | None:
        """The whole as the data of a new upload, if these complete parts are all of it and of no other upload; to be
        finished, and not to be written to. The parts are of no use then. None: they have to be copied. Called in a
        turn; twice is fine. Raises NotFound, if a part is gone."""


@runtime_checkable
class Reviewable(Protocol):
    """A draft that can be read before it is committed."""

    def review(self) -> BinaryIO:
        """What was taken and is not committed, from its first byte on."""


@runtime_checkable
class Eager(Protocol):
    """A draft that can use the time while more bytes arrive."""

    def write_back(self) -> None:
        """Let what has gathered go on its way to stable storage, without waiting. Called after each block, where a
        durable commit will come."""


@runtime_checkable
class Resting(Protocol):
    """A draft or a lease that can do without open files while it waits for a slow client."""

    def rest(self) -> None:
        """Close them until the next block; twice is fine. Never called in a turn."""


@runtime_checkable
class Positioned(Protocol):
    """A store that takes numbered chunks at their places, in any order and several at a time. The offset of such an
    upload is `Chunks.stored` of the marks."""

    def place(self, id: str, start: int, *, fence: Fence) -> Draft:
        """A draft for the bytes from `start` on, which touches no others. Called in a turn."""

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        """The chunk with this number, counted from 0, is committed and counts. Called in a turn."""

    def marks(self, id: str) -> bytes:
        """A byte for each chunk, 1 if it is there; as many as there are up to the last one that is."""


@runtime_checkable
class OnDisk(Protocol):
    """A store whose finished uploads are files that the host can have."""

    def path(self, id: str) -> str:
        """The data as a file."""

    def lend(self, id: str) -> str:
        """The same, for the host to read or to take away. What it took, `regain` brings back, until `give`."""

    def regain(self, id: str) -> None:
        """Have the data that was lent, whatever the host did with its file; twice is fine."""

    def give(self, id: str) -> None:
        """The host may keep what was lent."""


@runtime_checkable
class Linked(Protocol):
    """A store from which others fetch finished uploads themselves. `load` says in `stored_at` where they are, for those
    who have keys of their own."""

    def link(self, upload: Upload, *, seconds: int, kind: str = "", disposition: str = "") -> str:
        """A URL that gives the data to anybody, for so long, with these values of Content-Type and
        Content-Disposition. It may be called at any time, and asks nobody."""


@runtime_checkable
class Distant(Protocol):
    """A store that is so far away that a request should ask it as little as it can. All that it finds is certain to
    last: a commit that failed puts nothing in doubt which another request has found."""

    def glimpse(self, id: str) -> Upload:
        """The record, with an offset and a time that may be old. Raises NotFound."""

    def current(self, id: str, offset: int, *, fence: Fence) -> Upload:
        """What `load` gives. Called in the first turn of a lease: where this knows which lease was before it, it need
        not be asked what that one told. `offset` is where the request wants to go on: if anything else is found, it is
        looked at twice."""

    def follow(self, id: str, start: int = 0) -> BinaryIO:
        """What `open` gives, beside a request that writes and notices nothing of it. Raises StoreAway if the bytes
        there cannot be read before the upload is complete."""


class Reading(Protocol):
    """A record as it was read."""

    upload: Upload

    def again(self) -> Upload:
        """As it is now."""

    def close(self) -> None:
        """Nobody looks again. May be called twice."""


@runtime_checkable
class Rereading(Protocol):
    """A store that looks again at a record for less than it costs to load it."""

    def hold(self, id: str) -> Reading:
        """The record, to be looked at again in a moment."""


@runtime_checkable
class Prompt(Protocol):
    """A store, or a locker, of this machine: it mostly answers from memory, sooner than a thread is woken, so that an
    event loop may call it by itself."""

    @property
    def prompt(self) -> bool:
        """Whether that is so, as far as it can be known."""
