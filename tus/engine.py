"""What can happen to an upload: the only caller of store and locker, and the one door that every id passes.

The engine knows no HTTP and moves no bytes off a network. The order of what it does is what makes it safe:

* A request is admitted (authorised, its upload found, its owner compared) before it can disturb anybody.
* A request that writes takes the lease, and only then looks at the offset. Whoever held the lease before can write
  no more, so what was looked at stays true.
* A record is changed only in a turn of the lease, or under the mutex, and from what was loaded in that same turn.
* An upload finishes in steps: its last byte is stored, made durable, found good by the host, marked complete, handed
  over, and the host's answer recorded. After a crash between two of them the next request goes on from there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import BinaryIO

from .checksum import ALGORITHMS, Checksum
from .errors import (
    BadRequest,
    BodyCut,
    ChecksumMismatch,
    DigestMismatch,
    Gone,
    Interrupted,
    LengthMismatch,
    Locked,
    NotFound,
    OffsetMismatch,
    OptionError,
    Overrun,
    Refused,
    StoreFull,
    TooLarge,
    TusError,
)
from .hooks import Hooks, Intent, overridden
from .lockers import Claim, Lease, Locker
from .messages import Request
from .options import Options
from .stores import Place, Record, Store
from .upload import Digests, Metadata, Result, Upload, checked_id
from .writer import Writer

log = logging.getLogger("tus")

_BLOCK = 1 << 20  # bytes read at a time when stored data is looked through again
_CRASHED = 3600.0  # seconds after which a half-made file was certainly left by a crash


def new_id() -> str:
    """128 random bits: knowing an id is being allowed to use it."""
    return secrets.token_hex(16)


class Engine:
    """The deeds. One engine serves all threads of a process."""

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
        self._tells = overridden(self.hooks, "finished")
        self._checks = overridden(self.hooks, "before_finish")
        self._reports = overridden(self.hooks, "progressed")
        # Nothing between the first turn and the last one takes time: no hook, and no disk that is waited for.
        self._quick = not (self._checks or self._reports) and options.durable == "none"
        self._clock = clock
        self._name = name

    # Finding

    def _admit(self, request: Request, intent: Intent) -> Upload:
        with closing(self._held(request, intent)) as record:
            return record.upload

    def _held(self, request: Request, intent: Intent) -> Record:
        id = checked_id(request.id)
        request.user = self.hooks.user(request)
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

    def _check_rights(self, request: Request, intent: Intent, upload: Upload) -> None:
        self.hooks.authorise(request, intent, upload)
        if not _visible(upload, request):
            raise NotFound("no such upload")
        if intent != "terminate" and self.expired(upload):
            raise Gone("the upload has expired")

    def _settled(self, upload: Upload) -> Upload:
        """The upload without what a crash left unverified. Only in a turn."""
        if upload.unverified_from is None:
            return upload
        upload = upload.evolve(offset=upload.unverified_from, unverified_from=None)
        self._store.truncate(upload.id, upload.offset)
        self._store.save(upload)
        return upload

    def expires(self, upload: Upload) -> float | None:
        """When it will be removed, if nothing happens; seconds since the epoch."""
        # A target hears of it only when the client comes back; one that never does must not leave it for ever.
        kept = upload.complete and not (upload.pending and upload.target)
        if kept and not (upload.partial or upload.dropped or self.options.sweep_finished):
            return None
        if upload.expires is not None:
            return upload.expires
        duration = self.options.upload_valid_duration
        return None if duration is None else upload.touched + duration

    def remaining(self, upload: Upload) -> int | None:
        """Seconds that are left to it, if nothing happens."""
        expires = self.expires(upload)
        return None if expires is None else max(int(expires - self._clock()), 0)

    def expired(self, upload: Upload, now: float | None = None) -> bool:
        expires = self.expires(upload)
        return expires is not None and expires < (self._clock() if now is None else now)

    def look(self, request: Request, intent: Intent = "look") -> Upload:
        """The upload as it is; disturbs nobody."""
        return _certain(self._admit(request, intent))

    def seize(self, request: Request, *, finish: bool = True) -> Upload:
        """The upload with the offset that holds: whoever still writes is ended. With `finish`, one that has every
        byte is finished, should a crash have come between."""
        # Asked first: if nobody wrote then, the offset that is read next is as good as one that was fought for.
        writing = self._locker.writing(checked_id(request.id))
        upload = self._admit(request, "head")
        if upload.complete or upload.chunks:  # nobody goes on at the end of one that comes in chunks
            return upload
        try:
            if upload.final:
                upload = self._joined(upload)
            elif writing or finish and upload.filled or upload.unverified_from is not None:
                upload = self._seized(upload.id, finish=finish)
        except (NotFound, Gone):
            raise
        except TusError as error:
            # Not this request is at fault, but the content or the disk. A client that gets anything but 423 here
            # forgets the upload, and sends everything again.
            raise Locked(str(error)) from error
        if self.options.durable == "always" and not upload.complete and not upload.final:
            self._store.sync(upload.id)
        return upload

    def _seized(self, id: str, *, finish: bool) -> Upload:
        lease = self._locker.lease(id, patient=False)
        forget = False
        try:
            with lease.turn():
                upload = self._settled(self._store.load(id))
            if finish and upload.filled and not upload.complete:
                upload = self._complete(upload, lease)
            forget = upload.complete
        except NotFound:
            forget = True
            raise
        finally:
            lease.release(forget=forget)
        return upload

    # Creating

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
        """A Writer for a new upload. Nobody knows of it before the writer is concluded, so its record is written
        once, and no lease is needed; unless the client is told of it first, so that it is `known`."""
        request.user = self.hooks.user(request)
        self.hooks.authorise(request, "create", None)
        upload = self._drafted(request, length=length, metadata=metadata, partial=partial, concat=concat, id=id)
        upload = upload.evolve(digests=digests, target=request.target) if digests or request.target else upload
        upload = upload if expected is None else upload.evolve(id=id or upload.id, expected=expected)
        room = self._check_room(upload, 0, None, announced)
        unverified = unverified or checksum is not None
        place = self._reserved(upload)
        lease: Lease = _Alone()
        try:
            self.hooks.created(upload)
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

    def _reserved(self, upload: Upload) -> Place:
        try:
            return self._store.reserve(upload.id)
        except FileExistsError:
            raise Refused(f"the id {upload.id} is taken", status=409) from None

    def _abandon(self, writer: Writer, error: BaseException) -> None:
        """A creation failed: what the client can go on with is kept, and nothing else."""
        lost = isinstance(error, ChecksumMismatch | BadRequest) or not isinstance(error, TusError)
        if lost or _spoils(writer, error):
            self._store.delete(writer.upload.id)
            return
        if writer.unverified or isinstance(error, TooLarge):
            writer.truncate()
        assert isinstance(error, TusError)
        try:
            self._publish(writer.upload.evolve(offset=writer.offset))
        except TusError:
            self._store.delete(writer.upload.id)  # no room even for the record, so none for a rest of the data
            return
        error.offset = writer.offset

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

    # Writing

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
            if upload.final or upload.chunks:
                how = "by concatenation" if upload.final else "of numbered chunks"
                raise Refused(f"an upload made {how} cannot be written to", status=403)
            # A stale request must not end a good one, so it is told before it takes the lease.
            self._check_offset(_certain(upload), offset)
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
                    keep=request.arrived and self._quick and not upload.partial,
                )
            except StoreFull as full:  # not even room for what is written down before the first byte
                full.offset = offset
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
        keep: bool,
    ) -> Writer:
        lease = self._locker.lease(record.upload.id, locked=True)
        try:
            upload = self._settled(record.again())
            self._check_offset(upload, offset)
            room = self._check_room(upload, offset, length, announced)
            if not upload.complete:
                changed = self._declared(upload, length, unverified)
                place = self._store.writer(upload.id, offset)
            if not keep:  # the body may take for ever, and nobody must wait for that
                lease.unlock()
        except BaseException as error:
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

    def _fail(self, writer: Writer, error: BaseException) -> None:
        """An append failed: nothing unverified stays, and the client is told what holds."""
        if _spoils(writer, error):
            self._invalidate(writer)
            return
        if writer.unverified or isinstance(error, TooLarge) and writer.last is None:
            with suppress(TusError):  # whoever took the upload over has cut it back already
                self._cut_back(writer)
        if isinstance(error, TusError) and error.offset is None and not isinstance(error, Interrupted):
            error.offset = writer.offset

    def _invalidate(self, writer: Writer) -> None:
        """Nothing good can come of this upload any more: whoever asks is told that it is gone."""
        assert writer.lease
        with suppress(TusError), writer.lease.turn():
            self._store.truncate(writer.upload.id, 0)
            self._store.save(writer.upload.evolve(offset=0, expires=0.0, unverified_from=None))

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

    def _cut_back(self, writer: Writer) -> None:
        """As if the request had not been."""
        assert writer.lease
        with writer.lease.turn():
            writer.truncate()
            if writer.unverified and not writer.fresh:
                self._store.save(self._store.load(writer.upload.id).evolve(unverified_from=None))

    def _progress(self, upload: Upload) -> Callable[[int], None]:
        last = self._clock()

        def progressed(offset: int) -> None:
            nonlocal last
            now = self._clock()
            if now - last >= 1:
                last = now
                self.hooks.progressed(upload.evolve(offset=offset))

        return progressed

    def conclude(self, writer: Writer, cut: BaseException | None = None, trailing: Checksum | None = None) -> Upload:
        """The body is over, or was `cut`: verify, keep or forget, finish if this was the last byte."""
        upload = writer.upload.evolve(offset=writer.offset)
        if writer.lease is None:
            return upload
        whole = cut is None and writer.announced in (None, writer.received)
        if writer.unverified:
            self._verify(writer, upload, whole, trailing)
        if not whole and not (upload.filled and writer.announced is None and writer.last is None):
            if self.options.durable == "always":
                writer.sync()  # the answer tells the offset
            raise BodyCut(f"the body ended after {writer.received} bytes: {cut or 'the client went away'}")
        if upload.filled if writer.last is None else writer.last:
            upload = self._ended(upload) if writer.last else upload
            upload = self._complete(upload, writer.lease, sync=writer.sync, fresh=writer.fresh)
            writer.close(forget=True)
            return upload
        if self.options.durable == "always":
            writer.sync()
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
                writer.sync()  # before the record says that these bytes are good
            with writer.lease.turn():
                stored = self._store.load(upload.id)
                self._publish(stored.evolve(unverified_from=None, length=upload.length))
        writer.unverified = False

    def _holds(self, upload: Upload, start: int, checksum: Checksum) -> bool:
        """Whether what lies behind `start` has this checksum; it came after the bytes, so they are read again."""
        hash = checksum.hash()
        with self._store.open(upload.id) as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                hash.update(block)
        return checksum.matches(hash)

    # Finishing

    def _complete(
        self, upload: Upload, lease: Lease, *, sync: Callable[[], None] | None = None, fresh: bool = False
    ) -> Upload:
        """Every byte is there: make it last, let the host look at it, and mark it complete."""
        durable = self.options.durable != "none"
        lease.lock()  # disk and host may take their time, and a HEAD must not begin the same a second time
        try:
            if durable:
                if sync:
                    sync()
                else:
                    self._store.sync(upload.id)
            if upload.digests:
                upload = upload.evolve(digests=self._digested(upload))
            self._check_content(upload)
            # Only these records change while somebody else holds the lease: see _await_parts and describe.
            if (upload.partial or upload.expected is not None) and not fresh:
                upload = self._store.load(upload.id).evolve(length=upload.length)
            upload = self._mark(upload, durable)
        finally:
            lease.unlock()
        self._join_waiting(upload)
        return upload

    def _join_waiting(self, part: Upload) -> None:
        """A part is complete: so may be what waited for it."""
        for final in part.finals:
            with suppress(TusError):
                self._joined(self._store.load(final))

    def completed(self, part: Upload) -> list[Upload]:
        """What was made of this part and waits for the host."""
        found = []
        for final in part.finals if part.complete else ():
            with suppress(NotFound):
                found.append(self._store.load(final))
        return [upload for upload in found if upload.pending]

    def _digested(self, upload: Upload) -> Digests:
        """The digests of the whole, where the client wants them; raises DigestMismatch where it announced others."""
        hashes = [(name, announced, ALGORITHMS[name][1]()) for name, announced in upload.digests]
        with self._store.open(upload.id) as file:
            while block := file.read(_BLOCK):
                for _, _, hash in hashes:
                    hash.update(block)
        for name, announced, hash in hashes:
            if announced and announced != hash.digest().hex():
                raise DigestMismatch(f"the {name} of the whole is another one", algorithm=name, digest=announced)
        return tuple((name, hash.digest().hex()) for name, _, hash in hashes)

    def _check_content(self, upload: Upload) -> None:
        if self._checks and not upload.partial:
            with self._store.open(upload.id) as file:
                self.hooks.before_finish(upload, file)

    def _mark(self, upload: Upload, durable: bool) -> Upload:
        # A part is never handed over by itself, and without a host nothing is.
        waits = self._delivers or self._tells or upload.target
        result = None if waits and not upload.partial else Result()
        upload = upload.evolve(complete=True, result=result)
        self._store.save(upload, durable=durable)
        return upload

    def claim(self, id: str, *, patience: float = 0.0) -> Delivery:
        """The right to hand a complete upload over; raises Locked while somebody else does, for so many seconds."""
        claim = self.claimed(checked_id(id), patience)
        try:
            return Delivery(self, claim, self._store.load(id))
        except BaseException:
            claim.release()
            raise

    def claimed(self, id: str, patience: float) -> Claim:
        """The claim, should it come free in time."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._locker.claim(id)
            except Locked:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    def forget_expired(self, id: str) -> None:
        """Remove an upload of which nothing can come any more, so that its id is free."""
        if self.expired(self._store.load(id)):
            self._remove(self._store.load(id))

    def secret_id(self, request: Request, *said: object) -> str:
        """The id that follows from what a client says. Whoever lacks our secret can't work it out, and the same words
        in another namespace mean something else."""
        request.user = self.hooks.user(request)
        text = repr((self.hooks.namespace(request), *said)).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, digest_size=16, key=self._store.secret()).hexdigest()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def describe(self, request: Request, metadata: Metadata) -> Upload:
        """Add to what is known of an upload, while it runs or after; for those whose writer looks again in the end."""
        id = self._admit(request, "write").id
        with self._locker.mutex(id):
            upload = self._store.load(id)
            upload = upload.evolve(metadata=upload.metadata.joined(metadata))
            self._store.save(upload)
        return upload

    def accept(self, upload: Upload, result: Result, *, drop: bool) -> Upload:
        """The host has it: remember its answer, so that nobody is told twice."""
        # What the target's request held, passwords perhaps, is needed no more.
        upload = upload.evolve(result=result, dropped=drop or upload.dropped, target=None)
        try:
            # Some file systems lose a durable record with the one that replaces it, if that is not durable, too.
            # Where the data goes as well, all that a power cut can take is the memory of it.
            self._store.save(upload, durable=self.options.durable != "none" and not drop)
        except StoreFull:
            if not drop:
                raise
            self._store.drop(upload.id)  # a complete record without data is one that was handed over
            self._publish(upload)
        if drop:
            self._store.drop(upload.id)
        return upload

    def drop(self, upload: Upload) -> None:
        """Remove the data of an upload that the host has taken."""
        with self._locker.mutex(upload.id), suppress(NotFound):
            upload = self._store.load(upload.id)
            self.accept(upload, upload.result or Result(), drop=True)

    def path(self, upload: Upload) -> str:
        """The finished file."""
        return self._store.path(upload.id)

    def open(self, upload: Upload) -> BinaryIO:
        """The data, to read."""
        return self._store.open(upload.id)

    # Concatenating

    def join(self, request: Request, ids: Iterable[str], *, metadata: Metadata, concat: str) -> Upload:
        """A final upload of these parts; the same one, if it is asked for again."""
        request.user = self.hooks.user(request)
        self.hooks.authorise(request, "concatenate", None)
        ids = tuple(map(checked_id, ids))
        parts = self._parts(request, ids)
        length = _total(parts)
        name = hashlib.blake2b(repr((request.user, concat, metadata.raw)).encode(), digest_size=16).hexdigest()
        upload = self._drafted(request, length=length, metadata=metadata, concat=concat, id=name, parts=ids)
        with self._locker.mutex(upload.id):
            upload, new = self._named(upload)
        if new:
            self.hooks.created(upload)
        if upload.complete:
            return upload
        self._await_parts(upload)
        return self._joined(upload)

    def _named(self, upload: Upload) -> tuple[Upload, bool]:
        """The final upload by this name, and whether it is new. Only under its mutex: so nobody else is making it, and
        half of one was left by a crash."""
        try:
            self._store.reserve(upload.id).close()
        except FileExistsError:
            with suppress(NotFound):
                earlier = self._store.load(upload.id)
                if not self.expired(earlier):
                    return earlier, False
            self._store.delete(upload.id)
            self._store.reserve(upload.id).close()
        self._publish(upload)
        return upload, True

    def _parts(self, request: Request, ids: tuple[str, ...]) -> list[Upload]:
        parts = []
        for id in ids:
            with suppress(NotFound):
                part = self._store.load(id)
                usable = part.partial and not part.dropped and not self.expired(part)
                if usable and _visible(part, request):
                    parts.append(part)
                    continue
            raise BadRequest(f"{id} is not a partial upload")
        return parts

    def _await_parts(self, upload: Upload) -> None:
        """Let the parts that still grow know what waits for them."""
        for id in dict.fromkeys(upload.parts):
            if self._store.load(id).complete:
                continue
            with self._locker.mutex(id):
                part = self._store.load(id)
                if upload.id not in part.finals:
                    self._store.save(part.evolve(finals=(*part.finals, upload.id)))

    def _joined(self, upload: Upload) -> Upload:
        """The final upload with its bytes, if all of its parts are complete."""
        try:
            parts = [self._store.load(id) for id in upload.parts]
        except NotFound:
            raise Gone("a part of this upload is gone") from None
        if not all(part.complete for part in parts):
            return upload.evolve(length=_total(parts))
        claim = self._locker.claim(upload.id)
        try:
            upload = self._store.load(upload.id)
            if not upload.complete:
                upload = self._copied(upload, parts)
        finally:
            claim.release()
        if self.options.remove_parts:
            for part in parts:
                self._store.delete(part.id)
        return upload

    def _copied(self, upload: Upload, parts: list[Upload]) -> Upload:
        length = sum(part.offset for part in parts)
        self._check_size(upload, length)
        durable = self.options.durable != "none"
        self._store.truncate(upload.id, 0)
        place = self._store.writer(upload.id, 0)
        try:
            for part in parts:
                with self._store.open(part.id) as source:
                    place.copy(source, part.offset)
                place.start_sync()
            if place.position != length:
                raise Locked("a part changed while it was copied")
            if durable:
                place.sync()
        finally:
            place.close()
        upload = upload.evolve(length=length, offset=length)
        self._check_content(upload)
        return self._mark(upload, durable)

    # Removing

    def terminate(self, request: Request) -> None:
        """Remove the upload; whoever still writes is ended first."""
        upload = self._admit(request, "terminate")
        self.hooks.before_terminate(request, upload)
        self._remove(upload)
        self.hooks.terminated(upload)

    def _remove(self, upload: Upload) -> None:
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
        """The disk is too full to take the lease, and removing is what helps. Whoever writes finds nothing then."""
        with self._locker.mutex(id):
            self._store.delete(id)
        with suppress(TusError):
            self._locker.lease(id).release(forget=True)

    def uploads(self) -> Iterator[Upload]:
        """Every upload there is; for operators."""
        for id in self._store.ids():
            with suppress(TusError):
                yield self._store.load(id)

    def sweep(self, now: float | None = None, *, pause: float = 0.0) -> Iterator[Upload]:
        """Remove what has expired, one upload at a time, and say which; with a `pause` (seconds) now and then."""
        now = self._clock() if now is None else now
        self._store.tidy(now - _CRASHED)
        self._locker.tidy(now - _CRASHED, self._exists)
        for count, upload in enumerate(self.uploads(), 1):
            if self.expired(upload, now):
                with suppress(TusError):
                    self._remove(upload)
                    yield upload
            elif upload.pending and not self._delivers and not upload.target:
                self._tell(upload)
            if pause and not count % 100:
                time.sleep(pause)

    def _exists(self, id: str) -> bool:
        try:
            return bool(self._store.load(id))
        except NotFound:
            return False

    def _tell(self, upload: Upload) -> None:
        """An upload was complete when its process died, before the hooks heard of it."""
        with suppress(TusError):
            delivery = self.claim(upload.id)
            try:
                if delivery.upload.pending:
                    delivery.accept(self.hooks.finished(delivery.upload) or Result())
            except Exception:
                log.exception("upload %s is complete and cannot be handed over", upload.id)
            finally:
                delivery.release()


