"""What the engine does when another request, a disk or a network fails it between two steps."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import engines, kinds, live
from tests.engines import Clock, append, ask, create
from tests.socket_locker import SocketLocker
from tus import Engine, Hooks, Metadata, Options, Result, Upload
from tus.checksum import Checksum
from tus.engine.core import new_id
from tus.engine.creating import create_named
from tus.engine.removing import remove
from tus.errors import Gone, Interrupted, Locked, NotFound, Overrun, StoreBroken, StoreFull
from tus.lockers.memory import MemoryLocker
from tus.stores.drafts import FileDraft
from tus.stores.memory import MemoryStore

Build = Callable[..., Engine]


class Meanwhile(Clock):
    """Lets something happen while a request looks at the clock."""

    deed: Callable[[], object] | None = None

    def __call__(self) -> float:
        deed, self.deed = self.deed, None
        if deed:
            deed()
        return self.now


class Failing(MemoryStore):
    """A store that fails where it is told to."""

    full = broken = False

    def append(self, *given: Any, **more: Any) -> Any:
        if self.full:
            raise StoreFull("no room")
        return super().append(*given, **more)

    def load(self, id: str, *, durable: bool = False) -> Upload:
        if self.broken:
            raise StoreBroken("the store does not answer")
        return super().load(id, durable=durable)


def failing(hooks: Hooks | None = None) -> tuple[Engine, Failing]:
    store = Failing()
    return Engine(store, MemoryLocker(), Options({"durable": "none"}, environ={}), hooks), store


def test_request_that_finds_an_expired_upload_does_not_remove_the_next_one(build: Build) -> None:
    """Two requests make an upload by the same name at once, where an old one has expired: they share the new one."""
    clock = Meanwhile()
    engine, name = build(clock=clock), new_id()
    create_named(engine, Upload(name, length=3, created=1.0, expires=2.0, keyed="0"))
    made: list[tuple[Upload, bool]] = []
    clock.deed = lambda: made.append(create_named(engine, Upload(name, length=3, created=clock.now, keyed="0")))

    _, new = create_named(engine, Upload(name, length=3, created=clock.now, keyed="0"))

    assert (made[0][1], new) == (True, False)


def test_removing_without_room_for_a_lease_looks_again_too() -> None:
    """The disk is full, so that no lease can be taken; and the upload is not the one any more that was over."""

    class Full(MemoryLocker):
        def lease(self, *given: Any, **more: Any) -> Any:
            raise StoreFull("no room for a lease")

    engine = Engine(MemoryStore(), Full(), Options({"durable": "none"}, environ={}))
    upload = create(engine, 3)
    old = upload.evolve(expires=1.0)

    assert engine.expired(old) and not remove(engine, old, engine.expired)
    assert engine.look(ask(upload.id)).id == upload.id
    assert remove(engine, old)
    assert list(engine.uploads()) == []


def test_name_is_free_after_a_creation_that_found_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next request makes the upload, whichever process it comes to, and then the first one finds it."""
    engine, other, name = engines.build(tmp_path), engines.build(tmp_path), new_id()

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        for call in ("write", "pwrite"):
            patch.setattr(os, call, full)
        with pytest.raises(StoreFull):
            create_named(engine, Upload(name, length=3))

    assert create_named(other, Upload(name, length=3))[1]
    assert not create_named(engine, Upload(name, length=3))[1]


def test_creation_that_finds_no_room_keeps_no_lease() -> None:
    """A client was told where its upload will be, and then the store had no room."""
    engine, store = failing()
    store.full = True

    with pytest.raises(StoreFull) as raised:
        engine.begin(ask(), length=3, metadata=Metadata(), known=True, id="a" * 32)

    assert raised.value and not engine.locker.writing("a" * 32)


