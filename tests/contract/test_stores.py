"""What every Store does; and what FileStore leaves on the disk, or finds there."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tus import Metadata, Result, Upload
from tus.errors import NotFound, StoreBroken, StoreFull, TooLarge
from tus.lockers.file import FileLocker
from tus.stores import Store
from tus.stores.file import FileStore
from tus.stores.memory import MemoryStore

FULL = Upload(
    "full",
    length=3,
    complete=True,
    metadata=Metadata("filename w6QudHh0,empty,raw /+8="),
    concat="final;/files/a /files/b",
    partial=False,
    parts=("a", "b", "a"),
    finals=("f", "g"),
    owner="adam",
    limit=9,
    created=12.5,
    expires=99.5,
    unverified_from=1,
    result=Result(200, (("X-A", "1"), ("X-A", "2")), b"\x00\xff"),
    dropped=False,
)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every kind of store."""
    return MemoryStore() if request.param == "memory" else FileStore(str(tmp_path / "uploads"))


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path))


def new(store: Store, id: str = "a", data: bytes = b"", **record: Any) -> Upload:
    """A saved upload with that data."""
    place = store.reserve(id)
    if data:
        place.write(data)
    place.close()
    store.save(Upload(id, **record))
    return store.load(id)


def content(store: Store, id: str = "a") -> bytes:
    with store.open(id) as file:
        return file.read()


# Records


def test_unknown_upload_is_not_found(store: Store) -> None:
    """Whatever is asked of it."""
    for deed in (store.load, store.open):
        with pytest.raises(NotFound):
            deed("nobody")
    with pytest.raises(NotFound):
        store.writer("nobody", 0)
    with pytest.raises(NotFound):
        store.truncate("nobody", 0)


def test_upload_exists_once_it_is_saved(store: Store) -> None:
    """What is only reserved is not an upload yet."""
    store.reserve("a").close()
    with pytest.raises(NotFound):
        store.load("a")
    assert list(store.ids()) == []

    store.save(Upload("a"))

    assert (store.load("a").id, list(store.ids())) == ("a", ["a"])


def test_name_is_given_once(store: Store) -> None:
    """Neither what exists nor what is being made can be reserved, and neither is harmed."""
    new(store, "a", b"abc")
    store.reserve("b").close()

    for id in "ab":
        with pytest.raises(FileExistsError):
            store.reserve(id)
    store.save(Upload("b"))

    assert content(store) == b"abc"
    assert store.load("b").offset == 0


@pytest.mark.parametrize(
    "field", [f for f in Upload._fields if f not in ("id", "offset", "touched", "dropped")], ids=str
)
def test_record_comes_back(store: Store, field: str) -> None:
    """Each field, by itself."""
    value = getattr(FULL, field)

    found = new(store, "a", **{field: value})

    assert getattr(found, field) == value


def test_whole_record_comes_back(store: Store) -> None:
    """All fields together, and the metadata byte for byte."""
    found = new(store, "full", b"abc", **{f: v for f, v in FULL._asdict().items() if f != "id"})

    assert found == FULL.evolve(offset=3, touched=found.touched)
    assert found.metadata.raw == FULL.metadata.raw


@pytest.mark.parametrize("field", ["length", "limit", "unverified_from"])
def test_nought_is_not_nothing(store: Store, field: str) -> None:
    """A number of 0 bytes is another thing than no number."""
    assert getattr(new(store, "a", **{field: 0}), field) == 0
    assert getattr(new(store, "b"), field) is None


@pytest.mark.parametrize("created", [0, 1.5, True, math.inf, -math.inf, 1e300])
def test_any_number_that_a_host_gives_comes_back(store: Store, created: float) -> None:
    """A record that cannot be read is an upload that is lost."""
    store.reserve("a").close()
    store.save(Upload("a", length=5, created=created))

    assert store.load("a").created == created


def test_owner_without_a_name_is_not_nobody(store: Store) -> None:
    """An upload without an owner is everybody's."""
    store.reserve("a").close()
    store.save(Upload("a", length=5, owner=""))

    assert store.load("a").owner == ""


