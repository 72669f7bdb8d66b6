"""Creations that may be sent again, since an answer was lost: a key of the client's own names the upload.

The id follows from the key, so that no table leads from one to the other: whichever process on whichever machine the
repetition comes to, the store gives each name once. The record exists before the first byte of a body, so a repetition
can take the upload over from a request whose client is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial as bound
from urllib.parse import urlsplit

from ..checksum import Checksum
from ..errors import BadRequest, KeyReused, Refused, TooLarge
from ..http.messages import Request
from ..upload import Digests, Metadata, PartPlace, Upload
from ..waiting import take_time
from .admission import identify, secret_id
from .core import Core, find_alive, tell_arriving, tell_created
from .creating import create_named, drafted, reported, rescue, room_for
from .writer import Repeated, Writer


def begin_once(
    core: Core, request: Request, *, key: str, length: int | None, metadata: Metadata, partial: bool = False,
    concat: str = "", announced: int | None = 0, checksum: Checksum | None = None, trailing: bool = False,
    last: bool | None = None, digests: Digests = (), known: bool = False, sizes: tuple[int, ...] = (),
) -> Writer:  # fmt: skip
    """As `begin`, for a new upload; or to go on with the one that was begun with this key. `sizes` are those of all
    parts of a whole, which the key names: the part is the one that has this length."""
    take_time()
    request = identify(core, request)
    core.hooks.authorise(request, "create", None)

    def draft(id: str) -> Upload:
        upload = drafted(core, request, length=length, metadata=metadata, partial=partial, concat=concat, id=id)
        room_for(core, upload, 0, None, announced)
        core.check_size(upload, sum(sizes))  # there is no use in parts that cannot be put together
        place = _place(core, request, key, sizes, length) if sizes and upload.id == id else None
        return upload.evolve(digests=digests, target=request.target, place=place)

    name = f"{key} {length} of {sizes}" if sizes else key
    upload, new = made_once(core, request, draft, key=name, said=(length, metadata.raw, concat, digests))
    if new:
        _tell(core, upload, announced)
    ends = length == 0 or bool(last)
    if announced == 0 and (upload.complete or not ends):
        return Writer(upload)
    if not new and not upload.complete:
        core.hooks.authorise(request, "write", upload)  # another request began it
        if announced != 0:
            tell_arriving(core, upload)  # again, if the request that began brought nothing
    return _taken(core, request, upload, announced, checksum=checksum, trailing=trailing, last=last)


def _place(core: Core, request: Request, key: str, sizes: tuple[int, ...], length: int | None) -> PartPlace | None:
    """Where the part with this length lies. Nobody else gets that place, since the name of the part says the same."""
    if core.gathering is None or length is None:
        return None
    whole = secret_id(core, request, "Upload-Whole", request.user, _home(request), key, sizes)
    return core.gathering.reserve(whole, sum(sizes[: sizes.index(length)]), sum(sizes))


def _home(request: Request) -> object:
    """Where uploads are created: a key means nothing elsewhere."""
    return request.target[:3] if request.target else urlsplit(request.location("")).path


def made_once(
    core: Core, request: Request, draft: Callable[[str], Upload], *, key: str, said: tuple[object, ...]
) -> tuple[Upload, bool]:
    """The upload that this owner has begun with the key, and whether it is new; `draft` makes one by an id. Raises
    KeyReused, if that one was begun by other words."""
    id = secret_id(core, request, "Idempotency-Key", request.user, _home(request), key)
    words = hashlib.blake2b(repr((id, *said)).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
    try:
        upload, new = create_named(core, draft(id).evolve(keyed=words))
    except (Refused, TooLarge, BadRequest):
        earlier = find_alive(core, id)
        if not earlier:
            raise
        upload, new = earlier, False  # a rule may have counted this very upload; and parts go when they are joined
    if upload.keyed == words:
        return upload, new
    if upload.id == id:
        raise KeyReused("this Idempotency-Key belongs to an upload of another length, other metadata or other parts")
    raise Refused(f"the id {upload.id} is taken", status=409)  # which the host gave


def _tell(core: Core, upload: Upload, announced: int | None) -> None:
    try:
        tell_created(core, upload)
        if announced != 0:
            tell_arriving(core, upload)
    except BaseException:
        core.store.delete(upload.id)
        raise


def _taken(
    core: Core, request: Request, upload: Upload, announced: int | None, *, checksum: Checksum | None,
    trailing: bool, last: bool | None,
) -> Writer:  # fmt: skip
    """What takes the body, behind what is there of it. Another request that sends it is ended."""
    exact = trailing or checksum is not None
    how = bound(Repeated, announced=announced, exact=exact, trailing=trailing, last=last, checksum=checksum)
    if upload.complete:
        return how(upload, room=0)
    lease = core.locker.lease(upload.id)
    try:
        with lease.turn():
            upload = core.distant.current(upload.id, 0, fence=lease) if core.distant else core.store.load(upload.id)
            rest = None if announced is None else max(announced - upload.offset, 0)
            room = room_for(core, upload, upload.offset, None, rest)
            if upload.complete:
                draft = None
            else:
                draft = core.store.append(upload.id, upload.offset, fence=lease, exact=exact, known=upload)
    except BaseException:
        lease.release()
        raise
    if not draft:
        lease.release(forget=True)
        return how(upload, room=0)
    return how(
        upload,
        room=room,
        lease=lease,
        draft=draft,
        syncs=core.syncs,
        peer=request.peer,
        progressed=reported(core, upload),
        failed=bound(rescue, core),
    )
