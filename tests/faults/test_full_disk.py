"""A disk without room: 507 with the offset that holds, and the upload goes on as soon as there is room again.

Needs the right to mount a small file system; where there is none, the limit of a file's size stands in for it.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import live
from tests.conformance.client import BYTES, checksum
from tests.faults.conftest import Client, on

pytestmark = pytest.mark.on_files("a store of objects has no disk of its own that is full")

SIZE = 700_000  # bytes of an upload
ROOM = 400  # KiB on the disk
PLENTY = 4000  # KiB
PAGE = 4096  # bytes that the smallest file takes
CONTENT = random.Random(5).randbytes(SIZE)
FILE_ROADS = on("ours", "gunicorn-gthread")

TooSmall = Callable[..., tuple[Client, "Disk"]]


class Disk:
    """A file system in memory, mounted where the uploads of one collection go."""

    def __init__(self, place: Path, room: int) -> None:
        self.place = place
        self._mount("-t", "tmpfs", "-o", f"size={room}k,mode=700", "tmpfs", str(place))

    def _mount(self, *words: str) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
        if done.returncode:
            raise PermissionError(done.stderr.strip())

    def grow(self) -> None:
        """There is room again."""
        self._mount("-o", f"remount,rw,size={PLENTY}k", str(self.place))

    def read_only(self) -> None:
        """As a file system makes itself that has met an error."""
        self._mount("-o", "remount,ro", str(self.place))

    def leave(self, pages: int = 0) -> None:
        """Something else takes all the room but this."""
        free = os.statvfs(self.place)
        with open(self.place / "ballast", "wb") as ballast:
            if size := free.f_bavail * free.f_bsize - pages * PAGE:
                os.posix_fallocate(ballast.fileno(), 0, size)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)


@pytest.fixture
def small(collection: Callable[..., Client]) -> Iterator[TooSmall]:
    """Makes a collection on a small disk of its own."""
    disks: list[Disk] = []

    def make(**options: object) -> tuple[Client, Disk]:
        tus = collection(**options)
        place = tus.home / "uploads"
        place.mkdir(mode=0o700)
        try:
            disks.append(Disk(place, ROOM))
        except (PermissionError, FileNotFoundError) as error:
            pytest.skip(f"a small file system cannot be mounted here: {error}")
        return tus, disks[-1]

    yield make
    for disk in disks:
        disk.close()


def finished(tus: Client, url: str, content: bytes = CONTENT) -> None:
    """The upload goes on where it is said to be, and is whole."""
    offset = tus.offset(url)
    answer = tus.patch(url, offset, content[offset:])
    assert answer.status == 204, answer
    assert [handed.file for handed in tus.handed()] == [content]


@FILE_ROADS
@pytest.mark.parametrize("size", [SIZE, ROOM * 1024 - 50_000], ids=["more than all", "more than is left"])
def test_full_while_writing(small: TooSmall, size: int) -> None:
    """What fits is kept, 507 says how much that is, and HEAD says the same."""
    tus, disk = small()
    url = tus.create(size)
    if size < SIZE:
        disk.leave(20)

    answer = tus.patch(url, 0, CONTENT[:size])

    assert answer.status == 507, answer
    assert 0 < int(answer["Upload-Offset"]) == tus.stored(url) == tus.offset(url)
    assert tus.handed() == []
    assert tus.patch(url, tus.offset(url), CONTENT[tus.offset(url) : size]).status == 507
    disk.grow()
    finished(tus, url, CONTENT[:size])


@FILE_ROADS
def test_full_while_writing_with_a_checksum(small: TooSmall) -> None:
    """What cannot be verified is not kept; the offset is the one from before."""
    tus, disk = small()
    url = tus.create(SIZE)
    assert tus.patch(url, 0, CONTENT[:1000]).status == 204

    answer = tus.patch(url, 1000, CONTENT[1000:], {"Upload-Checksum": checksum("sha1", CONTENT[1000:])})

    assert (answer.status, answer["Upload-Offset"]) == (507, "1000")
    assert tus.offset(url) == 1000
    disk.grow()
    finished(tus, url)


@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checksummed"])
def test_full_before_the_first_byte(small: TooSmall, checked: bool) -> None:
    """Not even what we need for ourselves has room: the offset stands."""
    tus, disk = small()
    url = tus.create(SIZE)
    disk.leave(0)

    answer = tus.patch(url, 0, CONTENT, {"Upload-Checksum": checksum("sha1", CONTENT)} if checked else {})

    assert answer.status == 507, answer
    assert answer["Upload-Offset"] == "0"
    assert tus.offset(url) == 0
    disk.grow()
    finished(tus, url)


@pytest.mark.parametrize("pages", [0, 1])
def test_full_while_creating(small: TooSmall, pages: int) -> None:
    """Nothing is created that is only half there, and creating works when there is room again."""
    tus, disk = small()
    disk.leave(pages)

    headers = {"Upload-Length": str(SIZE), "Upload-Metadata": "padding " + "AAAA" * 1500}  # a record of two pages
    answer = tus.post(headers)

    assert answer.status == 507, answer
    assert tus.files() == ["ballast"]
    disk.grow()
    finished(tus, tus.create(SIZE))


@FILE_ROADS
def test_full_while_creating_with_upload(small: TooSmall) -> None:
    """The client is told where the upload is, if there is one, and how much of it."""
    tus, disk = small()

    answer = tus.post({"Upload-Length": str(SIZE), "Content-Type": BYTES}, CONTENT)

    assert answer.status == 507, answer
    disk.grow()
    if "Location" in answer:
        assert int(answer["Upload-Offset"]) == tus.offset(answer["Location"])
        finished(tus, answer["Location"])
    else:
        assert tus.files() == []


def test_full_while_concatenating(small: TooSmall) -> None:
    """There is no half a final upload that takes room from others, and the same request makes a whole one when there is
    room."""
    tus, disk = small()
    parts = [tus.part(CONTENT[:120_000]), tus.part(CONTENT[120_000:220_000])]

    refused = tus.final(*parts)

    assert refused.status == 507, refused
    assert tus.handed() == []
    assert tus.delete(tus.part(CONTENT[:10_000])).status == 204
    disk.grow()
    answer = tus.final(*parts)
    assert answer.status == 201, answer
    assert tus.offset(answer["Location"]) == 220_000
    assert [handed.file for handed in tus.handed()] == [CONTENT[:220_000]]


@pytest.mark.parametrize("durable", ["none", "finish"])
def test_full_while_recording_the_finish(small: TooSmall, durable: str) -> None:
    """Every byte is there, but the record of it is not: the next request finishes the upload, once."""
    tus, disk = small(durable=durable)
    size = 10 * PAGE
    url = tus.create(size)
    record = tus.home / "uploads" / f"{tus.id(url)}.info"
    record.write_text(record.read_text().replace(',"complete":0', ""))  # of a version that did not mark it in place
    assert tus.patch(url, 0, CONTENT[: size - PAGE]).status == 204
    disk.leave(1)

    answer = tus.patch(url, size - PAGE, CONTENT[size - PAGE : size])

    assert (answer.status, answer["Upload-Offset"]) == (507, str(size))
    assert tus.handed() == []
    assert tus.head(url).status == 423  # what else would keep a client from starting anew?
    disk.grow()
    assert tus.offset(url) == size
    assert [handed.file for handed in tus.handed()] == [CONTENT[:size]]


@pytest.mark.parametrize("durable", ["none", "finish"])
def test_finishing_needs_no_room(small: TooSmall, durable: str) -> None:
    """The record of an upload has a place for that from its first day."""
    tus, disk = small(durable=durable)
    size = 10 * PAGE
    url = tus.create(size)
    assert tus.patch(url, 0, CONTENT[: size - PAGE]).status == 204
    disk.leave(1)

    answer = tus.patch(url, size - PAGE, CONTENT[size - PAGE : size])

    assert answer.status == 204, answer
    assert [handed.file for handed in tus.handed()] == [CONTENT[:size]]


def test_full_while_recording_the_answer(small: TooSmall) -> None:
    """The host has the file, and nothing can be written down: the client may ask again, and is served in the end."""
    tus, disk = small(hooks="tests.faults.hosts:GreedyWithWords", hand_over="none")
    url = tus.create(1000)

    answer = tus.patch(url, 0, CONTENT[:1000])

    assert answer.status == 507, answer
    assert tus.head(url).status == 423
    disk.grow()
    assert tus.patch(url, 1000).status == 200


def test_full_while_recording_the_answer_of_an_application(small: TooSmall) -> None:
    """What was handed over may go, and makes room for the record: the application is not told twice."""
    tus, disk = small(hooks="tests.faults.hosts:Greedy")
    url = tus.create(PAGE)

    answer = tus.patch(url, 0, CONTENT[:PAGE])

    assert answer.status == 204, answer
    assert tus.offset(url) == PAGE
    assert tus.patch(url, PAGE).status == 204
    assert len(tus.handed()) == 1


@FILE_ROADS
def test_file_as_large_as_it_may_get(server: live.Live, tus: Client) -> None:
    """More room would not help, so the client is told that it is too large, and not to try again."""
    pids = processes(server)
    url = tus.create(SIZE)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM * 1024, resource.RLIM_INFINITY))
    try:
        answer = tus.patch(url, 0, CONTENT)
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    assert (answer.status, answer["Upload-Offset"]) == (413, "0")
    assert b"cannot become that large" in answer.body
    finished(tus, url)


def processes(server: live.Live) -> list[int]:
    """The server's processes."""
    assert server.process
    found = [server.process.pid]
    for pid in found:
        found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def test_full_before_there_is_a_secret(small: TooSmall) -> None:
    """The first chunk of all cannot even be named, which is no fault of ours, either."""
    tus, disk = small()
    disk.leave(0)

    answer = tus.ask("GET", f"{tus.path}/chunks?flowChunkNumber=1&flowTotalChunks=2&flowChunkSize=5&flowTotalSize=10"
                     "&flowIdentifier=10-x&flowFilename=x", version=None)  # fmt: skip

    assert answer.status in (415, 507), answer  # such libraries give up at 415 only
    assert b"no room left" in answer.body


@pytest.mark.parametrize("durable", ["none", "always"])
def test_read_only_disk_is_507(small: TooSmall, durable: str) -> None:
    """Nothing can be stored, and the client is told so; it goes on when that is over."""
    tus, disk = small(durable=durable)
    url = tus.create(SIZE)
    tus.patch(url, 0, CONTENT[:5])
    disk.read_only()

    answers = [tus.post({"Upload-Length": "5"}), tus.patch(url, 5, CONTENT[5:10])]
    head = tus.head(url)
    disk.grow()

    assert [answer.status for answer in answers] == [507, 507]
    assert head.status in (200, 423)
    finished(tus, url)
