"""Uploads in memory: for tests, and for hosts that want nothing on a disk. They are lost when the process ends."""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ..errors import NotFound
from ..upload import Upload


class MemoryStore:
    """A dictionary of records and one of bytearrays."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self._data: dict[str, bytearray] = {}
        self._touched: dict[str, float] = {}
        self._marks: dict[str, bytearray] = {}
        self._certain: dict[str, int] = {}
        self._secret = secrets.token_bytes(32)

    def reserve(self, id: str) -> MemoryPlace:
        data = bytearray()
        if id in self._uploads or self._data.setdefault(id, data) is not data:
            raise FileExistsError(id)
        self.touch(id)
        return MemoryPlace(self, id, data, 0)

    def touch(self, id: str) -> None:
        self._touched[id] = self._clock()

    def load(self, id: str) -> Upload:
        try:
            upload = self._uploads[id]
        except KeyError:
            raise NotFound("no such upload") from None
        data = self._data.get(id)
        offset = upload.offset if data is None else len(data)
        if upload.chunks and not upload.complete:
            offset = upload.chunks.stored(self.marks(id), upload.length)
        return upload.evolve(offset=offset, touched=self._touched[id])

    def hold(self, id: str) -> MemoryRecord:
        return MemoryRecord(self, self.load(id))

    def save(self, upload: Upload, *, durable: bool = False) -> None:
        self._uploads[upload.id] = upload

    def _bytes(self, id: str) -> bytearray:
        try:
            return self._data[id]
        except KeyError:
            raise NotFound("no such upload") from None

    def writer(self, id: str, offset: int) -> MemoryPlace:
        return MemoryPlace(self, id, self._bytes(id), offset)

    def truncate(self, id: str, size: int) -> None:
        del self._bytes(id)[size:]
        self._certain[id] = min(size, self.certain(id))

    def open(self, id: str) -> BinaryIO:
        return io.BytesIO(self._bytes(id))

    def path(self, id: str) -> str:
        raise NotImplementedError("an upload in memory has no path")

    def lend(self, id: str) -> str:
        return self.path(id)

    def regain(self, id: str) -> None:
        """Nothing can be lent."""

    def give(self, id: str) -> None:
        """Nothing can be lent."""

    def sync(self, id: str) -> None:
        """Memory is as durable as it gets."""

    def certify(self, id: str, size: int) -> None:
        self._certain[id] = size

    def certain(self, id: str) -> int:
        return self._certain.get(id, 0)

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        marks = self._marks.setdefault(id, bytearray())
        marks.extend(bytes(max(number + 1 - len(marks), 0)))
        marks[number] = 1

    def marks(self, id: str) -> bytes:
        return bytes(self._marks.get(id, b""))

    def secret(self) -> bytes:
        return self._secret

    def drop(self, id: str) -> None:
        self._data.pop(id, None)
        self._marks.pop(id, None)

    def delete(self, id: str) -> None:
        for table in (self._data, self._uploads, self._touched, self._marks, self._certain):
            table.pop(id, None)

    def ids(self) -> Iterator[str]:
        return iter(list(self._uploads))

    def tidy(self, before: float) -> None:
        """A crash leaves nothing."""


class MemoryRecord:
    """Nothing is held: looking again is as cheap as looking."""

    def __init__(self, store: MemoryStore, upload: Upload) -> None:
        self._store = store
        self.upload = upload

    def again(self) -> Upload:
        return self._store.load(self.upload.id)

    def close(self) -> None:
        """Nothing is held."""


class MemoryPlace:
    """Appends to a bytearray."""

    def __init__(self, store: MemoryStore, id: str, data: bytearray, offset: int) -> None:
        self._store, self._id, self._data = store, id, data
        self.position = offset

    def write(self, block: bytes | bytearray | memoryview) -> int:
        self._data.extend(bytes(max(self.position - len(self._data), 0)))
        self._data[self.position : self.position + len(block)] = block
        self.position += len(block)
        self._store.touch(self._id)
        return len(block)

    def splice(self, pipe: int, size: int) -> int:
        return self.write(os.read(pipe, size))

    def copy(self, source: BinaryIO, size: int) -> int:
        return self.write(source.read(size))

    def truncate(self, size: int) -> None:
        self.position = min(size, self.position)
        del self._data[self.position :]

    def start_sync(self) -> None:
        """Nothing to write back."""

    def sync(self) -> None:
        """Memory is as durable as it gets."""

    def close(self) -> None:
        """Nothing is held."""
