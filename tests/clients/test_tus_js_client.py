"""tus-js-client, which browsers, Uppy and node programs use, does all it can against the filter.

What it is told to do is in js/upload.js; here is what must come of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.clients.conftest import MakeFile, Service, digest

HERE = Path(__file__).with_name("js")
SIZE = 3_000_000  # bytes; several blocks of every reader, and no multiple of a chunk
CHUNK = 700_000  # bytes
TIMEOUT = 60  # seconds for one upload, node's start included
SLOW = 20  # milliseconds after each 64 KiB, so that there is time to abort

Upload = Callable[..., dict[str, Any]]


def missing() -> str | None:
    """Why node cannot run the client, if it cannot."""
    node = shutil.which("node")
    if node is None:
        return "node is not installed (sudo apt-get install nodejs npm, then make test)"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0] or 0) < 18:
        return f"node is {version}, and tus-js-client needs 18 or newer"
    if not (HERE / "node_modules" / "tus-js-client").is_dir():
        return "tus-js-client is not installed (make test does it, with npm and a network)"
    return None


@pytest.fixture(scope="module")
def node() -> None:
    why = missing()
    if why:
        pytest.skip(why)


@pytest.fixture
def upload(node: None, service: Service, tmp_path: Path) -> Upload:
    """Runs one upload, and returns its URL and the requests that were made."""

    def run(file: Path, plan: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        storage = str(tmp_path / "urls.json")
        given = {"file": str(file), "endpoint": service.endpoint, "options": options, "storage": storage}
        return result(begun({**given, **(plan or {})}))

    return run


def begun(plan: dict[str, Any]) -> subprocess.Popen[str]:
    """The client, at work."""
    command = ["node", str(HERE / "upload.js"), json.dumps(plan)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(client: subprocess.Popen[str]) -> dict[str, Any]:
    """What the client says in the end."""
    try:
        told, complaint = client.communicate(timeout=TIMEOUT)
    finally:
        client.kill()
    assert client.returncode == 0, complaint
    return dict(json.loads(told))


def methods(result: dict[str, Any]) -> list[str]:
    return [request["method"] for request in result["requests"]]


def offsets(result: dict[str, Any]) -> list[int]:
    """Where each PATCH began."""
    return [request["offset"] for request in result["requests"] if request["method"] == "PATCH"]


pytestmark = pytest.mark.clients


def test_upload_in_one_piece(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """One POST and one PATCH, and the application has the file."""
    file = make_file(SIZE)

    result = upload(file)

    assert methods(result) == ["POST", "PATCH"]
    assert service.handed_over() == [digest(file.read_bytes())]


def test_upload_in_chunks(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Each chunk goes where the one before it ended."""
    file = make_file(SIZE)

    result = upload(file, chunkSize=CHUNK)

    assert offsets(result) == list(range(0, SIZE, CHUNK))
    assert service.handed_over() == [digest(file.read_bytes())]


def test_parallel_uploads(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Three partial uploads at once become one file, of which alone the application hears."""
    file = make_file(SIZE)

    result = upload(file, parallelUploads=3, chunkSize=CHUNK)

    assert methods(result).count("POST") == 4
    assert service.handed_over() == [digest(file.read_bytes())]


def test_stream_of_unknown_length(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The length is declared with the last chunk only."""
    file = make_file(SIZE)

    result = upload(file, {"stream": True}, chunkSize=CHUNK)

    assert offsets(result)[0] == 0
    assert service.handed_over() == [digest(file.read_bytes())]


def test_patch_disguised_as_post(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Where a firewall forbids PATCH, X-HTTP-Method-Override does."""
    file = make_file(SIZE)

    result = upload(file, overridePatchMethod=True, chunkSize=CHUNK)

    assert set(methods(result)) == {"POST"}
    assert {request["override"] for request in result["requests"][1:]} == {"PATCH"}
    assert service.handed_over() == [digest(file.read_bytes())]


def test_data_in_the_creation(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The POST carries the whole file, and no PATCH follows."""
    file = make_file(SIZE)

    result = upload(file, uploadDataDuringCreation=True)

    assert methods(result) == ["POST"]
    assert service.handed_over() == [digest(file.read_bytes())]


def test_first_chunk_in_the_creation(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The POST carries the first chunk, and PATCHes the others."""
    file = make_file(SIZE)

    result = upload(file, uploadDataDuringCreation=True, chunkSize=CHUNK)

    assert offsets(result) == list(range(CHUNK, SIZE, CHUNK))
    assert service.handed_over() == [digest(file.read_bytes())]


def test_resume_after_an_abort_between_chunks(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """A second upload finds the URL of the first, asks for the offset, and sends only what is missing."""
    file = make_file(SIZE)

    result = upload(file, {"abortAt": CHUNK}, chunkSize=CHUNK)

    assert methods(result)[0] == "HEAD"
    assert offsets(result)[0] >= CHUNK
    assert service.handed_over() == [digest(file.read_bytes())]


def test_resume_after_an_abort_within_a_chunk(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """What had arrived of the only PATCH is kept, on every server that streams."""
    file = make_file(SIZE)

    result = upload(file, {"abortAt": SIZE // 3, "slow": SLOW})

    assert methods(result) == ["HEAD", "PATCH"]
    assert offsets(result)[0] > 0 or not service.server.kind.streams
    assert service.handed_over() == [digest(file.read_bytes())]


def test_resume_of_parallel_uploads(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Each part goes on where it was, and then they are joined."""
    file = make_file(SIZE)
    options = {"parallelUploads": 2, "chunkSize": CHUNK // 2}

    result = upload(file, {"abortAt": SIZE // 3, "slow": SLOW}, **options)

    assert methods(result)[:2] == ["HEAD", "HEAD"]
    assert service.handed_over() == [digest(file.read_bytes())]


def test_terminate_while_bytes_flow(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """A user who cancels is done with it: the DELETE waits for nobody, and the upload is gone."""
    result = upload(make_file(SIZE), {"terminateAt": SIZE // 3, "slow": SLOW})

    assert result["requests"][-1]["method"] == "DELETE"
    assert result["requests"][-1]["status"] == 204
    assert service.ask("HEAD", result["url"]).status in (404, 410)
    assert service.handed_over() == []


def test_empty_file(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """A file without a byte is finished by its creation."""
    result = upload(make_file(0))

    assert methods(result) == ["POST"]
    assert service.handed_over() == [digest(b"")]


def test_metadata(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Names in any script and empty values come back as they were sent."""
    metadata = {"filename": "größe 日本.bin", "empty": ""}

    result = upload(make_file(1), metadata=metadata)

    assert service.metadata(result["url"]) == metadata


@pytest.mark.parametrize("kind", ["ours", "gunicorn-gthread"])
def test_server_dies_on_the_way(node: None, make_file: MakeFile, kind: str) -> None:
    """The client tries again by itself, and goes on with what the dead server had stored."""
    file = make_file(SIZE)
    with live.start(kind) as server:
        service = Service(server, "")
        options = {"retryDelays": [100] * 100}
        plan = {"file": str(file), "endpoint": service.endpoint, "slow": SLOW, "options": options}

        client = begun(plan)
        live.until(lambda: any(path.stat().st_size for path in service.uploads()), within=10)
        server.restart()
        told = result(client)

        assert "HEAD" in methods(told)
        assert offsets(told)[-1] > 0
        assert service.handed_over() == [digest(file.read_bytes())]
