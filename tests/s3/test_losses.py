"""Whatever breaks between a store and its engine: what a client was told is there, and the file is right in the end."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.drafting import add, content, going_on, new
from tests.s3.conftest import MIB, PART, Reopen, calls_for
from tests.s3.proxy import Handler, Proxy
from tus.errors import NotFound, StoreBroken, TusError
from tus.stores.s3 import S3Store
from tus.stores.s3.tidying import Tidying

pytestmark = [pytest.mark.engines, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent.parent


def finish(store: S3Store, data: bytes, id: str = "a") -> None:
    """Send what is missing, and finish the upload, as a client does after trouble."""
    offset = store.load(id).offset
    draft, _ = going_on(store, offset, id)
    draft.write(data[offset:])
    store.finish(store.load(id).evolve(complete=True), draft)
    draft.close()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_hole_in_the_parts_ends_what_counts(store: S3Store, reopen: Reopen, proxy: Proxy, number: int) -> None:
    """A part fails for good while later ones succeed: the offset is where the hole is, and the file gets whole."""
    data = os.urandom(5 * PART)
    new(store, length=len(data))
    proxy.fail(f"UploadPart .*partNumber={number}&", 503, times=4)
    draft, _ = going_on(store, 0)

    with pytest.raises(StoreBroken) as raised:
        draft.write(data)
        draft.commit()
    draft.close()

    told = raised.value.offset
    assert (told, reopen().load("a").offset) == ((number - 1) * PART,) * 2
    finish(reopen(), data)
    assert content(reopen()) == data


def test_small_chunk_after_a_hole_is_right(store: S3Store, reopen: Reopen, proxy: Proxy) -> None:
    """The next request fills the hole with a few bytes only; what lies beyond it is the client's own."""
    data = os.urandom(4 * PART)
    new(store, length=len(data))
    proxy.fail("UploadPart .*partNumber=2&", 500, times=4)
    draft, _ = going_on(store, 0)
    with pytest.raises(StoreBroken):
        draft.write(data)
        draft.commit()
    draft.close()

    offset = reopen().load("a").offset
    while offset < len(data):
        add(reopen(), offset, data[offset : offset + 3 * MIB])
        assert reopen().load("a").offset >= offset + min(3 * MIB, len(data) - offset)
        offset = reopen().load("a").offset
    store.finish(reopen().load("a").evolve(complete=True))

    assert content(reopen()) == data


def test_part_that_breaks_off_does_not_count(store: S3Store, reopen: Reopen, proxy: Proxy) -> None:
    """versitygw 1.8 stores a body that breaks off as if it were whole, unless something proves what it is."""
    data = os.urandom(2 * PART)
    new(store, length=len(data))
    proxy.cut("UploadPart ", 3 * MIB, times=20)
    draft, _ = going_on(store, 0)

    with pytest.raises(StoreBroken):
        draft.write(data[: PART + 5])
        draft.commit()
    draft.close()

    proxy.rules.clear()
    assert reopen().load("a").offset == 0
    finish(reopen(), data)
    assert content(reopen()) == data


def test_part_that_breaks_off_once_is_sent_again(store: S3Store, proxy: Proxy) -> None:
    """And nobody notices."""
    data = os.urandom(2 * PART + 9)
    new(store, length=len(data))
    proxy.cut("UploadPart ", MIB)
    proxy.cut("PutObject .*/tail/", 3)
    draft, _ = going_on(store, 0)

    draft.write(data[: PART + 5])
    told = draft.commit()
    draft.close()

    assert (told, store.load("a").offset) == (PART + 5, PART + 5)


@pytest.mark.parametrize("call", ["PutObject", "UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload"])
def test_answer_that_is_lost_harms_nothing(reopen: Reopen, proxy: Proxy, engine: dict[str, str], call: str) -> None:
    """The engine did it, and nobody heard: it is done again, or found to be done."""
    calls_for(engine, call)
    store, data = reopen(), os.urandom(2 * PART + 9)
    lost = proxy.lose(f"^{call} ", times=2)

    new(store, "0" * 32, length=len(data))
    add(store, 0, data[: PART + 7], "0" * 32)
    finish(store, data, "0" * 32)

    assert lost.met.is_set()
    assert (content(reopen(), "0" * 32), reopen().load("0" * 32).complete) == (data, True)


def test_record_whose_answer_is_lost_is_saved(store: S3Store, proxy: Proxy) -> None:
    """It is not taken for another one's."""
    since = new(store, length=9)
    proxy.lose("PutObject .*/info/a")

    store.save(since.evolve(owner="eve"), since=since)

    assert store.load("a").owner == "eve"


