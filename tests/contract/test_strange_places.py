"""Parts in their final place, where the disk, a crash or somebody else gets in the way."""

from __future__ import annotations

import errno
import os
import resource
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import engines
from tests.contract.test_places import DATA, SIZES, Directory, bytes_of, directory, dying
from tests.engines import append, ask, content
from tus.engine import joining
from tus.errors import NotFound, StoreBroken
from tus.stores import wholes

__all__ = ["directory"]


def whole_of(directory: Directory) -> Path:
    """The file that the parts share."""
    (found,) = directory.home.glob("*.whole")
    return found


def whole_to_be(directory: Directory) -> Path:
    """Where that file will be."""
    part = directory.begin(0).id
    found = whole_of(directory)
    directory.engine.terminate(ask(part))
    return found


def test_part_that_cannot_have_its_place_leaves_nothing(directory: Directory) -> None:
    """A creation that fails has neither a file nor a name, and the next one works."""
    shared = whole_to_be(directory)
    shared.mkdir()  # has no second name
    before = sorted(directory.home.iterdir()), opened(directory.home)

    with pytest.raises(OSError):
        directory.begin(0)

    assert (sorted(directory.home.iterdir()), opened(directory.home)) == before
    shared.rmdir()
    assert content(directory.engine, directory.join(*(directory.part(n) for n in range(4)))) == DATA


def test_link_by_the_name_of_a_whole_is_not_followed(directory: Directory, tmp_path: Path) -> None:
    """Somebody else who can write there has no part written over a file of ours."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    shared = whole_to_be(directory)
    shared.symlink_to(victim)

    with pytest.raises((NotFound, OSError)):
        directory.part(0)

    assert victim.read_bytes() == b"mine"
    assert victim.stat().st_nlink == 1


def test_dangling_link_by_the_name_of_a_whole_holds_nobody_up(directory: Directory, tmp_path: Path) -> None:
    """It is no whole, and nothing is made where it leads."""
    shared = whole_to_be(directory)
    shared.symlink_to(tmp_path / "nowhere")

    with pytest.raises((NotFound, OSError)):
        directory.part(0)

    assert not (tmp_path / "nowhere").exists()


def test_disk_that_takes_no_mark_either_is_still_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that became read-only with the failed sync: this process does not believe the next one."""
    directory = Directory(tmp_path / "uploads", durable="finish")
    id = directory.begin(1).id
    other = directory.begin(2).id

    def failing(fd: int) -> None:
        raise StoreBroken("the disk fails")

    def refused(*_: Any) -> None:
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr(wholes, "sync", failing)
        patched.setattr(os, "fchmod", refused)
        with pytest.raises(StoreBroken):
            append(directory.engine, id, bytes_of(1))

    assert directory.engine.store.load(id).offset == 0
    with pytest.raises((NotFound, StoreBroken)):
        append(directory.engine, other, bytes_of(2))


def test_request_that_comes_behind_the_join_finds_the_whole(directory: Directory) -> None:
    """It looked before its parts became the whole, and after: there is nothing gone."""
    ids = [directory.part(n) for n in range(3)] + [directory.begin(3).id]
    waiting = directory.join(*ids)
    append(directory.engine, ids[3], bytes_of(3))

    found = joining.join_parts(directory.engine, waiting)

    assert found.complete and content(directory.engine, found) == DATA


def test_time_of_the_whole_is_that_of_the_joining(directory: Directory) -> None:
    """As of every other final upload: a host that keeps finished files for a while counts from there."""
    ids = [directory.part(n) for n in range(4)]
    shared = whole_of(directory)
    os.utime(shared, (1_000_000, 1_000_000))

    whole = directory.join(*ids)

    assert directory.engine.store.load(whole.id).touched > time.time() - 1000


def test_whole_has_its_mode_whatever_a_crash_left(directory: Directory) -> None:
    """A process that died between making it and giving it its mode does not change who may read the upload."""
    whole_to_be(directory).touch(0o640)

    whole = directory.join(*(directory.part(n) for n in range(4)))

    assert stat.S_IMODE((directory.home / whole.id).stat().st_mode) == 0o600


def test_parts_that_a_crash_left_behind_their_whole_go_with_a_sweep(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would keep its blocks when it is removed."""
    ids = [directory.part(n) for n in range(4)]

    with dying(monkeypatch, directory.engine.store, "delete"):
        directory.join(*ids)
    (whole,) = [upload for upload in directory.engine.uploads() if upload.final]
    assert whole.complete

    list(directory.again().sweep(time.time() + 10_000))

    assert content(directory.engine, whole) == DATA
    assert sorted(path.name for path in directory.home.iterdir() if path.name[0] != ".") == [
        whole.id,
        f"{whole.id}.info",
    ]


def test_last_part_that_is_removed_frees_the_disk(directory: Directory) -> None:
    """At once: who uploads and removes, with one key after the other, does not fill it."""
    ids = [directory.part(n) for n in (0, 2)]
    directory.engine.terminate(ask(ids[0]))
    assert directory.numbers()

    directory.engine.terminate(ask(ids[1]))

    assert [path.name for path in directory.home.iterdir() if path.name[0] != "."] == []


def test_name_of_a_place_that_was_left_is_not_read_from(directory: Directory) -> None:
    """An earlier version that cleans up does not know these names; the next upload by this id has bytes of its own."""
    id = directory.part(1)
    store = directory.engine.store
    place = (directory.home / f"{id}.place").read_bytes()
    store.delete(id)
    (directory.home / f"{id}.place").write_bytes(place)

    append(directory.engine, engines.create(directory.engine, 4, id=id).id, b"mine")

    with store.open(id) as file:
        assert file.read() == b"mine"


def test_part_that_rests_wakes_up_where_too_many_files_are_open(directory: Directory) -> None:
    """Whichever of its files cannot be opened: the next block goes on."""
    with directory.engine.append(ask(id := directory.begin(0).id), 0, announced=SIZES[0]) as writer:
        writer.write(bytes_of(0)[:1000])
        writer.rest()
        for room in (1, 1, 1, 2):
            with crowded(room), suppress(OSError):
                assert writer.draft
                writer.draft.write(bytes_of(0)[writer.draft.taken :][:10])
        assert writer.draft
        writer.draft.write(bytes_of(0)[writer.draft.taken :])
        writer.received = SIZES[0]
        directory.engine.conclude(writer)

    with directory.engine.store.open(id) as file:
        assert file.read() == bytes_of(0)


def opened(home: Path) -> list[str]:
    """What this process has open there; elsewhere, a test before this one may have left something to the collector."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(name for name in found if name.startswith(f"{home}/"))


@contextmanager
def crowded(room: int) -> Iterator[None]:
    """So many files can be opened, and no more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 256), before[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open("/", os.O_RDONLY))
        for fd in held[:room]:
            os.close(fd)
        del held[:room]
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
