"""Sweeping takes what has expired or was left half made, and nothing else; and nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import live
from tests.drafting import new
from tests.faults.conftest import Client
from tus import Options
from tus.engine import new_id
from tus.errors import Interrupted
from tus.tus import Application
from tus.upload import Chunks

pytestmark = pytest.mark.on_files("its files are made old, or swept by a command")

OLD = 30 * 86400  # seconds; older than any limit
CONTENT = b"hello world"


def aged(tus: Client, *names: str, by: int = OLD) -> None:
    """As if nobody had touched these files for a month."""
    then = time.time() - by
    for name in names:
        os.utime(tus.home / "uploads" / name, (then, then))


def sweep(tus: Client, *words: str) -> str:
    """What `tus sweep` printed."""
    command = [sys.executable, "-m", "tus", "sweep", str(tus.home / "uploads"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=live.ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(tus: Client) -> set[str]:
    return {name for name in tus.files() if not name.endswith(".lease")}


def test_only_expired_uploads_go(collection: Callable[..., Client]) -> None:
    """Unfinished ones that are too old; not the young, the finished, the pending, nor those being written to."""
    tus = collection(cleanup="false")
    old, young, finished = tus.create(20), tus.create(20), tus.uploaded(CONTENT)
    tus.plan(status="503 Later")
    pending = tus.create(len(CONTENT))
    tus.patch(pending, 0, CONTENT)
    for url in (old, finished, pending):
        aged(tus, tus.id(url), tus.id(url) + ".info")

    said = sweep(tus)

    kept = {tus.id(url) for url in (young, finished, pending)}
    assert names(tus) == kept | {f"{id}.info" for id in kept}
    assert tus.id(old) in said
    assert tus.head(old).status in (404, 410)
    assert tus.offset(young) == 0
    tus.plan()
    assert tus.patch(pending, len(CONTENT)).status == 204


def test_upload_that_is_being_written_stays(tus: Client) -> None:
    """A slow client keeps its upload alive with every byte."""
    url = tus.create(100_000)
    with tus.begin(url, 0, 100_000, CONTENT) as connection:
        tus.arrived(url, len(CONTENT))
        aged(tus, tus.id(url) + ".info")

        sweep(tus)

        connection.send(b"x" * (100_000 - len(CONTENT)))
        assert connection.answer().status == 204


def test_upload_that_is_being_written_outlives_a_clock_that_jumps(tus: Client) -> None:
    """Its last byte seems to have come a month ago, but somebody holds it."""
    url = tus.create(100_000)
    with tus.begin(url, 0, 100_000, CONTENT) as connection:
        tus.arrived(url, len(CONTENT))
        aged(tus, tus.id(url), tus.id(url) + ".info")

        said = sweep(tus)

        connection.send(b"x" * (100_000 - len(CONTENT)))
        assert connection.answer().status == 204
    assert tus.id(url) not in said
    assert [handed.upload for handed in tus.handed()] == [tus.id(url)]


KILLED = """
import os, sys
from tests.engines import ask, build, create
engine = build(sys.argv[1])
upload = create(engine, 10)
older = engine.locker.lease(upload.id)
with engine.append(ask(upload.id), 0, announced=10) as writer:
    writer.write(b"abc")
    os.kill(os.getpid(), 9)
"""


def test_upload_whose_process_was_killed_expires(tmp_path: Path) -> None:
    """It had taken the upload from another request, so it left word that it writes, and nobody does."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=live.ROOT)
    engine = Application(Options({"tmp_file_dir": str(tmp_path)}, environ={})).engine
    (upload,) = engine.uploads()
    assert engine.locker.writing(upload.id)

    swept = list(engine.sweep(time.time() + OLD))

    assert [one.id for one in swept] == [upload.id]
    assert os.listdir(tmp_path) == []


def test_sweep_leaves_the_lease_of_a_chunk_that_takes_long(tmp_path: Path) -> None:
    """An hour after it began, a newer request still takes it over, and they never write side by side."""
    engine = Application(Options({"tmp_file_dir": str(tmp_path)}, environ={})).engine
    upload = new(engine.store, new_id(), chunks=Chunks(10, 2))
    older = engine.locker.lease(f"{upload.id}-1")
    then = time.time() - 7200
    os.utime(tmp_path / f"{upload.id}-1.lease", (then, then))

    list(engine.sweep())
    newer = engine.locker.lease(f"{upload.id}-1")

    with pytest.raises(Interrupted), older.turn():
        pass
    newer.release(forget=True)
    assert not list(tmp_path.glob("*-1.lease"))


def test_dry_run_removes_nothing(tus: Client) -> None:
    """It only says what would go."""
    url = tus.create(20)
    aged(tus, tus.id(url), tus.id(url) + ".info")
    before = tus.files()

    assert "would be removed" in sweep(tus, "--dry-run")
    assert tus.files() == before


