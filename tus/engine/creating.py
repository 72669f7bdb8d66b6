"""New uploads. No client knows of one before its creation has ended, so its record is written once, at the end."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from contextlib import closing, suppress

from ..checksum import Checksum
from ..errors import (
    BadRequest,
    Changed,
    ChecksumMismatch,
    Interrupted,
    LengthMismatch,
    Locked,
    NotFound,
    OffsetMismatch,
    Overrun,
    Refused,
    StoreBroken,
    StoreFull,
    TooLarge,
    TusError,
)
from ..http.messages import Request
from ..lockers import Lease
from ..stores import Draft, Free
from ..upload import Digests, Metadata, Upload, checked_id
from ..waiting import take_time
from .admission import identify
from .core import Core, fall_back, publish, tell_arriving, tell_created
from .removing import remove, spoil, spoils
from .writer import Writer

log = logging.getLogger("tus")

_PATIENCE = 5.0  # seconds to wait for another request that makes an upload by the same name


class Alone(Free):
    """The lease on an upload that no other request can know of."""

    def keep(self) -> None:
        """Nobody could take over."""

    def on_lost(self, end: Callable[[], None]) -> None:
        """It cannot be lost."""

    def release(self, *, forget: bool = False) -> None:
        """Nothing was held."""


ALONE = Alone()


def drafted(
    core: Core,
    request: Request,
    *,
    length: int | None,
    metadata: Metadata,
    partial: bool = False,
    concat: str = "",
    id: str = "",
    parts: tuple[str, ...] = (),
) -> Upload:
    """The record, as the host wants it."""
    now = core.now()
    upload = Upload(
        id or core.name(),
        length=length,
        metadata=metadata,
        partial=partial,
        parts=parts,
        concat=concat,
        owner=request.user,
        created=now,
        touched=now,
    )
    core.check_size(upload, length or 0)
    upload = core.hooks.before_create(request, upload) or upload
    checked_id(upload.id)
    core.check_size(upload, length or 0)
    return upload


def create_named(core: Core, upload: Upload) -> tuple[Upload, bool]:
    """The upload by this name, and whether it is new: several requests may make it at once."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        if _made(core, upload):
            return upload, True
        earlier = _find_earlier(core, upload)
        if earlier:
            return earlier, False
        if time.monotonic() > deadline:
            raise Locked("an upload by this name is being made; try again")
        time.sleep(0.005)


def _made(core: Core, upload: Upload) -> bool:
    """Whether we made it: some stores find only when it is saved that another request did."""
    try:
        with closing(core.store.create(upload, fence=ALONE)):
            publish(core, upload)
    except (FileExistsError, Changed):
        return False
    return True


def _find_earlier(core: Core, upload: Upload) -> Upload | None:
    """What another request made; None if that is over, or not yet done."""
    with suppress(NotFound):
        earlier = core.store.load(upload.id)
        if core.expired(earlier):
            remove(core, earlier, core.expired)
        elif not upload.keyed and (earlier.parts, earlier.owner) != (upload.parts, upload.owner):
            raise Refused(f"the id {upload.id} is taken", status=409)
        else:
            return earlier
    return None


def begin(
    core: Core, request: Request, *, length: int | None, metadata: Metadata, partial: bool = False, concat: str = "",
    announced: int | None = 0, checksum: Checksum | None = None, exact: bool = False, trailing: bool = False,
    last: bool | None = None, digests: Digests = (), known: bool = False, id: str = "", expected: int | None = None,
) -> Writer:  # fmt: skip
    """A Writer for a new upload. No client knows of it before the writer is concluded, so its record is written once,
    and no lease is needed; unless the client is told of it first, so that it is `known`."""
    if length == 0 or last and not announced:
        take_time()  # it is finished before it has begun
    request = identify(core, request)
    core.hooks.authorise(request, "create", None)
    upload = drafted(core, request, length=length, metadata=metadata, partial=partial, concat=concat, id=id)
    upload = upload.evolve(digests=digests, target=request.target) if digests or request.target else upload
    upload = upload if expected is None else upload.evolve(id=id or upload.id, expected=expected)
    room = room_for(core, upload, 0, None, announced)
    exact = exact or trailing or checksum is not None
    # What is read while it arrives has to be found; of what a checksum decides about, nothing is shown before.
    known = known or core.live and announced != 0 and not exact
    lease, draft = _begin(core, upload, known, exact)
    return Writer(
        upload,
        room=room,
        announced=announced,
        lease=lease,
        draft=draft,
        fresh=not known,
        exact=exact,
        trailing=trailing,
        last=last,
        checksum=checksum,
        syncs=core.syncs,
        peer=request.peer,
        progressed=reported(core, upload),
        failed=functools.partial(rescue if known else abandon, core),
    )