def test_record_is_replaced_whole(store: Store) -> None:
    """What is saved is what is loaded, whatever was there before."""
    new(store, "a", **{f: v for f, v in FULL._asdict().items() if f != "id"})

    store.save(Upload("a", length=7), durable=True)

    found = store.load("a")
    assert found == Upload("a", length=7, touched=found.touched)


def test_offset_is_the_number_of_bytes(store: Store) -> None:
    """And not what the record says."""
    new(store, "a", b"abc", offset=77)

    assert store.load("a").offset == 3


def test_touched_is_the_time_of_the_last_write(store: Store) -> None:
    """Saving the record is no write."""
    before = new(store, "a", b"abc").touched
    time.sleep(0.02)
    store.save(Upload("a"))
    saved = store.load("a").touched
    place = store.writer("a", 3)
    place.write(b"d")
    place.close()

    assert saved == before < store.load("a").touched


# Bytes


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_block_of_any_kind_is_written_whole(store: Store, kind: Any) -> None:
    """And the position is behind it."""
    new(store, "a", b"ab")
    place = store.writer("a", 2)

    written = place.write(kind(b"cdef"))

    assert (written, place.position, content(store)) == (4, 6, b"abcdef")
    place.close()


def test_writing_goes_to_the_offset(store: Store) -> None:
    """Several blocks, one after the other, from where the place begins."""
    new(store, "a", b"abXX")
    store.truncate("a", 2)
    place = store.writer("a", 2)

    for block in (b"c", b"", b"de"):
        place.write(block)
    place.start_sync()
    place.sync()
    place.close()
    store.sync("a")

    assert (content(store), store.load("a").offset) == (b"abcde", 5)


def test_written_bytes_are_there_at_once(store: Store) -> None:
    """Nothing waits in a buffer, from where it could come too late."""
    new(store)
    place = store.writer("a", 0)
    place.write(b"abc")

    assert (store.load("a").offset, content(store)) == (3, b"abc")

    place.close()


def test_truncated_place_goes_on_from_there(store: Store) -> None:
    """Bytes that turned out wrong are replaced by the next ones."""
    new(store, "a", b"ab")
    place = store.writer("a", 2)
    place.write(b"XXXX")

    place.truncate(3)
    place.write(b"cd")
    place.close()

    assert content(store) == b"abXcd"


def test_reader_can_seek(store: Store) -> None:
    """Ranges are read from the middle."""
    new(store, "a", b"abcdef")

    with store.open("a") as file:
        file.seek(4)
        rest = file.read()

    assert rest == b"ef"


@pytest.mark.skipif(not hasattr(os, "splice"), reason="needs os.splice")
def test_bytes_come_through_a_pipe(store: Store) -> None:
    """At most as many as asked for, and the position is behind them."""
    new(store, "a", b"ab")
    place = store.writer("a", 2)
    out, into = os.pipe()
    os.write(into, b"cdefgh")
    os.close(into)

    moved = 0
    while moved < 4:
        moved += place.splice(out, 4 - moved)

    assert (place.position, content(store)) == (6, b"abcdef")
    os.close(out)
    place.close()


@pytest.mark.parametrize("size", [0, 1, 5, 3_000_000])
def test_upload_is_copied_to_the_end_of_another(store: Store, size: int) -> None:
    """From the beginning of the one to the position of the other."""
    data = os.urandom(size)
    new(store, "a", data)
    new(store, "b", b"head")
    place = store.writer("b", 4)

    with store.open("a") as source:
        copied = place.copy(source, size)
    place.write(b"tail")
    place.close()

    assert (copied, content(store, "b")) == (size, b"head" + data + b"tail")


# Removing


def test_deleted_upload_is_unknown(store: Store) -> None:
    """Deleting it twice is fine, and its name is free again."""
    new(store, "a", b"abc", length=3)

    store.delete("a")
    store.delete("a")

    with pytest.raises(NotFound):
        store.load("a")
    assert list(store.ids()) == []
    assert new(store).offset == 0


