"""What the engine does where two requests, a crash or a hook come in between. Each test holds for memory and files."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests import engines, live
from tests.engines import Clock, append, ask, content, create
from tus import Engine, Hooks, Metadata, Options, Refused, Result, Upload
from tus.checksum import Checksum
from tus.errors import (
    BadRequest,
    BodyCut,
    ChecksumMismatch,
    Gone,
    Interrupted,
    Locked,
    NotFound,
    OffsetMismatch,
    StoreFull,
    TooLarge,
)
from tus.lockers.ondata import MarkedLease
from tus.stores.disk import Directory
from tus.tus import Application

Build = Callable[..., Engine]


def sha1(data: bytes) -> Checksum:
    return Checksum("sha1", hashlib.sha1(data).digest())


class Before(Hooks):
    """Does something once, after a request was admitted and before it does anything."""

    def __init__(self) -> None:
        self.deed: Callable[[], object] | None = None

    def authorise(self, request: Any, intent: Any, upload: Upload | None) -> None:
        deed, self.deed = self.deed, None
        if deed:
            deed()


class Picky(Hooks):
    """Refuses what it does not like, until it likes everything."""

    likes = False

    def __init__(self, status: int = 422) -> None:
        self.status = status

    def before_finish(self, upload: Upload, file: BinaryIO) -> None:
        if not self.likes:
            raise Refused("the host does not like it", status=self.status)


# Writing


def test_bytes_are_kept_in_order(build: Build) -> None:
    """What several requests bring is what the upload holds."""
    engine = build()
    upload = create(engine, 6)

    append(engine, upload.id, b"abc")
    done = append(engine, upload.id, b"def", offset=3)

    assert (done.complete, content(engine, done)) == (True, b"abcdef")


def test_wrong_offset_disturbs_nobody(build: Build) -> None:
    """A stale request learns the true offset, and the one that is writing goes on."""
    engine = build()
    upload = create(engine, 6)

    with engine.append(ask(upload.id), 0, announced=6) as writer:
        writer.write(b"abc")
        writer.commit()
        with pytest.raises(OffsetMismatch) as raised:
            append(engine, upload.id, b"x", offset=1)
        writer.write(b"def")
        done = engine.conclude(writer)

    assert (raised.value.offset, done.complete) == (3, True)


def test_wrong_offset_does_not_disturb_a_checksummed_request(build: Build) -> None:
    """The same while what arrives is not yet known to be good: the offset that holds is where it began."""
    engine = build()
    upload = create(engine, 6)

    with engine.append(ask(upload.id), 0, announced=6, checksum=sha1(b"abcdef")) as writer:
        writer.write(b"abc")
        with pytest.raises(OffsetMismatch) as raised:
            append(engine, upload.id, b"x", offset=3)
        writer.write(b"def")
        done = engine.conclude(writer)

    assert (raised.value.offset, done.complete) == (0, True)


def test_newest_request_wins(build: Build) -> None:
    """Whoever was writing can write no more, and what it wrote is kept."""
    engine = build()
    upload = create(engine, 6)
    old = engine.append(ask(upload.id), 0, announced=6)
    old.write(b"abc")
    old.commit()

    done = append(engine, upload.id, b"def", offset=3)

    with pytest.raises(Interrupted):
        old.write(b"xyz")
    old.close()
    assert content(engine, done) == b"abcdef"


def test_seizing_ends_the_writer(build: Build) -> None:
    """After HEAD the offset holds: the request that was writing changes nothing any more."""
    engine = build()
    upload = create(engine, 6)
    old = engine.append(ask(upload.id), 0, announced=6)
    old.write(b"abc")
    old.commit()

    seized = engine.seize(ask(upload.id))

    with pytest.raises(Interrupted):
        old.write(b"def")
    old.close()
    assert (seized.offset, engine.look(ask(upload.id)).offset) == (3, 3)


def test_looking_disturbs_nobody(build: Build) -> None:
    """Whoever asks how far an upload is does not stop it."""
    engine = build()
    upload = create(engine, 6)

    with engine.append(ask(upload.id), 0, announced=6) as writer:
        writer.write(b"abc")
        writer.commit()
        offset = engine.look(ask(upload.id)).offset
        writer.write(b"def")
        done = engine.conclude(writer)

    assert (offset, done.complete) == (3, True)


def test_cut_body_is_kept_and_does_not_finish(build: Build) -> None:
    """A body shorter than announced leaves its bytes, and tells how many there are."""
    engine = build()
    upload = create(engine, 3)

    with pytest.raises(BodyCut) as raised:
        append(engine, upload.id, b"ab", announced=3)

    found = engine.seize(ask(upload.id))
    assert (raised.value.offset, found.offset, found.complete) == (2, 2, False)


def test_body_beyond_the_end_is_refused_before_a_byte(build: Build) -> None:
    """An announced length that does not fit stores nothing."""
    engine = build()
    upload = create(engine, 3)

    with pytest.raises(TooLarge):
        append(engine, upload.id, b"abcd")

    assert engine.seize(ask(upload.id)).offset == 0


def test_unannounced_body_beyond_the_end_leaves_the_upload_as_it_was(build: Build) -> None:
    """A body that runs over was not meant for this upload: none of it is kept."""
    engine = build()
    upload = create(engine, 5)
    append(engine, upload.id, b"ab")

    with pytest.raises(TooLarge) as raised:
        append(engine, upload.id, b"cdef", offset=2, announced=None)

    assert (raised.value.offset, engine.seize(ask(upload.id)).offset) == (2, 2)


@pytest.mark.parametrize("limit", [0, 4])
def test_host_limits_one_upload(build: Build, limit: int) -> None:
    """A limit that the host sets is remembered with the upload, also if nothing fits."""

    class Limited(Hooks):
        def before_create(self, request: Any, upload: Upload) -> Upload:
            return upload.evolve(limit=limit)

    engine = build(Limited())
    upload = create(engine)

    with pytest.raises(TooLarge):
        append(engine, upload.id, b"x" * (limit + 1))


def test_host_looks_at_what_came_with_its_creation(build: Build) -> None:
    """Before the upload is saved; and what it refuses is remembered."""
    engine = build(Picky())

    with engine.begin(ask(), length=3, metadata=Metadata(), announced=3) as writer:
        writer.write(b"abc")
        done = engine.conclude(writer)

    assert (done.complete, done.result and done.result.status) == (True, 422)


# Checksums


def test_wrong_checksum_keeps_nothing(build: Build) -> None:
    """The upload is as it was before the request."""
    engine = build()
    upload = create(engine, 6)
    append(engine, upload.id, b"abc")

    with pytest.raises(ChecksumMismatch) as raised:
        append(engine, upload.id, b"def", offset=3, checksum=sha1(b"other"))

    assert (raised.value.offset, engine.seize(ask(upload.id)).offset) == (3, 3)


def test_wrong_checksum_does_not_declare_the_length(build: Build) -> None:
    """A length that came with bytes that were not meant is forgotten with them."""
    engine = build()
    upload = create(engine)

    with pytest.raises(ChecksumMismatch):
        append(engine, upload.id, b"abc", length=3, checksum=sha1(b"other"))

    assert engine.seize(ask(upload.id)).length is None


@pytest.mark.parametrize("start", [0, 3])
def test_unverified_bytes_do_not_survive_a_crash(build: Build, start: int) -> None:
    """A process that dies before the checksum was compared leaves nothing of the request, from wherever it began."""
    engine = build()
    upload = create(engine, 9)
    append(engine, upload.id, b"abc"[:start])
    writer = engine.append(ask(upload.id), start, announced=3, checksum=sha1(b"def"))
    writer.write(b"de")

    engines.die(writer)

    assert engine.look(ask(upload.id)).offset == start
    assert engine.seize(ask(upload.id)).offset == start
    assert len(content(engine, upload)) == start


def test_unverified_bytes_do_not_survive_a_newer_request(build: Build) -> None:
    """Whoever takes over a checksummed request finds the upload as it was before."""
    engine = build()
    upload = create(engine, 6)
    old = engine.append(ask(upload.id), 0, announced=3, checksum=sha1(b"abc"))
    old.write(b"ab")

    done = append(engine, upload.id, b"abcdef")

    old.close()
    assert content(engine, done) == b"abcdef"


def test_verified_bytes_are_kept_when_the_host_has_no_time(build: Build) -> None:
    """What was found good is not sent again, only because the host does not want the whole yet."""
    hooks = Picky(503)
    engine = build(hooks)
    upload = create(engine, 3)

    with pytest.raises(Refused) as raised:
        append(engine, upload.id, b"abc", checksum=sha1(b"abc"))
    hooks.likes = True

    assert raised.value.offset == 3
    assert engine.seize(ask(upload.id)).complete


def test_late_checksum_is_verified(build: Build) -> None:
    """A checksum behind the body decides as one in front of it does."""
    engine = build()
    upload = create(engine, 6)

    with engine.append(ask(upload.id), 0, announced=None, trailing=True) as writer:
        writer.write(b"abc")
        engine.conclude(writer, trailing=sha1(b"abc"))
    with (
        pytest.raises(ChecksumMismatch),
        engine.append(ask(upload.id), 3, announced=None, trailing=True) as writer,
    ):
        writer.write(b"def")
        engine.conclude(writer, trailing=sha1(b"abc"))

    assert engine.seize(ask(upload.id)).offset == 3


# Finishing


def test_late_duplicate_does_not_finish_an_upload_again(build: Build) -> None:
    """A request that was admitted just before another one finished the upload does not make it new."""
    hooks = Before()
    engine = build(hooks)
    upload = create(engine, 3)

    def finish() -> None:
        append(engine, upload.id, b"c", offset=2)
        engine.claim(upload.id).accept(Result(200, body=b"thanks"))

    append(engine, upload.id, b"ab")
    hooks.deed = finish
    with pytest.raises(OffsetMismatch):
        append(engine, upload.id, offset=2)
    found = append(engine, upload.id, offset=3)

    assert found.result == Result(200, body=b"thanks")


def test_duplicate_of_the_last_request_does_not_finish_an_upload_again(build: Build) -> None:
    """The same, if the late request names the end: the host's answer is still the one that it gave."""
    hooks = Before()
    engine = build(hooks)
    upload = create(engine, 3)
    last = engine.append(ask(upload.id), 0, announced=3)
    last.write(b"abc")
    last.commit()

    def finish() -> None:
        with last:
            engine.conclude(last)
        engine.claim(upload.id).accept(Result(200, body=b"thanks"))

    hooks.deed = finish
    found = append(engine, upload.id, offset=3)

    assert found.result == Result(200, body=b"thanks")
    assert not engine.seize(ask(upload.id)).pending


