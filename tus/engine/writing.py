"""Taking an upload over and writing to it: admitted first, then the lease, then the offset, then bytes."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from functools import partial

from .. import events
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
from ..stores import Draft
from ..upload import Metadata, Upload, checked_id
from ..waiting import take_time
from .admission import Admission, admit, check_alive
from .core import MOMENT, Core, change, contended, fall_back, publish, tell_arriving
from .creating import check_offset, reported, rescue, room_for
from .finishing import complete
from .joining import join_parts, join_waiting
from .writer import Sink, Writer

log = logging.getLogger("tus")

_ASKED = 4096  # uploads of which is known when their offset was told


def seize(core: Core, request: Request, *, finish: bool = True) -> Upload:
    """The upload with the offset that holds: a request that still writes is ended. With `finish`, an upload that
    has every byte is finished, in case a crash prevented that."""
    # First, so that a request which came before this one, and has not begun to write, finds it. One that has begun
    # has a lease, which is seen next. So the offset read then is as reliable as one read under our own lease.
    asked = _note_asked(core, checked_id(request.id))
    try:
        writing = core.locker.writing(request.id)
        admitted = admit(core, request, "head")
    except BaseException as error:  # a client that may not ask ends no request
        if core.asked.get(request.id) == asked:
            core.asked.pop(request.id, None)
        if isinstance(error, StoreBroken) and not isinstance(error, Damaged):
            raise Locked(str(error)) from error  # as below: a store or a locker does not answer
        raise
    admitted.reading.close()
    upload = admitted.upload
    if upload.complete or upload.chunks:  # no client resumes at the end of one that comes in chunks
        return upload
    if upload.final or writing or finish and upload.filled:
        take_time()
    try:
        if upload.final:
            return join_parts(core, upload)
        if writing or finish and upload.filled:
            upload = _take(core, upload.id, finish=finish)
        return _assure(core, upload) if core.assures and not upload.complete else upload
    except (NotFound, Gone, Damaged):
        raise
    except TusError as error:
        # Not this request is at fault, but the content or the disk. A client that gets anything but 423 here
        # forgets the upload, and sends everything again.
        raise Locked(str(error)) from error


def _note_asked(core: Core, id: str) -> float:
    if len(core.asked) > _ASKED:
        core.asked.clear()
    core.asked[id] = now = time.monotonic()
    return now


def _check_since(core: Core, upload: Upload, since: float | None) -> None:
    """A request whose client asked how far it came, before it began, is over."""
    if since and core.asked.get(upload.id, 0.0) > since:
        raise Interrupted("a newer request asked for the offset before this one began")


def _check_current(core: Core, upload: Upload, offset: int, since: float | None) -> None:
    """A stale request must not end a good one, so it is told before it takes the lease."""
    _check_since(core, upload, since)
    check_offset(upload, offset)


def _assure(core: Core, upload: Upload) -> Upload:
    """The upload with an offset that is on the disk."""
    if core.store.load(upload.id, durable=True).offset == upload.offset:
        return upload
    lease = core.locker.lease(upload.id, patience=MOMENT)
    try:
        with lease.turn():
            upload = core.store.load(upload.id)
            draft = core.store.append(upload.id, upload.offset, fence=lease, known=upload)
        with closing(draft):
            return upload.evolve(offset=draft.commit(durable=True))
    except (StoreFull, StoreBroken) as error:
        if error.offset is None:  # it is not known what is certain
            raise
        fall_back(core, upload, lease, error)
        return core.store.load(upload.id)
    finally:
        lease.release()


def _take(core: Core, id: str, *, finish: bool) -> Upload:
    lease = core.locker.lease(id, brief=True, patience=MOMENT)
    draft, forget = None, False
    try:
        with lease.turn():
            upload = core.store.load(id)
            if not upload.complete:  # what the request that wrote leaves uncommitted is of no use any more
                draft = core.store.append(id, upload.offset, fence=lease, known=upload)
        if draft:
            with closing(draft):
                if finish and upload.filled:
                    upload = _complete_after_all(core, upload, lease, draft)
        forget = upload.complete
    except NotFound:
        forget = True
        raise
    finally:
        lease.release(forget=forget)
    if upload.complete:
        join_waiting(core, upload)
    return upload


def _complete_after_all(core: Core, upload: Upload, lease: Lease, draft: Draft) -> Upload:
    """The upload complete; or with what is certain of it, if the disk did not take it after all."""
    try:
        return complete(core, upload, lease, draft)
    except (StoreFull, StoreBroken):
        upload = core.store.load(upload.id)
        if upload.filled:
            raise
        return upload


def append(
    core: Core, request: Request, offset: int, *, announced: int | None, length: int | None = None,
    checksum: Checksum | None = None, exact: bool = False, trailing: bool = False, last: bool | None = None,
) -> Writer:  # fmt: skip
    """Take over the upload, to write at `offset`. `exact`: all of this body is kept, or nothing. `trailing`: a checksum
    will come behind it. `last`: whether this request ends the upload; None, where its length alone tells."""
    admitted = admit(core, request, "write", glimpsed=True)
    with closing(admitted.reading):
        upload = admitted.upload
        if upload.result and upload.refused:  # wherever the client wants to go on
            return Writer(upload)
        _check_writable(upload)
        if upload.complete or not admitted.glimpsed:
            _check_current(core, upload, offset, request.since)
        if upload.complete:
            room_for(core, upload, offset, length, announced)
            return Writer(upload)
        exact = exact or trailing or checksum is not None
        try:
            lease, draft, upload, room = _take_over(core, admitted, offset, announced, length, exact)
            _announce(core, upload, lease, draft, announced)
        except (StoreFull, StoreBroken) as error:  # also of what is written down before the first byte
            error.offset = offset if error.offset is None else error.offset
            raise
    return Writer(
        upload,
        room=room,
        announced=announced,
        lease=lease,
        draft=draft,
        exact=exact,
        trailing=trailing,
        last=last,
        checksum=checksum,
        syncs=core.syncs,
        peer=request.peer,
        progressed=reported(core, upload),
        failed=partial(rescue, core),
        declares=upload.length != admitted.upload.length,
    )


def _announce(core: Core, upload: Upload, lease: Lease | None, draft: Draft | None, announced: int | None) -> None:
    """Tell the host that the first bytes come. It may refuse them."""
    if lease is None or announced == 0:
        return
    try:
        tell_arriving(core, upload)
    except BaseException:
        if draft:
            draft.close()
        lease.release()
        raise


def _check_writable(upload: Upload) -> None:
    if upload.final or upload.chunks:
        how = "by concatenation" if upload.final else "of numbered chunks"
        raise Refused(f"an upload made {how} cannot be written to", status=403)


Taken = tuple[Lease | None, Draft | None, Upload, int | None]


def _take_over(
    core: Core, admitted: Admission, offset: int, announced: int | None, length: int | None, exact: bool
) -> Taken:
    """The lease, a draft that begins at the offset, the upload and the room that it has; neither of the first two, if
    another request completed it since this one was admitted."""
    request, reading = admitted
    # The body may take for ever, and no other request must wait for that.
    brief = request.arrived and core.quick and not reading.upload.partial
    if not brief or not announced:
        take_time()  # a turn may have to be waited for; and without a body this can only finish it
    lease = core.locker.lease(
        reading.upload.id,
        brief=brief,
        check=lambda: _check_current(core, reading.again(), offset, request.since),
    )
    try:
        with lease.turn():
            upload = _current(core, admitted, offset, lease)
            _check_since(core, upload, request.since)
            check_offset(upload, offset)
            room = room_for(core, upload, offset, length, announced)
            if not upload.complete:
                declared = _declare(core, upload, length, exact)
                # Still in the turn: a moment later it may be handed over.
                draft = core.store.append(upload.id, offset, fence=lease, exact=exact, known=upload)
                return lease, draft, declared, room
    except BaseException as error:
        lease.release(forget=isinstance(error, NotFound))
        raise
    lease.release(forget=True)
    return None, None, upload, room


def _current(core: Core, admitted: Admission, offset: int, lease: Lease) -> Upload:
    """The upload as it is, in the first turn of this lease."""
    if not (core.distant and admitted.glimpsed):
        return admitted.reading.again()
    upload = core.distant.current(admitted.upload.id, offset, fence=lease)
    check_alive(core, upload)
    return upload


def _declare(core: Core, upload: Upload, length: int | None, exact: bool) -> Upload:
    """The upload with the length that a request declares, and recorded what a crash must not lose."""
    declared = upload if length is None else upload.evolve(length=length)
    # Nothing may change before a checksum is known to match; not even the length.
    if not exact and (declared.length != upload.length or not upload.created):
        # A record without a date is tusd's, and would call itself finished as soon as the bytes are there.
        # Over a network this may come late, when another request has completed the upload.
        publish(core, declared, since=upload if contended(upload) or core.distant else None)
    return declared


def conclude(core: Core, writer: Writer, cut: BaseException | None = None, trailing: Checksum | None = None) -> Upload:
    """The body is over, or was `cut`: verify, keep or forget, finish if this was the last byte."""
    if writer.lease is None:
        return writer.upload
    events.peer.set(writer.peer)  # another thread may have begun
    upload = writer.upload.evolve(offset=writer.offset)
    whole = cut is None and writer.announced in (None, writer.received)
    if writer.exact:
        _verify(writer, whole, trailing)
    if not whole and not (upload.filled and writer.announced is None and writer.last is None):
        raise BodyCut(f"the body ended after {writer.received} bytes: {cut or 'the client went away'}")
    if upload.filled if writer.last is None else writer.last:
        upload = _ended(upload) if writer.last else upload
        assert writer.draft
        upload = complete(core, upload, writer.lease, writer.draft, fresh=writer.fresh)
        verified = writer.fresh and writer.received
        writer.close(forget=True)
        if verified:
            _tell_complete(core, upload)
        join_waiting(core, upload)
        return upload
    return _keep(core, writer, upload)


def settles_at_once(core: Core, sink: Sink) -> bool:
    """Whether `conclude` waits for nothing: neither a disk nor the host, and nothing large is read or copied."""
    if not isinstance(sink, Writer):
        return False
    upload = sink.upload
    ends = upload.length == sink.offset if sink.last is None else sink.last
    if core.announces and sink.fresh:
        return False
    return not (ends and (core.syncs or core.checks or upload.partial or upload.digests))


def _keep(core: Core, writer: Writer, upload: Upload) -> Upload:
    """The upload with what this request brought, of which more will come."""
    assert writer.lease
    try:
        offset = writer.commit(durable=core.assures)
    except (StoreFull, StoreBroken) as error:
        fall_back(core, upload, writer.lease, error)
        raise
    if offset != upload.offset:
        upload = upload.evolve(offset=offset)
    if writer.fresh:
        publish(core, upload)
        if writer.received:
            _tell_verified(core, writer, upload)
    elif writer.exact and writer.declares:
        with writer.lease.turn():
            change(core, upload.id, lambda found: found.evolve(length=upload.length), durable=core.assures)
    return upload


def _tell_verified(core: Core, writer: Writer, upload: Upload) -> None:
    """Tell the host of the first bytes of a new upload, since their checksum is right. It may refuse them: no client
    knows of the upload yet."""
    if not core.announces:
        return
    try:
        core.hooks.arriving(upload)
    except BaseException:
        writer.close()
        core.store.delete(upload.id)
        raise


def _tell_complete(core: Core, upload: Upload) -> None:
    """The same of an upload that came whole. It is finished, whatever the host says."""
    if not core.announces or upload.refused:
        return
    try:
        core.hooks.arriving(upload)
    except Exception:
        log.exception("upload %s came whole with its creation, and the hook `arriving` failed", upload.id)


def _ended(upload: Upload) -> Upload:
    """The client says that this is all; so be it, if that is what it always said."""
    if upload.length not in (None, upload.offset):
        raise LengthMismatch(f"this ends at {upload.offset}, and the upload has {upload.length} bytes")
    return upload.evolve(length=upload.offset)


def _verify(writer: Writer, whole: bool, trailing: Checksum | None) -> None:
    """Raise ChecksumMismatch or BodyCut, unless the bytes of this request may be kept."""
    start = writer.upload.offset
    if not whole:
        raise BodyCut("the body was cut, so its checksum cannot be verified; nothing was kept", offset=start)
    if not writer.matches(trailing):
        raise ChecksumMismatch("the checksum does not match", offset=start)


def describe(core: Core, request: Request, metadata: Metadata) -> Upload:
    """Add to what is known of an upload, while it runs or after; for those whose writer looks again in the end."""
    admitted = admit(core, request, "write")
    admitted.reading.close()
    return change(core, admitted.upload.id, lambda upload: upload.evolve(metadata=upload.metadata.joined(metadata)))
