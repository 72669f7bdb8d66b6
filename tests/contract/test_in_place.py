"""What the file store writes into a record in place: nobody sees it half done, and a disk that fails takes it back."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.drafting import Turns, begin, content, new
from tus import Upload
from tus.errors import NotFound, StoreBroken
from tus.lockers.file import FileLocker
from tus.stores.file import FileStore
from tus.upload import Result

DONE: dict[str, Any] = {"length": 3, "complete": True, "result": Result()}
NAMES = ["0" * 32, "chosen"]


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """This system call fails, as on a disk that is broken."""

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if not hasattr(os, name):
        pytest.skip(f"no {name} here that could fail")
    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_upload_is_not_complete_before_the_disk_has_taken_that(
    files: FileStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Nobody may be told what a power cut could take back; the next request says it again."""
    files._home.ordered = False  # so that the directory is synced, too, on every disk
    upload = new(files, "a", b"abc", length=3)

    with failing(monkeypatch, call), pytest.raises((StoreBroken, OSError)):
        files.save(upload.evolve(**DONE), durable=True)
    after = files.load("a").complete
    files.save(upload.evolve(**DONE), durable=True)

    assert (after, files.load("a").complete) == (False, True)


def test_upload_does_not_exist_before_the_disk_has_taken_its_record(
    files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation that failed can be tried again."""
    draft = begin(files)

    with failing(monkeypatch, "fdatasync"), pytest.raises(StoreBroken):
        files.save(Upload("a"), durable=True)
    with pytest.raises(NotFound):
        files.load("a")
    files.save(Upload("a"), durable=True)
    draft.close()

    assert files.load("a").id == "a"


@pytest.mark.parametrize("dropped", [False, True])
def test_finishing_makes_no_new_file(files: FileStore, tmp_path: Path, dropped: bool) -> None:
    """Neither when the upload is complete, nor when a host that has nothing to say has taken it, for good."""
    upload = new(files, "a", b"abc", length=3)
    before = (tmp_path / "a.info").stat()

    files.save(upload.evolve(complete=True))
    pending = files.load("a")
    files.save(pending.evolve(result=Result(), dropped=dropped), since=pending)
    after = (tmp_path / "a.info").stat()
    taken = files.load("a")

    assert (pending.pending, taken.result, taken.dropped) == (True, Result(), dropped)
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


@pytest.mark.parametrize("exact", [False, True])
def test_nothing_stays_hidden_of_what_is_finished(files: FileStore, tmp_path: Path, exact: bool) -> None:
    """The record of an exact draft says that its bytes do not count; finishing takes that back with the digit."""
    upload, fence = new(files, "a", b"ab", length=3), Turns()
    with fence.turn():
        draft = files.append("a", 2, fence=fence, exact=exact, known=upload)
    draft.write(b"c")

    files.finish(upload.evolve(offset=3, **DONE), draft)
    draft.close()

    assert (files.load("a").offset, files.load("a").result, content(files)) == (3, Result(), b"abc")
    assert files.load("a").unverified_from is None


@pytest.mark.parametrize("complete", [None, True], ids=["open", "complete"])
def test_record_of_an_earlier_version_is_read_and_gets_its_digit(
    files: FileStore, tmp_path: Path, complete: bool | None
) -> None:
    """It said in other words how far an upload came."""
    new(files, "a", b"abc", length=3)
    record = json.loads((tmp_path / "a.info").read_text())
    record["tus"].pop("complete")
    record["tus"] |= {"complete": True, "result": [204, [], ""]} if complete else {}
    (tmp_path / "a.info").write_text(json.dumps(record))

    found = files.load("a")
    files.save(found.evolve(**DONE), since=found)

    assert (found.complete, found.result) == (bool(complete), Result() if complete else None)
    assert files.load("a").result == Result()
    assert (tmp_path / "a.info").read_text().endswith('"complete":2}}')


def test_record_of_an_earlier_version_says_in_words_that_its_data_was_dropped(files: FileStore, tmp_path: Path) -> None:
    """The digit has a meaning of its own, and takes nothing away from that."""
    new(files, "a", b"abc", length=3)
    record = tmp_path / "a.info"
    record.write_text(record.read_text().replace(',"complete":0', ',"dropped":true,"complete":2'))

    assert files.load("a").dropped


@pytest.mark.parametrize("id", NAMES)
def test_creation_that_died_while_it_wrote_the_record_is_no_upload(files: FileStore, tmp_path: Path, id: str) -> None:
    """Its name is free, whatever it wrote, and a sweep removes it."""
    new(files, id, b"abc")
    record = tmp_path / f"{id}.info"
    text = record.read_bytes()

    for torn in (b"\0" + text[1:90], b"\0" + text[1:], b"\0" + text[1:] + b"more"):
        record.write_bytes(torn)
        with pytest.raises(NotFound):
            files.load(id)
        assert list(files.ids()) == []
        new(files, id, b"new")
        assert (content(files, id), files.load(id).offset) == (b"new", 3)
    record.write_bytes(b"\0" + text[1:90])
    files.tidy(time.time() + 1)

    assert list(tmp_path.iterdir()) == []


def test_upload_that_is_being_made_is_not_waited_for(files: FileStore, tmp_path: Path) -> None:
    """Its body may take hours; and it is nobody else's to change or remove."""
    draft = begin(files)
    other = FileStore(str(tmp_path))

    with pytest.raises(NotFound):
        other.save(Upload("a"), since=Upload("a"))
    with pytest.raises(FileExistsError):
        other.save(Upload("a"))
    other.delete("a")
    draft.write(b"abc")
    files.save(Upload("a", length=3))
    draft.close()

    assert content(files) == b"abc"


def test_child_that_was_forked_meanwhile_holds_up_nobody(files: FileStore, tmp_path: Path) -> None:
    """It has the descriptor, and with it the lock of a record that was being made."""
    draft = begin(files)
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(into)
        os.read(out, 1)  # until the end of the test
        os._exit(0)
    try:
        files.save(Upload("a"))
        draft.close()
        since = files.load("a")
        FileStore(str(tmp_path)).save(since.evolve(owner="eve"), since=since)
    finally:
        os.close(into)
        os.close(out)
        os.waitpid(child, 0)

    assert files.load("a").owner == "eve"


def leases(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.lease"))


def test_brief_lease_needs_no_file(files: FileStore, tmp_path: Path) -> None:
    """The data is locked instead; and where there is no data, there is nothing else to lock."""
    locker = FileLocker(str(tmp_path))
    new(files)

    for id, needed in (("a", []), ("b", ["b.lease"])):
        lease = locker.lease(id, brief=True)
        assert (leases(tmp_path), locker.writing(id), locker.lives(id)) == (needed, True, True)
        lease.release(forget=True)

    assert (leases(tmp_path), locker.writing("a")) == ([], False)