def test_crash_before_completion_is_repaired_by_the_next_look_at_the_offset(build: Build) -> None:
    """All bytes were stored when the process died: HEAD completes the upload, and it is handed over."""
    engine = build()
    upload = create(engine, 3)
    writer = engine.append(ask(upload.id), 0, announced=3)
    writer.write(b"abc")
    writer.commit()
    engines.die(writer)

    found = engine.seize(ask(upload.id))

    assert (found.complete, found.pending) == (True, True)


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 503])
def test_content_that_may_be_taken_later_is_answered_with_a_423_at_head(build: Build, status: int) -> None:
    """A client that gets anything else at HEAD forgets the upload and sends everything again."""
    engine = build(Picky(status))
    upload = create(engine, 3)
    with pytest.raises(Refused):
        append(engine, upload.id, b"abc")

    with pytest.raises(Locked):
        engine.seize(ask(upload.id))


def test_only_one_at_a_time_hands_over(build: Build) -> None:
    """A second claim is refused until the first one is given back."""
    engine = build()
    upload = create(engine, 0)

    first = engine.claim(upload.id)
    with pytest.raises(Locked):
        engine.claim(upload.id)
    first.release()

    engine.claim(upload.id).release()


def test_whoever_took_over_as_it_was_handed_over_hears_of_a_newer_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that there is no such upload, though its data goes away in the moment after the first turn."""
    slow, quick = engines.build(tmp_path), engines.build(tmp_path)
    upload = create(slow, 3)
    leave = MarkedLease.__exit__

    def left(lease: MarkedLease, *why: object) -> None:
        leave(lease, *why)
        monkeypatch.undo()
        append(quick, upload.id, b"new")
        quick.claim(upload.id).accept(Result(), drop=True)

    monkeypatch.setattr(MarkedLease, "__exit__", left)

    with pytest.raises(Interrupted):
        append(slow, upload.id, b"old")


def test_dropped_upload_answers_with_what_the_host_said(build: Build) -> None:
    """The data is gone after the hand-over; the offset and the answer are still known."""
    engine = build()
    upload = create(engine, 3)
    append(engine, upload.id, b"abc")
    engine.claim(upload.id).accept(Result(200, (("X-Id", "7"),), b"thanks"), drop=True)

    again = append(engine, upload.id, offset=3)

    assert (again.offset, again.dropped) == (3, True)
    assert again.result == Result(200, (("X-Id", "7"),), b"thanks")


@pytest.mark.parametrize("durable", ["none", "finish", "always"])
def test_durability_changes_nothing_that_can_be_seen(build: Build, durable: str) -> None:
    """Whatever is forced to the disk, the bytes and the record are the same."""
    engine = build(durable=durable)
    upload = create(engine, 6)

    append(engine, upload.id, b"abc")
    done = append(engine, upload.id, b"def", offset=3)

    assert (done.complete, content(engine, done)) == (True, b"abcdef")


# Concatenating


def parts_of(engine: Engine, *contents: bytes) -> list[str]:
    ids = []
    for data in contents:
        part = create(engine, len(data), partial=True, concat="partial")
        append(engine, part.id, data)
        ids.append(part.id)
    return ids


def join(engine: Engine, *ids: str, metadata: str = "", user: str | None = None) -> Upload:
    request = ask(user=user)
    return engine.join(request, ids, metadata=Metadata(metadata), concat="final;" + " ".join(ids))


def test_parts_may_repeat(build: Build) -> None:
    """A final upload is its parts in the order named, and the parts can be used again."""
    engine = build()
    a, b = parts_of(engine, b"ab", b"cde")

    first, second = join(engine, a, b, a), join(engine, b)

    assert (content(engine, first), content(engine, second)) == (b"abcdeab", b"cde")


def test_retried_final_is_the_same_upload(build: Build) -> None:
    """A client that lost the answer gets it again, and not a second copy."""
    engine = build()
    ids = parts_of(engine, b"ab", b"cd")

    first, second = join(engine, *ids), join(engine, *ids)

    assert first.id == second.id


def test_final_completes_with_its_last_part(build: Build) -> None:
    """A final upload may be created before its parts are there."""
    engine = build()
    (a,) = parts_of(engine, b"ab")
    late = create(engine, 2, partial=True, concat="partial")
    final = join(engine, a, late.id)

    append(engine, late.id, b"cd")

    found = engine.seize(ask(final.id))
    assert (final.complete, found.complete, content(engine, found)) == (False, True, b"abcd")


def test_crash_while_copying_is_repaired_by_the_next_look_at_the_offset(directory: Path | None, build: Build) -> None:
    """Half a copy is thrown away and made again."""
    engine = build()
    a, b = parts_of(engine, b"ab", b"cd")
    late = create(engine, 1, partial=True, concat="partial")
    final = join(engine, a, b, late.id)
    lease = engine.locker.lease(final.id)
    with lease.turn():
        draft = engine.store.append(final.id, 0, fence=lease)
    draft.write(b"??")
    draft.commit()
    draft.close()
    lease.release()

    append(engine, late.id, b"e")

    assert content(engine, engine.seize(ask(final.id))) == b"abcde"


@pytest.mark.parametrize("before", ["record", "data"])
def test_crash_while_a_final_is_created_is_repaired_by_a_retry(tmp_path: Path, before: str) -> None:
    """The id of a final follows from its parts, so a retry meets what the crash left, and must not fail over it."""
    engine = engines.build(tmp_path)
    ids = parts_of(engine, b"ab", b"cd")
    final = join(engine, *ids)
    (tmp_path / f"{final.id}.info").rename(tmp_path / f"{final.id}.new")
    if before == "data":
        (tmp_path / final.id).unlink()

    again = join(engine, *ids)

    assert content(engine, again) == b"abcd"


@pytest.mark.parametrize("whose", ["missing", "whole", "foreign"])
def test_final_takes_partial_uploads_of_its_owner_only(build: Build, whose: str) -> None:
    """Anything else is told apart neither by the status nor by the message."""
    engine = build()
    id = {
        "missing": "0" * 32,
        "whole": create(engine, 0).id,
        "foreign": create(engine, 0, user="eve", partial=True).id,
    }[whose]

    with pytest.raises(BadRequest, match="is not a partial upload"):
        join(engine, id, user="adam")


# Removing and expiring


def test_terminated_upload_is_gone_for_its_writer(build: Build) -> None:
    """Whoever was writing writes no more, and the upload does not come back."""
    engine = build()
    upload = create(engine, 6)
    old = engine.append(ask(upload.id), 0, announced=6)
    old.write(b"abc")

    engine.terminate(ask(upload.id))

    with pytest.raises(Interrupted):
        old.write(b"def")
    old.close()
    with pytest.raises(NotFound):
        engine.look(ask(upload.id))


def test_termination_leaves_no_file(tmp_path: Path) -> None:
    """Not even when a request was admitted just before."""
    hooks = Before()
    engine = engines.build(tmp_path, hooks)
    upload = create(engine, 6)
    hooks.deed = lambda: engine.terminate(ask(upload.id))

    with pytest.raises(NotFound):
        append(engine, upload.id, b"abc")

    assert list(tmp_path.iterdir()) == []


def test_expired_upload_is_gone_and_swept() -> None:
    """Once its time is over it takes no byte, and a sweep removes it."""
    clock = Clock()
    engine = engines.build(None, clock=clock, upload_valid_duration=60)
    upload = create(engine, 6)
    clock.now += 61

    with pytest.raises(Gone):
        append(engine, upload.id, b"abc")

    assert [swept.id for swept in engine.sweep()] == [upload.id]
    assert list(engine.uploads()) == []


def test_every_byte_prolongs_the_life_of_an_upload() -> None:
    """The time runs from the last write, not from the creation."""
    clock = Clock()
    engine = engines.build(None, clock=clock, upload_valid_duration=60)
    upload = create(engine, 6)
    clock.now += 59
    append(engine, upload.id, b"abc")
    clock.now += 59

    assert engine.look(ask(upload.id)).offset == 3


def test_finished_upload_does_not_expire() -> None:
    """Unless the host asks for that."""
    clock = Clock()
    engine = engines.build(None, clock=clock, upload_valid_duration=60)
    upload = create(engine, 0)
    clock.now += 1e9

    assert list(engine.sweep()) == []
    assert engine.look(ask(upload.id)).complete


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow meanwhile. Within the test only: pytest itself may write to a file."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)


def test_full_disk_keeps_nobody_from_asking(tmp_path: Path) -> None:
    """A lease needs no room; what cannot be written is told, and the offset stays where it was."""
    engine = engines.build(tmp_path)
    upload = create(engine, 6)

    with full_disk():
        with pytest.raises((StoreFull, TooLarge)):
            append(engine, upload.id, b"abc")
        offset = engine.seize(ask(upload.id)).offset

    assert offset == 0


def test_uploads_can_be_removed_from_a_full_disk(tmp_path: Path) -> None:
    """By the one who asks for it, and by a sweep: nothing else would make room."""
    engine = engines.build(tmp_path, upload_valid_duration=60)
    asked, swept = create(engine, 6), create(engine, 6)

    with full_disk():
        engine.terminate(ask(asked.id))
        gone = [upload.id for upload in engine.sweep(now=engine.now() + 61)]

    assert gone == [swept.id]
    assert list(engine.uploads()) == []


def test_sweep_goes_on_after_what_it_cannot_read(tmp_path: Path) -> None:
    """A file of somebody else, or one that a crash left empty, keeps nothing from being swept."""
    engine = engines.build(tmp_path, upload_valid_duration=60)
    expired = {create(engine, 6).id for _ in range(3)}
    for name, text in {"a": "", "b": "{}", "c": "[1]", "d": "no JSON", "e": '{"ID": 7, "Size": "?"}'}.items():
        (tmp_path / name).touch()
        (tmp_path / f"{name}.info").write_text(text)
    (tmp_path / "f.info").mkdir()

    swept = {upload.id for upload in engine.sweep(now=engine.now() + 61)}

    assert swept == expired
    assert (tmp_path / "d.info").exists()


def test_sweep_removes_what_a_crash_left_of_a_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that died between two files leaves something that a sweep recognises."""
    engine = engines.build(tmp_path)
    store = engine.store
    upload = create(engine, 6)
    unlink, names = Directory.unlink, []

    def dies(home: Directory, name: str) -> None:
        names.append(name)
        if len(names) == 2:
            raise KeyboardInterrupt
        unlink(home, name)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Directory, "unlink", dies)
        store.delete(upload.id)

    list(engine.sweep(now=engine.now() + 1e9))

    assert list(tmp_path.iterdir()) == []


