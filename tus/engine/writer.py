"""The Writer: what an adapter fills with the body of one request.

It never reads from the network, and checks every count that the client sent. What it takes goes into a draft, which
takes a turn of the lease for each block: so a request that was overtaken can write nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol

from ..checksum import ALGORITHMS, Checksum, Hash
from ..errors import Overrun, TooLarge, TusError
from ..lockers import Lease
from ..stores import Block, Draft, Eager, Receiving, Resting, Reviewable, Spliceable
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
    def write(self, block: Block) -> None: ...
    def splice(self, pipe: int, size: int) -> int: ...


# Asking a protocol whether a class has what it names takes long.
_has: Callable[[Any, Any], bool] = lru_cache(64)(issubclass)


def can(draft: object, protocol: type) -> bool:
    """Whether the draft, or the lease, is one of those that can do this."""
    return _has(type(draft), protocol)


class Writer:
    """Takes bytes for one upload while its lease holds."""

    repeats = 0  # bytes at the beginning of the body that the upload has already

    def __init__(
        self,
        upload: Upload,
        *,
        room: int | None = 0,
        announced: int | None = 0,
        lease: Lease | None = None,
        draft: Draft | None = None,
        fresh: bool = False,
        exact: bool = False,
        trailing: bool = False,
        last: bool | None = None,
        checksum: Checksum | None = None,
        syncs: bool = False,
        declares: bool = False,
        peer: str = "",
        progressed: Callable[[int], None] | None = None,
        failed: Callable[[Writer, BaseException], None] | None = None,
    ) -> None:
        self.upload = upload  # as it was before the first byte, with what this request declares of it
        self.announced = announced  # bytes that this request says it has; None when only its end tells
        self.lease = lease  # None: the upload is complete, and nothing is left to do
        self.draft = draft
        self.fresh = fresh  # no other request knows of this upload yet
        self.exact = exact  # a checksum is going to decide whether anything is kept
        self.last = last  # whether the client says that this ends the upload; None: its length alone tells
        self.declares = declares  # the length, which nobody knew before
        self.peer = peer  # who sends it, for what is logged
        self.received = 0
        self._end = upload.offset
        self._room = room
        self._checksum = checksum
        self._hashes = _hashes(checksum, trailing, draft) if exact else _NOTHING
        self._write_back = draft.write_back if syncs and can(draft, Eager) else None  # type: ignore[union-attr]
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
        return not self._hashes and can(self.draft, Spliceable)

    @property
    def receives(self) -> bool:
        """Whether blocks may be received where they will lie; not if they have to be hashed."""
        return not self._hashes and can(self.draft, Receiving)

    @property
    def offset(self) -> int:
        """Where the upload will end, once what was taken is committed."""
        return self.draft.taken if self.draft else self._end

    def write(self, block: Block) -> None:
        """Take a block; raises Interrupted, TooLarge or StoreFull, and keeps what came before."""
        if not len(block):
            return
        if self._room is not None and self.received + len(block) > self._room:
            overrun = Overrun if self.upload.length is not None else TooLarge
            error = overrun(f"the body goes beyond the {self._room} bytes that there is room for")
            error.limit = self.upload.offset + self._room
            raise error
        draft = self.draft
        assert draft
        start = draft.taken
        try:
            draft.write(block)
        finally:
            self.received += draft.taken - start
        if self._hashes:
            for hash in self._hashes.values():
                hash.update(block)
        self._after()

    def splice(self, pipe: int, size: int) -> int:
        """Take up to `size` bytes that wait in a pipe, without bringing them into Python."""
        moved: int = self.draft.splice(pipe, size)  # type: ignore[union-attr]
        self.received += moved
        self._after()
        return moved

    def space(self, size: int) -> memoryview | None:
        """Where up to so many of the next bytes may be received, if that can be done."""
        if self._room is not None and self.received + size > self._room:
            return None  # `write` says what is wrong with them
        return self.draft.space(size)  # type: ignore[union-attr, no-any-return]

    def took(self, size: int) -> None:
        """So many bytes were received there."""
        draft = self.draft
        assert draft
        start = draft.taken
        try:
            draft.took(size)  # type: ignore[attr-defined]
        finally:
            self.received += draft.taken - start
        self._after()

    def rest(self) -> None:
        """Nothing may come for long: hold no file open until it does, where that is possible."""
        for held in (self.draft, self.lease):
            if can(held, Resting):
                held.rest()  # type: ignore[union-attr]

    def tell(self, told: Callable[[int], None]) -> None:
        """Call this as well, with the offset, after each block."""
        first = self._progressed

        def both(offset: int) -> None:
            if first:
                first(offset)
            told(offset)

        self._progressed = both

    def _after(self) -> None:
        if self._write_back:
            self._write_back()
        if self._progressed:
            self._progressed(self.offset)

    def commit(self, *, durable: bool = False) -> int:
        """Make what was taken part of the upload, and return what a client may be told."""
        return self.draft.commit(durable=durable) if self.draft else self._end

    def matches(self, trailing: Checksum | None = None) -> bool:
        """Whether the bytes are those that the checksum in front of the body, or behind it, speaks of."""
        for checksum in (self._checksum, trailing):
            if checksum and not checksum.matches(self._hashes.get(checksum.algorithm) or self._again(checksum)):
                return False
        return True

    def _again(self, checksum: Checksum) -> Hash:
        """The hash of bytes that were not hashed as they came, since their checksum came after them."""
        hash = checksum.hash()
        if self.received and isinstance(self.draft, Reviewable):
            with self.draft.review() as file:
                while block := file.read(1 << 20):
                    hash.update(block)
        return hash

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
        """Let go of the draft and the lease; with `forget` no request will write to this upload again."""
        draft, self.draft = self.draft, None
        lease, self.lease = self.lease, None
        self._failed = self._write_back = None
        try:
            if draft:
                self._end = draft.taken
                draft.close()
        finally:
            if lease:
                lease.release(forget=forget)


class Repeated(Writer):
    """Takes a body again whose beginning is stored, and leaves that out: a client that sends it all the same may hear
    no answer before the end. Without a lease, everything is there."""

    def __init__(self, upload: Upload, *, room: int | None, **how: Any) -> None:
        self.repeats = upload.offset
        super().__init__(upload, room=room if room is None else room + self.repeats, **how)
        if how["trailing"]:  # the draft has only the rest of what a checksum behind the body speaks of
            self._hashes = _hashes(None, True, None)

    @property
    def splices(self) -> bool:
        return self.received >= self.repeats and super().splices

    @property
    def receives(self) -> bool:
        return self.received >= self.repeats and super().receives

    def write(self, block: Block) -> None:
        again = min(max(self.repeats - self.received, 0), len(block))
        if again:
            for hash in self._hashes.values():
                hash.update(block[:again])
            self.received += again
        try:
            super().write(block[again:] if again else block)
        except TooLarge as error:
            error.limit = error.limit and self._room
            raise


_NOTHING: dict[str, Hash] = {}


def _hashes(checksum: Checksum | None, trailing: bool, draft: Draft | None) -> dict[str, Hash]:
    """What the bytes are hashed with as they come. A checksum behind the body does not say before it comes which one it
    is; where the draft cannot be read again, it may be any."""
    if trailing and not can(draft, Reviewable):
        return {name: new() for name, (_, new) in ALGORITHMS.items()}
    return {checksum.algorithm: checksum.hash()} if checksum else _NOTHING
