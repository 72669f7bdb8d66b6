"""Finding uploads in a bucket, and changing what is there of them."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from ...errors import Changed, Interrupted, NotFound, StoreBroken
from ...upload import Upload, is_id
from .. import Block
from ..records import same
from . import anew, grid
from .bucket import LOST, Bucket, CallThreads, Found
from .client import Failed, Far, Unavailable
from .grid import Span
from .pattern import Pattern
from .reader import Stretch
from .state import GONE, Holding, Keys, Place, attached, detached, recorded, written

_LITTER = 500  # pieces
_REFRESH = 5  # times that somebody who lost a race looks again


class Uploads:
    """What is in the bucket under one prefix."""

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        *,
        pattern: Pattern | None = None,
        most: int = 64 * grid.MIB,
        clock: Callable[[], float] = time.time,
        threads: int = 32,
    ) -> None:
        """`most`: bytes of one upload that are held at a time."""
        self.bucket, self.prefix, self.clock = bucket, prefix, clock
        self.pattern, self.most = pattern or Pattern(), most
        self._threads = CallThreads(threads)

    @property
    def pool(self) -> ThreadPoolExecutor:
        return self._threads.pool

    def keys(self, id: str) -> Keys:
        return Keys.of(self.prefix, id)

    def place(self, upload: Upload, part: int) -> Place:
        """Where a new upload will lie."""
        key = self.pattern.key(upload)
        return Place(part, secrets.token_hex(8), touched=upload.touched, key="" if key == upload.id else key)

    def data_key(self, id: str, place: Place) -> str:
        """What the data of an upload is called."""
        return f"{self.prefix}{place.key or id}"

    def key_of(self, state: Holding) -> str:
        return self.data_key(state.upload.id, state.place)

    def _located(self, upload: Upload, place: Place) -> Upload:
        """The upload, with where others can fetch it."""
        return upload.evolve(stored_at=f"s3://{self.bucket.client.bucket}/{self.data_key(upload.id, place)}")

    def _written(self, upload: Upload, place: Place) -> bytes:
        return written(self._located(upload, place), place)

    def _recorded(self, text: bytes, id: str) -> tuple[Upload, Place]:
        upload, place = recorded(text, id)
        return self._located(upload, place), place

    # Finding

    def find(self, id: str) -> Holding:
        """The upload, with how much of it is there; raises NotFound."""
        listing = self.pool.submit(self._listing, id)
        state = self.record(id)
        while True:
            try:
                return self._measure(state, listing)
            except NotFound:
                newer = self.record(id)
                if newer.etag == state.etag:
                    raise
                state = newer  # between two looks it was finished, or laid out anew

    def complete(self, state: Holding) -> Holding | None:
        """The upload of which there was only the record, with how much of it is there; None if that record is old."""
        listing = self.pool.submit(self._listing, state.upload.id)
        try:
            if not state.place.upload_id and self.bucket.find(self.key_of(state)):
                return None
            return self._measure(state, listing)
        except NotFound:  # its parts are
            return None

    def _listing(self, id: str) -> list[Found]:
        return list(self.bucket.objects(self.keys(id).tail))

    def record(self, id: str, *, alone: bool = False) -> Holding:
        """The upload, without a look at how much of it is there; `alone`: nor at whether it was finished since."""
        try:
            answer = self.bucket.get(self.keys(id).info)
        except Failed as error:
            if not error.missing:
                raise
            return self._attached(id)
        if answer.body == GONE:
            raise NotFound("no such upload")
        upload, place = self._recorded(answer.body, id)
        state = Holding(upload, place, answer.etag)
        if alone or place.whole or place.upload_id or not state.single:
            return state
        with contextlib.suppress(NotFound):  # it may have been finished since, in one step
            whole = self._attached(id, place.key)
            if whole.place.nonce == place.nonce:
                whole.etag = state.etag
                return whole
        return state

    def _attached(self, id: str, key: str = "") -> Holding:
        """The upload, if the object with its data holds the record as well."""
        answer = self.bucket.find(f"{self.prefix}{key or id}")
        text = detached(answer.headers) if answer else None
        state = Holding(*self._recorded(text, id)) if text else None
        if not state or state.place.key != key:
            raise NotFound("no such upload")
        return state

    def _measure(self, state: Holding, listing: Future[list[Found]]) -> Holding:
        """Count what is there."""
        upload, place, touched = state.upload, state.place, state.place.touched
        touched = touched if place.whole else max(touched, self._count_parts(state))
        state.litter = [one.key for one in listing.result() if place.nonce in one.key]
        own = f"{self.keys(upload.id).tail}{place.nonce}-"
        found = [one for one in listing.result() if one.key.startswith(own)]
        pieces = [grid.span_of(one.key[len(own) :], one.key, one.size) for one in found]
        if not place.whole:
            touched = max([touched, *(one.touched for one in pieces)])
            state.pieces = grid.row(pieces, state.parts_end)
        state.upload = upload.evolve(offset=state.end, touched=touched)
        return state

    def _count_parts(self, state: Holding) -> float:
        """Count the parts; says when the last one came."""
        place, length = state.place, state.upload.length
        if not place.upload_id:
            return 0.0
        try:
            found = self.bucket.parts(self.key_of(state), place.upload_id)
        except Failed as error:
            if not error.missing:
                raise
            self._count_sealed(state)
            return 0.0
        state.etags = grid.run([grid.Stored(one.number, one.size, one.etag) for one in found], place.part, length)
        return max((one.modified for one in found), default=0.0)

    def _count_sealed(self, state: Holding) -> None:
        """The parts were put together, by a request that saw the end or had to read them. That they are not there is
        never a proof of it; the object is."""
        answer = self.bucket.find(self.key_of(state))
        if not answer and state.place.filled:
            return  # in this moment
        if not answer:
            raise NotFound("the parts of this upload are gone")
        size, part, length = int(answer.headers["content-length"]), state.place.part, state.upload.length
        if size != length and size % part:
            raise StoreBroken(f"the object of upload {state.upload.id} has {size} bytes, which no parts of it have")
        state.etags, state.sealed = [""] * -(-size // part), True

    # Records

    def save(self, state: Holding, upload: Upload, *, place: Place | None = None, fresh: bool = False) -> None:
        """Replace the record that was found by this one; raises Changed if it is another one by now."""
        text, key = self._written(upload, place or state.place), self.keys(upload.id).info
        try:
            state.etag = self.bucket.swap(key, text, "" if fresh else state.etag)
        except Failed as error:
            if error.answer not in LOST:
                raise
            with contextlib.suppress(Failed):  # an answer that got lost looks like a race that was lost
                answer = self.bucket.get(key)
                if answer.body == text:
                    state.etag = answer.etag
                    return
            raise Changed("the record was changed meanwhile") from None

    def replace(self, upload: Upload, since: Upload | None) -> None:
        """Save a record; with `since`, only in place of that one."""
        for _ in range(_REFRESH):
            state = self.record(upload.id)
            if since is not None and not same(state.upload, since):
                raise Changed("the record was changed meanwhile")
            try:
                self.save(state, upload)
                return
            except Changed:
                continue  # by one who changed it back, perhaps
        raise Changed("the record is changed all the time")

    def fill(self, state: Holding) -> None:
        """Note that every byte is there: while an engine puts parts together, it does not list them any more. A HEAD
        looks without a lease."""
        if not state.sealed:
            self.save(state, state.upload, place=state.place._replace(filled=True))
            state.place = state.place._replace(filled=True)

    def finished(self, state: Holding, upload: Upload) -> None:
        """Save a record of an upload that is one object now."""
        place = state.place._replace(whole=True, touched=self.clock(), upload_id="", filled=False)
        self.save(state, upload, place=place)
        state.upload, state.place = upload, place

    def finish_small(self, state: Holding, upload: Upload, blocks: Iterable[Block | Far]) -> bool:
        """Store data and record in one step; False if the record is too long for that, and nothing happened."""
        place = state.place._replace(whole=True, touched=self.clock())
        headers = attached(self._written(upload, place))
        if headers:
            self.bucket.put(self.key_of(state), *blocks, headers=headers)
            state.upload, state.place = upload, place
        return headers is not None

    # Parts

    def begin(self, state: Holding) -> None:
        """Have room for parts, where one is not enough."""
        if not state.place.upload_id and not state.single:
            upload_id = self.bucket.begin(self.key_of(state))
            state.place = state.place._replace(upload_id=upload_id)
            if state.etag:  # others know of this upload, and must store their parts there as well
                self.save(state, state.upload)

    def put_piece(self, state: Holding, start: int, token: int, *blocks: Block | Far, apart: bool = False) -> Span:
        """Add bytes that do not fill a part; `apart`, bytes that do not count."""
        now = self.clock()
        name = grid.named(start, token, now, secrets.token_hex(4))
        key = f"{self.keys(state.upload.id).tail}{'x' if apart else ''}{state.place.nonce}-{name}"
        self.bucket.put(key, *blocks)
        state.litter.append(key)
        return Span(start, start + sum(map(len, blocks)), key, 0, now)

    def put_part(self, state: Holding, number: int, head: list[Span], held: Block | Far) -> str:
        """Store a part: what lies in pieces, and what is held. Returns its ETag."""
        key = self.key_of(state)
        if len(head) == 1 and not len(held):
            one = head[0]
            with contextlib.suppress(Failed):  # AWS copies no ranges of small objects
                return self.bucket.copy_part(
                    key, state.place.upload_id, number, one.key, one.at, one.at + one.end - one.start
                )
        return self.bucket.part(key, state.place.upload_id, number, [*self.blocks(head, map), held])

    def blocks(self, row: Iterable[Span], mapped: Callable[..., Iterable[bytes]] | None = None) -> list[Block | Far]:
        """What is to be sent of these pieces; fetched when it is, if it is more than may be held."""
        row = list(row)
        if sum(one.end - one.start for one in row) > self.most:
            return [Stretch(self.bucket, one) for one in row]
        return list((mapped or self.pool.map)(self._bytes, row))

    def data(self, row: Iterable[Span]) -> list[bytes]:
        """The bytes of these pieces."""
        return list(self.pool.map(self._bytes, row))

    def _bytes(self, one: Span) -> bytes:
        return self.bucket.get(one.key, one.at, one.at + one.end - one.start).body

    def thin(self, state: Holding) -> None:
        """Remove pieces that are in parts by now, before there are so many that a listing takes several calls."""
        if len(state.litter) <= _LITTER:
            return
        own = f"{self.keys(state.upload.id).tail}{state.place.nonce}-"
        old = (key for key in state.litter if key.startswith(own))
        covered = [key for key in old if grid.span_of(key[len(own) :], key, 0).start < state.parts_end]
        with contextlib.suppress(Unavailable):
            self._forget(state, covered)

    def seal(self, state: Holding) -> None:
        """Put the parts together, so that they can be read."""
        if state.sealed or not state.etags or state.place.whole:
            return
        key = self.key_of(state)
        try:
            self.bucket.complete(key, state.place.upload_id, state.etags)
        except Failed as error:
            answer = self.bucket.find(key) if error.answer in LOST else None
            if not answer or int(answer.headers["content-length"]) != state.parts_end:
                raise
        state.sealed = True

    def row(self, state: Holding, *, seals: bool = True) -> list[Span]:
        """Where the bytes of the upload lie, to be read; without `seals`, those that can be read as they are now."""
        key = self.key_of(state)
        if state.place.whole:
            return [Span(0, state.upload.length or 0, key)]
        if seals:
            self.seal(state)
        base = [Span(0, state.parts_end, key)] if state.sealed else []
        return base + grid.row(state.pieces, state.parts_end)

    def link(self, upload: Upload, seconds: int, headers: Mapping[str, str]) -> str:
        """Where anybody can read a finished upload for a while, with these headers."""
        base = f"s3://{self.bucket.client.bucket}/"
        stored_at = upload.stored_at or self.record(upload.id).upload.stored_at
        said = [(f"response-{name}", value) for name, value in headers.items() if value]
        return self.bucket.client.url(stored_at.removeprefix(base), seconds, said)

    def cut(self, state: Holding, offset: int, token: int, *, fresh: bool = False) -> None:
        """Forget what lies behind that, and be ready to go on there."""
        if offset == state.end == state.upload.length or offset == state.end and not state.sealed:
            return
        if offset < state.parts_end or state.sealed or state.place.whole:
            self.lay_out_anew(state, offset, token, fresh=fresh)
            return
        kept = [one for one in state.pieces if one.end <= offset]
        for one in state.pieces:
            if one.start < offset < one.end:
                start = one.start
                kept.append(self.put_piece(state, start, token, *self.blocks([one._replace(end=offset)])))
        keys = {one.key for one in kept}
        self._forget(state, [key for key in state.litter if key not in keys])
        state.pieces = kept

    def lay_out_anew(
        self,
        state: Holding,
        offset: int,
        token: int,
        *,
        fresh: bool = False,
        turn: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        """Begin with other parts, which are copies of those that count still. To copy takes long: that it may be done
        is known for certain only in a turn after that."""
        new = anew.laid_out(self, state, offset, token, begins=not fresh or offset > 0)
        try:
            with turn():
                if not fresh:
                    self.save(new, state.upload, fresh=not new.etag)
        except (Interrupted, Changed):
            self.clear(new)
            raise
        old, litter = state.place, state.litter
        state.place, state.etag, state.etags, state.sealed = new.place, new.etag, new.etags, False
        state.pieces, state.litter = new.pieces, new.litter
        self._clear(state.upload.id, old, litter)

    def _clear(self, id: str, place: Place, litter: Iterable[str]) -> None:
        """Remove what was laid out before."""
        self.abort(id, place)
        self.bucket.delete_all(litter)

    def abort(self, id: str, place: Place) -> None:
        """Remove parts of which nothing will come."""
        if place.upload_id:
            with contextlib.suppress(Failed):
                self.bucket.abort(self.data_key(id, place), place.upload_id)

    def clear(self, state: Holding) -> None:
        """Remove parts and pieces: of an upload that is finished now, or that nobody knows of."""
        self._clear(state.upload.id, state.place, state.litter)

    def _forget(self, state: Holding, keys: list[str]) -> None:
        self.bucket.delete_all(keys)
        state.litter = [key for key in state.litter if key not in keys]

    # Listing

    def ids(self) -> Iterator[str]:
        """Every upload there is. Those that came whole have no record of their own."""
        known = set()
        for found in self.bucket.objects(self.keys("").info):
            id = found.key.rpartition("/")[2]
            known.add(id)
            if found.size > len(GONE):
                yield id
        for found in self.bucket.objects(self.prefix, flat=False):
            id = found.key[len(self.prefix) :]
            if id not in known and is_id(id) and self._is_ours(id):
                yield id

    def _is_ours(self, id: str) -> bool:
        try:
            return bool(self._attached(id))
        except (NotFound, StoreBroken):
            return False
