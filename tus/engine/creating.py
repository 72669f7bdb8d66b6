"""New uploads. No client knows of one before its creation has ended, so its record is written once, at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..checksum import Checksum
from ..errors import (
    BadRequest,
    ChecksumMismatch,
    DigestMismatch,
    Interrupted,
    LengthMismatch,
    OffsetMismatch,
    Overrun,
    StoreBroken,
    StoreFull,
    TooLarge,
    TusError,
)
from ..http.messages import Request
from ..lockers import Lease
from ..upload import Digests, Metadata, Upload
from .joining import Joining
from .writer import Writer


class Creating(Joining):
    """The beginning."""

    def begin(
        self,
        request: Request,
        *,
        length: int | None,
        metadata: Metadata,
        partial: bool = False,
        concat: str = "",
        announced: int | None = 0,
        checksum: Checksum | None = None,
        unverified: bool = False,
        last: bool | None = None,
        digests: Digests = (),
        known: bool = False,
        id: str = "",
        expected: int | None = None,
    ) -> Writer:
        """A Writer for a new upload. No client knows of it before the writer is concluded, so its record is written
        once, and no lease is needed; unless the client is told of it first, so that it is `known`."""
        request = self._identify(request)
        self.hooks.authorise(request, "create", None)
        upload = self._drafted(request, length=length, metadata=metadata, partial=partial, concat=concat, id=id)
        upload = upload.evolve(digests=digests, target=request.target) if digests or request.target else upload
        upload = upload if expected is None else upload.evolve(id=id or upload.id, expected=expected)
        room = self._check_room(upload, 0, None, announced)
        unverified = unverified or checksum is not None
        place = self._reserved(upload)
        lease: Lease = _Alone()
        try:
            self._announce(upload)
            if known:
                self._publish(upload.evolve(unverified_from=0) if unverified else upload)
                lease = self._locker.lease(upload.id)
        except BaseException:
            place.close()
            self._store.delete(upload.id)
            raise
        return Writer(
            upload,
            room=room,
            announced=announced,
            lease=lease,
            place=place,
            fresh=not known,
            unverified=unverified,
            last=last,
            checksum=checksum,
            write_back=self.options.durable != "none",
            progressed=self._progress(upload) if self._reports else None,
            failed=self._fail if known else self._abandon,
        )

    def _abandon(self, writer: Writer, error: BaseException) -> None:
        """A creation failed: what the client can go on with is kept, and nothing else."""
        lost = isinstance(error, ChecksumMismatch | BadRequest) or not isinstance(error, TusError)
        doubted = self._doubted.pop(writer.upload.id, None) is not None
        if lost or doubted or spoils(writer, error):
            self._store.delete(writer.upload.id)
            return
        if writer.unverified or isinstance(error, TooLarge):
            writer.truncate()
        assert isinstance(error, TusError)
        try:
            offset = self._promised(writer)
            self._publish(writer.upload.evolve(offset=offset))
        except TusError:
            self._store.delete(writer.upload.id)  # no room even for the record, so none for a rest of the data
            return
        error.offset = offset

    def _check_offset(self, upload: Upload, offset: int) -> None:
        if offset != upload.offset:
            raise OffsetMismatch(f"the upload has {upload.offset} bytes, not {offset}", offset=upload.offset)

    def _check_room(self, upload: Upload, offset: int, length: int | None, announced: int | None) -> int | None:
        """How many bytes may come; None if any number."""
        if length is not None:
            if upload.length is not None and length != upload.length:
                raise LengthMismatch(f"Upload-Length is {upload.length} and cannot become {length}")
            if length < offset:
                raise LengthMismatch(f"Upload-Length {length} is less than the {offset} bytes that are stored")
            self._check_size(upload, length)
        declared = length if upload.length is None else upload.length
        end = self.limit(upload) if declared is None else declared
        if end is None:
            return None
        room = max(end - offset, 0)
        if announced is not None and announced > room:
            too_large = TooLarge if declared is None else Overrun
            error = too_large(f"{announced} bytes do not fit, {room} are left", offset=offset)
            error.limit = end
            raise error
        return room

    def _progress(self, upload: Upload) -> Callable[[int], None]:
        last = self._clock()

        def progressed(offset: int) -> None:
            nonlocal last
            now = self._clock()
            if now - last >= 1:
                last = now
                self.hooks.progressed(upload.evolve(offset=offset))

        return progressed

    def _fail(self, writer: Writer, error: BaseException) -> None:
        """An append failed: nothing unverified stays, and the client is told what holds."""
        if spoils(writer, error):
            self._invalidate(writer)
            return
        if writer.unverified or isinstance(error, TooLarge) and writer.last is None:
            with suppress(TusError):  # the request that took the upload over has cut it back already
                self._cut_back(writer)
        if isinstance(error, TusError) and error.offset is None and not isinstance(error, Interrupted):
            error.offset = self._promised(writer)

    def _promised(self, writer: Writer) -> int:
        """The offset that a client may be told, which with `durable = always` is on the disk."""
        if self.options.durable == "always" and writer.lease:
            try:
                self._secure(writer.upload.evolve(offset=writer.offset), writer.lease, writer)
            except (StoreFull, StoreBroken):
                return self._store.certain(writer.upload.id)
        return writer.offset

    def _invalidate(self, writer: Writer) -> None:
        """This upload can no longer be used: clients that ask are told that it is gone."""
        assert writer.lease
        with suppress(TusError), writer.lease.turn():
            self._store.truncate(writer.upload.id, 0)
            self._store.save(writer.upload.evolve(offset=0, expires=0.0, unverified_from=None))

    def _cut_back(self, writer: Writer) -> None:
        """As if the request had not been."""
        assert writer.lease
        with writer.lease.turn():
            writer.truncate()
            if writer.unverified and not writer.fresh:
                self._store.save(self._store.load(writer.upload.id).evolve(unverified_from=None))


class _Alone:
    """The lease on an upload that no other request can know of."""

    def turn(self) -> _Alone:
        return self

    def __enter__(self) -> None:
        """Nothing to wait for."""

    def __exit__(self, *_: object) -> None:
        """Nobody waits."""

    def lock(self) -> None:
        """Nobody could take over."""

    def unlock(self) -> None:
        """Nobody waits."""

    def on_lost(self, end: Callable[[], None]) -> None:
        """It cannot be lost."""

    def release(self, *, forget: bool = False) -> None:
        """Nothing was held."""


def spoils(writer: Writer, error: BaseException) -> bool:
    """Whether the upload is of no use after this. One that says itself where it ends, and goes on behind its length,
    never was what it said."""
    if writer.upload.expected is not None:  # a form cannot be resumed
        return True
    return isinstance(error, DigestMismatch) or isinstance(error, Overrun) and writer.last is not None
