"""`engine.follow`: an upload is a file that is read while it arrives. Each test holds on every kind of store."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.engines import Clock, append, ask, create
from tus import Abandoned, Engine, Hooks, Metadata, Result, Silent, Upload
from tus.checksum import Checksum
from tus.engine.numbered import Numbered
from tus.engine.pieces import Piece
from tus.engine.repeating import begin_once
from tus.errors import BodyCut, ChecksumMismatch, Refused, TooLarge
from tus.http.messages import Request
from tus.upload import Chunks

Build = Callable[..., Engine]
NO = Result(422, (), b"the host does not like it")
SILENCE = 20.0  # seconds after which a reader that hears nothing has found a fault


def test_reader_gets_bytes_before_there_are_more(build: Build) -> None:
    """What one request brought is read while nobody sends the next one."""
    engine = build()
    upload = create(engine, 6)
    append(engine, upload.id, b"abc")

    with engine.follow(upload, timeout=SILENCE) as file:
        first = file.read(3)
        append(engine, upload.id, b"def", offset=3)
        rest = file.read()

    assert (first, rest) == (b"abc", b"def")


def test_reader_survives_cuts(build: Build) -> None:
    """It knows nothing of requests: two that are cut, and a third one, are one file."""
    engine = build()
    upload = create(engine, 9)

    with ThreadPoolExecutor(1) as threads, engine.follow(upload, timeout=SILENCE) as file:
        whole = threads.submit(file.read)
        for offset, data in ((0, b"abc"), (3, b"def")):
            with pytest.raises(BodyCut):
                append(engine, upload.id, data, offset=offset, announced=9 - offset, cut=ConnectionError())
        append(engine, upload.id, b"ghi", offset=6)

        assert whole.result() == b"abcdefghi"


def test_rows_of_a_csv_come_one_by_one(build: Build) -> None:
    """Each row is there as soon as its line is, and a row that was cut in two is one."""
    engine = build()
    rows: queue.Queue[list[str]] = queue.Queue()
    upload = create(engine, 22)

    def load() -> None:
        with engine.follow(upload, timeout=SILENCE) as file:
            for row in csv.reader(io.TextIOWrapper(file, "utf-8", newline="")):
                rows.put(row)

    thread = threading.Thread(target=load)
    thread.start()
    append(engine, upload.id, b"id,name\n1,ad")
    first = rows.get(timeout=SILENCE)
    append(engine, upload.id, b"a\n2,gr\xc3\xbcn\n", offset=12)
    thread.join()

    assert first == ["id", "name"]
    assert [rows.get_nowait() for _ in range(rows.qsize())] == [["1", "ada"], ["2", "grün"]]


def test_length_that_comes_late_ends_the_file(build: Build) -> None:
    """Until it is known, the end of what is there is no end."""
    engine = build()
    with engine.begin(ask(), length=None, metadata=Metadata(), announced=0) as writer:
        upload = engine.conclude(writer)
    append(engine, upload.id, b"abc", length=None)

    with ThreadPoolExecutor(1) as threads, engine.follow(upload, timeout=SILENCE) as file:
        whole = threads.submit(file.read)
        append(engine, upload.id, b"def", offset=3, length=6)

        assert whole.result() == b"abcdef"


def test_nothing_is_shown_that_a_checksum_takes_back(build: Build) -> None:
    """A reader sees no byte of a request whose checksum is wrong, neither while it runs nor after."""
    engine = build()
    upload = create(engine, 6)
    seen: list[bytes] = []
    wrong = Checksum("sha1", hashlib.sha1(b"other").digest())

    with engine.follow(upload, timeout=0.2) as file:

        def look(_: object) -> None:
            with pytest.raises(Silent):
                seen.append(file.read1())

        with pytest.raises(ChecksumMismatch):
            append(engine, upload.id, b"bad", announced=3, checksum=wrong, then=look)
    append(engine, upload.id, b"abcdef")
    with engine.follow(upload, timeout=SILENCE) as file:
        whole = file.read()

    assert (seen, whole) == ([], b"abcdef")


def test_silence_is_told_from_the_end(build: Build) -> None:
    """It is a TimeoutError of its own, and the upload can still go on."""
    engine = build()
    upload = create(engine, 6)
    append(engine, upload.id, b"abc")

    with engine.follow(upload, timeout=0.1) as file, pytest.raises(TimeoutError, match="nothing has come"):
        file.read()
    append(engine, upload.id, b"def", offset=3)
    with engine.follow(upload, start=3) as file:
        rest = file.read()

    assert rest == b"def"


@pytest.mark.parametrize("how", ["removed", "expired", "refused"])
def test_upload_that_is_given_up_raises(build: Build, how: str) -> None:
    """A reader is told, and never takes what there is for the whole."""
    engine = build()
    upload = create(engine, 6)

    with ThreadPoolExecutor(1) as threads, engine.follow(upload, timeout=SILENCE) as file:
        append(engine, upload.id, b"abc")
        first = file.read(3)
        whole = threads.submit(file.read)
        if how == "removed":
            engine.terminate(ask(upload.id))
        else:
            over = {"expired": {"expires": 0.0}, "refused": {"result": NO}}[how]
            engine.store.save(engine.store.load(upload.id).evolve(**over))
        with pytest.raises(Abandoned):
            whole.result()

    assert first == b"abc"


def test_chunks_are_read_from_the_first_one_on(build: Build) -> None:
    """The third one waits for the second one, in whatever order they arrive."""
    engine = build()
    numbered = Numbered(engine)

    def send(number: int, data: bytes) -> Upload:
        piece = Piece(("name",), number, Chunks(3, 3), 8)
        writer = numbered.write(numbered.named(ask(), piece), piece, metadata=Metadata(), announced=len(data))
        with writer:
            writer.write(data)
            return numbered.conclude(writer, piece)

    upload = send(0, b"abc")

    with engine.follow(upload, timeout=SILENCE) as file:
        first = file.read1()
        send(2, b"gh")
        send(1, b"def")
        rest = file.read()

    assert (first, rest) == (b"abc", b"defgh")


def test_async_reader_needs_no_thread_to_wait(build: Build) -> None:
    """An async iterator gives blocks as they come."""
    engine = build()
    upload = create(engine, 6)

    async def play() -> list[bytes]:
        blocks = []
        await asyncio.to_thread(append, engine, upload.id, b"abc")
        async for block in engine.follow(upload, timeout=SILENCE):
            blocks.append(block)
            if len(blocks) == 1:
                await asyncio.to_thread(append, engine, upload.id, b"def", offset=3)
        return blocks

    assert asyncio.run(play()) == [b"abc", b"def"]


def test_file_whose_length_is_known_can_be_searched(build: Build) -> None:
    """As an unzipper does, which begins at the end."""
    engine = build()
    upload = create(engine, 6)

    with ThreadPoolExecutor(1) as threads, engine.follow(upload, timeout=SILENCE) as file:
        assert file.seekable()
        assert file.seek(-2, io.SEEK_END) == 4
        end = threads.submit(file.read)
        append(engine, upload.id, b"abcdef")
        last = end.result()
        file.seek(0)

        assert (last, file.read(2)) == (b"ef", b"ab")


def test_hook_hears_of_the_first_bytes(build: Build) -> None:
    """Once, when they come and the upload can be followed: with a creation that has a body, be it one that may be
    repeated, or with the first PATCH."""
    heard: list[str] = []

    class Hearing(Hooks):
        def arriving(self, upload: Upload) -> None:
            heard.append(upload.id)
            assert engine.follow(upload).seekable()

    engine = build(Hearing())
    empty = create(engine, 6)
    before = list(heard)
    append(engine, empty.id, b"abc")
    append(engine, empty.id, b"def", offset=3)
    with engine.begin(ask(), length=3, metadata=Metadata(), announced=3) as writer:
        writer.write(b"xyz")
        full = engine.conclude(writer)
    with begin_once(engine, ask(), key="a", length=3, metadata=Metadata(), announced=3) as writer:
        writer.write(b"xyz")
        keyed = engine.conclude(writer)

    assert (before, heard) == ([], [empty.id, full.id, keyed.id])


@pytest.mark.parametrize("length", [6, 3])
def test_hook_hears_of_a_creation_whose_checksum_is_right(build: Build, length: int) -> None:
    """Not before, since nothing of it may be read until then; and once."""
    heard: list[tuple[str, bytes]] = []

    class Hearing(Hooks):
        def arriving(self, upload: Upload) -> None:
            heard.append((upload.id, engine.follow(upload, timeout=SILENCE).read(3)))

    engine = build(Hearing())
    for data in (b"abc", b"xyz"):
        given = {"length": length, "metadata": Metadata(), "checksum": Checksum("sha1", hashlib.sha1(b"xyz").digest())}
        with suppress(ChecksumMismatch), engine.begin(ask(), announced=3, **given) as writer:
            writer.write(data)
            upload = engine.conclude(writer)
    if length > 3:
        append(engine, upload.id, b"abc", offset=3)

    assert heard == [(upload.id, b"xyz")]


@pytest.mark.parametrize(("length", "left"), [(6, []), (3, ["whole"])])
def test_hook_that_fails_late_ends_no_finished_upload(build: Build, length: int, left: list[str]) -> None:
    """A client that wants to go on with an upload hears of it, and nothing is left. One that came whole stays."""

    class Failing(Hooks):
        def before_create(self, request: Request, upload: Upload) -> Upload:
            return upload.evolve(id="whole")

        def arriving(self, upload: Upload) -> None:
            raise Refused("no")

    engine = build(Failing())
    good = Checksum("sha1", hashlib.sha1(b"xyz").digest())
    told = suppress(Refused) if left else pytest.raises(Refused)
    with told, engine.begin(ask(), length=length, metadata=Metadata(), announced=3, checksum=good) as writer:
        writer.write(b"xyz")
        assert engine.conclude(writer).complete

    assert list(engine.store.ids()) == left


def test_hook_hears_again_when_a_creation_is_repeated(build: Build) -> None:
    """The request that began was cut before it brought a byte, and whoever was told may be dead."""
    heard: list[str] = []

    class Hearing(Hooks):
        def arriving(self, upload: Upload) -> None:
            heard.append(upload.id)

    engine = build(Hearing())
    said = {"key": "a", "length": 3, "metadata": Metadata(), "announced": 3}
    with pytest.raises(BodyCut), begin_once(engine, ask(), **said) as writer:  # type: ignore[arg-type]
        raise BodyCut("the client went away")
    for _ in range(2):
        with begin_once(engine, ask(), **said) as writer:  # type: ignore[arg-type]
            writer.write(b"xyz")
            upload = engine.conclude(writer)

    assert heard == [upload.id] * 2


def test_body_that_is_too_long_ends_what_was_read_of_it(build: Build) -> None:
    """Its bytes were shown, so they cannot be replaced by others: nothing can come of the upload any more."""
    engine = build(download="live")
    upload = create(engine, 3)

    with pytest.raises(TooLarge), engine.append(ask(upload.id), 0, announced=None) as writer:
        writer.write(b"ab")
        writer.write(b"cd")

    with engine.follow(upload, timeout=SILENCE) as file, pytest.raises(Abandoned):
        file.read()


def test_reader_leaves_nothing_behind(build: Build) -> None:
    """When the last one closes its file, nobody looks at the upload any more."""
    engine = build()
    upload = create(engine, 3)
    append(engine, upload.id, b"ab")
    files = [engine.follow(upload) for _ in range(3)]
    for file in files:
        file.read1()
    many = len(engine.watches)

    for file in files:
        file.close()

    assert (many, len(engine.watches)) == (1, 0)


def test_another_upload_by_the_same_name_is_not_read(build: Build) -> None:
    """One that was removed, and whose name was used again, leads no reader into the bytes of the other."""
    clock = Clock()
    engine = build(clock=clock, name=lambda: "report")
    upload = create(engine, 6)
    append(engine, upload.id, b"abc")

    with engine.follow(upload, timeout=SILENCE) as file:
        assert file.read1() == b"abc"
        engine.store.delete(upload.id)
        clock.now += 1
        append(engine, create(engine, 6).id, b"UVWXYZ")
        with pytest.raises(Abandoned, match="gone"):
            file.read()


def test_closed_while_a_thread_looks(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cancelled request leaves to a thread ends with it: nobody looks at the upload for ever."""
    engine = build()
    upload = create(engine, 6)
    file, load = engine.follow(upload), engine.store.load

    def closing(id: str, **how: bool) -> Upload:
        if not file.closed:
            file.close()
        return load(id, **how)

    monkeypatch.setattr(engine.store, "load", closing)
    with pytest.raises(ValueError, match="nobody reads"):
        file._follower.take(10)

    assert len(engine.watches) == 0
