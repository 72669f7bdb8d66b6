"""Uploads whose clients send nothing have no thread, and everything else is as if they had one."""

from __future__ import annotations

import base64
import gc
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chunks.conftest import form
from tests.server.conftest import Client, Running, until
from tus import Hooks, TusFilter
from tus.cli.access import Access
from tus.cli.login import Login
from tus.lockers.file import FileLocker

DATA = os.urandom(200_000)
HALF = len(DATA) // 2
HEAD = "Host: x\r\nTus-Resumable: 1.0.0\r\n"
BYTES = "Content-Type: application/offset+octet-stream\r\n"


class Site:
    """A server with a filter, which stands alone or has an application behind it."""

    def __init__(
        self,
        directory: Path,
        settings: dict[str, Any],
        options: dict[str, Any],
        app: Any = None,
        wrap: Callable[[Any], Any] = lambda app: app,
    ) -> None:
        self.directory = directory
        filter = TusFilter(app, tmp_file_dir=str(directory), durable="none", sweep_interval="none", **options)
        self.running = Running(wrap(filter), **settings)

    @property
    def parked(self) -> int:
        parking = self.running.server.parking
        return len(parking._parked) if parking else 0

    @property
    def idle(self) -> bool:
        """No thread has an upload."""
        server = self.running.server
        return not server.uploads.channels and not (server.parking and server.parking._few.busy)

    def ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        client = self.running.connect().send(f"{method} {path} HTTP/1.1\r\n{HEAD}{headers}\r\n".encode(), body)
        status, fields = client.headers()
        return status, fields, b"" if method == "HEAD" else client.file.read(int(fields.get("content-length", 0)))

    def create(self, length: int = len(DATA), headers: str = "") -> str:
        status, fields, _ = self.ask("POST", "/upload", f"Upload-Length: {length}\r\nContent-Length: 0\r\n{headers}")
        assert status == 201
        return "/upload/" + fields["location"].rpartition("/")[2]

    def offset(self, path: str) -> int:
        status, fields, _ = self.ask("HEAD", path)
        assert status == 200
        return int(fields["upload-offset"])

    def stored(self, path: str) -> bytes:
        return (self.directory / path.rpartition("/")[2]).read_bytes()

    def patch(self, path: str, length: int | None, data: bytes, headers: str = "") -> Client:
        """A connection with the beginning of a PATCH; without a length it comes in chunks."""
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = f"PATCH {path} HTTP/1.1\r\n{HEAD}{BYTES}{headers}Upload-Offset: 0\r\n{framing}\r\n\r\n"
        return self.running.connect().send(head.encode(), data)

    def begun(self, data: bytes = DATA, sent: int = HALF, headers: str = "") -> tuple[str, Client]:
        """An upload that has sent so many bytes and is parked."""
        path, before = self.create(len(data)), self.parked
        client = self.patch(path, len(data), data[:sent], headers)
        until(lambda: self.parked > before and len(self.stored(path)) == sent)
        return path, client