def test_reserved_name_can_be_deleted(store: Store) -> None:
    """A creation that was given up leaves nothing."""
    store.reserve("a").close()

    store.delete("a")

    assert new(store).offset == 0


def test_dropped_data_leaves_the_record(store: Store) -> None:
    """Late questions are answered: the offset is the length."""
    upload = new(store, "a", b"abc", length=3, complete=True)
    store.save(upload.evolve(dropped=True))

    store.drop("a")
    store.drop("a")

    found = store.load("a")
    assert (found.offset, found.dropped, found.complete) == (3, True, True)
    with pytest.raises(NotFound):
        store.open("a")


def test_ids_bear_that_uploads_go(store: Store) -> None:
    """A sweep removes what it looks at."""
    for id in "abc":
        new(store, id)

    seen = [id for id in store.ids() if store.delete(id) is None]

    assert (sorted(seen), list(store.ids())) == (["a", "b", "c"], [])


def test_tidying_leaves_what_is_alive(store: Store) -> None:
    """Neither an upload nor what is being made is removed."""
    new(store, "a", b"abc")
    place = store.reserve("b")
    place.write(b"x")

    store.tidy(time.time() - 3600)

    store.save(Upload("b"))
    assert (store.load("a").offset, store.load("b").offset) == (3, 1)
    place.close()


# Files


def test_path_is_the_data(files: FileStore) -> None:
    """The host is given it, and may read or move the file."""
    new(files, "a", b"abc")

    assert Path(files.path("a")).read_bytes() == b"abc"


def test_memory_has_no_path() -> None:
    """There is nothing to point at."""
    with pytest.raises(NotImplementedError):
        MemoryStore().path("a")


def test_files_are_ours_alone(tmp_path: Path) -> None:
    """Nobody else on the machine can read an upload."""
    store = FileStore(str(tmp_path / "new" / "uploads"))
    new(store, "a", b"abc")

    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "new" / "uploads").iterdir()}

    assert modes == {"a": 0o600, "a.info": 0o600}
    assert stat.S_IMODE((tmp_path / "new" / "uploads").stat().st_mode) == 0o700


def test_tidying_removes_what_a_crash_left_half_made(files: FileStore, tmp_path: Path) -> None:
    """But only after a while, and nobody else's files."""
    new(files, "a", b"abc")
    files.reserve("b").close()
    (tmp_path / "a.new").touch()
    (tmp_path / "other.txt").touch()
    (tmp_path / "ä.new").touch()

    files.tidy(time.time() + 1)

    assert {p.name for p in tmp_path.iterdir()} == {"a", "a.info", "other.txt", "ä.new"}


def test_tidying_leaves_what_may_be_a_strangers(files: FileStore, tmp_path: Path) -> None:
    """A letter, and a newer one that is empty or begins as a record does, are not certainly ours."""
    texts = {"letter": "Dear", "letter.new": "", "memo": "Dear", "memo.new": '{"ID', "note": "Dear"}
    texts["note.new"] = '{"ID":"another"}'
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    files.tidy(time.time() + 1)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == texts


@pytest.mark.parametrize("id", ["0" * 32, "chosen"])
def test_creation_that_a_crash_left_is_tidied_away_by_any_name(files: FileStore, tmp_path: Path, id: str) -> None:
    """Also one that the host has chosen, which strangers' files could have."""
    files.reserve(id).close()

    files.tidy(time.time() + 1)

    assert list(tmp_path.iterdir()) == []


def test_creation_under_way_outlives_a_clock_that_jumps(files: FileStore) -> None:
    """Its files look old, and somebody writes to them."""
    place = files.reserve("0" * 32)
    place.write(b"abc")

    FileStore(files.directory).tidy(time.time() + 8 * 86400)
    files.save(Upload("0" * 32))

    assert content(files, "0" * 32) == b"abc"
    place.close()


def test_long_creation_is_not_tidied_away(files: FileStore, tmp_path: Path) -> None:
    """A body that takes hours belongs to a record that was begun hours ago."""
    place = files.reserve("a")
    place.write(b"abc")
    os.utime(tmp_path / "a.new", (1, 1))

    files.tidy(time.time() - 3600)
    files.save(Upload("a"))

    assert content(files) == b"abc"
    place.close()


