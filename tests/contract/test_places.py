"""Parts that lie in their final place: what becomes of their bytes, whatever happens to one of them."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tests.engines import append, ask, content, die
from tus import Engine, Hooks, Metadata, Refused, Upload
from tus.checksum import Checksum
from tus.engine.repeating import begin_once
from tus.errors import BadRequest, BodyCut, ChecksumMismatch, Gone, Interrupted, NotFound, StoreBroken, TooLarge
from tus.stores import Free, wholes
from tus.stores.file import FileStore

SIZES = (300_001, 300_000, 299_998, 300_002)  # bytes; neither blocks of a disk nor equal
KEY = "5f6dd4e4-6c5c-4bd1-9a3c-6d2d7d3a1f10"
DATA = os.urandom(sum(SIZES))
STARTS = (0, *accumulate(SIZES))


def bytes_of(n: int) -> bytes:
    return DATA[STARTS[n] : STARTS[n + 1]]


class Directory:
    """An engine, and what it leaves in its directory."""

    def __init__(self, home: Path, hooks: Hooks | None = None, **options: Any) -> None:
        self.home, self.given = home, (hooks, options)
        self.engine = self.again()

    def again(self) -> Engine:
        """As another process, or one that begins after a crash, has it."""
        return engines.build(self.home, self.given[0], **self.given[1])

    def begin(self, n: int, *, key: str = KEY, sizes: tuple[int, ...] = SIZES, user: str | None = None) -> Upload:
        with begin_once(
            self.engine, ask(user=user), key=key, sizes=sizes, length=sizes[n], metadata=Metadata(), partial=True,
            concat="partial",
        ) as writer:  # fmt: skip
            return self.engine.conclude(writer)

    def part(self, n: int, **more: Any) -> str:
        """A part with all of its bytes."""
        id = self.begin(n, **more).id
        assert append(self.engine, id, bytes_of(n)).complete
        return id

    def plain(self, data: bytes) -> str:
        """A part that has a file of its own."""
        return append(self.engine, engines.create(self.engine, len(data), partial=True).id, data).id

    def join(self, *ids: str, name: str = "", engine: Engine | None = None) -> Upload:
        concat = f"final;{' '.join(ids)} {name}"
        return (engine or self.engine).join(ask(), ids, metadata=Metadata(), concat=concat)

    def numbers(self) -> set[int]:
        """The inodes in which there are bytes, but for records."""
        found = (path.stat() for path in self.home.iterdir() if path.name[0] != "." and path.suffix != ".info")
        return {each.st_ino for each in found if each.st_blocks}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path / "uploads")
    if made.engine.store.reserve("0" * 32, 0, 1) is None:  # type: ignore[attr-defined]
        pytest.skip("parts have places on disks of this machine only, where holes cost nothing")
    return made


def test_whole_is_the_file_that_the_parts_were_written_to(directory: Directory) -> None:
    """No byte is copied: the file is the same one before and after, and the only one that has any."""
    ids = [directory.part(n) for n in (2, 0, 3, 1)]
    (before,) = directory.numbers()

    whole = directory.join(ids[1], ids[3], ids[0], ids[2])

    assert whole.complete and content(directory.engine, whole) == DATA
    assert (directory.home / whole.id).stat().st_ino == before
    assert not [path for path in directory.home.iterdir() if path.suffix in (".place", ".whole")]


def test_part_is_as_any_other_upload(directory: Directory) -> None:
    """Its offset, its bytes and how it goes on are its own, whatever lies beside it in the file."""
    id = directory.begin(1).id
    directory.part(0)
    directory.part(2)

    with pytest.raises(BodyCut):
        append(directory.engine, id, bytes_of(1)[:1000], announced=5000)
    found = directory.again().store.load(id)
    append(directory.engine, id, bytes_of(1)[1000:], offset=1000)

    assert found.place
    assert (found.offset, found.place.start, found.place.total) == (1000, STARTS[1], len(DATA))
    with directory.engine.store.open(id) as file:
        assert file.read() == bytes_of(1)
        file.seek(-10, os.SEEK_END)
        assert file.read(100) == bytes_of(1)[-10:]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2, 3), (0, 1, 2, 3, 0)], ids=["some", "turned", "twice"])
def test_other_finals_are_copied(directory: Directory, order: tuple[int, ...]) -> None:
    """A final upload that is not all of the parts in their order is a file of its own, and the parts stay."""
    ids = [directory.part(n) for n in range(4)]

    other = directory.join(*(ids[n] for n in order))
    whole = directory.join(*ids)

    assert content(directory.engine, other) == b"".join(map(bytes_of, order))
    assert content(directory.engine, whole) == DATA


def test_part_of_another_kind_is_copied_with_the_others(directory: Directory) -> None:
    """One part without a place costs a copy, and nothing else."""
    ids = [*(directory.part(n) for n in range(3)), directory.plain(bytes_of(3))]

    whole = directory.join(*ids)

    assert content(directory.engine, whole) == DATA
    assert directory.engine.store.load(ids[0]).complete


def test_joining_writes_no_byte_again(directory: Directory) -> None:
    """What the kernel is given to write does not grow with the parts."""
    ids = [directory.part(n) for n in range(4)]
    before = written()

    directory.join(*ids)

    assert written() - before < len(DATA) / 4


def written() -> int:
    """Bytes that this process has had written."""
    words = Path("/proc/self/io").read_text().split()
    return int(words[words.index("write_bytes:") + 1])


def test_parts_are_gone_with_the_whole(directory: Directory) -> None:
    """They are one upload now; the same final is the same upload, and another one of these parts is refused."""
    ids = [directory.part(n) for n in range(4)]
    whole = directory.join(*ids)

    again = directory.join(*ids)

    assert again.id == whole.id
    with pytest.raises(BadRequest, match="not a partial upload"):
        directory.join(*ids, name="other")


def test_two_finals_that_wait_for_the_same_parts_both_get_them(directory: Directory) -> None:
    """Where another upload waits for a part, nobody takes it away."""
    ids = [directory.begin(n).id for n in range(4)]
    finals = [directory.join(*ids, name=name) for name in "ab"]

    for n, id in enumerate(ids):
        append(directory.engine, id, bytes_of(n))

    for final in finals:
        assert content(directory.engine, directory.engine.store.load(final.id)) == DATA


def test_final_that_comes_first_waits_for_its_parts(directory: Directory) -> None:
    """The last byte of the last part makes the whole, without a copy."""
    ids = [directory.begin(n).id for n in range(4)]
    final = directory.join(*ids)

    for n, id in enumerate(ids):
        append(directory.engine, id, bytes_of(n))

    assert content(directory.engine, directory.engine.store.load(final.id)) == DATA
    assert len(directory.numbers()) == 1


def test_late_writer_of_a_part_changes_nothing(directory: Directory) -> None:
    """A request that was overtaken, and wakes up after the whole is made, is refused."""
    id = directory.begin(0).id
    late = directory.engine.append(ask(id), 0, announced=SIZES[0])
    late.write(b"\0" * 10)
    seen = directory.engine.seize(ask(id))
    append(directory.engine, id, bytes_of(0)[10:], offset=seen.offset)
    whole = directory.join(id, *(directory.part(n) for n in (1, 2, 3)))

    with pytest.raises(Interrupted):
        late.write(b"\xff" * 1000)

    late.close()
    assert content(directory.engine, whole) == b"\0" * 10 + DATA[10:]


def test_part_that_is_begun_again_has_another_file(directory: Directory) -> None:
    """A creation that comes late, behind the whole, writes nothing into it."""
    whole = directory.join(*(directory.part(n) for n in range(4)))

    id = directory.begin(0).id
    append(directory.engine, id, b"\xff" * SIZES[0])

    assert content(directory.engine, whole) == DATA


def test_creation_is_the_same_part_each_time(directory: Directory) -> None:
    """An answer that was lost leaves no orphan, and no two parts have one place."""
    first = directory.begin(2)

    again = directory.begin(2)

    assert again.id == first.id
    assert directory.begin(2, key=str(uuid.uuid4())).id != first.id


def test_place_is_of_one_owner(directory: Directory) -> None:
    """The same key of another user is another file."""
    ids = [directory.begin(n, user="adam").id for n in range(4)], [directory.begin(n, user="eve").id for n in range(4)]

    places = [directory.engine.store.load(id).place for some in ids for id in some]

    assert len({place.whole for place in places if place}) == 2 and not set(ids[0]) & set(ids[1])


def test_removed_part_can_come_again(directory: Directory) -> None:
    """The others keep their bytes, and the whole is whole in the end."""
    ids = [directory.part(n) for n in range(3)]
    directory.engine.terminate(ask(ids[1]))

    with pytest.raises(NotFound):
        directory.engine.store.load(ids[1])
    assert directory.part(1) == ids[1]
    whole = directory.join(*ids, directory.part(3))

    assert content(directory.engine, whole) == DATA


def test_expired_parts_leave_nothing(tmp_path: Path) -> None:
    """One after the other is swept, and with the last one the file that they shared."""
    clock = engines.Clock()
    clock.now = time.time()
    directory = Directory(tmp_path / "uploads", upload_valid_duration=60, clock=clock)
    for n in range(3):
        directory.part(n)

    clock.now += 100_000
    swept = len(list(directory.engine.sweep()))
    list(directory.engine.sweep())

    assert swept == 3
    assert [path.name for path in directory.home.iterdir() if path.suffix in (".info", ".place", ".whole")] == []


def test_checksum_that_is_wrong_keeps_nothing(directory: Directory) -> None:
    """The bytes lie in the file of all, and do not count; those of the next request take their place."""
    id = directory.begin(1).id
    right = Checksum("sha1", hashlib.sha1(bytes_of(1)).digest())

    with pytest.raises(ChecksumMismatch):
        append(directory.engine, id, b"\0" * SIZES[1], checksum=right)
    assert directory.engine.store.load(id).offset == 0
    append(directory.engine, id, bytes_of(1), checksum=right)

    whole = directory.join(directory.part(0), id, directory.part(2), directory.part(3))
    assert content(directory.engine, whole) == DATA


def test_process_that_dies_leaves_what_it_wrote(directory: Directory) -> None:
    """After kill -9 the part goes on at its offset, in another process."""
    id = directory.begin(1).id
    writer = directory.engine.append(ask(id), 0, announced=SIZES[1])
    writer.write(bytes_of(1)[:5000])
    die(writer)

    engine = directory.again()
    offset = engine.seize(ask(id)).offset
    append(engine, id, bytes_of(1)[offset:], offset=offset)

    assert offset == 5000
    assert content(engine, directory.join(directory.part(0), id, directory.part(2), directory.part(3))) == DATA


@pytest.mark.parametrize("durable", ["finish", "always"])
def test_after_a_power_cut_only_what_was_synced_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: str
) -> None:
    """A size may be on the disk without the bytes, as these are in another file."""
    directory = Directory(tmp_path / "uploads", durable=durable)
    ids = [directory.begin(1).id, directory.part(0)]
    append(directory.engine, ids[0], bytes_of(1)[:100], announced=100)
    writer = directory.engine.append(ask(ids[0]), 100, announced=SIZES[1] - 100)
    writer.write(bytes_of(1)[100:5000])
    die(writer)

    monkeypatch.setattr("tus.stores.infos.boot", lambda: "another")
    monkeypatch.setattr("tus.stores.file.boot", lambda: "another")
    engine = directory.again()
    offset = engine.seize(ask(ids[0])).offset
    append(engine, ids[0], bytes_of(1)[offset:], offset=offset)
    directory.engine = engine

    assert offset == (100 if durable == "always" else 0)
    assert engine.store.load(ids[1]).complete
    assert content(engine, directory.join(ids[1], ids[0], directory.part(2), directory.part(3))) == DATA


def test_failed_sync_of_one_part_is_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of lost bytes once, and not whose they were: what is not finished begins again."""
    directory = Directory(tmp_path / "uploads", durable="finish")
    ids = [directory.part(0), directory.begin(1).id, directory.begin(2).id]
    append(directory.engine, ids[2], bytes_of(2)[:1000], announced=1000)

    def failing(fd: int) -> None:
        raise StoreBroken("the disk fails")

    with monkeypatch.context() as patched:
        patched.setattr(wholes, "sync", failing)
        with pytest.raises(StoreBroken):
            append(directory.engine, ids[1], bytes_of(1))

    for id in ids[1:]:
        with pytest.raises(NotFound, match="begin again"):
            append(directory.engine, id, b"", announced=0, offset=directory.engine.store.load(id).offset)
    whole = directory.join(ids[0], *(directory.part(n) for n in (1, 2, 3)))
    assert content(directory.engine, whole) == DATA