def test_deletion_that_breaks_off_is_ended_later(store: S3Store, reopen: Reopen, proxy: Proxy) -> None:
    """The upload is gone at once; the trace of it that kept its name from others goes with the next tidying."""
    new(store, length=9)
    proxy.fail("DeleteObject .*/info/a", 403)
    with pytest.raises(StoreBroken):
        store.delete("a")

    other = reopen()
    with pytest.raises(NotFound):
        other.load("a")
    assert list(other.ids()) == []
    with pytest.raises(FileExistsError):
        new(other, length=5)
    Tidying(other.uploads, time.time() + 60, (), young=-60)()

    assert list(other.uploads.bucket.objects(other.uploads.prefix)) == []
    assert new(other, length=5).length == 5


PROGRAM = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from tests import real
from tests.drafting import Turns, going_on
from tus import Upload
from tus.stores.s3 import S3Store
from tus.stores.s3.tidying import Tidying
endpoint, prefix, size, seed = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
import random
data = random.Random(seed).randbytes(size)
store = S3Store(real.bucket_at(endpoint, json.loads(os.environ['FACTS'])), prefix, unknown=5 << 20)
said = lambda *what: print(json.dumps(what), flush=True)
upload = Upload("a" * 32, length=size)
draft = store.create(upload, fence=Turns(0))
store.save(upload)
draft.close()
said("offset", 0)
offset = 0
for step in (3 << 20, 1 << 20, 8 << 20, 1, size):
    draft, _ = going_on(store, offset, upload.id)
    draft.write(data[offset : offset + step])
    if draft.taken == size:
        store.finish(store.load(upload.id).evolve(complete=True), draft)
        said("complete", size)
        break
    offset = draft.commit()
    said("offset", offset)
    draft.close()
"""


def killed_at(
    proxy: Proxy, engine: dict[str, str], prefix: str, call: int, size: int, *, done: bool
) -> list[list[object]]:
    """What a process told its client before it died in that call, which the engine has `done` by then or not."""
    stop, go = threading.Event(), threading.Event()
    numbers = iter(range(10**6))

    def act(handler: object) -> bool:
        if next(numbers) < call:
            return False
        if done and not stop.is_set():
            handler._forward()  # type: ignore[attr-defined]
        stop.set()
        go.wait(20)
        return handler.hang_up()  # type: ignore[attr-defined]

    proxy._on("", act, times=10**6)
    command = [sys.executable, "-c", PROGRAM, str(ROOT), proxy.endpoint, prefix, str(size), "7"]
    environ = {**os.environ, "FACTS": json.dumps(engine)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    threading.Thread(target=lambda: (process.wait(), stop.set()), daemon=True).start()
    assert stop.wait(60)
    process.kill()
    assert process.stdout
    told = [json.loads(line) for line in process.stdout]
    process.stdout.close()
    process.wait()
    go.set()
    proxy.rules.clear()
    return told


CALLS = 24  # that the whole upload takes at most


@pytest.mark.parametrize("engine", ["versitygw"], indirect=True)
@pytest.mark.parametrize("done", [False, True], ids=["before the engine", "after it"])
@pytest.mark.parametrize("call", range(CALLS))
def test_process_that_is_killed_in_any_call_loses_nothing(
    reopen: Reopen, proxy: Proxy, engine: dict[str, str], prefix: str, call: int, done: bool
) -> None:
    """What its client was told is there, byte for byte, and another process goes on."""
    import random

    size, id = 13 * MIB + 12345, "a" * 32
    data = random.Random(7).randbytes(size)

    told = killed_at(proxy, engine, prefix, call, size, done=done)

    after = reopen()
    highest = max([offset for _, offset in told], default=None)
    try:
        found = after.load(id)
    except NotFound:
        assert highest is None
        return
    assert found.offset >= (highest or 0)
    assert content(after, id)[: found.offset] == data[: found.offset]
    if not found.complete:
        assert ["complete", size] not in told
        finish(after, data, id)
    assert (content(reopen(), id), reopen().load(id).complete) == (data, True)


WRITER = """
import json, os, random, sys, time
sys.path.insert(0, sys.argv[1])
from tests import real
from tests.drafting import Turns
from tus.errors import TusError
from tus.stores.s3 import S3Store
from tus.stores.s3.tidying import Tidying
endpoint, prefix, size, seed, token = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
data = random.Random(7).randbytes(size)
chance = random.Random(seed)
store = S3Store(real.bucket_at(endpoint, json.loads(os.environ['FACTS'])), prefix, unknown=5 << 20)
told, turn = 0, 0
sys.stdin.readline()
while True:
    turn += 1
    try:
        found = store.load("a")
        assert found.offset >= told, (found.offset, told)
        if found.complete:
            break
        fence = Turns(token and token + 3 * turn)
        with fence.turn():
            draft = store.append("a", found.offset, fence=fence, known=found)
        try:
            draft.write(data[found.offset : found.offset + chance.choice((1 << 20, 3 << 20, 5 << 20, 11 << 20))])
            if draft.taken == size:
                store.finish(found.evolve(complete=True), draft)
                told = size
            else:
                told = draft.commit()
        finally:
            draft.close()
    except TusError as error:
        print(json.dumps([type(error).__name__, str(error)[:90]]), flush=True)
