"""The engine against a plain bytearray: whatever requests do to each other, and wherever the process dies.

One thread does everything, so each step is a moment at which another request may come in between.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests import engines
from tests.engines import ask, content
from tus import Engine, Metadata, Result
from tus.checksum import Checksum
from tus.engine.joining import MAX_USES
from tus.engine.writer import Writer
from tus.errors import (
    BadRequest,
    BodyCut,
    ChecksumMismatch,
    Interrupted,
    NotFound,
    OffsetMismatch,
    Refused,
    TooLarge,
    TusError,
)

EXAMPLES = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
LENGTHS = st.one_of(st.none(), st.integers(0, 12))
BODIES = st.binary(max_size=8)
CHECKS = st.sampled_from([None, None, "good", "bad", "late good", "late bad"])


@dataclass
class Known:
    """What an upload must be."""

    id: str
    length: int | None
    data: bytearray = field(default_factory=bytearray)
    partial: bool = False
    final: bool = False
    complete: bool = False
    delivered: bool = False
    dropped: bool = False
    unverified_from: int | None = None
    writer: Open | None = None  # the request that may write now
    lazy: bool = False  # what is not committed is not there

    @property
    def offset(self) -> int:
        if self.unverified_from is not None:
            return self.unverified_from
        return self.writer.start if self.writer and self.lazy else len(self.data)

    @property
    def pending(self) -> bool:
        return self.complete and not self.partial and not self.delivered

    def take_over(self) -> None:
        """The one that wrote writes no more, and what was not verified, or not committed, is gone."""
        del self.data[self.offset :]
        self.unverified_from = self.writer = None

    def completed(self) -> None:
        self.complete = True


@dataclass(eq=False)
class Open:
    """A request whose body is on its way."""

    known: Known
    writer: Writer
    body: bytes
    start: int
    announced: int | None
    check: str | None
    declares: int | None
    room: int | None
    sent: int = 0

    @property
    def alive(self) -> bool:
        return self.known.writer is self

    @property
    def late(self) -> Checksum | None:
        return digest(self.body, self.check) if self.check and self.check.startswith("late") else None


def digest(body: bytes, check: str | None) -> Checksum | None:
    """The checksum that the client sends."""
    if check is None:
        return None
    return Checksum("sha1", hashlib.sha1(body if check.endswith("good") else body + b"!").digest())


class Uploads(RuleBasedStateMachine):
    """Requests of all kinds, in any order."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="tus-property-"))
        self.known: list[Known] = []
        self.gone: set[str] = set()
        self.used: Counter[str] = Counter()
        self.open: list[Open] = []
        names = itertools.count()
        self.name = lambda: f"{next(names):032x}"
        self.engine = self.built()

    def built(self) -> Engine:
        return engines.build(self.directory, kind=self.kind, name=self.name)

    def teardown(self) -> None:
        for request in self.open:
            engines.die(request.writer)
        shutil.rmtree(self.directory)

    def pick(self, data: st.DataObject, among: list[Any]) -> Any:
        return data.draw(st.sampled_from(among))

    # Creating

    @initialize(length=LENGTHS)
    def first(self, length: int | None) -> None:
        self.create(length, False, b"", None)

    @rule(length=LENGTHS, partial=st.booleans(), body=BODIES, check=CHECKS)
    def create(self, length: int | None, partial: bool, body: bytes, check: str | None) -> None:
        """With the first bytes in the same request, or without."""
        request, late = ask(), (check or "").startswith("late")
        try:
            with self.engine.begin(
                request,
                length=length,
                metadata=Metadata(),
                partial=partial,
                announced=len(body),
                checksum=None if late else digest(body, check),
                trailing=late,
            ) as writer:
                writer.write(body)
                upload = self.engine.conclude(writer, trailing=digest(body, check) if late else None)
        except TooLarge:
            assert length is not None and len(body) > length
            return
        except ChecksumMismatch:
            assert check and check.endswith("bad")
            return
        assert not (check and check.endswith("bad"))
        known = Known(
            upload.id, length, bytearray(body), partial, complete=len(body) == length, lazy=self.kind == "slow"
        )
        self.known.append(known)

    @precondition(lambda self: any(k.partial and k.complete for k in self.known))
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        """Complete parts, also the same one several times, also twice the same list."""
        whole = [k for k in self.known if k.partial and k.complete]
        parts = data.draw(st.lists(st.sampled_from(whole), min_size=1, max_size=3))
        ids = [part.id for part in parts]

        self.used.update(ids)  # at most, since the same list is counted once
        try:
            upload = self.engine.join(ask(), ids, metadata=Metadata(), concat="final;" + " ".join(ids))
        except BadRequest:
            assert max(self.used[id] for id in ids) > MAX_USES
            return

        before = [k for k in self.known if k.id == upload.id]
        assert upload.complete
        if not before:
            joined = bytearray(b"".join(part.data for part in parts))
            self.gone.discard(upload.id)
            self.known.append(Known(upload.id, len(joined), joined, final=True, complete=True))

    # Writing

    @precondition(lambda self: self.known)
    @rule(
        data=st.data(),
        shift=st.sampled_from([0, 0, 0, 0, 1, -1]),
        body=BODIES,
        chunked=st.booleans(),
        check=CHECKS,
        declares=st.one_of(st.none(), st.none(), st.integers(0, 12)),
        size=st.integers(0, 8),
    )
    def begin(
        self,
        data: st.DataObject,
        shift: int,
        body: bytes,
        chunked: bool,
        check: str | None,
        declares: int | None,
        size: int,
    ) -> None:
        """A request arrives, with the first of its bytes. Refusals come in the order of the engine, and none of them
        stores anything."""
        known = self.pick(data, self.known)
        offset = known.offset + shift
        assume(offset >= 0)
        announced = None if chunked else len(body)
        late = (check or "").startswith("late")
        arguments = {
            "announced": announced,
            "length": declares,
            "checksum": None if late else digest(body, check),
            "trailing": late,
        }
        if known.final:
            with pytest.raises(Refused):
                self.engine.append(ask(known.id), offset, **arguments)
            return
        if shift:
            with pytest.raises(OffsetMismatch) as raised:
                self.engine.append(ask(known.id), offset, **arguments)
            assert raised.value.offset == known.offset
            return
        if not known.complete:
            known.take_over()
        end = declares if known.length is None else known.length
        if declares is not None and (declares < offset or declares != end):
            with pytest.raises(BadRequest):
                self.engine.append(ask(known.id), offset, **arguments)
            return
        room = None if end is None else end - offset
        if announced is not None and room is not None and announced > room:
            with pytest.raises(TooLarge):
                self.engine.append(ask(known.id), offset, **arguments)
            return
        writer = self.engine.append(ask(known.id), offset, **arguments)
        if known.complete:
            with writer:
                assert self.engine.conclude(writer).complete
            return
        known.writer = Open(known, writer, body, offset, announced, check, declares, room)
        self.open.append(known.writer)
        if check:
            known.unverified_from = offset
        else:
            known.length = end
        self.push(known.writer, size)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(1, 8))
    def write(self, data: st.DataObject, size: int) -> None:
        """Some of the body arrives."""
        self.push(self.pick(data, self.open), size)

    def push(self, request: Open, size: int) -> None:
        block = request.body[request.sent : request.sent + size]
        if not block:
            return
        try:
            request.writer.write(block)
        except TooLarge as error:
            assert request.room is not None and request.sent + len(block) > request.room
            self.fail(request, error)
        except Interrupted as error:
            assert not request.alive
            self.fail(request, error)
        else:
            # Where turns are not exclusive, the store finds out, and refuses the commit.
            assert request.alive or request.known.lazy
            request.sent += len(block)
            if request.alive:
                request.known.data += block

    def fail(self, request: Open, error: TusError) -> None:
        """What a `with` statement does."""
        request.writer.__exit__(type(error), error, None)
        self.open.remove(request)
        if request.alive:
            if request.check or isinstance(error, TooLarge):
                del request.known.data[request.start :]
            request.known.unverified_from = request.known.writer = None
            if error.offset is not None:
                assert error.offset == len(request.known.data)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cut=st.booleans())
    def conclude(self, data: st.DataObject, cut: bool) -> None:
        """The body is over, at its end or before."""
        request = self.pick(data, self.open)
        known, ended = request.known, request.sent == len(request.body)
        whole = ended if request.announced is not None else not cut
        error = ConnectionResetError() if cut and not whole else None
        # A chunked body that is cut after the last byte of the upload was whole enough.
        enough = whole or (request.announced is None and not request.check and len(known.data) == known.length)
        try:
            done = self.engine.conclude(request.writer, error, request.late if whole else None)
        except TusError as failure:
            if request.alive:
                assert isinstance(failure, ChecksumMismatch if enough else BodyCut)
                assert not enough or request.check and (request.check.endswith("bad") or not ended)
            self.fail(request, failure)
            return
        request.writer.close()
        self.open.remove(request)
        if not request.alive:
            return
        if request.check:
            assert request.check.endswith("good") and ended
            if request.declares is not None:
                known.length = request.declares
        assert enough
        known.unverified_from = known.writer = None
        known.complete = len(known.data) == known.length
        assert (done.offset, done.complete) == (len(known.data), known.complete)

    # Asking, ending, handing over

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def seize(self, data: st.DataObject) -> None:
        """HEAD: the offset holds, and what was only left to be completed is."""
        known = self.pick(data, self.known)
        if not known.complete:
            known.take_over()
            known.complete = len(known.data) == known.length

        found = self.engine.seize(ask(known.id))

        assert (found.offset, found.complete) == (len(known.data), known.complete)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def terminate(self, data: st.DataObject) -> None:
        known = self.pick(data, self.known)

        self.engine.terminate(ask(known.id))

        known.writer = None
        self.known.remove(known)
        self.gone.add(known.id)

    @precondition(lambda self: any(k.complete for k in self.known))
    @rule(data=st.data(), accepts=st.booleans(), drop=st.booleans())
    def deliver(self, data: st.DataObject, accepts: bool, drop: bool) -> None:
        """Each finished upload is handed over until it was accepted, and then never again."""
        known = self.pick(data, [k for k in self.known if k.complete])

        delivery = self.engine.claim(known.id)

        assert delivery.upload.pending == known.pending
        if known.pending and accepts:
            delivery.accept(Result(200, body=b"thanks"), drop=drop)
            known.delivered, known.dropped = True, drop
        delivery.release()

    @rule()
    def sweep(self) -> None:
        assert list(self.engine.sweep()) == []

    @rule()
    def crash(self) -> None:
        """The process dies; what it had open is closed, and nothing else happens."""
        for request in self.open:
            engines.die(request.writer)
            if not request.alive:  # another one has taken the upload over, and dies with it
                continue
            if request.known.lazy:
                del request.known.data[request.start :]
            request.known.writer = None
        self.open.clear()
        # Memory would be lost with its process; its rules are the same.
        store = self.engine.store if self.kind == "memory" else None
        self.engine = engines.build(self.directory, kind=self.kind, store=store, name=self.name)

    # What always holds

    @invariant()
    def what_is_there_is_what_was_sent(self) -> None:
        for known in self.known:
            found = self.engine.look(ask(known.id))
            assert (found.offset, found.length) == (known.offset, known.length)
            assert (found.complete, found.pending, found.dropped) == (known.complete, known.pending, known.dropped)
            if not known.dropped:
                assert content(self.engine, found) == known.data[: known.offset]

    @invariant()
    def what_is_gone_stays_gone(self) -> None:
        for id in self.gone:
            with pytest.raises(NotFound):
                self.engine.look(ask(id))
        assert sorted(u.id for u in self.engine.uploads()) == sorted(k.id for k in self.known)

    @invariant()
    def no_file_is_left(self) -> None:
        ids = {known.id for known in self.known} | {""}  # the store's own begin with a dot
        for path in self.directory.iterdir():
            assert path.name.partition(".")[0] in ids, path.name
            assert self.kind == "slow" or path.suffix in ("", ".info", ".lease")


class InMemory(Uploads):
    kind = "memory"


class InFiles(Uploads):
    kind = "file"


class InObjects(Uploads):
    kind = "slow"


TestInMemory = pytest.mark.slow(InMemory.TestCase)
TestInMemory.settings = EXAMPLES
TestInFiles = pytest.mark.slow(InFiles.TestCase)
TestInFiles.settings = EXAMPLES
TestInObjects = pytest.mark.slow(InObjects.TestCase)
TestInObjects.settings = settings(EXAMPLES, max_examples=30)