def test_hook_that_fails_does_not_stop_a_sweep(build: Build) -> None:
    """One upload that cannot be handed over keeps no other from being swept."""

    class Broken(Hooks):
        heard: list[str] = []

        def finished(self, upload: Upload) -> None:
            self.heard.append(upload.id)
            raise RuntimeError("the host has a bug")

    engine = build(Broken(), delivers=False)
    ids = {create(engine, 0).id for _ in range(2)}

    assert list(engine.sweep(tell=True)) == []

    assert set(Broken.heard) == ids


# Ids


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", "a.info", "a\n", "a\0", "ä", "a" * 129, " a"])
def test_strange_id_is_an_unknown_one(directory: Path | None, build: Build, id: str) -> None:
    """It reaches neither the store nor the locker, nor a hook."""

    class Told(Hooks):
        def authorise(self, request: Any, intent: Any, upload: Upload | None) -> None:
            raise AssertionError("a hook was asked about a strange id")

    engine = build(Told())

    for deed in (engine.seize, engine.look, engine.terminate):
        with pytest.raises(NotFound):
            deed(ask(id))
    with pytest.raises(NotFound):
        append(engine, id)
    assert directory is None or list(directory.iterdir()) == []


def test_upload_of_another_user_is_unknown(build: Build) -> None:
    """Whoever is not its owner cannot tell that it exists."""
    engine = build()
    upload = create(engine, 6, user="adam")

    with pytest.raises(NotFound):
        engine.look(ask(upload.id, user="eve"))

    assert engine.look(ask(upload.id, user="adam")).owner == "adam"


