"""Finding an upload, and who may see it; its limits, its expiry and its removal."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from math import inf
from typing import BinaryIO

from .. import events
from ..errors import (
    Gone,
    Interrupted,
    NotFound,
    Refused,
    StoreBroken,
    StoreFull,
    TooLarge,
    TusError,
)
from ..hooks import Hooks, Intent, overridden
from ..http.messages import Request
from ..lockers import Lease, Locker
from ..options import Options
from ..stores import Place, Record, Store
from ..upload import Metadata, State, Upload, checked_id
from .writer import Writer

log = logging.getLogger("tus")

_LAST = 253402300799  # seconds since the epoch: the end of the year 9999, and of what HTTP can write
_BLOCK = 1 << 20  # bytes read at a time when stored data is looked through again


def new_id() -> str:
    """128 random bits: knowing an id is being allowed to use it."""
    return secrets.token_hex(16)


class Records:
    """What there is."""

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
        self.options = options
        self.hooks = hooks or Hooks()
        self._store = store
        self._locker = locker
        # Whether an application waits for finished uploads. If neither it nor a hook does, there is nothing to
        # hand over, and one write of the record less.
        self._delivers = delivers
        self._asks = overridden(self.hooks, "user")
        self._tells = overridden(self.hooks, "finished")
        self._checks = overridden(self.hooks, "before_finish")
        self._reports = overridden(self.hooks, "progressed")
        # Nothing between the first turn and the last one takes time: no hook, and no disk that is waited for.
        self._quick = not (self._checks or self._reports) and options.durable == "none"
        self._clock = clock
        self._name = name
        # When HEAD told how much there is of these uploads: what began before that writes no more.
        self._asked: dict[str, float] = {}
        # How much of these is certain, while what is doubtful could not even be cut off.
        self._doubted: dict[str, int] = {}

    def _admit(self, request: Request, intent: Intent) -> Upload:
        with closing(self._held(request, intent)) as record:
            return record.upload

    def _held(self, request: Request, intent: Intent) -> Record:
        id = checked_id(request.id)
        request = self._identify(request)
        try:
            record = self._store.hold(id)
        except NotFound:
            self.hooks.authorise(request, intent, None)
            raise
        try:
            self._check_rights(request, intent, record.upload)
        except BaseException:
            record.close()
            raise
        return record

    def identify(self, request: Request) -> Request:
        """The request, with the user whom the hook `user` names. The hook is asked once, and not about an id that no
        upload can have."""
        if request.identified or not self._asks:
            return request
        if request.id:
            checked_id(request.id)
        return request.by(self.hooks.user(request))

    def _identify(self, request: Request) -> Request:
        """Find out who this is; what happens from now on happens because of them."""
        events.peer.set(request.peer)
        return self.identify(request)

    def _announce(self, upload: Upload) -> None:
        """An upload exists."""
        events.created(upload)
        self.hooks.created(upload)

    def _check_rights(self, request: Request, intent: Intent, upload: Upload) -> None:
        self.hooks.authorise(request, intent, upload)
        if not visible(upload, request):
            raise NotFound("no such upload")
        if intent != "terminate" and self.expired(upload):
            raise Gone("the upload has expired")

    def _settled(self, upload: Upload) -> Upload:
        """The upload without what is doubtful, and what a crash left unverified. Only in a turn."""
        if upload.id in self._doubted:
            self._cut(upload.id)
            upload = self._store.load(upload.id)
        if upload.unverified_from is None:
            return upload
        upload = certain(upload).evolve(unverified_from=None)
        self._store.truncate(upload.id, upload.offset)
        self._store.save(upload)
        return upload

    def _secure(self, upload: Upload, lease: Lease, writer: Writer | None = None) -> None:
        """Block until every byte is on the disk. If the disk refuses, the offset goes back to what is certain: the
        kernel forgets what it could not write, and reports success the next time."""
        size = self._store.certain(upload.id) if self.options.durable == "always" else 0
        try:
            if writer:
                writer.sync()
            else:
                self._store.sync(upload.id)
        except (StoreFull, StoreBroken) as error:
            log.error("upload %s was not written to the disk; %d bytes of it are certain", upload.id, size)
            error.offset = self._doubted[upload.id] = size
            self._fall_back(upload.id, lease, writer)
            raise
        if self.options.durable == "always" and size != upload.offset:
            with lease.turn(), suppress(StoreFull):
                self._store.certify(upload.id, upload.offset)

    def _fall_back(self, id: str, lease: Lease, writer: Writer | None) -> None:
        """Cut off what is doubtful. If that fails, the upload is in doubt while this process lives."""
        try:
            with suppress(Interrupted):
                with lease.turn():
                    self._cut(id, writer)
                return
            newest = self._locker.lease(id)  # a request that took over writes behind what is doubtful
            try:
                with newest.turn():
                    self._cut(id)
            finally:
                newest.release()
        except (OSError, TusError) as error:
            log.error("upload %s cannot be cut back, and is refused until it can: %s", id, error)

    def _cut(self, id: str, writer: Writer | None = None) -> None:
        """Cut off what is doubtful; or have the next request cut it off. Only in a turn. If nothing can be written
        down at all, this raises, and nothing can be made of the upload."""
        size = self._doubted.get(id)
        if size is None:  # somebody else has
            return
        try:
            if writer:
                writer.fall_back(size)
            self._store.truncate(id, size)
        except (OSError, StoreFull, StoreBroken):
            self._store.save(self._store.load(id).evolve(unverified_from=size))
        self._doubted.pop(id, None)
        with suppress(StoreFull, StoreBroken):  # or a power cut could bring it back
            self._store.sync(id)

    def _stored(self, upload: Upload, start: int = 0) -> Iterator[bytes]:
        """What is stored from there on, block by block."""
        with self._store.open(upload.id) as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                yield block

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
        return None if expires is None else max(int(expires - self._clock()), 0)

    def expired(self, upload: Upload, now: float | None = None) -> bool:
        expires = self.expires(upload)
        return expires is not None and expires < (self._clock() if now is None else now)

    def state(self, upload: Upload, now: float | None = None) -> State:
        """What has become of the upload, for all who show it or answer for it."""
        return State.EXPIRED if self.expired(upload, now) else upload.state

    def look(self, request: Request, intent: Intent = "look") -> Upload:
        """The upload as it is; disturbs no other request."""
        return certain(self._admit(request, intent))

    def limit(self, upload: Upload | None = None) -> int | None:
        """Most bytes that this upload, or any, may have."""
        own = upload.limit if upload else None
        limits = [limit for limit in (own, self.options.max_size) if limit is not None]
        return min(limits) if limits else None

    def _check_size(self, upload: Upload, length: int) -> None:
        limit = self.limit(upload)
        if limit is not None and length > limit:
            error = TooLarge(f"{length} bytes are more than the {limit} that an upload may have")
            error.limit = limit
            raise error

    def _reserved(self, upload: Upload) -> Place:
        try:
            return self._store.reserve(upload.id)
        except FileExistsError:
            raise Refused(f"the id {upload.id} is taken", status=409) from None

    def _publish(self, upload: Upload) -> None:
        self._store.save(upload, durable=self.options.durable == "always")

    def _drafted(
        self,
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
        now = self._clock()
        upload = Upload(
            id or self._name(),
            length=length,
            metadata=metadata,
            partial=partial,
            parts=parts,
            concat=concat,
            owner=request.user,
            created=now,
            touched=now,
        )
        self._check_size(upload, length or 0)
        upload = self.hooks.before_create(request, upload) or upload
        checked_id(upload.id)
        self._check_size(upload, length or 0)
        return upload

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def uploads(self, bad: list[str] | None = None) -> Iterator[Upload]:
        """Every upload there is; for operators. The ids of those whose record cannot be read go into `bad`."""
        for id in self._store.ids():
            try:
                upload = self._store.load(id)
            except NotFound:  # removed meanwhile
                continue
            except Exception as error:  # whatever is wrong with one, the others are not concerned
                events.bad_record(id, error)
                if bad is not None:
                    bad.append(id)
                continue
            yield upload

    def _exists(self, id: str) -> bool:
        try:
            return bool(self._store.load(id))
        except NotFound:
            return False
        except TusError:  # something is there, whatever it is
            return True

    def path(self, upload: Upload) -> str:
        """The finished file."""
        return self._store.path(upload.id)

    def readable(self, request: Request) -> Upload:
        """The upload, if its file may be given to this client: the one rule for every protocol."""
        if not self.options.download:
            raise NotFound("this server does not hand out files")
        upload = self.look(request, "read")
        if not upload.readable:
            raise NotFound("there is no finished file here")
        return upload

    def open(self, upload: Upload) -> BinaryIO:
        """The data, to read."""
        return self._store.open(upload.id)

    def forget_failed(self, id: str) -> None:
        """Remove an upload of which nothing can come any more, so that its id is free."""
        upload = self._store.load(id)
        if upload.refused or self.expired(upload):
            self._remove(upload)
            (events.removed if upload.refused else events.expired)(upload)

    def secret_id(self, request: Request, *said: object) -> str:
        """The id that follows from what a client says. Nobody can work it out without our secret, and the same words
        in another namespace give another id."""
        request = self.identify(request)
        text = repr((self.hooks.namespace(request), *said)).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, digest_size=16, key=self._store.secret()).hexdigest()

    def knows(self, request: Request) -> bool:
        """Whether the host tells by itself whose names may meet. A user alone does not: several people, or windows on
        two devices, may share an account."""
        request = self.identify(request)
        return overridden(self.hooks, "namespace") and self.hooks.namespace(request) is not None

    def word(self, purpose: str) -> str:
        """A secret word for one purpose, the same in all processes that share the store."""
        return hashlib.blake2b(purpose.encode(), digest_size=16, key=self._store.secret()).hexdigest()

    def describe(self, request: Request, metadata: Metadata) -> Upload:
        """Add to what is known of an upload, while it runs or after; for those whose writer looks again in the end."""
        id = self._admit(request, "write").id
        with self._locker.mutex(id):
            upload = self._store.load(id)
            upload = upload.evolve(metadata=upload.metadata.joined(metadata))
            self._store.save(upload)
        return upload

    def _remove(self, upload: Upload) -> None:
        self._doubted.pop(upload.id, None)  # another one may come by this name
        try:
            lease = self._locker.lease(upload.id)
        except StoreFull:
            self._remove_without_room(upload.id)
            return
        try:
            with lease.turn():
                self._store.delete(upload.id)
        finally:
            lease.release(forget=True)

    def _remove_without_room(self, id: str) -> None:
        """The disk is too full to take the lease, and removing is what helps. Writers find nothing then."""
        try:
            with self._locker.mutex(id):
                self._store.delete(id)
        except StoreFull:  # not even an empty file can be made
            self._store.delete(id)
        with suppress(TusError):
            self._locker.lease(id).release(forget=True)


def _date(seconds: float) -> float | None:
    """A time that no calendar has, as one that it has; None is never."""
    return 0.0 if seconds < 0 else _LAST if seconds < inf else None


def certain(upload: Upload) -> Upload:
    """The upload without the bytes of which it is not known yet whether their checksum matches."""
    if upload.unverified_from is None:
        return upload
    return upload.evolve(offset=min(upload.offset, upload.unverified_from))


def visible(upload: Upload, request: Request) -> bool:
    return upload.owner is None or upload.owner == request.user
