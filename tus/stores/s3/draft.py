"""The bytes of one request on their way into the storage."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from ...errors import Interrupted, StoreBroken, StoreFull, TusError
from .. import Block, Fence
from . import grid
from .client import Failed, Far
from .gathered import Gathered
from .going import Going
from .in_hand import InHand
from .names import Name
from .state import Holding

if TYPE_CHECKING:
    from . import S3Store

_BLOCK = 1 << 20  # bytes that are read at a time


class S3Draft:
    """Bytes gather here until they fill a part, which goes on its way while the next one gathers. What is left at a
    commit becomes a piece. The parts of an `exact` draft wait as objects of their own until the commit."""

    def __init__(
        self,
        store: S3Store,
        state: Holding,
        start: int,
        fence: Fence,
        *,
        exact: bool = False,
        name: Name | None = None,
        held: Gathered | None = None,
    ) -> None:
        self._store, self._uploads, self._fence, self._exact = store, store.uploads, fence, exact
        self.state, self._name = state, name
        self.fresh = name is not None  # nobody knows of this upload yet
        self.taken = self._committed = start
        self._apart: list[grid.Span] = []  # what an exact draft has stored of that part, without a commit
        self._budget, self.touched = store.budget, time.monotonic()
        # The last bytes that were taken, of the part that is not full.
        self._held = InHand(store.budget, self, store.uploads.bucket.client.hashes, held)
        self._lock = threading.RLock()
        self._piece_end = start  # up to there they lie in pieces as well
        self._going = Going()
        self._parked: dict[int, list[grid.Span]] = {}  # parts of an exact draft that wait
        self._unheard: TusError | None = None  # why another request could not store what is held here
        self.closed = self.failed = False

    # Taking

    def write(self, block: Block) -> None:
        with self._lock:
            self._check()
            self._write(memoryview(block).cast("B"))

    def _check(self) -> None:
        """Whether anything may be taken."""
        with self._fence.turn():
            """Raises Interrupted if it is lost."""
        self._check_heard()
        self._check_going()

    def _write(self, view: memoryview) -> None:
        self._held.heed(len(view))
        while view:
            if self._exact and self._fills():
                self._park()
            room = self._room()
            taken = view[:room] if room else view
            self._take(taken)
            view = view[len(taken) :]
            if not self._exact and self._fills():
                self._send()
        self.touched = time.monotonic()

    def space(self, size: int) -> memoryview | None:
        with self._lock:
            return self._held.space(min(size, self._room()), self._whole)

    def took(self, size: int) -> None:
        with self._lock:
            self._check()
            if elsewhere := self._held.received(size):
                self._write(elsewhere)
                return
            self.taken, self.touched = self.taken + size, time.monotonic()
            if self._fills():
                self._send()

    @property
    def _whole(self) -> int:
        """Bytes of the part that may gather in memory of its size; 0: none may."""
        part = self.state.place.part
        return 0 if self._exact or self.state.single or part > self._uploads.most else part

    def join(self, id: str, size: int) -> None:
        """Whole parts are copied by the engine itself, and only what lies across a border of them comes here."""
        state = self._uploads.find(id)
        row, at = self._uploads.row(state), 0
        size = min(size, state.end)
        while at < size:
            with self._lock:
                copied = self._copy(row, at, size)
            if not copied:
                copied = min(self._room() or _BLOCK, _BLOCK, size - at)
                for block in self._uploads.data(grid.between(row, at, at + copied)):
                    self.write(block)
            at += copied

    def _copy(self, row: list[grid.Span], at: int, size: int) -> int:
        """Have the next part copied, if all of it lies there; says how many bytes it has."""
        state, part = self.state, self.state.place.part
        if self._exact or state.single or self._held or self.taken % part:
            return 0
        number = self.taken // part + 1
        length = grid.size_of(number, part, state.upload.length)
        if size - at < length or not length:
            return 0
        with self._fence.turn():
            """Raises Interrupted if it is lost."""
        self._make_room()
        self._uploads.begin(state)
        head = grid.between(row, at, at + length)
        self._going.send(self._uploads.pool, number, self._uploads.put_part, state, number, head, b"")
        self.taken += length
        return length

    def _take(self, block: memoryview) -> None:
        self._held.want(self._whole)
        fits = self._held.gathered.whole or self._has_room(len(block))
        if not fits:
            self._budget.force(len(block))
        self._held.gathered.add(block)
        self.taken += len(block)
        if not self._fills() and (not fits or len(self._held) >= self._uploads.most and not self.state.single):
            self._spill()

    def _has_room(self, size: int) -> bool:
        """Whether so many more bytes may be held; others store what they hold first, or this draft what it does."""
        while not self._budget.take(size, self):
            if self._going.wait_for_one():
                self._check_going()
            elif not self._budget.relieve(self):
                if not self._held:
                    return False
                self._spill()
        return True

    def _spill(self) -> None:
        try:
            with self._fence.turn():
                self._store_held()
        except (StoreBroken, StoreFull) as error:
            self._fail(error)

    @property
    def holds(self) -> int:
        return self._held.frees

    def spill(self) -> bool:
        """Store what is held as it is, although it fills no part."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self.closed or self._fills():
                return False
            self._spill()
            return True
        except TusError as error:
            self._unheard = error if self.failed else None
            return False
        finally:
            self._lock.release()

    def _check_heard(self) -> None:
        """Raises what happened while another request stored what is held: `taken` went back then."""
        error, self._unheard = self._unheard, None
        if error:
            raise error

    def _store_held(self) -> None:
        if self._exact:
            self._apart += self._put_apart()
        else:
            self._put_piece()
        self._held.let_go()

    def _put_apart(self) -> list[grid.Span]:
        """Store what is held without a commit."""
        held, token = self._held.gathered, self._fence.token
        return [self._uploads.put_piece(self.state, self._from, token, held, apart=True)] if held else []

    def _room(self) -> int:
        """Bytes that the part still lacks; 0 if there are to be no parts."""
        part = self.state.place.part
        return 0 if self.state.single else part - self.taken % part

    def _fills(self) -> bool:
        """Whether what is held ends a part."""
        return not self.state.single and bool(self._held) and self.taken % self.state.place.part == 0

    def _ends(self) -> bool:
        """Whether what is held ends a part, or the last one."""
        return self._fills() or bool(self._held) and not self.state.single and self.taken == self.state.upload.length

    @property
    def _from(self) -> int:
        """Where what is held begins."""
        return self.taken - len(self._held)

    def _number(self) -> int:
        """The part that what is held belongs to."""
        return -(-self.taken // self.state.place.part)

    def _head(self) -> list[grid.Span]:
        """What of that part lies in pieces."""
        return grid.between(self.state.pieces, (self._number() - 1) * self.state.place.part, self._from)

    def _park(self) -> None:
        self._parked[self._number()] = [*self._head(), *self._apart, *self._put_apart()]
        self._apart = []
        self._held.let_go()

    def _send(self) -> None:
        """A part that is full goes on its way."""
        self._make_room()
        self._uploads.begin(self.state)
        number, head, state = self._number(), self._head(), self.state
        held = self._held.leave()
        then = partial(self._budget.back, held)
        self._going.send(self._uploads.pool, number, self._uploads.put_part, state, number, head, held, then=then)

    def _make_room(self) -> None:
        """Wait until there is room for one more part on its way."""
        while not self._going.has_room():
            self._check_going()

    def _check_going(self) -> None:
        if self._going.failed:
            self.settle()

    def settle(self) -> None:
        """Wait for all parts on their way; raises with the offset that is certain, if one failed."""
        self._check_heard()
        failed: BaseException | None = None
        for number, part in self._going.taken():
            failed = failed or part.exception()
            if not failed:
                self.state.etags[number - 1 :] = [part.result()]
        if failed:
            self._fail(failed)

    def _fail(self, error: BaseException) -> None:
        """What follows a part that failed does not count."""
        self._held.let_go()
        self._apart, self.failed = [], True
        self.state.pieces = grid.row(self.state.pieces, self.state.parts_end)
        self.taken = self._committed = self._piece_end = max(self.state.end, self._committed)
        if isinstance(error, Failed) and error.missing:
            raise Interrupted("another request finished or removed this upload") from error
        if isinstance(error, StoreBroken | StoreFull):
            error.offset = self.taken
        raise error

    # Committing

    def commit(self, *, durable: bool = False) -> int:
        with self._lock:
            self._check_heard()
            if self.taken != self._committed:
                self.settle()
                with self._fence.turn():
                    self._commit()
            return self.taken

    def _commit(self) -> None:
        try:
            self._reveal() if self._parked or self._apart else self._flush()
        except (StoreBroken, StoreFull) as error:
            self._fail(error)
        self._committed = self.taken
        self._uploads.thin(self.state)
        self.state.upload = self.state.upload.evolve(offset=self.taken, touched=self._uploads.clock())

    def _flush(self) -> None:
        """What is held becomes a part, or else a piece; those of its bytes that are in pieces already need none."""
        if self._ends():
            self._uploads.begin(self.state)
            number = self._number()
            self.state.etags[number - 1 :] = [
                self._uploads.put_part(self.state, number, self._head(), self._held.gathered)
            ]
            self._held.let_go()
        else:
            self._put_piece()

    def _put_piece(self) -> None:
        start = max(self._piece_end, self._from)
        if start < self.taken:
            part = 0 if self.state.single else start - start % self.state.place.part  # others may be on their way
            row = grid.between(grid.row(self.state.pieces, part), part, start)
            many = grid.merged(row, self.taken - start) if row and row[-1].end == start else 0
            row = row[len(row) - many :]
            start = row[0].start if row else start
            blocks = self._uploads.blocks(grid.between(row, start, self._from))
            held = self._held.gathered.since(start - self._from)
            piece = self._uploads.put_piece(self.state, start, self._fence.token, *blocks, held)
            self.state.pieces = [*grid.between(self.state.pieces, 0, start), piece]
        self._piece_end = self.taken

    def _reveal(self) -> None:
        """What lies farthest goes first: nothing counts until the part in which this draft began is there."""
        self._uploads.begin(self.state)
        rows: dict[int, tuple[list[grid.Span], Block | Far]] = {n: (row, b"") for n, row in self._parked.items()}
        if self._ends() or self._apart and self.taken == self.state.upload.length and not self.state.single:
            head = self._apart if self._parked else [*self._head_of_apart(), *self._apart]
            rows[self._number()] = (head, self._held.gathered)
        else:
            self._reveal_piece()
        etags = {n: self._uploads.put_part(self.state, n, *rows[n]) for n in sorted(rows, reverse=True)}
        if self._number() in rows:
            self._held.let_go()
        if etags:
            self.state.etags[min(etags) - 1 :] = [etags[number] for number in sorted(etags)]
        self._parked, self._apart = {}, []

    def _head_of_apart(self) -> list[grid.Span]:
        """What was committed of the part of which the rest was stored without a commit."""
        start = (self._number() - 1) * self.state.place.part
        return grid.between(self.state.pieces, start, self._apart[0].start if self._apart else self._from)

    def _reveal_piece(self) -> None:
        """What was stored without a commit, and what is held, becomes a piece that counts."""
        start = self._apart[0].start if self._apart else max(self._piece_end, self._from)
        if start < self.taken:
            blocks = [*self._uploads.blocks(self._apart), self._held.gathered.since(start - self._from)]
            piece = self._uploads.put_piece(self.state, start, self._fence.token, *blocks)
            self.state.pieces = [*self.state.pieces, piece]
        self._piece_end = self.taken

    def put_last(self) -> None:
        """What lies in pieces behind the last part becomes the last part: the end is known now."""
        state = self.state
        if state.parts_end < self.taken == state.upload.length:
            self._held.let_go()
            self._uploads.begin(state)
            number, row = len(state.etags) + 1, grid.between(state.pieces, state.parts_end, self.taken)
            state.etags.append(self._uploads.put_part(state, number, row, b""))

    def whole(self) -> list[Block | Far]:
        """All that there is of an upload that fits into one part."""
        start = self._apart[0].start if self._apart else self._from
        row = [*grid.between(self.state.pieces, 0, start), *self._apart]
        return [*self._uploads.data(row), self._held.gathered.since(0)]

    # Forgetting

    def abort(self) -> None:
        with self._lock:
            if not self.closed:
                with self._fence.turn():
                    self._parked, self._apart, self._unheard = {}, [], None
                self._forget(self._fence)

    def _forget(self, fence: Fence) -> None:
        going = self._going.taken()
        for number, part in going:
            if not part.exception() and len(self.state.etags) == number - 1:
                self.state.etags.append(part.result())
        self._held.let_go()
        self.taken = self._piece_end = end = self._committed
        if going or self.state.parts_end > end:
            self._uploads.lay_out_anew(self.state, end, fence.token, fresh=self.fresh, turn=fence.turn)
            return
        with fence.turn():
            self._uploads.cut(self.state, end, fence.token, fresh=self.fresh)

    def close(self) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self._going.wait()
        self._store.closed(self)
        self._held.let_go()
        if self._name:
            self._name.release()

    def remember(self) -> None:
        """Let the next request of this process go on without asking what is there."""
        whole, state = self.taken == self._committed == self.state.end, self.state
        if whole and not (self._going or self._parked or state.sealed or state.place.whole):
            self._store.memory.put(state.upload.id, self._fence.token, state, self._held.gathered.apart())
