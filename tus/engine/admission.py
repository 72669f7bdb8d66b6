"""Who is asking, and for what: the one place where a request is authorised and matched with its upload.

A request is admitted before it can affect another request, and before a byte of its body is read. What comes of that is
a value, `Admission`, which the deeds take; requests themselves never change.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, NamedTuple

from .. import events
from ..errors import Gone, NotFound
from ..hooks import Intent, overridden
from ..http.messages import Request
from ..stores import Reading
from ..upload import State, Upload, checked_id
from .core import Core, visible


class Admission(NamedTuple):
    """A request that may do what it wants with an upload."""

    request: Request  # with the user that it was found to be
    reading: Reading  # the upload, as it was then and as it is; to be closed

    @property
    def upload(self) -> Upload:
        """As it was when the request was admitted."""
        return self.reading.upload

    @property
    def glimpsed(self) -> bool:
        """Whether its offset and time may be old."""
        return isinstance(self.reading, _Glimpsed)


class _Loaded:
    """A record of a store that has no cheaper way to look again."""

    def __init__(self, core: Core, upload: Upload) -> None:
        self._core = core
        self.upload = upload

    def again(self) -> Upload:
        return self._core.store.load(self.upload.id)

    def close(self) -> None:
        """Nothing is held."""


class _Glimpsed(_Loaded):
    """A record whose offset and time may be old: what follows from those is decided under the lease."""


def identify(core: Core, request: Request) -> Request:
    """The request, with the user whom the hook `user` names; what happens from now on happens because of them. The hook
    is asked once, and not about an id that no upload can have."""
    events.peer.set(request.peer)
    if request.identified or not core.asks:
        return request
    if request.id:
        checked_id(request.id)
    return request.by(core.hooks.user(request))


def admit(core: Core, request: Request, intent: Intent, *, glimpsed: bool = False) -> Admission:
    """Find the upload, and out whether this request may do that with it; of one that is only `glimpsed`, whether it has
    expired is found out later."""
    id = checked_id(request.id)
    request = identify(core, request)
    try:
        reading = _reading(core, id, glimpsed)
    except NotFound:
        core.hooks.authorise(request, intent, None)
        raise
    try:
        _check_rights(core, request, intent, reading.upload)
        if intent != "terminate" and not isinstance(reading, _Glimpsed):
            check_alive(core, reading.upload)
    except BaseException:
        reading.close()
        raise
    return Admission(request, reading)


def _reading(core: Core, id: str, glimpsed: bool) -> Reading:
    if glimpsed and core.distant:
        return _Glimpsed(core, core.distant.glimpse(id))
    return core.rereading.hold(id) if core.rereading else _Loaded(core, core.store.load(id))


def _check_rights(core: Core, request: Request, intent: Intent, upload: Upload) -> None:
    core.hooks.authorise(request, intent, upload)
    if not visible(upload, request):
        raise NotFound("no such upload")


def check_alive(core: Core, upload: Upload) -> None:
    """Raise Gone if its time is over."""
    if core.expired(upload):
        raise Gone("the upload has expired")


def look(core: Core, request: Request, intent: Intent = "look") -> Upload:
    """The upload as it is; disturbs no other request."""
    admitted = admit(core, request, intent)
    admitted.reading.close()
    return admitted.upload


def readable(core: Core, request: Request, *, live: bool = False) -> Upload:
    """The upload, if its file may be given to this client: the one rule for every protocol. `live`: also while it
    arrives, where the host wants that."""
    if not core.options.download:
        raise NotFound("this server does not hand out files")
    upload = look(core, request, "read")
    live = live and core.options.download == "live" and not upload.partial
    if not (upload.readable or live and upload.state in (State.RECEIVING, State.PENDING)):
        raise NotFound("there is no finished file here")
    return upload


def opened(core: Core, upload: Upload) -> BinaryIO:
    """The data, to read."""
    return core.store.open(upload.id)


def secret_id(core: Core, request: Request, *said: object) -> str:
    """The id that follows from what a client says. Nobody can work it out without our secret, and the same words in
    another namespace give another id."""
    request = identify(core, request)
    text = repr((core.hooks.namespace(request), *said)).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text, digest_size=16, key=core.store.secret()).hexdigest()


def separates(core: Core, request: Request) -> bool:
    """Whether the host tells by itself whose names may meet. A user alone does not: several people, or windows on two
    devices, may share an account."""
    request = identify(core, request)
    return overridden(core.hooks, "namespace") and core.hooks.namespace(request) is not None


def word(core: Core, purpose: str) -> str:
    """A secret word for one purpose, the same in all processes that share the store."""
    return hashlib.blake2b(purpose.encode(), digest_size=16, key=core.store.secret()).hexdigest()