# tusd


def test_crash_does_not_hide_an_upload_that_tusd_began(tmp_path: Path) -> None:
    """All bytes of it are there, but it was our process that had to hand it over, and that died."""
    engine = engines.build(tmp_path)
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "a.info").write_text('{"ID": "a", "Size": 3, "SizeIsDeferred": false, "MetaData": {}}')
    writer = engine.append(ask("a"), 2, announced=1)
    writer.write(b"c")
    engines.die(writer)

    found = engine.seize(ask("a"))

    assert (found.complete, found.pending) == (True, True)


def test_doubt_about_an_upload_ends_with_it(tmp_path: Path) -> None:
    """Another one by the same name is not cut back to what was certain of the first."""

    class Names(Hooks):
        def before_create(self, request: Any, upload: Upload) -> Upload:
            return upload.evolve(id="same")

    engine = engines.build(tmp_path, Names())
    first = create(engine, 9)
    engine.store.doubt(first.id, 0)  # type: ignore[attr-defined]  # what a failed sync leaves, if the bytes could not be cut off either
    engine.terminate(ask(first.id))

    with engine.begin(ask(), length=9, metadata=Metadata(), announced=3) as writer:
        writer.write(b"abc")
        second = engine.conclude(writer)

    assert engine.seize(ask(second.id)).offset == 3