def test_removed_file_of_an_accepted_upload_counts_as_dropped(files: FileStore, tmp_path: Path) -> None:
    """The host may move the file away."""
    new(files, "a", b"abc", length=3, complete=True, result=Result())

    (tmp_path / "a").unlink()

    found = files.load("a")
    assert (found.offset, found.dropped) == (3, True)


def test_removed_file_of_a_pending_upload_is_an_error(files: FileStore, tmp_path: Path) -> None:
    """Nobody said that he has it, so nobody may be told that all is well."""
    new(files, "a", b"abc", length=3, complete=True)

    (tmp_path / "a").unlink()

    for deed in (files.load, files.lend):
        with pytest.raises(StoreBroken, match="gone"):
            deed("a")


@pytest.fixture
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, or one without, such as FAT."""

    def none(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if not request.param:
        monkeypatch.setattr(os, "link", none)


both_ways = pytest.mark.parametrize("links", [True, False], ids=["links", "copies"], indirect=True)


@both_ways
@pytest.mark.usefixtures("links")
def test_secret_is_one_for_all_who_begin_at_once(tmp_path: Path) -> None:
    """Whoever comes second takes what is there, and nothing half made is left."""
    stores = [FileStore(str(tmp_path)) for _ in range(8)]
    gate = threading.Barrier(len(stores))

    def ask(store: FileStore) -> bytes:
        gate.wait(5)
        return store.secret()

    with ThreadPoolExecutor(len(stores)) as pool:
        secrets = set(pool.map(ask, stores))

    assert [len(secret) for secret in secrets] == [32]
    assert os.listdir(tmp_path) == [".secret"]


@both_ways
@pytest.mark.usefixtures("links")
@pytest.mark.parametrize("taken", [os.unlink, lambda path: os.rename(path, path + ".elsewhere"), lambda path: None])
def test_lent_file_comes_back(files: FileStore, tmp_path: Path, taken: Any) -> None:
    """Whatever the host did with it; and as often as it is lent."""
    new(files, "a", b"abc", length=3, complete=True)

    for _ in range(2):
        taken(files.lend("a"))
        assert (files.load("a").offset, files.load("a").pending) == (3, True)
        files.regain("a")

    assert content(files) == b"abc"
    assert not (tmp_path / "a.kept").exists()


@both_ways
@pytest.mark.usefixtures("links")
def test_file_that_was_lent_when_a_process_died_is_lent_again(files: FileStore, tmp_path: Path) -> None:
    """Taken or not, and also when the process died while it copied."""
    new(files, "a", b"abc", length=3, complete=True)
    os.unlink(files.lend("a"))

    again = Path(files.lend("a")).read_bytes()
    (tmp_path / "a.kept").unlink()
    (tmp_path / "a.kept").write_bytes(b"a")

    assert again == Path(files.lend("a")).read_bytes() == (tmp_path / "a.kept").read_bytes() == b"abc"


def test_given_file_has_one_name(files: FileStore, tmp_path: Path) -> None:
    """So that it is gone when the host takes it away or removes it."""
    new(files, "a", b"abc", length=3, complete=True)
    files.lend("a")

    files.give("a")

    assert os.stat(tmp_path / "a").st_nlink == 1


@pytest.mark.parametrize("accepted", [True, False])
def test_tidying_removes_second_names_that_a_crash_left(files: FileStore, tmp_path: Path, accepted: bool) -> None:
    """Those of accepted uploads: of the others they may be the only name. And never a stranger's."""
    new(files, "a", b"abc", length=3, complete=True)
    files.lend("a")
    if accepted:
        files.save(files.load("a").evolve(result=Result()))
    (tmp_path / "letter.kept").write_text("for ever")

    files.tidy(time.time() + 1)

    assert (tmp_path / "a.kept").exists() is not accepted
    assert (tmp_path / "letter.kept").exists()


