"""Numbered chunks in a store that has no places for them: each is kept apart, as an upload of its own, and which ones
are there stands in the record of one more. When the upload is finished, they are put together and removed.

Nobody else finds these uploads: who knows the address of the whole could guess theirs, and they have no owner.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import BinaryIO

from ..errors import Changed, Locked, NotFound, StoreBroken, TusError
from ..upload import Result, Upload
from . import Block, Draft, Fence, Free, Joinable, Store

_NEVER = 253402300799.0  # when such an upload expires by itself: it goes with the one that it belongs to
_BLOCK = 1 << 20
_ATTEMPTS = 1000  # times that a mark is set anew, because another one was set in between
_WRITTEN, _READ = bytes.maketrans(b"\0\1", b"01"), bytes.maketrans(b"01", b"\0\1")  # marks, as a text and back
_APART = "apart"  # what such a record says in place of how it is concatenated, and no client can say


class Apart:
    """A store, and the places that it lacks."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self.create, self.append, self.secret = store.create, store.append, store.secret
        self.save, self.ids = store.save, store.ids

    def load(self, id: str, *, durable: bool = False) -> Upload:
        upload = self._store.load(id, durable=durable)
        if upload.concat == _APART:
            raise NotFound("no such upload")
        if not upload.chunks or upload.complete:
            return upload
        marks, touched = self._noted(id)
        offset = upload.chunks.stored(marks, upload.length)
        return upload.evolve(offset=offset, touched=max(touched, upload.touched))

    def open(self, id: str, start: int = 0) -> BinaryIO:
        with suppress(NotFound):  # until it is saved, which is at its end, its creation can read it
            upload = self._store.load(id)
            if upload.chunks and not upload.complete:
                return io.BufferedReader(Row(self._store, upload, start))
        return self._store.open(id, start)

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        if draft or not upload.chunks:
            self._store.finish(upload, draft, since=since, durable=durable)
            return
        with closing(self._store.append(upload.id, 0, fence=Free())) as whole:
            for id in _names(upload):
                self._copy(id, whole)
            if whole.taken != upload.length:
                raise StoreBroken(f"the chunks of this upload have {whole.taken} bytes, not {upload.length}")
            self._store.finish(upload, whole, since=since, durable=durable)
        self._clear(upload)

    def _copy(self, id: str, whole: Draft) -> None:
        if isinstance(whole, Joinable):
            whole.join(id, self._store.load(id).offset)
            return
        with self._store.open(id) as file:
            while block := file.read(_BLOCK):
                whole.write(block)

    def drop(self, id: str) -> None:
        with suppress(NotFound):
            self._clear(self._store.load(id))
        self._store.drop(id)

    def delete(self, id: str) -> None:
        with suppress(NotFound):
            self._clear(self._store.load(id))
        self._store.delete(id)

    def _clear(self, upload: Upload) -> None:
        """Remove what is marked, and no more: a client may say that a million chunks will come, and send one."""
        if not upload.chunks:
            return
        for number, there in enumerate(self.marks(upload.id)):
            if there:
                self._store.delete(_apart(upload.id, number * upload.chunks.size))
        self._store.delete(_noting(upload.id))

    def tidy(self, before: float) -> None:
        self._store.tidy(before)
        for id in self._store.ids():
            whole, dash, _ = id.rpartition("-")
            with suppress(TusError):
                if dash and self._left(id, before) and not self._arrives(whole):
                    self._store.delete(id)

    def _left(self, id: str, before: float) -> bool:
        """Whether this is a chunk, or the marks of some, and an old one."""
        found = self._store.load(id)
        return found.concat == _APART and found.created < before

    def _arrives(self, id: str) -> bool:
        try:
            return not self._store.load(id).complete
        except NotFound:
            return False

    def place(self, id: str, start: int, *, fence: Fence) -> Draft:
        upload = Upload(_apart(id, start), partial=True, concat=_APART, created=self._clock(), expires=_NEVER)
        self._store.delete(upload.id)  # what another request left, which was cut
        return Chunk(self._store, upload, start, self._store.create(upload, fence=fence))

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        for _ in range(_ATTEMPTS):
            with suppress(Changed, FileExistsError):  # by a chunk that came at the same time
                self._note(_noting(id), number, durable)
                return
        raise Locked("other chunks of this upload come all the time")

    def _note(self, id: str, number: int, durable: bool) -> None:
        try:
            found = self._store.load(id)
        except NotFound:
            found = self._begun(id)
        marks = bytearray(_marks(found))
        marks.extend(bytes(max(number + 1 - len(marks), 0)))
        marks[number] = 1
        # The answer of a host is what a record has room for: metadata have a limit, and there may be a million chunks.
        # And it can say only when it was created; here that is when a chunk came last.
        changed = found.evolve(result=Result(body=bytes(marks.translate(_WRITTEN))), created=self._clock())
        self._store.save(changed, since=found, durable=durable)

    def _begun(self, id: str) -> Upload:
        upload = Upload(id, length=0, partial=True, concat=_APART, created=self._clock(), expires=_NEVER)
        with closing(self._store.create(upload, fence=Free())):
            self._store.save(upload)
        return self._store.load(id)

    def marks(self, id: str) -> bytes:
        return self._noted(id)[0]

    def _noted(self, id: str) -> tuple[bytes, float]:
        try:
            found = self._store.load(_noting(id))
        except NotFound:
            return b"", 0.0
        return _marks(found), found.created