def test_unverified_bytes_that_cannot_be_cut_off_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The disk fails twice: when the request ends, and when what it brought should go."""
    engine = engines.build(tmp_path)
    upload = create(engine, 6)

    def failing(*_: Any) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(os, "ftruncate", failing)
    with (
        pytest.raises(Overrun) as raised,
        engine.append(
            ask(upload.id), 0, announced=None, checksum=Checksum("sha1", hashlib.sha1(b"other").digest())
        ) as writer,
    ):
        writer.write(b"abc")
        writer.write(b"defghi")

    assert (raised.value.offset, engine.look(ask(upload.id)).offset) == (0, 0)


@pytest.mark.parametrize("what", ["store", "locker"])
def test_client_waits_for_what_does_not_answer(what: str, tmp_path: Path) -> None:
    """A client that asks how far it is, and hears of anything but a busy upload, forgets it and begins anew."""
    store = Failing()
    locker = SocketLocker(kinds.server().address, prefix=f"{tmp_path}/")
    engine = Engine(store, locker, Options({"durable": "none"}, environ={}))
    upload = create(engine, 3)
    store.broken = what == "store"
    if what == "locker":
        locker.cut()

    with pytest.raises(Locked):
        engine.seize(ask(upload.id))


def test_request_that_was_cut_off_finishes_nothing(tmp_path: Path) -> None:
    """Its lease ran out while the host looked at the content, and another request finished the upload."""

    class Looking(Hooks):
        deed: Callable[[], object] | None = None

        def before_finish(self, upload: Upload, file: Any) -> None:
            deed, self.deed = self.deed, None
            if deed:
                deed()

    hooks = Looking()
    options = Options({"durable": "none"}, environ={})

    def engine() -> Engine:
        locker = SocketLocker(kinds.server().address, ttl=0.2, prefix=f"{tmp_path}/")
        return Engine(kinds.STORES["slow"](tmp_path), locker, options, hooks)

    cut_off, other = engine(), engine()
    upload = create(cut_off, 3)

    def overtake() -> None:
        cut_off.locker.cut()  # type: ignore[attr-defined]
        live.until(lambda: finished(other, upload.id))
        with_answer = other.claim(upload.id)
        with_answer.accept(Result(201))

    hooks.deed = overtake
    with pytest.raises((Interrupted, StoreBroken)):
        append(cut_off, upload.id, b"abc")

    result = other.store.load(upload.id).result
    assert result and result.status == 201


def finished(engine: Engine, id: str) -> bool:
    try:
        return engine.seize(ask(id)).complete
    except Locked:
        return False


def test_lease_ends_with_a_draft_that_cannot_be_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some network file systems say only then that they stored nothing."""
    engine = engines.build(tmp_path)
    upload = create(engine, 6)
    writer = engine.append(ask(upload.id), 0, announced=6)
    assert isinstance(writer.draft, FileDraft)

    def failing(self: FileDraft) -> None:
        raise OSError(errno.EIO, "not stored")

    monkeypatch.setattr(FileDraft, "close", failing)
    with pytest.raises(OSError, match="not stored") as raised:  # which keeps what the frames have
        writer.close()

    assert raised.tb and not engine.locker.writing(upload.id)


def test_final_upload_whose_part_goes_while_it_is_copied_is_gone(tmp_path: Path) -> None:
    """And not unknown: its client knows it."""
    engine, store = failing()
    assert store
    part = create(engine, 3, partial=True, concat="partial")
    append(engine, part.id, b"abc")

    class Going(Failing):
        def open(self, id: str, start: int = 0) -> Any:
            raise NotFound("no such upload")

    going = Going()
    going.__dict__.update(store.__dict__)
    engine = Engine(going, engine.locker, engine.options)

    with pytest.raises(Gone):
        engine.join(ask(), [part.id], metadata=Metadata(), concat="final;a")


@pytest.mark.parametrize("kind", ["memory", "slow"])
def test_host_that_lost_its_claim_does_not_replace_what_another_one_said(kind: str, tmp_path: Path) -> None:
    """A claim over a network runs out. What is recorded first holds, and its data is not removed by the other."""
    store = kinds.STORES[kinds.PAIRS[kind][0]](tmp_path)
    first, second = (Engine(store, MemoryLocker(), Options({}, environ={})) for _ in range(2))
    upload = create(first, 3)
    append(first, upload.id, b"abc")
    late, early = first.claim(upload.id), second.claim(upload.id)
    early.accept(Result(200, body=b"second"))

    late.accept(Result(200, body=b"first"), drop=True)

    found = second.look(ask(upload.id))
    assert (found.result, found.dropped) == (Result(200, body=b"second"), False)
    assert engines.content(second, found) == b"abc"