def test_dropped_and_deleted_files_have_no_second_name(files: FileStore, tmp_path: Path) -> None:
    """Their bytes would stay on the disk."""
    for id in "ab":
        new(files, id, b"abc", length=3, complete=True)
        files.lend(id)

    files.drop("a")
    files.delete("b")

    assert [path.name for path in tmp_path.iterdir()] == ["a.info"]


def test_removed_file_of_an_unfinished_upload_is_an_unknown_upload(files: FileStore, tmp_path: Path) -> None:
    """Its bytes are gone, so the client begins anew."""
    new(files, "a", b"abc", length=9)

    (tmp_path / "a").unlink()

    with pytest.raises(NotFound):
        files.load("a")


@pytest.mark.parametrize("name", ["a", "a.info"])
def test_link_is_not_followed(files: FileStore, tmp_path: Path, name: str) -> None:
    """Whoever can make a link there can neither read nor write another file through an upload."""
    new(files, "a", b"abc")
    target = tmp_path / "target"
    (tmp_path / name).rename(target)
    (tmp_path / name).symlink_to(target)
    before = target.read_bytes()

    with pytest.raises(NotFound):
        files.load("a")
    if name == "a":
        for deed in (files.open, lambda id: files.writer(id, 0), lambda id: files.truncate(id, 0)):
            with pytest.raises(NotFound):
                deed("a")

    assert target.read_bytes() == before


def test_link_in_place_of_a_new_record_is_not_followed(files: FileStore, tmp_path: Path) -> None:
    """The record is written beside, and that is no link either."""
    new(files)
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "a.new").symlink_to(target)

    with pytest.raises(OSError):
        files.save(Upload("a"))

    assert target.read_text() == "precious"


def test_reserving_does_not_follow_a_link(files: FileStore, tmp_path: Path) -> None:
    """Nor does it take over what lies there."""
    (tmp_path / "a").symlink_to(tmp_path / "target")

    with pytest.raises(FileExistsError):
        files.reserve("a")

    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "a.new").exists()