def test_what_a_crash_left_goes(tus: Client) -> None:
    """Half-made uploads, half-written records, and leases of nothing; but only when they are old."""
    url = tus.create(20)
    uploads = tus.home / "uploads"
    left = ["a" * 32, f"{'a' * 32}.new", f"{tus.id(url)}.new", f"{'c' * 32}.lease"]
    fresh = ["b" * 32, f"{'b' * 32}.new", f"{'d' * 32}.lease"]
    for name in left + fresh:
        (uploads / name).write_bytes(b"" if name.endswith((".lease", ".new")) else b"half")
    aged(tus, *left)
    aged(tus, tus.id(url), by=2 * 3600)

    sweep(tus)

    assert set(tus.files()) == {tus.id(url), f"{tus.id(url)}.info", *fresh}
    assert tus.offset(url) == 0


def test_files_of_others_are_not_touched(tus: Client, tmp_path: Path) -> None:
    """Whatever else lies there, under whatever name, is none of our business."""
    tus.create(20)
    uploads = tus.home / "uploads"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep me")
    strangers = {
        "README": "text",
        ".hidden.new": "text",
        "with space.new": "text",
        "a.b.info": "{}",
        "notes.info": "not json",
        "empty.info": "",
        "list.info": "[]",
        "data-without-record": "text",
        "budget": "text",
        "budget.new": "a newer budget, and a longer one",
        "flat.lease": "rent",
        "empty.lease": "",
        "long.lease": "a lease of a flat, with as many letters as one of ours has bytes",
        "letter": "a letter",
        "letter.new": "",
        "memo": "a memo",
        "memo.new": '{"ID',
        "photo.kept": "a photo",
    }
    for name, text in strangers.items():
        (uploads / name).write_text(text)
    (uploads / "link.info").symlink_to(outside / "precious")
    (uploads / "link").symlink_to(outside / "precious")
    (uploads / "folder.info").mkdir()
    aged(tus, *strangers)

    sweep(tus, "--sweep-finished")

    assert set(strangers) | {"link.info", "link", "folder.info"} <= set(tus.files())
    assert (outside / "precious").read_text() == "keep me"


def test_links_lead_nowhere(tus: Client, tmp_path: Path) -> None:
    """A link in the place of the data is no upload: nothing behind it is read, written or removed."""
    url = tus.create(20)
    data = tus.home / "uploads" / tus.id(url)
    data.unlink()
    (tmp_path / "secret").write_text("secret")
    data.symlink_to(tmp_path / "secret")

    assert tus.head(url).status == 404
    assert tus.patch(url, 0, CONTENT).status == 404
    assert tus.patch(url, 6, CONTENT).status == 404
    assert tus.get(url).status == 404
    tus.delete(url)

    assert (tmp_path / "secret").read_text() == "secret"


def test_sweeping_beside_a_running_server(tus: Client) -> None:
    """Uploads that come and go while it runs are finished, each once, and the expired ones are gone."""
    expired = [tus.create(20) for _ in range(20)]
    for url in expired:
        aged(tus, tus.id(url), tus.id(url) + ".info")
    command = [sys.executable, "-m", "tus", "sweep", str(tus.home / "uploads")]
    sweeper = subprocess.Popen(command, cwd=live.ROOT, stdout=subprocess.DEVNULL)
    count = 0
    try:
        while sweeper.poll() is None:
            url = tus.create(len(CONTENT))
            assert tus.patch(url, 0, CONTENT[:5]).status == 204
            assert tus.patch(url, 5, CONTENT[5:]).status == 204
            count += 1
    finally:
        assert sweeper.wait() == 0

    assert len(tus.handed()) == count
    assert all(tus.head(url).status in (404, 410) for url in expired)


def test_server_sweeps_by_itself(collection: Callable[..., Client]) -> None:
    """After the first request, a thread of the server does it every now and then."""
    tus = collection(sweep_interval=0.05)
    url = tus.create(20)
    aged(tus, tus.id(url), tus.id(url) + ".info")

    live.until(lambda: names(tus) == set())


@pytest.mark.slow
def test_creating_takes_as_long_in_a_full_directory(collection: Callable[..., Client]) -> None:
    """With twenty thousand files in it, creating takes as long as with none."""
    empty, full = collection(), collection()
    full.create(5)
    for number in range(20_000):
        (full.home / "uploads" / f"{number:032x}").touch()

    def creating(tus: Client) -> float:
        tus.create(5)
        times = []
        for _ in range(15):
            start = time.perf_counter()
            tus.create(5)
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]

    fast, slow = creating(empty), creating(full)
    print(f"creating: {fast * 1000:.2f} ms in an empty directory, {slow * 1000:.2f} ms beside 20,000 files")
    # Listing takes some 10 ms; a creation is one.
    assert slow < 2 * fast + 0.003


@pytest.mark.parametrize("words", [(), ("--json",), ("--expired",), ("--unfinished",)])
def test_listing_disturbs_nobody(tus: Client, words: tuple[str, ...]) -> None:
    """`tus ls` takes no lease: who writes goes on."""
    url = tus.create(100_000)
    with tus.begin(url, 0, 100_000, CONTENT) as connection:
        tus.arrived(url, len(CONTENT))
        command = [sys.executable, "-m", "tus", "ls", str(tus.home / "uploads"), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=live.ROOT)
        connection.send(b"x" * (100_000 - len(CONTENT)))

        assert connection.answer().status == 204
    assert done.returncode == 0
    assert (tus.id(url) in done.stdout) == ("--expired" not in words)