@pytest.fixture(scope="module", autouse=True)
def ear(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a process keeps open once it had a lease is there before anybody counts."""
    lease = FileLocker(str(tmp_path_factory.mktemp("ear"))).lease("0" * 32)
    lease.on_lost(lambda: None)
    lease.release()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """`site(settings of the server, **options of the filter)`."""
    made: list[Site] = []

    def make(settings: dict[str, Any] | None = None, *, app: Any = None, wrap: Any = None, **options: Any) -> Site:
        more = {"wrap": wrap} if wrap else {}
        made.append(Site(tmp_path / "uploads", settings or {}, options, app, **more))
        return made[-1]

    yield make
    for one in made:
        one.running.finish()
    made.clear()
    one = None
    until(lambda: not [thread for thread in threading.enumerate() if thread.name in ("tus-upload", "tus-parking")])
    gc.collect()  # the filter's directory is open while there is a filter


Make = Callable[..., Site]


def test_uploads_that_send_nothing_have_no_thread(site: Make) -> None:
    """Fifty wait, with no thread among them; then each ends with what it had to send."""
    here = site()
    begun = [here.begun() for _ in range(50)]

    until(lambda: here.idle)
    parked = here.parked
    for _, client in begun:
        client.send(DATA[HALF:])

    assert parked == 50
    assert [client.answer()[0] for _, client in begun] == [204] * 50
    assert {here.stored(path) for path, _ in begun} == {DATA}


def test_next_request_on_the_same_connection(site: Make) -> None:
    """What comes behind a body that was parked is the next request."""
    here = site()
    path, client = here.begun()
    head = f"HEAD {path} HTTP/1.1\r\n{HEAD}\r\n".encode()

    client.send(DATA[HALF:] + head)

    assert client.answer()[0] == 204
    assert client.headers()[1]["upload-offset"] == str(len(DATA))


def test_body_that_goes_on_fast_has_a_thread_again(site: Make) -> None:
    """A pause in the middle of a large body costs nothing afterwards."""
    here = site()
    data = os.urandom(8 << 20)
    path, client = here.begun(data, HALF)

    client.send(data[HALF:])

    assert client.answer()[0] == 204
    assert here.stored(path) == data


def test_chunks_and_trailers(site: Make) -> None:
    """A pause within a chunk, and a checksum that comes behind the body."""
    here = site()
    path = here.create()
    sha1 = base64.b64encode(hashlib.sha1(DATA).digest())
    client = here.patch(path, None, b"", "Trailer: Upload-Checksum\r\n")
    client.send(b"%x\r\n" % len(DATA), DATA[:HALF])
    until(lambda: here.parked and len(here.stored(path)) == HALF and here.idle)

    client.send(DATA[HALF:] + b"\r\n0")
    until(lambda: len(here.stored(path)) == len(DATA))
    client.send(b"\r\nUpload-Checksum: sha1 " + sha1 + b"\r\n\r\n")

    assert client.answer()[0] == 204
    assert here.offset(path) == len(DATA)


@pytest.mark.parametrize("right", [True, False])
def test_checksum_in_front_of_the_body(site: Make, right: bool) -> None:
    """Each block counts, whichever thread takes it."""
    here = site()
    sha1 = base64.b64encode(hashlib.sha1(DATA if right else b"else").digest()).decode()
    path, client = here.begun(headers=f"Upload-Checksum: sha1 {sha1}\r\n")

    client.send(DATA[HALF:])

    assert client.answer()[0] == (204 if right else 460)
    assert here.offset(path) == (len(DATA) if right else 0)


def test_client_is_asked_for_its_body(site: Make) -> None:
    """100 Continue goes out before it waits."""
    here = site()
    path = here.create()
    client = here.patch(path, len(DATA), b"", "Expect: 100-continue\r\n")

    assert client.headers()[0] == 100
    until(lambda: here.parked and here.idle)
    client.send(DATA)
    assert client.answer()[0] == 204


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_newer_request_ends_one_that_waits(site: Make, method: str) -> None:
    """It is answered at once, and the older one's connection is over."""
    here = site()
    path, client = here.begun()

    status, fields, _ = here.ask(method, path)

    assert (status, fields.get("upload-offset")) == ((200, str(HALF)) if method == "HEAD" else (204, None))
    assert client.headers()[0] >= 400
    until(lambda: not here.parked and here.idle)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_finds_what_it_sent(site: Make, how: str) -> None:
    """The offset is what arrived, and nothing of the request is left."""
    here = site()
    path, client = here.begun()

    getattr(client, how)()
    until(lambda: not here.parked and here.idle)

    assert here.offset(path) == HALF


def test_silent_client_is_given_up(site: Make) -> None:
    """After `body_timeout`, with what it sent."""
    here = site({"body_timeout": 0.2})
    path, client = here.begun()

    status, fields = client.headers()

    assert (status >= 500, fields["upload-offset"]) == (True, str(HALF))
    assert here.offset(path) == HALF


def test_client_that_trickles_too_slowly_is_given_up(site: Make) -> None:
    """Fewer than `body_min_rate` bytes a second over `body_timeout` are not enough."""
    here = site({"body_timeout": 0.3, "body_min_rate": 1_000_000})
    path, client = here.begun()
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.05):
            try:
                client.sock.sendall(b"x")
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert client.headers()[0] >= 500
    finally:
        over.set()
        thread.join()


def test_what_trickles_is_stored_soon(site: Make) -> None:
    """A few bytes wake nobody, but they are looked for."""
    here = site()
    path, client = here.begun()

    client.send(DATA[HALF : HALF + 10])

    until(lambda: len(here.stored(path)) == HALF + 10)


def test_server_that_stops_keeps_what_arrived(site: Make) -> None:
    """Uploads that wait are ended, and do not hold it up."""
    here = site({"shutdown_timeout": 10})
    begun = [here.begun() for _ in range(10)]

    here.running.stop()

    assert not here.parked
    assert {client.headers()[1]["upload-offset"] for _, client in begun} == {str(HALF)}
    assert {here.stored(path) for path, _ in begun} == {DATA[:HALF]}


def test_server_that_stops_at_once_leaves_nothing_open(site: Make) -> None:
    """Every file is closed, and every thread ends, though nobody waited for the uploads."""
    here = site()
    path, _ = here.begun()

    here.running.server.stop(at_once=True)
    here.running.thread.join(10)

    until(lambda: not here.running.server.parking.busy)
    assert here.stored(path) == DATA[:HALF]


