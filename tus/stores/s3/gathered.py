"""Bytes that gather until they fill a part."""

from __future__ import annotations

from .. import Block


class Gathered:
    """They can be `reused` memory: a buffer of exactly a part, which another part has left. To get fresh memory from
    the kernel, page by page, costs more than to receive what goes there."""

    __slots__ = ("_size", "buffer", "reused")

    def __init__(self, data: Block = b"", *, reused: bytearray | None = None) -> None:
        self.reused = reused is not None
        self.buffer = bytearray(data) if reused is None else reused
        self._size = len(data)

    def __len__(self) -> int:
        return self._size

    @property
    def cost(self) -> int:
        """Bytes of memory."""
        return len(self.buffer)

    def add(self, block: Block) -> None:
        end = self._size + len(block)
        if self.reused:
            self.buffer[self._size : end] = block
        else:
            self.buffer += block
        self._size = end

    def view(self) -> memoryview:
        """All of it, as it lies there. Nothing may be added while somebody has this."""
        return memoryview(self.buffer)[: self._size]

    def since(self, start: int) -> bytes:
        """A copy of what came behind so many bytes."""
        return bytes(self.view()[max(start, 0) :])

    def apart(self, part: int) -> Gathered:
        """The same bytes, in memory that is no larger, and that no part will get to be used again."""
        return Gathered(self.view()) if self.reused or self.cost == part else self
