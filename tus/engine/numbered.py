"""Uploads that come in numbered chunks: the engine's part for them, in a file of its own.

Each chunk is written at its own place in the one file, beside others, and marked when it is whole; what was not marked
never counts. Whoever marks the last one finishes the upload under a claim, so once. It must never believe a number
that the client sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO, NamedTuple

from ..errors import (
    BadRequest,
    BodyCut,
    Interrupted,
    LengthMismatch,
    NotFound,
    OffsetMismatch,
    Refused,
    StoreBroken,
    TooLarge,
)
from ..hooks import overridden
from ..lockers import Share
from ..messages import Request
from ..stores import Place
from ..upload import Chunks, Metadata, Upload
from ..writer import Writer
from . import Engine
from .records import visible

MOST = 1 << 20  # chunks; so many marks are read at each request, in less than a millisecond
LARGEST = 1 << 26  # bytes of a chunk that a hook wants to see, so that it lies in memory
REMEMBERED = 3600.0  # seconds for which a file that was handed over and removed is not taken again
PATIENCE = 10.0  # seconds to wait for whoever finishes the upload in the same moment


class Piece(NamedTuple):
    """What a client says of one chunk."""

    name: tuple[str, ...]  # what it calls the upload; two that differ in anything here never meet
    number: int  # from 0
    chunks: Chunks  # of size 0, if the client doesn't say
    length: int | None  # of the whole; None where the last chunk tells
    nameless: bool = False  # the client has no name for an upload but the file's, so chunk 0 begins a new one

    def checked(self) -> Piece:
        """Itself, if it makes sense."""
        size, count = self.chunks
        if not 1 <= count <= MOST:
            raise BadRequest(f"{count} chunks; this server takes from 1 to {MOST}")
        if not 0 <= self.number < count:
            raise BadRequest(f"there is no chunk {self.number} among {count}, counted from 0")
        # flow.js and its cousins let the last chunk be up to twice as long, or cut it off, as their option says.
        if self.length is not None and count not in (max(self.length // size, 1), max(-(-self.length // size), 1)):
            raise BadRequest(f"{self.length} bytes in chunks of {size} are not {count} chunks")
        return self


class Numbered:
    """The deeds. Made for a request; everything lasting is the engine's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: _Seen | None = None
        self._store, self._locker = engine._store, engine._locker

    def find(self, request: Request, piece: Piece) -> tuple[Upload | None, bytes]:
        """The upload and the marks of its chunks, or None: a client asks what it need not send again."""
        engine = self._engine
        self._name(request, piece)
        try:
            upload = self._store.load(request.id)
        except NotFound:
            engine.hooks.authorise(request, "look", None)
            return None, b""
        engine.hooks.authorise(request, "look", upload)
        if not visible(upload, request) or self._stale(upload, piece):
            return None, b""
        if upload.filled and not upload.complete:  # a crash came between, and this client may never send again
            upload = self._finished(upload)
        return upload, b"\1" * piece.chunks.many if upload.complete else self._store.marks(upload.id)

    def write(self, request: Request, piece: Piece, *, metadata: Metadata, announced: int | None) -> Writer:
        """A Writer for one chunk; one without a lease, if it is there already."""
        self._name(request, piece)
        upload = self._known(request, piece) or self._created(request, piece, metadata)
        if upload.complete or self._has(upload, piece.number):
            return Writer(upload)
        size, count = upload.chunks or (0, 0)
        if count != piece.chunks.many or piece.chunks.size not in (size, 0):
            raise LengthMismatch(f"this upload has {count} chunks of {size} bytes")
        share = self._locker.share(upload.id)
        try:
            with share.turn():
                writer = self._writer(upload.id, piece, share, announced)
        except BaseException:
            share.release()
            raise
        if writer.lease is None:
            share.release()
        return writer

    def conclude(self, writer: Writer, piece: Piece, cut: BaseException | None = None) -> Upload:
        """The chunk's bytes are over, or were cut: count it if it is whole, and finish if it was the last."""
        upload, engine = writer.upload, self._engine
        assert upload.chunks and writer.lease
        start, size = upload.chunks.span(piece.number, upload.length)
        if cut is not None or writer.announced not in (None, writer.received):
            raise BodyCut(f"chunk {piece.number} ended after {writer.received} bytes: {cut or 'the client went away'}")
        if size not in (None, writer.received):
            raise LengthMismatch(f"chunk {piece.number} has {writer.received} bytes instead of {size}")
        if self._seen:
            replaced = self._seen.replaced()
            with writer.lease.turn():
                self._seen.store(replaced)
        if engine.options.durable != "none":
            # Marks may reach the disk before what they speak of, and a power cut would leave a hole in the file.
            writer.sync()
        share: Share = writer.lease  # type: ignore[assignment]
        if size is None:
            self._tell(share, upload, piece.number, writer.received)
        with share.turn():
            self._store.mark(upload.id, piece.number, durable=engine.options.durable == "always")
        writer.close()
        upload = self._store.load(upload.id)
        if overridden(engine.hooks, "progressed"):
            engine.hooks.progressed(upload)
        return self._finished(upload) if upload.filled and not upload.complete else upload

    # Names

    def _name(self, request: Request, piece: Piece) -> None:
        """The id follows from what the client calls the upload; nobody who lacks our secret can work it out."""
        request.id = self._engine.secret_id(request, *piece.name, piece.length, piece.chunks.size)

    def _known(self, request: Request, piece: Piece) -> Upload | None:
        engine = self._engine
        try:
            upload = self._store.load(request.id)
        except NotFound:
            return None
        if self._stale(upload, piece):
            self._clear(upload, piece)
            return None
        engine.hooks.authorise(request, "write", upload)
        if not visible(upload, request):
            raise NotFound("no such upload")
        if piece.nameless and upload.complete and not upload.pending and piece.number == 0:
            raise Refused("there is a finished file by this name", status=409)
        return upload

    def _stale(self, upload: Upload, piece: Piece) -> bool:
        """Whether the upload by this name is over and forgotten, and the chunk is one of another."""
        engine = self._engine
        if engine.expired(upload):
            return True
        anew = piece.nameless and piece.number == 0
        if upload.complete:
            return upload.dropped and (anew or upload.touched + REMEMBERED < engine.now())
        return anew and self._store.marks(upload.id).count(1) > 1

    def _clear(self, upload: Upload, piece: Piece) -> None:
        """Remove it, unless somebody else has, and began the next one."""
        lease = self._locker.lease(upload.id)
        gone = True
        try:
            with lease.turn(), suppress(NotFound):
                gone = self._stale(self._store.load(upload.id), piece)
                if gone:
                    self._store.delete(upload.id)
        finally:
            lease.release(forget=gone)

    def _created(self, request: Request, piece: Piece, metadata: Metadata) -> Upload:
        engine = self._engine
        engine.hooks.authorise(request, "create", None)
        drafted = engine._drafted(request, length=piece.length, metadata=metadata, id=request.id)
        drafted = drafted.evolve(id=request.id, chunks=piece.chunks)
        # Several first chunks may come at once.
        with self._locker.mutex(request.id):
            upload, new = engine._named(drafted)
        if new:
            engine.hooks.created(upload)
        elif not visible(upload, request):
            raise NotFound("no such upload")
        return upload

    # Chunks

    def _has(self, upload: Upload, number: int) -> bool:
        return self._store.marks(upload.id)[number : number + 1] == b"\1"

    def _writer(self, id: str, piece: Piece, share: Share, announced: int | None) -> Writer:
        """A Writer at the place of the chunk. Only in a turn."""
        upload, number = self._store.load(id), piece.number
        if upload.complete or self._has(upload, number):  # by another request, since we looked
            return Writer(upload)
        assert upload.chunks
        # Such a client goes on behind a chunk that it sent and that never arrived.
        if piece.nameless and number and not self._has(upload, number - 1):
            raise OffsetMismatch(f"chunk {number - 1} of this file has not come; begin again")
        start, size = upload.chunks.span(number, upload.length)
        if size is not None and announced not in (None, size):
            raise LengthMismatch(f"chunk {number} has {announced} bytes instead of {size}")
        room = self._room(upload, start, size)
        if announced is not None and room is not None and announced > room:
            raise TooLarge(f"{announced} bytes do not fit, {room} are left")
        place: Place = self._store.writer(id, start)
        if overridden(self._engine.hooks, "chunk"):
            place = self._seen = _Seen(place, start, partial(self._engine.hooks.chunk, upload, number))
        write_back = self._engine.options.durable != "none"
        return Writer(upload, room=room, announced=announced, lease=share, place=place, write_back=write_back)

    def _room(self, upload: Upload, start: int, size: int | None) -> int | None:
        """Most bytes that the chunk may have."""
        limit = self._engine.limit(upload)
        limits = [size, None if limit is None else max(limit - start, 0)]
        if upload.chunks and upload.length is None:
            limits.append(upload.chunks.size or None)  # the last one is no larger than the others
        if overridden(self._engine.hooks, "chunk"):
            if (size or 0) > LARGEST:
                raise TooLarge(f"a chunk of {size} bytes is larger than the {LARGEST} that may lie in memory")
            limits.append(LARGEST)
        return min((limit for limit in limits if limit is not None), default=None)

    def _tell(self, share: Share, upload: Upload, number: int, received: int) -> None:
        """Record what only this chunk could tell: how large the others are, or where the file ends."""
        assert upload.chunks
        with self._locker.mutex(upload.id):
            if not share.holds():
                raise Interrupted("this upload was finished or taken over")
            upload = self._store.load(upload.id)
            chunks = upload.chunks
            assert chunks
            if number == 0 and not chunks.size:
                if not received and chunks.many > 1:
                    raise BadRequest("an empty chunk cannot be followed by others")
                upload = upload.evolve(chunks=chunks._replace(size=received))
            if number == chunks.many - 1:
                upload = upload.evolve(length=number * chunks.size + received)
            self._store.save(upload)

    # Finishing

    def _finished(self, upload: Upload) -> Upload:
        """Every chunk is there: complete it, once, whoever comes first."""
        engine = self._engine
        durable = engine.options.durable != "none"
        claim = engine.claimed(upload.id, PATIENCE)
        try:
            upload = self._store.load(upload.id)
            if not upload.complete:
                if durable:
                    self._store.sync(upload.id)
                engine._check_content(upload)
                upload = engine._mark(upload, durable)
        finally:
            claim.release()  # and with it every share
        return upload


