"""Bytes that gather until they fill a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from .. import Block


class Digest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: Block, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Digest: ...


class Gathered:
    """They can be in the memory of a whole part, which another part has left: to get fresh memory from the kernel, page
    by page, costs more than to receive what goes there. Each block is hashed when it comes, while the processor still
    has it at hand."""

    __slots__ = ("_hash", "_size", "buffer", "hashes", "whole")

    def __init__(self, hashes: Callable[[], Digest], memory: bytearray | None = None) -> None:
        self.hashes, self._hash = hashes, hashes()
        self.whole = memory is not None
        self.buffer = bytearray() if memory is None else memory
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Block]:
        yield self.view()

    @property
    def cost(self) -> int:
        """Bytes of memory."""
        return len(self.buffer)

    def digest(self) -> bytes:
        """The hash of all of it."""
        return self._hash.digest()

    def add(self, block: Block) -> None:
        if self.whole:
            self.buffer[self._size : self._size + len(block)] = block
        else:
            self.buffer += block
        self.took(block)

    def space(self, size: int) -> memoryview:
        """Where up to so many bytes can be put, in the memory of a whole part."""
        return memoryview(self.buffer)[self._size : self._size + size]

    def took(self, block: Block) -> None:
        """Those bytes lie behind the others now."""
        self._hash.update(block)
        self._size += len(block)

    def view(self) -> memoryview:
        """All of it, as it lies there. Nothing may be added while somebody has this."""
        return memoryview(self.buffer)[: self._size]

    def since(self, start: int) -> Block | Gathered:
        """What came behind so many bytes."""
        return bytes(self.view()[start:]) if start > 0 else self

    def apart(self) -> Gathered:
        """The same bytes, in memory that no part will get to be used again."""
        return self._moved(Gathered(self.hashes)) if self.whole else self

    def into(self, memory: bytearray) -> Gathered:
        """The same bytes, in memory of a whole part."""
        return self._moved(Gathered(self.hashes, memory))

    def _moved(self, other: Gathered) -> Gathered:
        other.buffer[: self._size] = self.view()
        other._size, other._hash = self._size, self._hash.copy()
        return other