def _begin(core: Core, upload: Upload, known: bool, exact: bool) -> tuple[Lease, Draft]:
    """The draft of a new upload, and the lease on it; others find it from now on if it is `known`."""
    try:
        draft = core.store.create(upload, fence=ALONE)
    except FileExistsError:
        raise Refused(f"the id {upload.id} is taken", status=409) from None
    try:
        tell_created(core, upload)
        if not known:
            return ALONE, draft
        publish(core, upload)
        draft.close()
        tell_arriving(core, upload)
        return _lease_known(core, upload, exact)
    except Changed:  # it is another request's
        draft.close()
        raise Refused(f"the id {upload.id} is taken", status=409) from None
    except BaseException:
        core.store.delete(upload.id)  # while it is ours for certain
        draft.close()
        raise


def _lease_known(core: Core, upload: Upload, exact: bool) -> tuple[Lease, Draft]:
    lease = core.locker.lease(upload.id)
    try:
        with lease.turn():
            return lease, core.store.append(upload.id, 0, fence=lease, exact=exact, known=upload)
    except BaseException:
        lease.release(forget=True)
        raise


def abandon(core: Core, writer: Writer, error: BaseException) -> None:
    """A creation failed: what the client can go on with is kept, and nothing else."""
    lost = isinstance(error, ChecksumMismatch | BadRequest) or not isinstance(error, TusError)
    if lost or spoils(writer, error):
        core.store.delete(writer.upload.id)
        return
    assert writer.draft and isinstance(error, TusError)
    try:
        if writer.exact or isinstance(error, TooLarge):
            writer.draft.abort()
        offset = writer.commit(durable=core.assures)
        publish(core, writer.upload.evolve(offset=offset))
    except TusError:
        core.store.delete(writer.upload.id)  # no room even for the record, so none for a rest of the data
        return
    error.offset = offset


def rescue(core: Core, writer: Writer, error: BaseException) -> None:
    """An append failed: nothing unverified stays, and the client is told what holds."""
    shown = core.live and not writer.exact and writer.received  # somebody may have read it
    if spoils(writer, error) or shown and isinstance(error, TooLarge):
        spoil(core, writer)
        return
    assert writer.draft and writer.lease
    told = error if isinstance(error, TusError) else TusError()
    if writer.exact or isinstance(error, TooLarge) and writer.last is None:
        try:
            writer.lease.keep()  # of what is cut off now, no newer request may have told anybody
            writer.draft.abort()
        except Interrupted:  # the request that took the upload over has cut it back already
            return
        except TusError as trouble:
            log.error("upload %s: what came last does not count, and cannot be cut off: %s", writer.upload.id, trouble)
            told.offset = writer.upload.offset if writer.exact else told.offset
    if isinstance(error, Interrupted) or told.offset is not None:
        return
    try:
        told.offset = writer.commit(durable=core.assures)
    except (StoreFull, StoreBroken) as trouble:
        told.offset = trouble.offset
        fall_back(core, writer.upload, writer.lease, trouble)
    except TusError:
        pass  # it was taken over, so nothing can be said of it


def check_offset(upload: Upload, offset: int) -> None:
    """Raise OffsetMismatch unless the upload goes on there."""
    if offset != upload.offset:
        raise OffsetMismatch(f"the upload has {upload.offset} bytes, not {offset}", offset=upload.offset)


def room_for(core: Core, upload: Upload, offset: int, length: int | None, announced: int | None) -> int | None:
    """How many bytes may come; None if any number."""
    if length is not None:
        if upload.length is not None and length != upload.length:
            raise LengthMismatch(f"Upload-Length is {upload.length} and cannot become {length}")
        if length < offset:
            raise LengthMismatch(f"Upload-Length {length} is less than the {offset} bytes that are stored")
        core.check_size(upload, length)
    declared = length if upload.length is None else upload.length
    end = core.limit(upload) if declared is None else declared
    if end is None:
        return None
    room = max(end - offset, 0)
    if announced is not None and announced > room:
        too_large = TooLarge if declared is None else Overrun
        error = too_large(f"{announced} bytes do not fit, {room} are left", offset=offset)
        error.limit = end
        raise error
    return room


def reported(core: Core, upload: Upload) -> Callable[[int], None] | None:
    """What is told how far it is, after each block."""
    told = progress(core, upload) if core.reports else None
    if not core.live:
        return told
    ring = functools.partial(core.watches.ring, upload.id)

    def both(offset: int) -> None:
        ring(offset)
        if told:
            told(offset)

    return both if told else ring


def progress(core: Core, upload: Upload) -> Callable[[int], None]:
    """What tells the host how far it is, once a second."""
    last = core.now()

    def progressed(offset: int) -> None:
        nonlocal last
        now = core.now()
        if now - last >= 1:
            last = now
            core.hooks.progressed(upload.evolve(offset=offset))

    return progressed