class Busy(Hooks):
    """Cannot look at anything for a while."""

    busy = True

    def before_finish(self, upload: Upload, file: Any) -> None:
        assert file.read() == DATA
        if self.busy:
            raise Refused("the scanner is away", status=503)


def test_host_that_cannot_look_yet_looks_again(tmp_path: Path) -> None:
    """The whole stays what it is, and is finished by the next request that asks for it, in any process."""
    hooks = Busy()
    directory = Directory(tmp_path / "uploads", hooks)
    ids = [directory.part(n) for n in range(4)]
    with pytest.raises(Refused, match="scanner"):
        directory.join(*ids)

    hooks.busy = False
    whole = directory.join(*ids, engine=directory.again())

    assert whole.complete and content(directory.engine, whole) == DATA


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, *where: Any) -> Iterator[None]:
    """A process that dies when it comes there."""

    def killed(*_: Any, **__: Any) -> None:
        raise MemoryError("killed")

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(*where, killed)
        yield


def test_crash_between_the_name_and_the_record_loses_nothing(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the name of the final upload already, which no retry may cut; not even if another final came."""
    ids = [directory.part(n) for n in range(4)]

    with dying(monkeypatch, "tus.engine.joining.complete"):
        directory.join(*ids)
    with pytest.raises(Gone):
        directory.join(*ids, name="other")

    whole = directory.join(*ids, engine=directory.again())

    assert content(directory.engine, whole) == DATA


def test_record_is_not_read_by_what_knows_no_places(directory: Directory) -> None:
    """An earlier version would find nothing but holes: the digit that it looks at is one that it does not know."""
    record = directory.home / f"{directory.begin(0).id}.info"
    open_ = record.read_bytes()[-3:-2]
    directory.part(0)

    assert (open_, record.read_bytes()[-3:-2]) == (b"4", b"6")


def test_whole_that_is_too_large_is_refused_with_its_first_part(tmp_path: Path) -> None:
    """Nobody sends parts that cannot be put together."""
    directory = Directory(tmp_path / "uploads", max_size=sum(SIZES) - 1)

    with pytest.raises(TooLarge):
        directory.begin(0)


def test_host_that_names_uploads_gets_parts_of_their_own(tmp_path: Path) -> None:
    """Two parts by names of the host might have one place."""

    class Naming(Hooks):
        def before_create(self, request: Any, upload: Upload) -> Upload:
            return upload.evolve(id=f"mine-{upload.id}")

    directory = Directory(tmp_path / "uploads", Naming())
    ids = [directory.part(n) for n in range(4)]

    assert directory.engine.store.load(ids[0]).place is None
    assert content(directory.engine, directory.join(*ids)) == DATA


def test_mode_of_the_whole_is_that_of_every_upload(tmp_path: Path) -> None:
    """The host sees a file as any other."""
    store = FileStore(str(tmp_path), file_mode=0o640)
    place = store.reserve("a" * 32, 0, 10)
    assert place is not None

    store.create(Upload("a" * 32, 10, place=place), fence=Free()).close()

    assert stat.S_IMODE((tmp_path / f"{'a' * 32}.whole").stat().st_mode) == 0o640


def test_file_of_somebody_else_is_left(directory: Directory) -> None:
    """A sweep removes only names that we give."""
    (directory.home / "letters.whole").write_bytes(b"mine")
    os.utime(directory.home / "letters.whole", (1, 1))

    list(directory.engine.sweep(time.time() + 1_000_000))

    assert (directory.home / "letters.whole").read_bytes() == b"mine"
