"""Uploads in memory: for tests, and for hosts that want nothing on a disk. They are lost when the process ends."""

from __future__ import annotations

import io
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO
from weakref import WeakValueDictionary

from ..errors import Changed, NotFound, OffsetMismatch
from ..upload import Upload
from . import Block, Draft, Fence
from .records import same


class MemoryStore:
    """A dictionary of records and one of bytearrays."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self._data: dict[str, bytearray] = {}
        self._touched: dict[str, float] = {}
        self._marks: dict[str, bytearray] = {}
        self._making: WeakValueDictionary[str, MemoryDraft] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    def create(self, upload: Upload, *, fence: Fence) -> MemoryDraft:
        id = upload.id
        with self._lock:
            making = self._making.get(id)
            if id in self._uploads or making and not making.closed:
                raise FileExistsError(id)
            self._marks.pop(id, None)
            self._data[id] = bytearray()
            self._making[id] = draft = MemoryDraft(self, id, self._data[id], 0, fence)
            self._touched[id] = self._clock()
        return draft

    def touch(self, id: str) -> None:
        if id in self._data:  # and not deleted meanwhile
            self._touched[id] = self._clock()

    def load(self, id: str, *, durable: bool = False) -> Upload:
        try:
            upload, touched = self._uploads[id], self._touched[id]
        except KeyError:
            raise NotFound("no such upload") from None
        data = self._data.get(id)
        if data is None:
            return upload.evolve(offset=upload.length or 0, touched=touched, dropped=True)
        offset = len(data)
        if upload.chunks and not upload.complete:
            offset = upload.chunks.stored(self.marks(id), upload.length)
        return upload.evolve(offset=offset, touched=touched)

    def hold(self, id: str) -> MemoryRecord:
        return MemoryRecord(self, self.load(id))

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        with self._lock:
            if since is not None and not same(self.load(upload.id), since):
                raise Changed("the record was changed meanwhile")
            self._making.pop(upload.id, None)
            self._uploads[upload.id] = upload

    def append(
        self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None
    ) -> MemoryDraft:
        data = self._bytes(id)
        if offset > len(data):
            raise OffsetMismatch(f"the upload has {len(data)} bytes, not {offset}", offset=len(data))
        if offset < len(data):
            del data[offset:]
            self.touch(id)
        return MemoryDraft(self, id, data, offset, fence, exact=exact)

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        if draft:
            draft.commit(durable=durable)
        self.save(upload, since=since)

    def _bytes(self, id: str) -> bytearray:
        try:
            return self._data[id]
        except KeyError:
            raise NotFound("no such upload") from None

    def open(self, id: str, start: int = 0) -> BinaryIO:
        file = io.BytesIO(self._bytes(id))
        file.seek(start)
        return file

    def place(self, id: str, start: int, *, fence: Fence) -> MemoryDraft:
        return MemoryDraft(self, id, self._bytes(id), start, fence, apart=True)

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        with self._lock:
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
        with self._lock:
            for table in (self._data, self._uploads, self._touched, self._marks, self._making):
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


class MemoryDraft:
    """Bytes on their way into a bytearray. They are there at once; but those of an exact draft wait beside it."""

    def __init__(
        self,
        store: MemoryStore,
        id: str,
        data: bytearray,
        start: int,
        fence: Fence,
        *,
        exact: bool = False,
        apart: bool = False,
    ) -> None:
        self._store, self._id, self._data, self._fence = store, id, data, fence
        self._exact, self._apart = exact, apart
        self._waiting = bytearray()
        self.taken = self._committed = start
        self.closed = False

    def write(self, block: Block) -> None:
        with self._fence.turn():
            if self._exact:
                self._waiting += block
                self.taken += len(block)
            else:
                self._put(block)

    def _put(self, block: Block) -> None:
        self._data.extend(bytes(max(self.taken - len(self._data), 0)))
        self._data[self.taken : self.taken + len(block)] = block
        self.taken += len(block)
        self._store.touch(self._id)

    def splice(self, pipe: int, size: int) -> int:
        block = os.read(pipe, size)
        self.write(block)
        return len(block)

    def join(self, id: str, size: int) -> None:
        with self._store.open(id) as source:
            self.write(source.read(size))

    def review(self) -> BinaryIO:
        if self._exact:
            return io.BytesIO(self._waiting)
        return self._store.open(self._id, self._committed)

    def commit(self, *, durable: bool = False) -> int:
        if self._waiting:
            with self._fence.turn():
                waiting, self._waiting = self._waiting, bytearray()
                self.taken -= len(waiting)
                self._put(waiting)
        self._committed = self.taken
        return self.taken

    def abort(self) -> None:
        if self.closed:
            return
        with self._fence.turn():
            if not self._exact and not self._apart:
                del self._data[self._committed :]
            self._waiting.clear()
            self.taken = self._committed

    def close(self) -> None:
        self.closed = True
