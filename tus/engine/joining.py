"""Uploads made of others: concatenation, even of parts that still grow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress

from ..errors import (
    BadRequest,
    Gone,
    Locked,
    NotFound,
    TusError,
)
from ..http.messages import Request
from ..lockers import Lease
from ..stores import Draft, Eager, Joinable
from ..upload import Metadata, Upload, checked_id
from ..waiting import take_time
from .admission import identify
from .core import MOMENT, Core, change, find_alive, stored, tell_created, visible
from .creating import create_named, drafted
from .finishing import complete
from .removing import empty
from .repeating import made_once

MAX_PARTS = 1000  # a request with more addresses would not get through most proxies
# Times that a part may stand in final uploads, in one or in several: each time all of it is copied, by a request that
# has no body. Clients that upload in parallel name each part once, and once more under another name perhaps.
MAX_USES = 16


def join(core: Core, request: Request, ids: Iterable[str], *, metadata: Metadata, concat: str, key: str = "") -> Upload:
    """A final upload of these parts; the same one, if it is asked for again, by the same words or the same key."""
    take_time()
    request = identify(core, request)
    core.hooks.authorise(request, "concatenate", None)
    ids = tuple(map(checked_id, ids))
    if len(ids) > MAX_PARTS:
        raise BadRequest(f"{len(ids)} parts are more than the {MAX_PARTS} that an upload may be made of")
    for id, times in Counter(ids).items():
        _check_uses(id, times)

    def draft(id: str) -> Upload:
        length = _total(_parts(core, request, ids))
        return drafted(core, request, length=length, metadata=metadata, concat=concat, id=id, parts=ids)

    if key:
        upload, new = made_once(core, request, draft, key=key, said=(ids, concat, metadata.raw))
    else:
        name = hashlib.blake2b(repr((request.user, concat, metadata.raw)).encode(), digest_size=16).hexdigest()
        earlier = _joined(core, request, name, ids)
        if earlier:
            return earlier  # asked for again, after its parts went away perhaps
        try:
            upload, new = create_named(core, draft(name))
        except BadRequest:
            earlier = _joined(core, request, name, ids)
            if not earlier:
                raise
            return earlier  # they went away in this moment
    if upload.complete and not new:
        return upload
    _use_parts(core, upload, new)
    if new:
        tell_created(core, upload)
    return upload if upload.complete else join_parts(core, upload)


def _joined(core: Core, request: Request, name: str, ids: tuple[str, ...]) -> Upload | None:
    """The final upload by this name, if it is whole and made of these parts."""
    found = find_alive(core, name)
    return found if found and found.complete and found.parts == ids and visible(found, request) else None


def _parts(core: Core, request: Request, ids: tuple[str, ...]) -> list[Upload]:
    parts = []
    for id in ids:
        with suppress(NotFound):
            part = core.store.load(id)
            usable = part.partial and not part.dropped and not core.expired(part)
            if usable and visible(part, request):
                parts.append(part)
                continue
        raise BadRequest(f"{id} is not a partial upload")
    return parts


def _use_parts(core: Core, upload: Upload, new: bool) -> None:
    """Note in each part what is made of it, as often as it is used. So it is counted, and a part that still grows knows
    what waits for it."""
    for id, times in Counter(upload.parts).items():

        def used(part: Upload, id: str = id, times: int = times) -> Upload:
            if upload.id in part.finals and not new or part.complete and not new:
                return part
            _check_uses(id, times + len(part.finals))
            return part.evolve(finals=(*part.finals, *(upload.id,) * times))

        try:
            change(core, id, used, durable=core.syncs)
        except TusError as error:
            if new:
                core.store.delete(upload.id)
            elif isinstance(error, NotFound):  # another request may have joined it
                return
            raise


def join_parts(core: Core, upload: Upload) -> Upload:
    """The final upload with its bytes, if all of its parts are complete."""
    try:
        parts = [core.store.load(id) for id in upload.parts]
    except NotFound:
        upload = core.store.load(upload.id)
        if upload.complete:  # another request was quicker, and they went with that
            return upload
        raise Gone("a part of this upload is gone") from None
    if not all(part.complete for part in parts):
        return upload.evolve(length=_total(parts))
    lease = core.locker.lease(upload.id, brief=True, patience=MOMENT)
    whole = draft = None
    try:
        with lease.turn():
            upload = core.store.load(upload.id)
            if not upload.complete:
                whole = _gathered(core, upload, parts, lease)
                draft = whole or core.store.append(upload.id, 0, fence=lease, known=upload)
        if draft:
            joined = _finish_whole if whole else _copy_parts
            upload = joined(core, upload, parts, lease, draft)
    finally:
        lease.release(forget=True)
    if core.options.remove_parts or whole:
        for part in parts:
            core.store.delete(part.id)
    return upload


def join_waiting(core: Core, part: Upload) -> None:
    """A part is complete: so may be what waited for it."""
    for final in dict.fromkeys(part.finals):
        with suppress(TusError):
            upload = core.store.load(final)
            if not upload.complete:
                join_parts(core, upload)


def completed(core: Core, part: Upload) -> list[Upload]:
    """What was made of this part and waits for the host."""
    found = []
    for final in dict.fromkeys(part.finals) if part.complete else ():
        with suppress(NotFound):
            found.append(core.store.load(final))
    return [upload for upload in found if upload.pending]


def _gathered(core: Core, upload: Upload, parts: list[Upload], lease: Lease) -> Draft | None:
    """The parts as they are, if they lie in their final place already. Only in a turn."""
    if core.gathering is None or not all(part.place for part in parts):
        return None
    core.check_size(upload, sum(part.offset for part in parts))
    try:
        return core.gathering.gather(upload.id, parts, fence=lease)
    except NotFound:
        raise Gone("a part of this upload is gone") from None


def _finish_whole(core: Core, upload: Upload, parts: list[Upload], lease: Lease, draft: Draft) -> Upload:
    with closing(draft):
        length = sum(part.offset for part in parts)
        return complete(core, upload.evolve(length=length, offset=length), lease, draft)


def _copy_parts(core: Core, upload: Upload, parts: list[Upload], lease: Lease, draft: Draft) -> Upload:
    length = sum(part.offset for part in parts)
    try:
        core.check_size(upload, length)
        try:
            for part in parts:
                _copy(core, part, draft)
        except NotFound:
            raise Gone("a part of this upload is gone") from None
        if draft.taken != length:
            raise Locked("a part changed while it was copied")
        return complete(core, upload.evolve(length=length, offset=length), lease, draft)
    except BaseException:
        with suppress(TusError, OSError), lease.turn():
            empty(core, upload, lease)  # half of it is of no use, and would keep a full disk full
        raise
    finally:
        draft.close()


def _copy(core: Core, part: Upload, draft: Draft) -> None:
    if isinstance(draft, Joinable):
        draft.join(part.id, part.offset)
    else:
        for block in stored(core, part):
            draft.write(block)
    if core.syncs and isinstance(draft, Eager):
        draft.write_back()


def _check_uses(id: str, times: int) -> None:
    if times > MAX_USES:
        raise BadRequest(f"{id} may be used {MAX_USES} times, in all final uploads together")


def _total(parts: list[Upload]) -> int | None:
    lengths = [part.length for part in parts]
    return None if None in lengths else sum(filter(None, lengths))