def _marks(record: Upload) -> bytes:
    return record.result.body.translate(_READ) if record.result else b""


def _apart(id: str, start: int) -> str:
    return f"{id}-{start}"


def _noting(id: str) -> str:
    return f"{id}-marks"


def _names(upload: Upload) -> Iterator[str]:
    """The names under which its chunks are kept, in their order."""
    if upload.chunks:
        for number in range(upload.chunks.many if upload.chunks.size else 1):
            yield _apart(upload.id, number * upload.chunks.size)


class Row(io.RawIOBase):
    """The chunks as one file, as far as they follow one another."""

    def __init__(self, store: Store, upload: Upload, start: int) -> None:
        self._store, self._upload, self._at = store, upload, start
        self._file: BinaryIO | None = None
        self._number = -1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        from_ = (0, self._at, self._upload.length or 0)[whence]
        self._let_go()
        self._at, self._number = max(from_ + offset, 0), -1
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while self._file or self._open_next():
            assert self._file
            block = self._file.read(len(buffer))
            if block or not len(buffer):
                buffer[: len(block)] = block
                self._at += len(block)
                return len(block)
            self._let_go()
        return 0

    def _open_next(self) -> bool:
        """Open the chunk that has the next byte; false if there is none."""
        assert self._upload.chunks
        size, many = self._upload.chunks
        number = min(self._at // size, many - 1) if size else 0
        if number == self._number:  # it has ended
            return False
        self._number = number
        with suppress(NotFound):
            self._file = self._store.open(_apart(self._upload.id, number * size), self._at - number * size)
        return self._file is not None

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()

    def close(self) -> None:
        self._let_go()
        super().close()


class Chunk:
    """The draft of one chunk, which counts its bytes from the beginning of the whole."""

    def __init__(self, store: Store, upload: Upload, start: int, draft: Draft) -> None:
        self._store, self._upload, self._start, self._draft = store, upload, start, draft

    @property
    def taken(self) -> int:
        return self._start + self._draft.taken

    def write(self, block: Block) -> None:
        self._draft.write(block)

    def commit(self, *, durable: bool = False) -> int:
        size = self._draft.taken
        upload = self._upload.evolve(length=size, offset=size, complete=True, result=Result())
        self._store.finish(upload, self._draft, durable=durable)
        return self.taken

    def abort(self) -> None:
        self._draft.abort()

    def close(self) -> None:
        self._draft.close()