class _Alone:
    """The lease on an upload that nobody else can know of."""

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


@dataclass
class Delivery:
    """A complete upload in the hands of whoever hands it over. Exactly one at a time, in all processes."""

    engine: Engine
    claim: Claim
    upload: Upload
    told: Result = Result()  # what the hook `finished` had to say

    def accept(self, result: Result, *, drop: bool = False) -> None:
        """It arrived."""
        self.upload = self.engine.accept(self.upload, result, drop=drop)
        self.claim.release()

    def release(self) -> None:
        """It did not arrive; the next request tries again. Twice is fine."""
        self.claim.release()


def _spoils(writer: Writer, error: BaseException) -> bool:
    """Whether the upload is of no use after this. One that says itself where it ends, and goes on behind its length,
    never was what it said."""
    if writer.upload.expected is not None:  # nobody can go on with a form
        return True
    return isinstance(error, DigestMismatch) or isinstance(error, Overrun) and writer.last is not None


def _total(parts: list[Upload]) -> int | None:
    lengths = [part.length for part in parts]
    return None if None in lengths else sum(filter(None, lengths))


def _certain(upload: Upload) -> Upload:
    """The upload without the bytes of which it is not known yet whether their checksum matches."""
    if upload.unverified_from is None:
        return upload
    return upload.evolve(offset=min(upload.offset, upload.unverified_from))


def _visible(upload: Upload, request: Request) -> bool:
    return upload.owner is None or upload.owner == request.user


def open_engine(options: Options, hooks: Hooks | None = None, *, delivers: bool = True) -> Engine:
    """An engine over files."""
    from .lockers.file import FileLocker
    from .stores.file import FileStore

    try:
        directory = options.tmp_file_dir or private_directory()
        return Engine(FileStore(directory), FileLocker(directory), options, hooks, delivers=delivers)
    except OSError as error:
        raise OptionError(f"option tmp_file_dir: {error.filename or ''}: {error.strerror or error}") from error


def private_directory() -> str:
    """A directory of our own in the system's temporary one, refused if somebody else made it."""
    import tempfile

    path = os.path.join(tempfile.gettempdir(), f"tus-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not os.path.isdir(path) or os.path.islink(path):
        raise PermissionError(f"{path} is not ours alone; name another place with the option tmp_file_dir")
    return path