def test_record_that_cannot_be_written_leaves_the_old_one(files: FileStore, tmp_path: Path) -> None:
    """All or nothing, also when the disk is full."""
    import resource
    import signal

    new(files, "a", length=5)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
        with pytest.raises(StoreFull):
            files.save(Upload("a", length=6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)

    assert files.load("a").length == 5


def test_file_that_may_grow_no_more_keeps_what_fitted(files: FileStore) -> None:
    """The position says how far a block came."""
    import resource
    import signal

    new(files)
    place = files.writer("a", 0)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
        with pytest.raises(TooLarge):
            place.write(b"x" * 16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)

    assert (place.position, files.load("a").offset) == (10, 10)
    place.close()


def test_no_descriptor_is_leaked(files: FileStore, tmp_path: Path) -> None:
    """Whether it goes well or not."""
    gc.collect()  # what other tests left open must not be closed, and its number taken, in between
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(5):
        new(files, "a", b"abc")
        with pytest.raises(FileExistsError):
            files.reserve("a")
        with files.open("a"):
            files.sync("a")
        files.truncate("a", 1)
        (tmp_path / "b.info").write_text("no record")
        with pytest.raises(NotFound):
            files.load("b")
        files.tidy(0)
        files.delete("a")

    assert set(os.listdir("/proc/self/fd")) == before


# tusd


def tusd(directory: Path, id: str, data: bytes, size: int, **changes: Any) -> None:
    """An upload as tusd 2 writes it."""
    record = {
        "ID": id,
        "Size": size,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {"filename": "ä b.txt", "empty": ""},
        "IsPartial": False,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": {"InfoPath": f"{directory}/{id}.info", "Path": f"{directory}/{id}", "Type": "filestore"},
        **changes,
    }
    (directory / id).write_bytes(data)
    (directory / f"{id}.info").write_text(json.dumps(record))


def test_upload_of_tusd_is_understood(files: FileStore, tmp_path: Path) -> None:
    """Its offset is the size of its file, and its metadata are there."""
    tusd(tmp_path, "a", b"abc", 9)

    found = files.load("a")

    assert (found.length, found.offset, found.complete) == (9, 3, False)
    assert dict(found.metadata) == {"filename": "ä b.txt".encode(), "empty": b""}


def test_finished_upload_of_tusd_is_not_handed_over_again(files: FileStore, tmp_path: Path) -> None:
    """tusd told whoever had to know."""
    tusd(tmp_path, "a", b"abc", 3)

    found = files.load("a")

    assert (found.complete, found.pending) == (True, False)


def test_deferred_length_of_tusd_is_understood(files: FileStore, tmp_path: Path) -> None:
    """It is no length of 0."""
    tusd(tmp_path, "a", b"", 0, SizeIsDeferred=True)

    found = files.load("a")

    assert (found.length, found.complete) == (None, False)


def test_concatenation_of_tusd_is_understood(files: FileStore, tmp_path: Path) -> None:
    """Parts and finals are what they were."""
    tusd(tmp_path, "a", b"abc", 3, IsPartial=True)
    tusd(tmp_path, "b", b"abcabc", 6, IsFinal=True, PartialUploads=["a", "a"], MetaData=None)

    part, final = files.load("a"), files.load("b")

    assert (part.partial, part.concat) == (True, "partial")
    assert (final.final, final.parts, final.complete) == (True, ("a", "a"), True)


def test_record_is_what_tusd_expects(files: FileStore, tmp_path: Path) -> None:
    """The same keys with the same meaning, so that the directory can go back."""
    new(files, "a", b"abc", length=9, metadata=Metadata("filename w6QudHh0"), partial=True)

    record = json.loads((tmp_path / "a.info").read_text())
    del record["tus"]

    assert record == {
        "ID": "a",
        "Size": 9,
        "SizeIsDeferred": False,
        "Offset": 0,
        "MetaData": {"filename": "ä.txt"},
        "IsPartial": True,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": None,
    }


def test_name_of_a_file_never_comes_out_of_a_file(files: FileStore, tmp_path: Path) -> None:
    """A record that calls itself otherwise is still the upload by whose name it lies there."""
    tusd(tmp_path, "a", b"abc", 9, ID="../../etc/passwd")

    assert files.load("a").id == "a"


def test_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """Under a running server; what was in it is unknown, and what comes is stored."""
    import shutil

    place = tmp_path / "uploads"
    files, locker = FileStore(str(place)), FileLocker(str(place))
    new(files, "a", b"abc")
    shutil.rmtree(place)

    with pytest.raises(NotFound):
        files.load("a")
    new(files, "b", b"abc")
    locker.lease("b").release()

    assert content(files, "b") == Path(files.path("b")).read_bytes() == b"abc"


def test_directory_that_was_made_again_by_another_is_found(tmp_path: Path) -> None:
    """Another process has stored something in it already."""
    import shutil

    files = FileStore(str(tmp_path / "uploads"))
    shutil.rmtree(tmp_path / "uploads")
    new(FileStore(str(tmp_path / "uploads")), "a", b"abc")

    assert files.load("a").offset == 3


def test_secret_that_is_not_whole_is_said_to_be(files: FileStore, tmp_path: Path) -> None:
    """A power cut can leave an empty one, and nobody may wait for it to grow."""
    (tmp_path / ".secret").touch()

    with pytest.raises(StoreBroken, match="remove it"):
        files.secret()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_group_may_read_where_that_is_wanted(tmp_path: Path, umask: int) -> None:
    """The data and the directory, whatever the umask; the records are ours alone."""
    before = os.umask(umask)
    try:
        store = FileStore(str(tmp_path / "uploads"), file_mode=0o640, directory_mode=0o2750)
        new(store, "a", b"abc")
    finally:
        os.umask(before)

    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "uploads").iterdir()}
    assert modes == {"a": 0o640, "a.info": 0o600}
    assert stat.S_IMODE((tmp_path / "uploads").stat().st_mode) == 0o2750


def test_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """Its owner has chosen it."""
    (tmp_path / "uploads").mkdir(mode=0o711)

    FileStore(str(tmp_path / "uploads"), directory_mode=0o750)

    assert stat.S_IMODE((tmp_path / "uploads").stat().st_mode) == 0o711
