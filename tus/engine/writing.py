"""Taking an upload over and writing to it: admitted first, then the lease, then the offset, then bytes."""

from __future__ import annotations

import time
from contextlib import closing

from ..checksum import Checksum
from ..errors import (
    BodyCut,
    ChecksumMismatch,
    Damaged,
    Gone,
    Interrupted,
    LengthMismatch,
    Locked,
    NotFound,
    Refused,
    StoreBroken,
    StoreFull,
    TusError,
)
from ..http.messages import Request
from ..lockers import Lease
from ..stores import Record
from ..upload import Upload, checked_id
from .creating import Creating
from .records import certain
from .writer import Writer

_ASKED = 4096  # uploads of which is known when their offset was told


class Writing(Creating):
    """Bytes, from the newest request."""

    def seize(self, request: Request, *, finish: bool = True) -> Upload:
        """The upload with the offset that holds: a request that still writes is ended. With `finish`, an upload that
        has every byte is finished, in case a crash prevented that."""
        # First, so that a request which came before this one, and has not begun to write, finds it. One that has begun
        # has a lease, which is seen next. So the offset read then is as reliable as one read under our own lease.
        asked = self._note_asked(checked_id(request.id))
        writing = self._locker.writing(request.id)
        try:
            upload = self._admit(request, "head")
        except BaseException:  # a client that may not ask ends no request
            if self._asked.get(request.id) == asked:
                self._asked.pop(request.id, None)
            raise
        if upload.complete or upload.chunks:  # no client resumes at the end of one that comes in chunks
            return upload
        try:
            if upload.final:
                upload = self._joined(upload)
            elif writing or finish and upload.filled or self._unsettled(upload):
                upload = self._seized(upload.id, finish=finish)
            if self.options.durable == "always" and not upload.complete and not upload.final:
                upload = self._told(upload)
        except (NotFound, Gone, Damaged):
            raise
        except TusError as error:
            # Not this request is at fault, but the content or the disk. A client that gets anything but 423 here
            # forgets the upload, and sends everything again.
            raise Locked(str(error)) from error
        return upload

    def _note_asked(self, id: str) -> float:
        if len(self._asked) > _ASKED:
            self._asked.clear()
        self._asked[id] = now = time.monotonic()
        return now

    def _check_since(self, upload: Upload, since: float | None) -> None:
        """A request whose client asked how far it came, before it began, is over."""
        if since and self._asked.get(upload.id, 0.0) > since:
            raise Interrupted("a newer request asked for the offset before this one began")

    def _check_current(self, upload: Upload, offset: int, since: float | None) -> None:
        """A stale request must not end a good one, so it is told before it takes the lease."""
        self._check_since(upload, since)
        self._check_offset(certain(upload), offset)

    def _unsettled(self, upload: Upload) -> bool:
        return upload.unverified_from is not None or upload.id in self._doubted

    def _told(self, upload: Upload) -> Upload:
        """The upload with an offset that is on the disk."""
        if self._store.certain(upload.id) == upload.offset:
            return upload
        lease = self._locker.lease(upload.id, patient=False)
        try:
            self._secure(upload, lease)
        except (StoreFull, StoreBroken):
            return certain(self._store.load(upload.id))
        finally:
            lease.release()
        return upload

    def _seized(self, id: str, *, finish: bool) -> Upload:
        lease = self._locker.lease(id, patient=False)
        forget = False
        try:
            with lease.turn():
                upload = self._settled(self._store.load(id))
            if finish and upload.filled and not upload.complete:
                upload = self._completed(upload, lease)
            forget = upload.complete
        except NotFound:
            forget = True
            raise
        finally:
            lease.release(forget=forget)
        if upload.complete:
            self._join_waiting(upload)
        return upload

    def _completed(self, upload: Upload, lease: Lease) -> Upload:
        """The upload complete; or with what is certain of it, if the disk did not take it after all."""
        try:
            return self._complete(upload, lease)
        except (StoreFull, StoreBroken):
            upload = certain(self._store.load(upload.id))
            if upload.filled:
                raise
            return upload

    def append(
        self,
        request: Request,
        offset: int,
        *,
        announced: int | None,
        length: int | None = None,
        checksum: Checksum | None = None,
        unverified: bool = False,
        last: bool | None = None,
    ) -> Writer:
        """Take over the upload, to write at `offset`. `unverified`: a checksum will come behind the body. `last`:
        whether this request ends the upload; None, where its length alone tells."""
        with closing(self._held(request, "write")) as record:
            upload = record.upload
            if upload.result and upload.refused:  # wherever the client wants to go on
                return Writer(upload)
            if upload.final or upload.chunks:
                how = "by concatenation" if upload.final else "of numbered chunks"
                raise Refused(f"an upload made {how} cannot be written to", status=403)
            self._check_current(upload, offset, request.since)
            if upload.complete:
                self._check_room(upload, offset, length, announced)
                return Writer(upload)
            try:
                return self._taken_over(
                    record,
                    offset=offset,
                    announced=announced,
                    length=length,
                    checksum=checksum,
                    unverified=unverified or checksum is not None,
                    last=last,
                    since=request.since,
                    keep=request.arrived and self._quick and not upload.partial,
                )
            except (StoreFull, StoreBroken) as failed:  # also of what is written down before the first byte
                failed.offset = offset if failed.offset is None else failed.offset
                raise

    def _taken_over(
        self,
        record: Record,
        *,
        offset: int,
        announced: int | None,
        length: int | None,
        checksum: Checksum | None,
        unverified: bool,
        last: bool | None,
        since: float | None,
        keep: bool,
    ) -> Writer:
        id = record.upload.id
        lease = self._locker.lease(id, locked=True, check=lambda: self._check_current(record.again(), offset, since))
        place = None
        try:
            upload = self._settled(record.again())
            self._check_since(upload, since)
            self._check_offset(upload, offset)
            room = self._check_room(upload, offset, length, announced)
            if not upload.complete:
                changed = self._declared(upload, length, unverified)
                place = self._store.writer(upload.id, offset)  # still in the turn: a moment later it may be handed over
            if not keep:  # the body may take for ever, and no other request must wait for that
                lease.unlock()
        except BaseException as error:
            if place:
                place.close()
            lease.release(forget=isinstance(error, NotFound))
            raise
        if upload.complete:  # by another request, since this one was admitted
            lease.release(forget=True)
            return Writer(upload)
        return Writer(
            changed,
            room=room,
            announced=announced,
            lease=lease,
            place=place,
            unverified=unverified,
            last=last,
            checksum=checksum,
            write_back=self.options.durable != "none",
            progressed=self._progress(changed) if self._reports else None,
            failed=self._fail,
        )

    def _declared(self, upload: Upload, length: int | None, unverified: bool) -> Upload:
        """The upload with the length that a request declares, and recorded what a crash must not lose."""
        declared = upload if length is None else upload.evolve(length=length)
        if unverified:
            # Nothing may change before the checksum is known to match; not even the length.
            self._publish(upload.evolve(unverified_from=upload.offset))
        elif declared.length != upload.length or not upload.created:
            # A record without a date is tusd's, and would call itself finished as soon as the bytes are there.
            self._publish(declared)
        return declared

    def conclude(self, writer: Writer, cut: BaseException | None = None, trailing: Checksum | None = None) -> Upload:
        """The body is over, or was `cut`: verify, keep or forget, finish if this was the last byte."""
        upload = writer.upload.evolve(offset=writer.offset)
        if writer.lease is None:
            return upload
        whole = cut is None and writer.announced in (None, writer.received)
        if writer.unverified:
            self._verify(writer, upload, whole, trailing)
        if not whole and not (upload.filled and writer.announced is None and writer.last is None):
            raise BodyCut(f"the body ended after {writer.received} bytes: {cut or 'the client went away'}")
        if upload.filled if writer.last is None else writer.last:
            upload = self._ended(upload) if writer.last else upload
            upload = self._complete(upload, writer.lease, writer)
            writer.close(forget=True)
            self._join_waiting(upload)
            return upload
        if self.options.durable == "always":
            self._secure(upload, writer.lease, writer)
        if writer.fresh:
            self._publish(upload)
        return upload

    def _ended(self, upload: Upload) -> Upload:
        """The client says that this is all; so be it, if that is what it always said."""
        if upload.length not in (None, upload.offset):
            raise LengthMismatch(f"this ends at {upload.offset}, and the upload has {upload.length} bytes")
        return upload.evolve(length=upload.offset)

    def _verify(self, writer: Writer, upload: Upload, whole: bool, trailing: Checksum | None) -> None:
        """Keep the bytes of this request for good; or raise ChecksumMismatch or BodyCut, and they are forgotten."""
        start = writer.upload.offset
        if not whole:
            raise BodyCut("the body was cut, so its checksum cannot be verified; nothing was kept", offset=start)
        if not writer.matches() or (trailing is not None and not self._holds(upload, start, trailing)):
            raise ChecksumMismatch("the checksum does not match", offset=start)
        if not writer.fresh:
            assert writer.lease
            if self.options.durable == "always":
                self._secure(upload, writer.lease, writer)  # before the record says that these bytes are good
            with writer.lease.turn():
                stored = self._store.load(upload.id)
                self._publish(stored.evolve(unverified_from=None, length=upload.length))
        writer.unverified = False

    def _holds(self, upload: Upload, start: int, checksum: Checksum) -> bool:
        """Whether what lies behind `start` has this checksum; it came after the bytes, so they are read again."""
        hash = checksum.hash()
        for block in self._stored(upload, start):
            hash.update(block)
        return checksum.matches(hash)

    def _complete(self, upload: Upload, lease: Lease, writer: Writer | None = None) -> Upload:
        """Every byte is there: make it last, let the host look at it, and mark it complete. The lease stays locked."""
        durable = self.options.durable != "none"
        lease.lock()  # disk and host may take their time, and a HEAD must not begin the same a second time
        if durable:
            self._secure(upload, lease, writer)
        if upload.digests:
            upload = upload.evolve(digests=self._digested(upload))
        refusal = self._refusal(upload)
        # Only these records change while somebody else holds the lease: see _await_parts and describe.
        if (upload.partial or upload.expected is not None) and not (writer and writer.fresh):
            upload = self._store.load(upload.id).evolve(length=upload.length)
        return self._mark(upload, durable, refusal)
