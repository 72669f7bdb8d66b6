"""A disk that takes bytes and then cannot keep them: the kernel says so once, and forgets. Nothing may be finished of
such bytes, and the client is told what is certain.

Needs the right to mount a file system in a file, or strace to let system calls fail; the reason is printed where not.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import live
from tests.conformance.client import Client as Conforming
from tests.conformance.client import checksum
from tests.faults.conftest import Client, on

pytestmark = [pytest.mark.slow, pytest.mark.on_files("a sync belongs to a disk")]

IMAGE = 64 << 20  # bytes that the file system believes it has
ROOM = 1 << 20  # bytes that it has
SIZE = 4 << 20  # bytes of an upload
CERTAIN = 100_000  # bytes that fit
CONTENT = random.Random(7).randbytes(SIZE)


def run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())


class Liar:
    """An ext4 with more room than the disk below it has."""

    def __init__(self, below: Path, place: Path) -> None:
        self.below, self.place = below, place
        self.image = below / "image"
        below.mkdir()
        place.mkdir(mode=0o700)
        run("mount", "-t", "tmpfs", "-o", f"size={2 * IMAGE}", "tmpfs", below)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE)
        # Without a journal: one that cannot be written makes the file system read-only.
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", self.image)
        run("mount", "-o", "loop", self.image, place)
        (place / "lost+found").rmdir()
        used = os.stat(self.image).st_blocks * 512
        run("mount", "-o", f"remount,size={used + ROOM}", below)

    def grow(self) -> None:
        """The disk has what was promised."""
        run("mount", "-o", f"remount,size={2 * IMAGE}", self.below)

    def really(self, id: str) -> bytes:
        """What the disk has, whatever the page cache says."""
        command = ["debugfs", "-R", f"cat {id}", str(self.image)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout

    def close(self) -> None:
        for place in (self.place, self.below):
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True)


Lying = Callable[..., tuple[Client, Liar]]


@pytest.fixture
def lying(collection: Callable[..., Client], tmp_path: Path) -> Iterator[Lying]:
    """Makes a collection on such a disk."""
    disks: list[Liar] = []

    def make(**options: object) -> tuple[Client, Liar]:
        tus = collection(cleanup=False, **options)
        try:
            disks.append(Liar(tmp_path / "below", tus.home / "uploads"))
        except (PermissionError, FileNotFoundError) as error:
            pytest.skip(f"a file system in a file cannot be mounted here: {error}")
        return tus, disks[-1]

    yield make
    for disk in disks:
        disk.close()


@on("ours", "ours-workers")
@pytest.mark.parametrize("durable", ["finish", "always"])
def test_upload_is_never_finished_from_bytes_that_the_disk_lost(lying: Lying, durable: str) -> None:
    """The client is told what is certain, sends the rest again, and what it sent is what lies on the disk."""
    tus, disk = lying(durable=durable)
    url = tus.create(SIZE)
    assert tus.patch(url, 0, CONTENT[:CERTAIN]).status == 204
    certain = CERTAIN if durable == "always" else 0

    answer = tus.patch(url, CERTAIN, CONTENT[CERTAIN:])
    found = [tus.offset(url) for _ in range(4)]

    assert answer.status in (500, 507), tus.server.output
    assert "Upload-Offset" in answer, tus.server.output
    assert (answer["Upload-Offset"], found) == (str(certain), [certain] * 4)
    assert tus.handed() == []
    disk.grow()
    assert tus.patch(url, certain, CONTENT[certain:]).status == 204
    assert disk.really(tus.id(url)) == CONTENT


def test_creation_is_never_finished_from_bytes_that_the_disk_lost(lying: Lying) -> None:
    """Nor where all of it came with the creation."""
    tus, disk = lying(durable="finish")
    headers = {"Upload-Length": str(SIZE), "Content-Type": "application/offset+octet-stream"}

    answer = tus.post(headers, CONTENT)

    assert answer.status in (500, 507), tus.server.output
    assert (answer["Upload-Offset"], tus.offset(answer["Location"])) == ("0", 0)
    disk.grow()
    assert tus.patch(answer["Location"], 0, CONTENT).status == 204
    assert disk.really(tus.id(answer["Location"])) == CONTENT


class Faulty:
    """A server whose system calls fail as they are told to."""

    def __init__(self, server: live.Live) -> None:
        self.server = server
        self._tracer: subprocess.Popen[bytes] | None = None

    def fail(self, **calls: str) -> None:
        """From here on these calls fail with these errors."""
        assert self.server.process
        words = [f"--inject={name}:error={error}" for name, error in calls.items()]
        self._tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", f"--trace={','.join(calls)}", *words]
            + ["-p", str(self.server.process.pid)],
            stderr=subprocess.PIPE,
        )
        assert self._tracer.stderr
        if b"attached" not in self._tracer.stderr.readline():
            self.recover()
            pytest.skip("strace may not attach to a process here")

    def recover(self) -> None:
        tracer, self._tracer = self._tracer, None
        if tracer:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            assert tracer.stderr
            tracer.stderr.close()


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Callable[[str], tuple[Conforming, Faulty]]]:
    """Makes a server with this durability."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed (apt install strace)")
    made: list[Faulty] = []

    def make(durable: str) -> tuple[Conforming, Faulty]:
        server = live.start("ours", home=tmp_path / durable, durable=durable, sweep_interval="none")
        made.append(Faulty(server))
        return Conforming(server, ""), made[-1]

    yield make
    for disk in made:
        disk.recover()
        disk.server.close()