@pytest.mark.parametrize("durable", ["none", "finish", "always"])
def test_count_of_uses_and_what_is_certain_are_kept_apart(build: Build, durable: str) -> None:
    """A part can be used, and goes on growing, whatever is forced to the disk; the 17th use is refused."""
    engine = build(durable=durable)
    part = create(engine, 5, partial=True, concat="partial")
    append(engine, part.id, b"he")
    join = partial(engine.join, ask(), concat="final")

    finals = [join([part.id], metadata=Metadata(f"number {b64encode(bytes([n])).decode()}")) for n in range(16)]
    offset = engine.seize(ask(part.id)).offset
    with pytest.raises(BadRequest):
        join([part.id], metadata=Metadata())
    append(engine, part.id, b"llo", offset=2)

    assert offset == 2
    assert {content(engine, final) for final in finals} == {b"hello"}


@pytest.mark.parametrize("asking", ["bert", "anna"])
def test_who_may_not_ask_ends_nobodys_request(build: Build, asking: str) -> None:
    """A request that came before a HEAD, and has not begun to write, is over; but not for a HEAD of a stranger."""
    engine = build()
    upload = create(engine, 3, user="anna")
    patch = ask(upload.id, user="anna", since=time.monotonic())
    with suppress(NotFound):
        engine.seize(ask(upload.id, user=asking))

    with pytest.raises(Interrupted) if asking == "anna" else nullcontext():
        engine.append(patch, 0, announced=3).close()


