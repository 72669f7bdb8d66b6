"""`Tus` in a view of every framework: what the filter does, a view can do too."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import live, wire
from tests.adapters.frameworks import NEEDS
from tests.conformance.client import checksum
from tests.faults.conftest import Client as Hanging

CONTENT = random.Random(6).randbytes(300_000)

# Everything that a process needs to serve them, but on other roads than `tests.apps` takes.
KIND = live.Kind(
    "frameworks",
    lambda port, settings: [sys.executable, "-m", "tests.adapters.frameworks", "ours", str(port), json.dumps(settings)],
    ("tus.server",),
)


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    """One server with all of them."""
    home = tmp_path_factory.mktemp("frameworks")
    with live.Live(KIND, home, live.free_port(), {}, temporary=False, environ={}) as server:
        server.start()
        yield server


class View(Hanging):
    """The view in one framework."""

    def __init__(self, server: live.Live, name: str) -> None:
        super().__init__(server, name)
        self.home.mkdir(exist_ok=True)
        self.path = f"/{name}/upload"
        self.before = len(self.all())
        self.plan()

    def all(self) -> list[Path]:
        return sorted((self.home / "handed").iterdir(), key=number) if (self.home / "handed").exists() else []

    def taken(self) -> list[bytes]:  # type: ignore[override]
        """What this test's uploads brought to the view."""
        return [path.read_bytes() for path in self.all()[self.before :]]


def number(path: Path) -> int:
    return int(path.name.partition("-")[0])


@pytest.fixture(params=NEEDS)
def tus(request: pytest.FixtureRequest, frameworks: live.Live) -> Iterator[View]:
    if importlib.util.find_spec(NEEDS[request.param]) is None:
        pytest.skip(f"{request.param} is not installed (pip install {request.param})")
    client = View(frameworks, request.param)
    yield client
    client.hang_up()


@pytest.mark.clients
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tuspy_uploads_in_chunks_with_checksums(tus: View, tmp_path: Path) -> None:
    """A real client brings a file into the view, bit by bit right, once."""
    client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")
    file = tmp_path / "file"
    file.write_bytes(CONTENT)

    endpoint = f"{tus.server.origin}{tus.path}"
    client.TusClient(endpoint).uploader(str(file), chunk_size=70_000, upload_checksum=True).upload()

    assert tus.taken() == [CONTENT]


def test_protocol_reaches_the_client(tus: View) -> None:
    """Answers come as they were meant: no framework changes status, headers or methods."""
    answer = tus.options()
    assert (answer.status, answer["Tus-Version"]) == (200, "1.0.0")
    url = tus.create(5)
    assert tus.patch(url, 3, b"hello").status == 409
    assert tus.patch(url, 0, b"hello", {"Upload-Checksum": checksum("sha1", b"other")}).status == 460
    assert tus.head(url)["Upload-Offset"] == "0"
    assert tus.delete(url).status == 204
    assert tus.head(url).status in (404, 410)
    assert tus.head(f"{tus.path}/{'0' * 32}").status == 404


def test_location_stays_a_path_where_nobody_knows_the_host(tus: View) -> None:
    """Behind a proxy that tells no address, none is put in front of it: clients could not reach it."""
    given = {"Host": "127.0.0.1", "Via": "1.1 proxy", "Tus-Resumable": "1.0.0", "Upload-Length": "5"}

    answer = wire.ask(tus.server.address, "POST", tus.path, {**given, "Content-Length": "0", "Connection": "close"})

    assert answer.status == 201
    assert answer["Location"].startswith(f"{tus.path}/")


def test_broken_connection_loses_nothing(tus: View) -> None:
    """The body streams through the framework: what arrived before the cut is there."""
    url = tus.create(len(CONTENT))

    tus.begin(url, 0, len(CONTENT), CONTENT[:150_001]).close()
    live.until(lambda: tus.stored(url) == 150_001)

    assert tus.offset(url) == 150_001
    assert tus.patch(url, 150_001, CONTENT[150_001:]).status == 204
    assert tus.taken() == [CONTENT]


@pytest.mark.parametrize("way", ["HEAD", "PATCH"])
def test_view_that_raises_gets_it_again(tus: View, way: str) -> None:
    """The next HEAD, or an empty PATCH, hands the same file over; once the view took it, never again."""
    tus.plan(raises=True)
    url = tus.create(5)
    answer = failed(tus, url)
    tus.plan()

    again = tus.head(url) if way == "HEAD" else tus.patch(url, 5)
    late = tus.patch(url, 5)

    assert answer is None or answer.status >= 500
    assert again.status in (200, 204) and again["Upload-Offset"] == "5"
    assert late.status == 204
    assert tus.taken() == [b"hello"] * 2


def failed(tus: View, url: str) -> wire.Answer | None:
    try:
        return tus.patch(url, 0, b"hello")
    except wire.Broken:
        return None


def test_view_that_keeps_the_file_is_told_once(tus: View) -> None:
    """Not calling cleanup_file is fine: the file stays where it is, and the view is not told again."""
    tus.plan(keeps=True)
    url = tus.create(5)

    assert tus.patch(url, 0, b"hello").status == 204
    assert tus.head(url).status == 200
    assert tus.patch(url, 5).status == 204

    assert tus.taken() == [b"hello"]
    assert tus.bytes_stored(url) == b"hello"


def test_view_that_cleans_up_leaves_the_record(tus: View) -> None:
    """The bytes go at once, and a late question is still answered."""
    url = tus.create(5)
    assert tus.patch(url, 0, b"hello").status == 204

    assert not (tus.home / "uploads" / tus.id(url)).exists()
    assert tus.offset(url) == 5


def test_other_requests_are_not_ours(tus: View) -> None:
    """`valid` tells the view which requests are for it."""
    answer = tus.ask("GET", None, version=None)

    assert (answer.status, answer.body) == (404, b"not for tus")