Broken = Callable[[str], tuple[Conforming, Faulty]]


@pytest.mark.parametrize("durable", ["finish", "always"])
def test_failed_sync_of_a_head_falls_back(faulty: Broken, durable: str) -> None:
    """A HEAD that finishes what a crash left is told what is certain, and so is the next one."""
    tus, disk = faulty(durable)
    url = tus.create(10)
    tus.patch(url, 0, b"hello")
    with open(tus.home / "uploads" / tus.id(url), "ab") as file:  # the last write of somebody who died after it
        file.write(b"world")
    disk.fail(fdatasync="EIO")

    found = [tus.offset(url)]
    disk.recover()
    found.append(tus.offset(url))

    certain = 5 if durable == "always" else 0
    assert found == [certain] * 2
    assert tus.handed() == []
    assert tus.patch(url, certain, b"helloworld"[certain:]).status == 204
    assert [handed.file for handed in tus.handed()] == [b"helloworld"]


def test_failed_sync_of_a_checksummed_piece_falls_back(faulty: Broken) -> None:
    """What is right is not yet stored."""
    tus, disk = faulty("always")
    url = tus.create(10)
    tus.patch(url, 0, b"hello")
    disk.fail(fdatasync="EIO")

    answer = tus.patch(url, 5, b"wor", {"Upload-Checksum": checksum("sha1", b"wor")})
    disk.recover()

    assert (answer.status, answer["Upload-Offset"], tus.offset(url)) == (500, "5", 5)


def test_sync_that_fails_for_a_cut_request_falls_back(faulty: Broken) -> None:
    """An offset that is told is on the disk, also in the answer to a body that broke off."""
    tus, disk = faulty("always")
    url = tus.create(10)
    tus.patch(url, 0, b"hello")
    disk.fail(fdatasync="EIO")

    with tus.begin(url, 5, 5, b"wor") as connection:
        connection.half_close()
        answer = connection.answer()
    disk.recover()

    assert (answer.status, answer["Upload-Offset"], tus.offset(url)) == (503, "5", 5)


@pytest.mark.parametrize("failing", [("ftruncate",), ("ftruncate", "renameat")], ids="+".join)
@pytest.mark.parametrize("asked", ["HEAD", "PATCH"])
def test_doubtful_bytes_that_cannot_be_cut_off_are_not_finished(faulty: Broken, failing: str, asked: str) -> None:
    """Not even the note that they are doubtful can be written: the upload is refused until it can."""
    tus, disk = faulty("finish")
    url = tus.create(10)
    disk.fail(fdatasync="EIO", **dict.fromkeys(failing, "EIO"))

    first = tus.patch(url, 0, b"helloworld")
    while_failing = tus.head(url).status if asked == "HEAD" else tus.patch(url, 10).status
    disk.recover()

    assert first.status == 500
    assert while_failing in ((200, 423) if asked == "HEAD" else (409, 500))
    assert tus.patch(url, 10).status == 409
    assert tus.offset(url) == 0
    assert tus.handed() == []
    assert tus.patch(url, 0, b"helloworld").status == 204


def test_failed_sync_of_a_concatenation_copies_again(faulty: Broken) -> None:
    """The copy is doubtful, the parts are not."""
    tus, disk = faulty("finish")
    parts = [tus.part(b"hello"), tus.part(b"world")]
    disk.fail(fdatasync="EIO")

    refused = tus.final(*parts)
    disk.recover()
    answer = tus.final(*parts)

    assert (refused.status, answer.status) == (500, 201)
    assert [handed.file for handed in tus.handed()] == [b"helloworld"]


def test_chunk_whose_sync_failed_is_not_there(faulty: Broken) -> None:
    """It is asked for again, and the file is finished with it once it was stored."""
    tus, disk = faulty("finish")
    words = "flowChunkSize=5&flowTotalSize=10&flowIdentifier=10-x&flowFilename=x&flowTotalChunks=2&flowChunkNumber="

    headers = {"Content-Type": "application/octet-stream"}

    def send(number: int, data: bytes) -> int:
        return tus.ask("POST", f"{tus.path}/chunks?{words}{number}", headers, data, version=None).status

    newcomer = tus.ask("GET", f"{tus.path}/chunks?{words}1", version=None)
    headers["Cookie"] = newcomer["Set-Cookie"].partition(";")[0]
    assert send(1, b"hello") == 200
    disk.fail(fdatasync="EIO")
    refused = send(2, b"world")
    disk.recover()

    assert refused == 500
    assert tus.handed() == []
    assert tus.ask("GET", f"{tus.path}/chunks?{words}2", headers, version=None).status == 204
    assert send(2, b"world") == 200
    assert [handed.file for handed in tus.handed()] == [b"helloworld"]
