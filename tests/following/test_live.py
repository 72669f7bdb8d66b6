"""`download = live`: a GET of an upload that still arrives gives what is there, and goes on as bytes come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, Client
from tests.servers import CALM

CONTENT = bytes(range(256)) * 40
HALF = len(CONTENT) // 2


@pytest.fixture
def collection(server: live.Live) -> Callable[..., Client]:
    """Makes a fresh collection whose uploads can be read while they arrive, and are kept."""

    def make(**options: Any) -> Client:
        return Client(server, server.collection(**CALM | {"download": "live", "cleanup": False} | options))

    return make


@pytest.fixture
def tus(collection: Callable[..., Client]) -> Client:
    """A client for such a collection."""
    return collection()


class Reader:
    """A GET whose answer is read piece by piece."""

    def __init__(self, tus: Client, url: str, **headers: str) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.wire = tus.open("GET", url, fields, version=None)
        self.status, _, fields_ = self.wire._head()
        self.fields = {name.lower(): value for name, value in fields_}
        self.chunked = self.fields.get("transfer-encoding") == "chunked"
        self.body = b""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def has(self, size: int) -> bytes:
        """The body, as soon as it has so many bytes."""
        while len(self.body) < size:
            self.body += self._some(size - len(self.body))
        return self.body

    def _some(self, size: int) -> bytes:
        if not self.chunked:
            return self.wire._exactly(size)
        data = self.wire._exactly(int(self.wire._until(b"\r\n"), 16))
        self.wire._exactly(2)
        return data

    def whole(self) -> bytes:
        """The body, to its end; raises Broken if it is cut."""
        if self.chunked:
            self.body += self.wire._chunks()
            return self.body
        return self.has(int(self.fields["content-length"]))


def threads(tus: Client) -> None:
    """Skip where a reader would keep the writer out."""
    if not tus.kind.threads:
        pytest.skip(f"{tus.kind.name} serves one request at a time")


@pytest.mark.every_server
def test_reader_follows_two_requests(tus: Client) -> None:
    """It has the first half before the second one is sent, and ends when the upload does."""
    threads(tus)
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    with Reader(tus, url) as reader:
        first = reader.has(HALF)
        tus.patch(url, HALF, CONTENT[HALF:])
        whole = reader.whole()

    assert (reader.status, reader.fields["content-length"]) == (200, str(len(CONTENT)))
    assert reader.fields["cache-control"] == "no-store"
    assert (first, whole) == (CONTENT[:HALF], CONTENT)


@pytest.mark.every_server
def test_unknown_length_ends_with_the_upload(tus: Client) -> None:
    """Without a length the body is chunked, and its end is that of the upload."""
    threads(tus)
    url = tus.create(None)
    tus.patch(url, 0, CONTENT[:HALF])

    with Reader(tus, url) as reader:
        first = reader.has(HALF)
        tus.patch(url, HALF, CONTENT[HALF:], {"Upload-Length": str(len(CONTENT))})
        whole = reader.whole()

    assert (reader.status, "content-length" in reader.fields) == (200, False)
    assert (first, whole) == (CONTENT[:HALF], CONTENT)


@pytest.mark.every_server
@pytest.mark.parametrize("length", [len(CONTENT), None], ids=["known", "unknown"])
def test_upload_that_is_cancelled_cuts_the_reader(tus: Client, length: int | None) -> None:
    """A body that ends early is never taken for a whole one."""
    threads(tus)
    if tus.kind.name == "asgi-daphne":
        pytest.skip("daphne leaves the connection of an answer that fails open")
    url = tus.create(length)
    tus.patch(url, 0, CONTENT[:HALF])

    with Reader(tus, url) as reader:
        reader.has(HALF)
        tus.delete(url)

        with pytest.raises(wire.Broken):
            reader.whole()


def test_refused_upload_never_looks_whole(collection: Callable[..., Client]) -> None:
    """All of its bytes have come, and the host does not want them: the reader never gets the last one."""
    tus = collection(hooks="tests.apps:Policy")
    content = b"this is evil"
    url = tus.create(len(content))
    tus.patch(url, 0, content[:5])

    with Reader(tus, url) as reader:
        reader.has(5)
        refused = tus.patch(url, 5, content[5:])

        with pytest.raises(wire.Broken):
            reader.whole()
    assert refused.status == 422


def test_silent_upload_cuts_the_reader(collection: Callable[..., Client]) -> None:
    """Nobody waits for ever for a client that does not come back."""
    tus = collection(live_timeout="0.2s")
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    with Reader(tus, url) as reader:
        reader.has(HALF)

        with pytest.raises(wire.Broken):
            reader.whole()


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=100-", 100, len(CONTENT)),
        (f"bytes={HALF + 100}-{HALF + 199}", HALF + 100, HALF + 200),
        ("bytes=-50", len(CONTENT) - 50, len(CONTENT)),
        ("bytes=10-19", 10, 20),
    ],
)
def test_range_waits_for_its_bytes(tus: Client, asked: str, start: int, end: int) -> None:
    """Of a file whose length is known each part can be asked for, and comes as soon as it is there."""
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    with Reader(tus, url, Range=asked) as reader:
        there = reader.has(max(0, min(end, HALF) - start))
        tus.patch(url, HALF, CONTENT[HALF:])
        whole = reader.whole()

    assert (reader.status, reader.fields["content-range"]) == (206, f"bytes {start}-{end - 1}/{len(CONTENT)}")
    assert (there, whole) == (CONTENT[start : max(start, min(end, HALF))], CONTENT[start:end])


@pytest.mark.parametrize(
    ("asked", "said", "body"),
    [
        ("bytes=10-19", "bytes 10-19/*", CONTENT[10:20]),
        ("bytes=100-", f"bytes 100-{HALF - 1}/*", CONTENT[100:HALF]),
        (f"bytes=100-{len(CONTENT)}", f"bytes 100-{HALF - 1}/*", CONTENT[100:HALF]),
    ],
)
def test_range_without_a_length_gives_what_is_there(tus: Client, asked: str, said: str, body: bytes) -> None:
    """Where nobody knows the end, the answer says which part it has, and no more."""
    url = tus.create(None)
    tus.patch(url, 0, CONTENT[:HALF])

    answer = tus.get(url, {"Range": asked})

    assert (answer.status, answer["Content-Range"], answer.body) == (206, said, body)


def test_range_that_nobody_can_know_is_not_refused_for_good(tus: Client) -> None:
    """Behind what is there of a file without a length: 503 now; behind a known length: 416."""
    unknown, known = tus.create(None), tus.create(len(CONTENT))

    later = tus.get(unknown, {"Range": "bytes=5-9"})
    never = tus.get(known, {"Range": f"bytes={len(CONTENT)}-"})

    assert (later.status, later["Retry-After"]) == (503, "1")
    assert (never.status, never["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


def test_part_of_a_reader_fits_the_finished_file(tus: Client) -> None:
    """The tag of what was read while it arrived holds for the rest of the finished file."""
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])
    with Reader(tus, url) as reader:
        first, tag = reader.has(HALF), reader.fields["etag"]
    tus.patch(url, HALF, CONTENT[HALF:])

    rest = tus.get(url, {"Range": f"bytes={HALF}-", "If-Range": tag})

    assert (rest.status, first + rest.body) == (206, CONTENT)
    assert rest["Cache-Control"] == "private, no-cache"


def test_get_that_speaks_tus_is_answered_as_head(tus: Client) -> None:
    """A cache made it of a HEAD, and must not get a body that lasts."""
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    answer = tus.ask("GET", url)

    assert (answer.status, answer["Upload-Offset"], answer["Cache-Control"]) == (200, str(HALF), "no-store")
    assert answer.body == b""


def test_head_says_how_far_it_is(tus: Client) -> None:
    """It waits for nothing, and nobody may keep the answer."""
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    answer = tus.head(url, version=None)

    assert (answer.status, answer["Upload-Offset"], answer["Cache-Control"]) == (200, str(HALF), "no-store")


def test_reader_needs_the_right_to_read(collection: Callable[..., Client]) -> None:
    """The hook `authorise` is asked as for a finished file."""
    tus = collection(hooks="tests.apps:Policy")
    url = tus.create(len(CONTENT))

    answer = tus.get(url, {"X-Forbid": "read"})

    assert answer.status == 401


def test_unfinished_upload_is_no_file_without_the_option(collection: Callable[..., Client]) -> None:
    """By default nobody gets a part of a file."""
    tus = collection(download=True)
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    assert tus.get(url).status == 404


def test_reader_that_goes_away_disturbs_nobody(tus: Client) -> None:
    """The upload goes on, and others read it."""
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])
    with Reader(tus, url) as gone:
        gone.has(10)
        gone.wire.reset()

    with Reader(tus, url) as reader:
        reader.has(HALF)
        answer = tus.patch(url, HALF, CONTENT[HALF:])
        whole = reader.whole()

    assert (answer.status, whole) == (204, CONTENT)


def test_reader_beside_one_request_gets_each_piece(tus: Client) -> None:
    """Bytes are read while the request that brings them still runs; it is not ended by that."""
    if not tus.kind.on_files:
        pytest.skip("an object store has them when a part is full")
    url = tus.create(len(CONTENT))

    with tus.begin(url, 0, len(CONTENT), CONTENT[:HALF]) as writer, Reader(tus, url) as reader:
        first = reader.has(HALF)
        writer.send(CONTENT[HALF:])
        answer = writer.answer()
        whole = reader.whole()

    assert (first, whole, answer.status) == (CONTENT[:HALF], CONTENT, 204)


def test_creation_with_a_body_can_be_read(collection: Callable[..., Client]) -> None:
    """By a host that knows its name before the client does."""
    tus = collection()
    headers = {"Upload-Length": str(len(CONTENT)), "Content-Type": BYTES, "Content-Length": str(len(CONTENT))}

    with tus.open("POST", None, headers, CONTENT[:HALF]) as writer:
        names = live.until(lambda: [name for name in tus.files() if "." not in name])
        with Reader(tus, f"{tus.path}/{names[0]}") as reader:
            writer.send(CONTENT[HALF:])
            answer = writer.answer()
            whole = reader.whole()

    assert (answer.status, whole) == (201, CONTENT)


@pytest.mark.parametrize("kind", ["waitress", "gunicorn-gthread"], indirect=True)
def test_threads_of_readers_are_limited(collection: Callable[..., Client]) -> None:
    """Where each reader holds a thread, the next one hears that there are too many; and has its turn later."""
    tus = collection(live_readers=1)
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])

    with Reader(tus, url) as reader:
        reader.has(HALF)
        second = tus.get(url)
        tus.patch(url, HALF, CONTENT[HALF:])
        reader.whole()

    assert (second.status, second["Retry-After"]) == (503, "5")
    assert live.until(lambda: tus.get(url).status == 200)


@pytest.mark.parametrize("kind", ["ours", "waitress"], indirect=True)
def test_http_1_0_gets_no_body_without_a_length(tus: Client) -> None:
    """It could not tell a cut from the end."""
    url = tus.create(None)
    tus.patch(url, 0, CONTENT[:HALF])

    answer = wire.ask(tus.server.address, "GET", tus.target(url), {"Host": "a.example"}, version="HTTP/1.0")

    assert answer.status == 503


@pytest.mark.parametrize("kind", ["ours-workers"], indirect=True)
def test_reader_and_writer_may_be_in_two_processes(tus: Client) -> None:
    """Of several readers most are in other processes than the writer, and all get the file."""
    url = tus.create(len(CONTENT))
    tus.patch(url, 0, CONTENT[:HALF])
    readers = [Reader(tus, url) for _ in range(12)]

    for reader in readers:
        reader.has(HALF)
    tus.patch(url, HALF, CONTENT[HALF:])
    found = {reader.whole() for reader in readers}
    for reader in readers:
        reader.wire.close()

    assert found == {CONTENT}
