"""Uploads that come in numbered chunks: the engine's part for them, in a file of its own.

Each chunk is written at its own place in one file, beside others, and marked when it is whole; an unmarked chunk never
counts. The request that marks the last one finishes the upload under a claim, and so only once. Two requests never
write the same chunk, and a chunk that is sent again is compared: two files with one name are refused, never mixed.
Every number from the client is checked.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import NoReturn

from .. import events
from ..errors import (
    BadRequest,
    BodyCut,
    LengthMismatch,
    Locked,
    NotFound,
    OffsetMismatch,
    Refused,
    TooLarge,
)
from ..http.messages import Request
from ..stores import Draft
from ..upload import Metadata, Result, Upload
from .admission import identify, secret_id
from .core import Core, change, exists, tell_arriving, tell_created, visible
from .creating import create_named, drafted
from .finishing import finish, refusal_of
from .pieces import LARGEST, Again, ChunkLease, Piece, Seen
from .removing import remove
from .writer import Writer

REMEMBERED = 3600.0  # seconds for which a file that was handed over and removed is not taken again
REPEATED = 120.0  # seconds for which a chunk of such a file is taken for one whose answer was lost
SPOILED = 60.0  # seconds for which a name that two files had at once is refused
ACTIVE = 10.0  # seconds without a byte, after which a request that sends a chunk is taken for dead
PATIENCE = 10.0  # seconds to wait for another request that finishes the upload at the same moment


class Numbered:
    """The deeds, for chunks."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store, self._places, self._locker = core.store, core.places, core.locker

    def find(self, request: Request, piece: Piece) -> tuple[Upload | None, bytes]:
        """The upload and the marks of its chunks, or None: a client asks what it need not send again."""
        hooks = self._core.hooks
        try:
            upload = self._store.load(request.id)
        except NotFound:
            hooks.authorise(request, "look", None)
            return None, b""
        hooks.authorise(request, "look", upload)
        if not visible(upload, request) or self._stale(upload, piece, REMEMBERED):
            return None, b""
        _check_good(upload)
        upload = self._finish_if_filled(upload)
        return upload, b"\1" * piece.chunks.many if upload.complete else self._places.marks(upload.id)

    def write(self, request: Request, piece: Piece, *, metadata: Metadata, announced: int | None) -> Writer | Again:
        """What takes one chunk: a Writer, or what compares it, if it is there already."""
        upload = self._known(request, piece) or self._create(request, piece, metadata)
        size, count = upload.chunks or (0, 0)
        if count != piece.chunks.many or piece.chunks.size not in (size, 0):
            raise LengthMismatch(f"this upload has {count} chunks of {size} bytes")
        if upload.complete or self._has(upload, piece.number):
            return self._again(upload, piece, announced)
        lease = self._leased(upload.id, piece.number)
        try:
            with lease.turn():
                writer = self._writer(upload.id, piece, lease, announced)
        except BaseException:
            lease.release()
            raise
        if writer is None:  # another request brought it, since we looked
            lease.release()
            return self._again(self._store.load(upload.id), piece, announced)
        return writer

    def _leased(self, id: str, number: int) -> ChunkLease:
        chunk = self._locker.lease(f"{id}-{number}")
        try:
            return ChunkLease(chunk, self._locker.share(id))
        except BaseException:
            chunk.release(forget=True)
            raise

    def repeated(self, again: Again, piece: Piece, cut: BaseException | None = None) -> Upload:
        """A chunk that is there came again, or was cut."""
        if cut is not None:
            raise BodyCut(f"chunk {piece.number} ended after {again.received} bytes: {cut}")
        again.check_size()
        if not again.same:
            self._clash(again.upload, piece)
        try:
            return self._finish_if_filled(self._store.load(again.upload.id))
        except NotFound:
            raise Locked("this upload was removed; send the chunk again") from None

    def conclude(self, writer: Writer, piece: Piece, cut: BaseException | None = None) -> Upload:
        """The chunk's bytes are over, or were cut: count it if it is whole, and finish if it was the last."""
        upload, core = writer.upload, self._core
        assert upload.chunks and writer.lease
        events.peer.set(writer.peer)  # another thread may have begun
        size = upload.chunks.span(piece.number, upload.length)[1]
        if cut is not None or writer.announced not in (None, writer.received):
            raise BodyCut(f"chunk {piece.number} ended after {writer.received} bytes: {cut or 'the client went away'}")
        if size not in (None, writer.received):
            raise LengthMismatch(f"chunk {piece.number} has {writer.received} bytes instead of {size}")
        # Marks may reach the disk before what they speak of, and a power cut would leave a hole in the file.
        writer.commit(durable=core.syncs)
        with writer.lease.turn():
            if size is None:
                self._tell(upload, piece.number, writer.received)
            self._places.mark(upload.id, piece.number, durable=core.assures)
        writer.close()
        core.watches.ring(upload.id)
        upload = self._store.load(upload.id)
        if core.reports:
            core.hooks.progressed(upload)
        return self._finish_if_filled(upload)

    def _finish_if_filled(self, upload: Upload) -> Upload:
        """The upload, finished if every chunk is there: a crash may have come between, and who asks may never send
        again."""
        return self._finish(upload) if upload.filled and not upload.complete else upload

    # Names

    def named(self, request: Request, piece: Piece) -> Request:
        """The request with the id of the chunk's upload, as the other functions want it. The id follows from the
        client's name for the upload, and from what only this visitor knows; nobody can work it out without our
        secret."""
        core, request = self._core, identify(self._core, request)
        ids = [secret_id(core, request, *piece.name, whose, piece.length, piece.chunks.size) for whose in piece.whose]
        id = next((id for id in ids if exists(core, id)), ids[0]) if len(ids) > 1 else ids[0]
        return request.about(id)

    def _known(self, request: Request, piece: Piece) -> Upload | None:
        core, first = self._core, piece.nameless and piece.number == 0
        try:
            upload = self._store.load(request.id)
        except NotFound:
            return None
        if not core.expired(upload):
            _check_good(upload)
        if first and self._arriving(upload):
            raise Locked("a file by this name is on its way")
        if self._stale(upload, piece, REPEATED):
            self._clear(upload, piece)
            return None
        core.hooks.authorise(request, "write", upload)
        if not visible(upload, request):
            raise NotFound("no such upload")
        if first and upload.complete and not upload.pending:
            raise Refused("there is a finished file by this name", status=409)
        return upload

    def _arriving(self, upload: Upload) -> bool:
        """Whether a chunk is on its way to an upload of a client that sends one at a time."""
        if upload.complete or upload.touched + ACTIVE < self._core.now():
            return False
        return self._locker.writing(f"{upload.id}-{self._places.marks(upload.id).count(1)}")

    def _stale(self, upload: Upload, piece: Piece, remembered: float) -> bool:
        """Whether the upload by this name is over and forgotten, and the chunk is one of another."""
        core = self._core
        if core.expired(upload):
            return True
        anew = piece.nameless and piece.number == 0
        if upload.complete:
            over = upload.dropped or upload.refused
            return over and anew or upload.dropped and upload.touched + remembered < core.now()
        return anew and self._places.marks(upload.id).count(1) > 1

    def _clear(self, upload: Upload, piece: Piece) -> None:
        """Remove it, unless another request has, and began the next one."""
        if remove(self._core, upload, lambda found: self._stale(found, piece, REPEATED)):
            (events.expired if self._core.expired(upload) else events.removed)(upload)

    def _clash(self, upload: Upload, piece: Piece) -> NoReturn:
        """Two files have one name, and nothing tells which chunk belongs to which: neither is finished."""
        if upload.complete and not upload.refused:
            raise Refused("there is a finished file by this name, and this is another one", status=409)
        first = upload.refused or piece.nameless and self._places.marks(upload.id).count(1) == 1
        lease = self._locker.lease(upload.id, brief=True)
        try:
            with lease.turn(), suppress(NotFound):
                upload = self._store.load(upload.id)
                if first:
                    self._store.delete(upload.id)
                elif not upload.complete:
                    told = Result(409, (), b"two different files came by this name; send them one after the other")
                    self._store.save(upload.evolve(result=told, expires=self._core.now() + SPOILED))
        finally:
            lease.release(forget=first)
        if first:
            events.removed(upload)
            raise Locked("another file by this name had begun; send this chunk again")
        raise Refused("another file by this name is on its way", status=409)

    def _create(self, request: Request, piece: Piece, metadata: Metadata) -> Upload:
        core = self._core
        core.hooks.authorise(request, "create", None)
        upload = drafted(core, request, length=piece.length, metadata=metadata, id=request.id)
        # Several first chunks may come at once.
        upload, new = create_named(core, upload.evolve(id=request.id, chunks=piece.chunks))
        if new:
            tell_created(core, upload)
            tell_arriving(core, upload)
        elif not visible(upload, request):
            raise NotFound("no such upload")
        return upload

    # Chunks

    def _has(self, upload: Upload, number: int) -> bool:
        return self._places.marks(upload.id)[number : number + 1] == b"\1"

    def _again(self, upload: Upload, piece: Piece, announced: int | None) -> Again:
        """What compares the chunk with the one that is there, where that can be seen."""
        assert upload.chunks
        start, size = upload.chunks.span(piece.number, upload.length)
        file = None
        if not upload.dropped and not self._core.sees:
            with suppress(NotFound):  # handed over in this moment
                file = self._store.open(upload.id, start)
        return Again(upload, file, size, announced)

    def _writer(self, id: str, piece: Piece, lease: ChunkLease, announced: int | None) -> Writer | None:
        """A Writer at the place of the chunk; None if it is there. Only in a turn."""
        upload, number = self._store.load(id), piece.number
        if upload.complete or self._has(upload, number):
            return None
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
        core = self._core
        draft: Draft = self._places.place(id, start, fence=lease)
        if core.sees:
            draft = Seen(draft, partial(core.hooks.chunk, upload, number))
        return Writer(
            upload,
            room=room,
            announced=announced,
            lease=lease,
            draft=draft,
            syncs=core.syncs,
            peer=events.peer.get(),
        )

    def _room(self, upload: Upload, start: int, size: int | None) -> int | None:
        """Most bytes that the chunk may have."""
        limit = self._core.limit(upload)
        limits = [size, None if limit is None else max(limit - start, 0)]
        if upload.chunks and upload.length is None:
            limits.append(upload.chunks.size or None)  # the last one is no larger than the others
        if self._core.sees:
            if (size or 0) > LARGEST:
                raise TooLarge(f"a chunk of {size} bytes is larger than the {LARGEST} that may lie in memory")
            limits.append(LARGEST)
        return min((limit for limit in limits if limit is not None), default=None)

    def _tell(self, upload: Upload, number: int, received: int) -> None:
        """Record what only this chunk could tell: how large the others are, or where the file ends. Only in a turn."""

        def told(upload: Upload) -> Upload:
            chunks = upload.chunks
            assert chunks
            if number == 0 and not chunks.size:
                if not received and chunks.many > 1:
                    raise BadRequest("an empty chunk cannot be followed by others")
                upload = upload.evolve(chunks=chunks._replace(size=received))
            if number == chunks.many - 1:
                upload = upload.evolve(length=number * chunks.size + received)
            return upload

        change(self._core, upload.id, told)

    # Finishing

    def _finish(self, upload: Upload) -> Upload:
        """Every chunk is there: complete it, once, in the request that comes first."""
        core = self._core
        claim = self._locker.claim(upload.id, patience=PATIENCE)
        try:
            upload = self._store.load(upload.id)
            if not upload.complete:
                _check_good(upload)
                upload = finish(core, upload, None, refusal_of(core, upload))
        finally:
            claim.release()  # and with it every share
        return upload


def _check_good(upload: Upload) -> None:
    """Raise Refused, if it was found to be two files, of which nothing can come."""
    if upload.result and not upload.complete:
        raise Refused(upload.result.body.decode(), status=upload.result.status)