def test_stale_request_that_waited_for_its_turn_ends_nobody(tmp_path: Path) -> None:
    """It began before a HEAD, and found nobody then; but when its turn comes, the client's next request writes."""
    engine = Application(Options({"tmp_file_dir": str(tmp_path)}, environ={})).engine
    upload = create(engine, 3)
    stale = ask(upload.id, since=time.monotonic())
    good = engine.locker.lease(upload.id)

    with ThreadPoolExecutor(1) as pool:
        with good.turn():
            answer = pool.submit(engine.append, stale, 0, announced=3)
            live.until(lambda: opened(tmp_path / upload.id) == 2)
            with suppress(Locked):
                engine.seize(ask(upload.id))
        error = answer.exception()

    assert isinstance(error, Interrupted)
    with good.turn():  # which it still has
        pass


def opened(path: Path) -> int:
    """How many descriptors of this process are of this file."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed since
            count += os.readlink(fd) == str(path)
    return count


@pytest.mark.parametrize("id", ["x" * 100_000, "0" * 32])
def test_nothing_is_remembered_of_uploads_that_there_are_not(build: Build, id: str) -> None:
    """Whoever asks for many, by long names, would fill the memory."""
    engine = build()

    with pytest.raises(NotFound):
        engine.seize(ask(id))

    assert not engine.asked
