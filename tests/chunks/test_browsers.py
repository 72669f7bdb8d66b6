"""The real libraries, as npm has them, in a real browser: whole files in chunks, cut, retried, reloaded, and at once.

What each library is told to do is in js/page.js; here is what must come of it.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests import live

HERE = Path(__file__).with_name("js")
CHUNK = 100_000  # bytes
NUMBERED = ("flow", "resumable", "simple", "dropzone", "plupload")
TESTING = ("flow", "resumable", "simple")
LIBRARIES = (*NUMBERED, "filepond", "uppy")
PLACES = {"filepond": "/filepond", "uppy": "/form", "iframe": "/form"}
TIMEOUT = 60  # seconds for one plan

pytestmark = [pytest.mark.clients, pytest.mark.slow]
Run = Callable[..., dict[str, Any]]


def missing() -> str | None:
    """Why there is no browser to drive, if there is none."""
    if shutil.which("node") is None:
        return "node is not installed (sudo apt-get install nodejs npm)"
    if not os.access(os.environ.get("CHROMIUM", "/usr/bin/chromium"), os.X_OK):
        return "Chromium is not installed (sudo apt-get install chromium)"
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        return "the libraries are not installed (npm ci in tests/chunks/js)"
    return None


@pytest.fixture(scope="module")
def chromium() -> Iterator[subprocess.Popen[str]]:
    """One browser for all; each test has a profile of its own."""
    why = missing()
    if why:
        pytest.skip(why)
    driver = subprocess.Popen(["node", "drive.js"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield driver
    assert driver.stdin and driver.stdout
    driver.stdin.close()
    try:
        driver.wait(10)
    finally:
        driver.kill()
        driver.stdout.close()


class Collection:
    """One collection on a server of several processes, and what its application was handed."""

    def __init__(self, server: live.Live, **options: Any) -> None:
        self.server, self.name = server, server.collection(durable="none", sweep_interval="none", **options)

    def handed(self) -> list[str]:
        records = sorted((self.server.home / self.name / "handed").glob("*.json"))
        return [digest(base64.b64decode(json.loads(record.read_text())["file"])) for record in records]


@pytest.fixture
def collection(workers: live.Live) -> Collection:
    return Collection(workers)


@pytest.fixture
def run(chromium: subprocess.Popen[str], collection: Collection) -> Run:
    """Has a library send files; its requests and what it said."""

    def carry_out(library: str, *files: Path, fails: bool = False, **plan: Any) -> dict[str, Any]:
        assert chromium.stdin and chromium.stdout
        server = collection.server
        given = {
            "library": library,
            "files": [str(file) for file in files],
            "port": server.port,
            "path": server.path(collection.name),
            "place": PLACES.get(library, "/chunks"),
            "chunkSize": CHUNK,
            **plan,
        }
        chromium.stdin.write(json.dumps(given) + "\n")
        chromium.stdin.flush()
        answer = dict(json.loads(chromium.stdout.readline()))
        assert fails or "error" not in answer, answer
        return answer

    return carry_out


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    def make(size: int, name: str = "größe 1.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(random.Random(f"{size}{name}").randbytes(size))
        return path

    return make


MakeFile = Callable[..., Path]


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def contents(*files: Path) -> list[str]:
    return sorted(digest(file.read_bytes()) for file in files)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", [550_000, 5 * CHUNK, 40_000], ids=["several", "multiple", "small"])
def test_file_arrives(run: Run, collection: Collection, make_file: MakeFile, library: str, size: int) -> None:
    """In chunks, in chunks without a rest, and smaller than one chunk."""
    file = make_file(size)

    run(library, file)

    assert collection.handed() == contents(file)


@pytest.mark.parametrize("library", [library for library in LIBRARIES if library != "plupload"])
def test_empty_file_arrives(run: Run, collection: Collection, make_file: MakeFile, library: str) -> None:
    """A file without a byte; plupload refuses to send one, whatever its option says."""
    file = make_file(0)

    run(library, file)

    assert collection.handed() == contents(file)


@pytest.mark.parametrize("library", LIBRARIES)
def test_three_files_at_once(run: Run, collection: Collection, make_file: MakeFile, library: str) -> None:
    """Of the same size, so that only their names tell them apart."""
    files = [make_file(350_000, f"photo {number}.bin") for number in range(3)]

    run(library, *files)

    assert sorted(collection.handed()) == contents(*files)


@pytest.mark.parametrize("library", [*NUMBERED, "asks nothing"])
def test_two_visitors_with_one_name_and_size(
    run: Run, collection: Collection, make_file: MakeFile, tmp_path: Path, library: str
) -> None:
    """In two browsers, in one moment: each gets a file of its own."""
    one, two = make_file(550_000), tmp_path / "theirs" / "größe 1.bin"
    two.parent.mkdir()
    two.write_bytes(one.read_bytes()[::-1])
    options = {"testChunks": False} if library == "asks nothing" else {}

    run("flow" if options else library, visitors=[[str(one)], [str(two)]], options=options)

    assert sorted(collection.handed()) == contents(one, two)


@pytest.mark.parametrize("library", LIBRARIES)
def test_connection_is_cut(run: Run, collection: Collection, make_file: MakeFile, library: str) -> None:
    """In the middle of a chunk; the library sends it again by itself, and the file is whole."""
    file = make_file(550_000)

    run(library, file, cut=250_000)

    assert collection.handed() == contents(file)


@pytest.mark.parametrize("library", TESTING)
def test_reloaded_page_finds_what_is_there(run: Run, collection: Collection, make_file: MakeFile, library: str) -> None:
    """The user reloads the page half-way, and chooses the same file: what is stored is not sent again."""
    file = make_file(1_050_000)

    requests = run(library, file, stop=600_000)["requests"]

    reloaded = requests.index({"reloaded": True})
    before = [r for r in requests[:reloaded] if r["method"] == "POST"]
    after = [r for r in requests[reloaded + 1 :] if r["method"] == "POST"]
    assert before
    assert {r["status"] for r in requests if "status" in r} == {200, 204}
    assert len(after) <= 10 - len(before)
    assert collection.handed() == contents(file)


def test_reloaded_page_asks_once(run: Run, collection: Collection, make_file: MakeFile) -> None:
    """simple-uploader.js can hear of all chunks in one answer."""
    file = make_file(1_050_000)

    requests = run("simple", file, stop=600_000, place="/chunks?uploaded=1", options={"asksOnce": True})["requests"]

    reloaded = requests.index({"reloaded": True})
    before, after = requests[:reloaded], requests[reloaded + 1 :]
    stored = len([request for request in before if request["method"] == "POST"])
    assert stored
    assert len([request for request in after if request["method"] == "GET"]) == 1
    assert len([request for request in after if request["method"] == "POST"]) <= 10 - stored
    assert collection.handed() == contents(file)


@pytest.mark.parametrize("library", TESTING)
def test_finished_file_is_not_sent_again(run: Run, collection: Collection, make_file: MakeFile, library: str) -> None:
    """A page that is opened again hears the remembered result, and sends nothing."""
    file = make_file(550_000)
    first = run(library, file)

    again = run(library, file, cookies=first["cookies"])

    assert {request["method"] for request in again["requests"]} == {"GET"}
    assert json.loads(again["said"][0])["id"] == json.loads(first["said"][-1])["id"]
    assert collection.handed() == contents(file)


@pytest.mark.parametrize(
    "library, options",
    [
        ("flow", {"method": "octet"}),
        ("flow", {"forceChunkSize": True, "simultaneousUploads": 5, "prioritizeFirstAndLastChunk": True}),
        ("flow", {"testChunks": False}),
        ("resumable", {"method": "octet"}),
        ("resumable", {"chunkFormat": "base64"}),
        ("resumable", {"forceChunkSize": True}),
        ("simple", {"method": "octet"}),
        ("dropzone", {"parallelChunkUploads": True}),
        ("plupload", {"multipart": False}),
        ("plupload", {"unique_names": True}),
        ("filepond", {"chunkUploads": False}),
        ("uppy", {"formData": True, "bundle": False}),
    ],
    ids=str,
)
def test_other_ways_to_send(
    run: Run, collection: Collection, make_file: MakeFile, library: str, options: dict[str, Any]
) -> None:
    """Raw bodies, other rules for the last chunk, parallel chunks, and whole files."""
    file = make_file(550_000)

    run(library, file, options=options)

    assert collection.handed() == contents(file)


@pytest.mark.parametrize("library", LIBRARIES)
def test_refusal_ends_the_upload(run: Run, collection: Collection, make_file: MakeFile, library: str) -> None:
    """Too large: the library gives up, after a handful of requests and not after a hundred."""
    live.configure(collection.server.home / collection.name, {"max_size": 1000})

    answer = run(library, make_file(550_000), fails=True)

    assert "error" in answer
    assert collection.handed() == []


def test_plain_form_in_a_hidden_frame(run: Run, collection: Collection, make_file: MakeFile) -> None:
    """No library at all: the browser sends the form, and a script does nothing but ask how far it is."""
    file = make_file(30_000_000)

    said = run("iframe", file)["said"]

    assert "has arrived" in said[-1]
    assert collection.handed() == contents(file)
    received = [poll["received"] for poll in said[:-1]]
    assert received == sorted(received)
    assert {poll["total"] for poll in said[:-1] if poll["state"] == "uploading"} <= {30_000_000}


def test_revert(run: Run, make_file: MakeFile) -> None:
    """FilePond's user takes a file back."""
    requests = run("filepond", make_file(250_000), revert=True)["requests"]

    assert requests[-1]["method"] == "DELETE"
    assert requests[-1]["status"] == 200