def test_slow_hook_holds_up_no_other_upload(site: Make) -> None:
    """More uploads than there are threads to end them wait in a hook, and another one ends."""
    free = threading.Event()

    class Slow(Hooks):
        def before_finish(self, upload: Any, file: Any) -> None:
            if upload.metadata.filename != "quick":
                free.wait(20)

    here = site(hooks=Slow())
    begun = [here.begun() for _ in range(9)]
    path = here.create(headers="Upload-Metadata: filename cXVpY2s=\r\n")  # quick
    quick = here.patch(path, len(DATA), DATA[:HALF])
    until(lambda: here.parked == 10)
    for _, client in begun:
        client.send(DATA[HALF:])
    until(lambda: here.parked == 1)

    quick.send(DATA[HALF:])

    try:
        assert quick.answer()[0] == 204
    finally:
        free.set()
    assert {client.answer()[0] for _, client in begun} == {204}


def test_crowd_of_fast_bodies(site: Make) -> None:
    """Twice as many as may have threads: each arrives whole."""
    here = site()
    data = os.urandom(1 << 20)
    begun = [here.begun(data, 10) for _ in range(64)]

    senders = [threading.Thread(target=client.send, args=(data[10:],)) for _, client in begun]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert [client.answer()[0] for _, client in begun] == [204] * 64
    assert {here.stored(path) for path, _ in begun} == {data}


def test_application_behind_the_filter_has_a_thread(site: Make) -> None:
    """It reads its own body as it always did, however slowly that comes."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    here = site(app=app)
    head = b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
    client = here.running.connect().send(head, DATA[:HALF])
    until(lambda: not here.idle)

    client.send(DATA[HALF:])

    assert client.answer()[2] == DATA


class Between:
    """A middleware that needs to know nothing of parking."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        return iter(b"".join(self.app(environ, start_response)).splitlines(True))


@pytest.mark.parametrize(("wrap", "settings"), [(Between, {}), (None, {"asyncore_use_poll": False})])
def test_threads_wait_where_parking_is_not_for_sure(site: Make, wrap: Any, settings: dict[str, Any]) -> None:
    """With a middleware in between, or without epoll, an upload is what it was."""
    here = site(settings, wrap=wrap)
    path = here.create()
    client = here.patch(path, len(DATA), DATA[:HALF])
    until(lambda: len(here.stored(path)) == HALF)

    waiting = len(here.running.server.uploads.channels)
    client.send(DATA[HALF:])

    assert (here.running.server.parking, waiting) == (None, 1)
    assert client.answer()[0] == 204


def test_password_and_access_log_keep_no_thread(site: Make, tmp_path: Path) -> None:
    """They pass on what they get; the line is written when the answer was."""
    log = tmp_path / "access.log"
    logged: list[Access] = []

    def wrap(app: Any) -> Any:
        logged.append(Access(Login(app, password="sesame", users={}), str(log)))
        return logged[0]

    here = site(wrap=wrap)
    word = "Authorization: Basic " + base64.b64encode(b"any:sesame").decode() + "\r\n"
    path = here.create(headers=word)
    client = here.patch(path, len(DATA), DATA[:HALF], word)
    until(lambda: here.parked and here.idle)
    before = log.read_text()

    client.send(DATA[HALF:])

    assert client.answer()[0] == 204
    until(lambda: log.read_text() != before)
    assert f'"PATCH {path} HTTP/1.1" 204 - "-" "-" {len(DATA)} ' in log.read_text()
    assert "PATCH" not in before
    logged[0].close()


def test_hook_that_is_told_of_progress_has_a_thread_for_each_upload(site: Make) -> None:
    """It is called while bytes arrive, and must not hold up the bytes of others."""

    class Told(Hooks):
        def progressed(self, upload: Any) -> None:
            """Something slow."""

    here = site(hooks=Told())

    assert here.running.server.parking is None


def test_slow_forms_hold_up_no_other_upload(site: Make) -> None:
    """A form begins an upload in the middle of its body, with hooks, so it has a thread; nine leave room for others."""
    here = site(uploaders="form")
    body, kind = form({"album": "7"}, DATA)
    head = f"POST /upload/form HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    forms = [here.running.connect().send(head.encode(), body[:HALF]) for _ in range(9)]

    path, client = here.begun()
    client.send(DATA[HALF:])

    assert client.answer()[0] == 204
    assert here.stored(path) == DATA
    for slow in forms:
        slow.send(body[HALF:])
    assert {slow.answer()[0] for slow in forms} == {200}
