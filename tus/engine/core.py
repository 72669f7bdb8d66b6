"""What the deeds of the engine stand on: store, locker, options, hooks and a clock; and the rules about an upload that
need nothing else: how large it may become, when it expires, what state it is in.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf

from .. import events
from ..errors import Changed, Interrupted, Locked, NotFound, TooLarge, TusError
from ..hooks import Hooks, overridden
from ..http.messages import Request
from ..lockers import Lease, Locker
from ..options import Options
from ..stores import Distant, Gathering, Linked, OnDisk, Positioned, Prompt, Rereading, Store
from ..stores.apart import Apart
from ..upload import State, Upload
from .watching import Watches

log = logging.getLogger("tus")

MOMENT = 0.05  # seconds that a client may wait who only asks
_LAST = 253402300799  # seconds since the epoch: the end of the year 9999, and of what HTTP can write
_BLOCK = 1 << 20  # bytes read at a time when stored data is looked through again
# Hooks that are called while a request is looked at, or its body stored. The others have a step of their own.
_EARLY = ("user", "authorise", "namespace", "before_create", "created", "arriving", "progressed")
_ATTEMPTS = 1000  # times that a change of a record begins anew, because somebody else changed it in between


def new_id() -> str:
    """128 random bits: knowing an id is being allowed to use it."""
    return os.urandom(16).hex()


class Core:
    """What one application has for all of its requests. It is used by all threads of a process."""

    def __init__(
        self,
        store: Store,
        locker: Locker,
        options: Options,
        hooks: Hooks | None = None,
        *,
        delivers: bool = True,
        clock: Callable[[], float] = time.time,
        name: Callable[[], str] = new_id,
    ) -> None:
        self.locker = locker
        self.options = options
        self.hooks = hooks or Hooks()
        self.now = clock  # seconds since the epoch
        self.name = name
        # Whether an application waits for finished uploads. If neither it nor a hook does, there is nothing to
        # hand over, and one write of the record less.
        self.delivers = delivers
        self._note_hooks()
        self.live = self.announces or options.download == "live"  # somebody may read what still arrives
        self.syncs = options.durable != "none"  # what is complete is on the disk
        self.assures = options.durable == "always"  # so is what a client is told
        # Nothing between taking a lease and keeping or releasing it takes time: no hook, and no disk.
        self.quick = not (self.reports or self.assures)
        # Storing a small body, and telling how far an upload is, waits for nothing; `take_time` is said where it does.
        self.prompt = not self.assures and all(isinstance(one, Prompt) and one.prompt for one in (store, locker))
        self.prompt = self.prompt and not any(overridden(self.hooks, name) for name in _EARLY)
        # What this store can do beyond the contract, and another way to what it cannot do.
        self.store, self.places, self.rereading = _equipped(store, clock)
        self.distant = store if isinstance(store, Distant) else None
        self.disk = store if isinstance(store, OnDisk) else None
        self.linked = store if isinstance(store, Linked) else None
        self.gathering = store if isinstance(store, Gathering) else None
        self.watches = Watches(far=self.distant is not None)
        # When HEAD told how much there is of these uploads: what began before that writes no more.
        self.asked: dict[str, float] = {}

    def _note_hooks(self) -> None:
        """Which of them there are: each request asks."""
        self.asks = overridden(self.hooks, "user")
        self.tells = overridden(self.hooks, "finished")
        self.checks = overridden(self.hooks, "before_finish")
        self.reports = overridden(self.hooks, "progressed")
        self.sees = overridden(self.hooks, "chunk")
        self.announces = overridden(self.hooks, "arriving")

    def expires(self, upload: Upload) -> float | None:
        """When it will be removed, if nothing happens; seconds since the epoch."""
        # A target is told only when the client returns; a client that never does must not leave the upload for ever.
        kept = upload.complete and not (upload.pending and upload.target)
        if kept and not (upload.partial or upload.dropped or upload.timed or self.options.sweep_finished):
            return None
        expires, duration = upload.expires, self.options.upload_valid_duration
        if expires is None:
            if duration is None:
                return None
            expires = upload.touched + duration
        return expires if 0 <= expires <= _LAST else _date(expires)

    def remaining(self, upload: Upload) -> int | None:
        """Seconds that are left to it, if nothing happens."""
        expires = self.expires(upload)
        return None if expires is None else max(int(expires - self.now()), 0)

    def expired(self, upload: Upload, now: float | None = None) -> bool:
        """Whether its time is over."""
        expires = self.expires(upload)
        return expires is not None and expires < (self.now() if now is None else now)

    def state(self, upload: Upload, now: float | None = None) -> State:
        """What has become of the upload, for all who show it or answer for it."""
        return State.EXPIRED if self.expired(upload, now) else upload.state

    def limit(self, upload: Upload | None = None) -> int | None:
        """Most bytes that this upload, or any, may have."""
        own, most = upload.limit if upload else None, self.options.max_size
        if own is None or most is None:
            return most if own is None else own
        return min(own, most)

    def check_size(self, upload: Upload, length: int) -> None:
        """Raise TooLarge if the upload may not have so many bytes."""
        limit = self.limit(upload)
        if limit is not None and length > limit:
            error = TooLarge(f"{length} bytes are more than the {limit} that an upload may have")
            error.limit = limit
            raise error


def _equipped(store: Store, clock: Callable[[], float]) -> tuple[Store, Positioned, Rereading | None]:
    """The store, what of it takes numbered chunks, and what of it looks at records again."""
    if isinstance(store, Positioned):
        return store, store, store if isinstance(store, Rereading) else None
    apart = Apart(store, clock=clock)
    return apart, apart, None


def _date(seconds: float) -> float | None:
    """A time that no calendar has, as one that it has; None is never."""
    return 0.0 if seconds < 0 else _LAST if seconds < inf else None


def visible(upload: Upload, request: Request) -> bool:
    """Whether this user may know of the upload."""
    return upload.owner is None or upload.owner == request.user


def contended(upload: Upload) -> bool:
    """Whether its record changes while a request holds its lease: what waits for a part is noted there, and what a form
    says late. Such a record is saved only as a change of the one that was read."""
    return upload.partial or upload.expected is not None


def publish(core: Core, upload: Upload, *, since: Upload | None = None) -> None:
    """Save the record of an upload that is not complete."""
    core.store.save(upload, since=since, durable=core.assures)


def change(core: Core, id: str, changed: Callable[[Upload], Upload], *, durable: bool = False) -> Upload:
    """Change a record beside others who do. `changed` makes the new one of the one that is there, and may raise."""
    for _ in range(_ATTEMPTS):
        upload = core.store.load(id)
        new = changed(upload)
        if new == upload:
            return upload
        with suppress(Changed):
            core.store.save(new, since=upload, durable=durable)
            return new
    raise Locked("the record of this upload changes all the time")


def find_alive(core: Core, id: str) -> Upload | None:
    """The upload by this id, unless there is none or its time is over."""
    with suppress(NotFound):
        upload = core.store.load(id)
        return None if core.expired(upload) else upload
    return None


def tell_created(core: Core, upload: Upload) -> None:
    """An upload exists."""
    events.created(upload)
    core.hooks.created(upload)


def tell_arriving(core: Core, upload: Upload) -> None:
    """The first bytes come, and the upload can be followed."""
    if core.announces and not upload.offset:
        core.hooks.arriving(upload)


def stored(core: Core, upload: Upload, start: int = 0) -> Iterator[bytes]:
    """What is stored from there on, block by block."""
    with core.store.open(upload.id, start) as file:
        while block := file.read(_BLOCK):
            yield block


def exists(core: Core, id: str) -> bool:
    """Whether there is an upload, or something in its place."""
    try:
        return bool(core.store.load(id))
    except NotFound:
        return False
    except TusError:  # something is there, whatever it is
        return True


def fall_back(core: Core, upload: Upload, lease: Lease, error: TusError) -> None:
    """A commit failed, and the offset went back to what is certain. If another request took the upload over meanwhile,
    it writes behind what is doubtful, and its store does not know that: so that it is ended."""
    log.error("upload %s was not stored; %s bytes of it are certain", upload.id, error.offset)
    if core.distant:  # what such a store finds is certain, and so is what the other request found
        return
    try:
        with suppress(Interrupted), lease.turn():
            return
        newest = core.locker.lease(upload.id)
        try:
            with newest.turn():
                core.store.append(upload.id, error.offset or 0, fence=newest).close()
        finally:
            newest.release()
    except (OSError, TusError) as trouble:
        log.error("upload %s cannot be cut back, and is refused until it can: %s", upload.id, trouble)