print(json.dumps(["told", told]), flush=True)
"""


@pytest.mark.parametrize("tokens", [False, True], ids=["without tokens", "with tokens"])
def test_three_processes_that_write_at_once_leave_the_right_file(
    store: S3Store, reopen: Reopen, proxy: Proxy, engine: dict[str, str], prefix: str, tokens: bool
) -> None:
    """No lease keeps them apart. Each finds at least what it told its client, and the file is right in the end."""
    import random

    size = 43 * MIB + 77
    data = random.Random(7).randbytes(size)
    new(store, length=size)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ROOT), proxy.endpoint, prefix, str(size), str(seed)]
            + [str(seed if tokens else 0)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "FACTS": json.dumps(engine)},
        )
        for seed in (1, 2, 3)
    ]

    said = []
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        said.append(process.communicate(timeout=120))

    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert content(reopen()) == data


def test_old_request_that_goes_on_changes_nothing_that_was_told(store: S3Store, reopen: Reopen) -> None:
    """It has read its state before another one stored parts; its own parts come later, with the same bytes."""
    data = os.urandom(3 * PART + 9)
    new(store, length=len(data))
    old, _ = going_on(store, 0)
    old.write(data[:MIB])
    add(reopen(), 0, data[: 2 * PART + 3])

    old.write(data[MIB : MIB + 7])
    with suppress(TusError):
        old.commit()
    old.close()

    assert reopen().load("a").offset == 2 * PART + 3
    finish(reopen(), data)
    assert content(reopen()) == data


@pytest.mark.parametrize("call", ["GetObject .*/info/a", "ListParts", "ListObjects"])
def test_answer_that_breaks_off_is_asked_for_again(store: S3Store, reopen: Reopen, proxy: Proxy, call: str) -> None:
    """Half of an answer is none."""
    new(store, length=2 * PART)
    add(store, 0, b"x" * (PART + 9))
    short = proxy.shorten(call, 20)

    found = reopen().load("a")

    assert short.met.is_set()
    assert found.offset == PART + 9


def test_content_that_breaks_off_is_read_on(store: S3Store, reopen: Reopen, proxy: Proxy) -> None:
    """Who reads a file sees nothing of it."""
    data = os.urandom(PART)
    new(store, length=len(data))
    finish(store, data)
    short = proxy.shorten("GetObject .*/a$", MIB + 7)

    assert content(reopen()) == data
    assert short.met.is_set()


@pytest.mark.parametrize("status", [500, 503])
def test_record_is_saved_although_the_engine_refuses_for_a_moment(store: S3Store, proxy: Proxy, status: int) -> None:
    """It is not replaced twice either: the second try finds that it was."""
    since = new(store, length=9)
    proxy.fail("PutObject .*/info/a", status, times=3)

    store.save(since.evolve(owner="eve"), since=since)

    assert store.load("a").owner == "eve"


def test_every_body_carries_what_proves_it(store: S3Store, proxy: Proxy) -> None:
    """On a plain connection its SHA-256 is signed; and it is sent as it is, never in chunks that are signed."""
    seen: list[tuple[str, dict[str, str], str]] = []

    def look(call: Handler) -> bool:
        said = {name.lower(): value for name, value in call.headers.items()}
        seen.append((call.operation, said, hashlib.sha256(call.body).hexdigest()))
        return False

    proxy._on("", look, times=1000)
    data = os.urandom(2 * PART + 7)
    new(store, length=len(data))
    add(store, 0, data[: PART + 3])
    draft, _ = going_on(store, PART + 3)
    draft.write(data[PART + 3 :])
    store.finish(store.load("a").evolve(complete=True), draft)
    draft.close()
    store.delete("a")

    assert {"PutObject", "UploadPart", "CompleteMultipartUpload", "DeleteObjects"} <= {name for name, *_ in seen}
    for name, said, digest in seen:
        assert said["x-amz-content-sha256"] == digest, name
        assert "x-amz-content-sha256" in said["authorization"]
        assert not {"transfer-encoding", "content-encoding", "x-amz-trailer"} & set(said), name


def test_upload_is_there_while_its_parts_are_put_together(store: S3Store, reopen: Reopen, proxy: Proxy) -> None:
    """An engine may list no parts any more, and have no object yet: a HEAD elsewhere does not hear 404."""
    data, go = os.urandom(2 * PART), threading.Event()
    new(store, length=len(data))
    add(store, 0, data)
    held = proxy.hold("CompleteMultipartUpload", go)
    finishing = threading.Thread(target=finish, args=(store, data))
    finishing.start()
    assert held.met.wait(20)
    for call in ("ListParts", "HeadObject"):
        proxy.fail(call, 404, times=1)

    offset = reopen().load("a").offset

    assert offset == len(data)
    go.set()
    finishing.join()
    assert content(reopen()) == data
