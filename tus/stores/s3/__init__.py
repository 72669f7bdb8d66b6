"""Uploads in object storage that speaks S3, for any number of processes on any number of machines.

Everything is in the bucket, under one prefix: `<id>` is the finished file, and `.tus/` holds the records and what still
arrives. The offset is what lies there without a gap, so that nothing which a client was told depends on a process. No
locker is needed for the content of a file to be right; with one, the newest request ends the one before it at once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from ...errors import Changed, NotFound, OffsetMismatch, StoreAway, StoreBroken
from ...upload import Upload, is_random
from .. import Draft, Fence, Free
from ..records import same
from . import grid, removing
from .bucket import LOST, Bucket
from .budget import Budget
from .client import Failed, Unavailable
from .draft import S3Draft
from .gathered import Gathered
from .memory import Memory
from .names import Name
from .pattern import Pattern
from .reader import reader
from .state import Holding
from .tidying import Tidying
from .uploads import Uploads

__all__ = ["S3Store"]

_SECRET = 32  # bytes
_PAUSE, _PATIENCE = 0.05, 2.0  # seconds between two looks at what another request does, the first and the last time
_RECENT = 1000  # states


class S3Store:
    """`part`: bytes of a part, in uploads that are not so long that they need larger ones; `unknown`, in uploads whose
    length nobody knows; `remembered`: bytes that are kept for the next request; `budget`: bytes that
    all requests may hold together; `most`: those that one may hold for a part that is larger."""

    def __init__(
        self,
        bucket: Bucket,
        prefix: str = "",
        *,
        pattern: Pattern | None = None,
        part: int = grid.LEAST,
        unknown: int = 64 * grid.MIB,
        remembered: int = 64 * grid.MIB,
        budget: int = 256 * grid.MIB,
        most: int = 64 * grid.MIB,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.uploads = Uploads(bucket, prefix, pattern=pattern, most=most, clock=clock)
        self._part, self._unknown, self._clock = part, unknown, clock
        self._making: dict[str, S3Draft] = {}
        self._recent: dict[str, tuple[Holding, Gathered | None]] = {}
        self.memory = Memory(remembered)
        self.budget = Budget(budget)
        self._secret = b""

    def create(self, upload: Upload, *, fence: Fence) -> S3Draft:
        # A name that is made up each time is nobody else's; one that follows from what a client says may be.
        name = Name(self.uploads.bucket, self.uploads.keys(upload.id))
        # One that follows from a key is saved before its first byte, and only if nobody else did; a host's may be that
        # of an upload which has no record beside its data.
        if upload.recurs and not upload.keyed or not is_random(upload.id):
            name.reserve()
        part = grid.part_size(upload.length, self._part, self._unknown)
        upload = upload.evolve(offset=0, touched=self._clock())
        state = Holding(upload, self.uploads.place(upload, part))
        draft = S3Draft(self, state, 0, fence, name=name)
        if self._making.setdefault(upload.id, draft) is not draft:
            raise FileExistsError(upload.id)
        return draft

    def closed(self, draft: S3Draft) -> None:
        """A draft is closed: what nobody will know of is removed."""
        id = draft.state.upload.id
        if self._making.get(id) is draft:
            del self._making[id]
            self.uploads.clear(draft.state)
        elif not draft.failed:
            draft.remember()

    def load(self, id: str, *, durable: bool = False) -> Upload:
        return self._seen(self.uploads.find(id))

    def _seen(self, state: Holding, held: Gathered | None = None) -> Upload:
        """It may be gone on with in a moment."""
        if len(self._recent) > _RECENT:
            self._recent.clear()
        self._recent[state.upload.id] = state, held
        return state.upload

    def glimpse(self, id: str) -> Upload:
        state = self.memory.look(id)
        if not state:
            state = self.uploads.record(id, alone=True)
            if state.upload.complete:
                return self.load(id)
            self.memory.glimpsed(id, state)
        return state.upload

    def current(self, id: str, offset: int, *, fence: Fence) -> Upload:
        known = self.memory.take(id, fence, offset)
        if known and self._is_current(known.state):
            return self._seen(known.state, known.held)
        state = self.memory.fresh(id)
        state = self.uploads.complete(state) if state else None
        if not state or state.end != offset or state.end == state.upload.length:  # it may be finished since
            state = self.uploads.find(id)
        return self._seen(state)

    def _is_current(self, state: Holding) -> bool:
        """Whether the record is still the one that is remembered. A request that lost its lease may have said late how
        long the upload is, which no lease tells."""
        return state.upload.length is not None or self.uploads.record(state.upload.id, alone=True).etag == state.etag

    def save(self, upload: Upload, *, since: Upload | None = None, durable: bool = False) -> None:
        draft = self._making.get(upload.id) if since is None else None
        if not draft:
            self.memory.forget(upload.id)
            self._recent.pop(upload.id, None)  # a request that goes on must know of this record
            self.uploads.replace(upload, since)
            return
        draft.state.upload = upload.evolve(offset=draft.state.end, touched=draft.state.upload.touched)
        self.uploads.begin(draft.state)
        self.uploads.save(draft.state, upload, fresh=True)
        self._made(draft)

    def _made(self, draft: S3Draft) -> None:
        draft.fresh = False
        self._making.pop(draft.state.upload.id, None)

    def append(
        self, id: str, offset: int, *, fence: Fence, exact: bool = False, known: Upload | None = None
    ) -> S3Draft:
        state, held = self._recent.pop(id, (None, None))
        if not (known and state and state.upload == known):
            state, held = self.uploads.find(id), None
        if state.upload.dropped:
            raise NotFound("no such upload")
        if offset > state.end:
            raise OffsetMismatch(f"the upload has {state.end} bytes, not {offset}", offset=state.end)
        if known and known.offset != state.end:
            raise Changed("another request added to the upload meanwhile")
        self.memory.forget(id)
        if offset != state.end:
            held = None
        self.uploads.cut(state, offset, fence.token)
        return S3Draft(self, state, offset, fence, exact=exact, held=held)

    def finish(
        self, upload: Upload, draft: Draft | None = None, *, since: Upload | None = None, durable: bool = False
    ) -> None:
        own = draft if isinstance(draft, S3Draft) else self._going_on(upload.id)
        own.settle()
        if since is not None:
            own.commit()
            if not same(self.uploads.record(upload.id).upload, since):
                raise Changed("the record was changed meanwhile")
        # Not complete, until it is one object: others may save this record in between, and would believe it.
        own.state.upload = upload.evolve(complete=False, result=None)
        if own.state.place.whole:
            self.uploads.replace(upload, since)
        elif own.state.etags or not own.state.single:
            self._announce(own)
            self._finish_parts(upload, own)
        else:
            self._finish_small(upload, own, alone=since is None)
        self._made(own)
        self.uploads.pool.submit(self.uploads.clear, own.state)

    def _going_on(self, id: str) -> S3Draft:
        state = self.uploads.find(id)
        return S3Draft(self, state, state.end, Free())

    def _announce(self, draft: S3Draft) -> None:
        """Save a record before there is an object that only a record leads to: after a crash nobody would find it."""
        state = draft.state
        if draft.fresh and not state.etag:
            self.uploads.save(state, state.upload, fresh=True)

    def _finish_small(self, upload: Upload, draft: S3Draft, *, alone: bool) -> None:
        """One object; and one call, if nobody changes the record at the same time."""
        state, blocks = draft.state, draft.whole()
        if state.place.key:
            self._announce(draft)
        if (end := sum(map(len, blocks))) != upload.length:
            raise StoreBroken(f"upload {upload.id} has {end} bytes, not {upload.length}", offset=end)
        if alone and not state.place.upload_id and self.uploads.finish_small(state, upload, blocks):
            return
        self._announce(draft)
        parts = state.place
        self.uploads.bucket.put(self.uploads.key_of(state), *blocks)
        self.uploads.finished(state, upload)
        self.uploads.abort(upload.id, parts)

    def _finish_parts(self, upload: Upload, draft: S3Draft) -> None:
        try:
            self._put_together(upload, draft)
        except Failed as error:
            if error.answer not in LOST:
                raise
            self._finish_after_others(upload, draft)

    def _finish_after_others(self, upload: Upload, draft: S3Draft) -> None:
        """Somebody puts the parts together at the same time, or did it in order to read them."""
        pause = _PAUSE
        while True:
            draft.state = state = draft.state if draft.fresh else self.uploads.find(upload.id)
            if state.place.whole:
                return
            if state.parts_end == state.end:
                break
            if pause > _PATIENCE:
                raise Unavailable(f"another request finishes upload {upload.id}, and does not come to an end")
            time.sleep(pause)
            pause *= 2
        state.upload = upload.evolve(complete=False, result=None)
        self.uploads.cut(state, state.end, 0)
        self._put_together(upload, draft)

    def _put_together(self, upload: Upload, draft: S3Draft) -> None:
        draft.commit()
        draft.put_last()
        state = draft.state
        if state.end != upload.length:
            raise Unavailable(f"upload {upload.id} has {state.end} bytes, not {upload.length}", offset=state.end)
        if state.parts_end != upload.length:  # another request is at it
            raise Failed("the storage lists the parts no more", 404, "")
        if not draft.fresh:
            self.uploads.fill(state)
        self.uploads.seal(state)
        self.uploads.finished(state, upload)

    def open(self, id: str, start: int = 0) -> BinaryIO:
        making = self._making.get(id)
        state = making.state if making else self.uploads.find(id)
        if state.upload.dropped:
            raise NotFound("no such upload")
        return reader(self.uploads.bucket, self.uploads.row(state), start)

    def follow(self, id: str, start: int = 0) -> BinaryIO:
        state = self.uploads.find(id)
        if state.upload.dropped:
            raise NotFound("no such upload")
        row = self.uploads.row(state, seals=False)
        if not any(one.start <= start < one.end for one in row):  # to put the parts together now would end their writer
            raise StoreAway("what lies in parts can be read when the upload is complete")
        return reader(self.uploads.bucket, row, start)

    def link(self, upload: Upload, *, seconds: int, kind: str = "", disposition: str = "") -> str:
        return self.uploads.link(upload, seconds, {"content-type": kind, "content-disposition": disposition})

    def secret(self) -> bytes:
        while len(self._secret) != _SECRET:
            key = f"{self.uploads.prefix}.tus/secret"
            try:
                self._secret = self.uploads.bucket.get(key).body
            except Failed as error:
                if not error.missing:
                    raise
                with suppress(Failed):
                    self.uploads.bucket.swap(key, secrets.token_bytes(_SECRET), "")
        return self._secret

    def drop(self, id: str) -> None:
        self.memory.forget(id)
        removing.remove_data(self.uploads, id)

    def delete(self, id: str) -> None:
        making = self._making.get(id)
        if making and not making.state.etag:  # nobody knows of it, and what is known by its name is another request's
            return
        self.memory.forget(id)
        removing.remove_upload(self.uploads, id)

    def ids(self) -> Iterator[str]:
        return self.uploads.ids()

    def tidy(self, before: float) -> None:
        making = {draft.state.place.nonce for draft in list(self._making.values())}
        Tidying(self.uploads, before, making)()