class _Seen:
    """The place of a chunk that a hook sees, and may replace, before it is stored."""

    def __init__(self, place: Place, start: int, see: Callable[[bytes], bytes | None]) -> None:
        self._place, self._start, self._see = place, start, see
        self._data = bytearray()

    @property
    def position(self) -> int:
        return self._start + len(self._data)

    def write(self, block: bytes | bytearray | memoryview) -> int:
        self._data += block
        return len(block)

    def splice(self, pipe: int, size: int) -> int:
        return self.write(os.read(pipe, size))

    def replaced(self) -> bytes:
        """What the hook makes of it; it may take its time."""
        data = bytes(self._data)
        replaced = self._see(data)
        if replaced is None:
            return data
        if len(replaced) != len(data):  # every chunk has its place, whatever is in it
            raise StoreBroken(f"the hook `chunk` made {len(replaced)} bytes of {len(data)}")
        return replaced

    def store(self, data: bytes) -> None:
        self._place.write(data)

    def copy(self, source: BinaryIO, size: int) -> int:
        raise NotImplementedError("a chunk comes from a client")

    def truncate(self, size: int) -> None:
        del self._data[size - self._start :]

    def start_sync(self) -> None:
        """Nothing is stored yet."""

    def sync(self) -> None:
        self._place.sync()

    def close(self) -> None:
        self._place.close()
