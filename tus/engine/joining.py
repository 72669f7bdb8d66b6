"""Uploads made of others: concatenation, even of parts that still grow."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from ..errors import (
    BadRequest,
    Gone,
    Locked,
    NotFound,
    Refused,
    TusError,
)
from ..http.messages import Request
from ..stores import UNCHUNKED
from ..upload import Metadata, Upload, checked_id
from .finishing import Finishing
from .records import visible

MAX_PARTS = 1000  # a request with more addresses would not get through most proxies
# Times that a part may stand in final uploads, in one or in several: each time all of it is copied, by a request that
# has no body. Clients that upload in parallel name each part once, and once more under another name perhaps.
MAX_USES = 16


class Joining(Finishing):
    """A final upload, from its parts."""

    def join(self, request: Request, ids: Iterable[str], *, metadata: Metadata, concat: str) -> Upload:
        """A final upload of these parts; the same one, if it is asked for again."""
        request = self._identify(request)
        self.hooks.authorise(request, "concatenate", None)
        ids = tuple(map(checked_id, ids))
        if len(ids) > MAX_PARTS:
            raise BadRequest(f"{len(ids)} parts are more than the {MAX_PARTS} that an upload may be made of")
        for id, times in Counter(ids).items():
            _check_uses(id, times)
        name = hashlib.blake2b(repr((request.user, concat, metadata.raw)).encode(), digest_size=16).hexdigest()
        earlier = self._alive(name)
        if earlier and earlier.complete and earlier.parts == ids and visible(earlier, request):
            return earlier  # asked for again, after its parts went away perhaps
        parts = self._parts(request, ids)
        length = _total(parts)
        upload = self._drafted(request, length=length, metadata=metadata, concat=concat, id=name, parts=ids)
        with self._locker.mutex(upload.id):
            upload, new = self._named(upload)
        if new:
            self._use_parts(upload)
            self._announce(upload)
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
            earlier = self._alive(upload.id)
            if earlier and (earlier.parts, earlier.owner) != (upload.parts, upload.owner):
                raise Refused(f"the id {upload.id} is taken", status=409) from None
            if earlier:
                return earlier, False
            self._store.delete(upload.id)
            self._store.reserve(upload.id).close()
        self._publish(upload)
        return upload, True

    def _alive(self, id: str) -> Upload | None:
        """What an earlier request made, if it is still there."""
        with suppress(NotFound):
            earlier = self._store.load(id)
            return None if self.expired(earlier) else earlier
        return None

    def _parts(self, request: Request, ids: tuple[str, ...]) -> list[Upload]:
        parts = []
        for id in ids:
            with suppress(NotFound):
                part = self._store.load(id)
                usable = part.partial and not part.dropped and not self.expired(part)
                if usable and visible(part, request):
                    parts.append(part)
                    continue
            raise BadRequest(f"{id} is not a partial upload")
        return parts

    def _use_parts(self, upload: Upload) -> None:
        """Count how often each part is used: a mark each time, and not in its record, which would have to be forced to
        the disk again. What a power cut takes of the count may be used once more."""
        try:
            for id, times in Counter(upload.parts).items():
                with self._locker.mutex(id):
                    self._store.load(id)  # where it is gone, nothing must be left of it
                    times += len(self._store.marks(id)[UNCHUNKED:])
                    _check_uses(id, times)
                    self._store.mark(id, UNCHUNKED + times - 1)
        except TusError:
            with self._locker.mutex(upload.id):
                self._store.delete(upload.id)
            raise

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
        except BaseException:
            with suppress(TusError, OSError):
                self._store.truncate(upload.id, 0)  # half of it is of no use, and would keep a full disk full
            raise
        finally:
            place.close()
        upload = upload.evolve(length=length, offset=length)
        return self._mark(upload, durable, self._refusal(upload))


def _check_uses(id: str, times: int) -> None:
    if times > MAX_USES:
        raise BadRequest(f"{id} may be used {MAX_USES} times, in all final uploads together")


def _total(parts: list[Upload]) -> int | None:
    lengths = [part.length for part in parts]
    return None if None in lengths else sum(filter(None, lengths))
