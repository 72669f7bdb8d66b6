"""tus-js-client speaks the IETF draft as well, interop 5 and 6: against the same filter, on the same URLs.

It knows no 104, sends no Content-Disposition, and believes that an upload is finished when all bytes are sent. It gets
the bytes here, and not a file stream, since of that it never says when it ends; the last test shows that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import wire
from tests.clients.conftest import MakeFile, Service, digest
from tests.clients.test_tus_js_client import CHUNK, SIZE, SLOW, Upload, begun, methods, missing, offsets, result

PROTOCOLS = ("ietf-draft-03", "ietf-draft-05")

pytestmark = [pytest.mark.clients, pytest.mark.parametrize("protocol", PROTOCOLS)]


@pytest.fixture
def upload(protocol: str, service: Service, tmp_path: Path) -> Upload:
    """Runs one upload in that protocol, and returns its URL and the requests that were made."""
    why = missing()
    if why:
        pytest.skip(why)

    def run(file: Path, plan: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        given = {"file": str(file), "endpoint": service.endpoint, "storage": str(tmp_path / "urls.json")}
        return result(begun({**given, "buffer": True, "options": {**options, "protocol": protocol}, **(plan or {})}))

    return run


def test_upload_in_one_piece(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """A careful creation, one PATCH that completes, and the application has the file."""
    file = make_file(SIZE)

    told = upload(file)

    assert methods(told) == ["POST", "PATCH"]
    assert service.handed_over() == [digest(file.read_bytes())]


def test_upload_in_chunks(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Each chunk goes where the one before it ended, and the last one completes."""
    file = make_file(SIZE)

    told = upload(file, chunkSize=CHUNK)

    assert offsets(told) == list(range(0, SIZE, CHUNK))
    assert service.handed_over() == [digest(file.read_bytes())]


def test_data_in_the_creation(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The POST carries the whole file, with the media type of a PATCH in the later draft."""
    file = make_file(SIZE)

    told = upload(file, uploadDataDuringCreation=True, metadata={"filename": "größe.bin"})

    assert methods(told) == ["POST"]
    assert service.handed_over() == [digest(file.read_bytes())]
    assert service.metadata(told["url"])["filename"] == "größe.bin"


def test_first_chunk_in_the_creation(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The POST carries the first chunk, and PATCHes the others."""
    file = make_file(SIZE)

    told = upload(file, uploadDataDuringCreation=True, chunkSize=CHUNK)

    assert offsets(told) == list(range(CHUNK, SIZE, CHUNK))
    assert service.handed_over() == [digest(file.read_bytes())]


def test_stream_of_unknown_length(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The last request says that it is the last one."""
    file = make_file(SIZE)

    upload(file, {"buffer": False, "stream": True}, chunkSize=CHUNK)

    assert service.handed_over() == [digest(file.read_bytes())]


def test_abort_and_resume(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """Aborted within a request; a second upload asks for the offset and sends only what is missing."""
    file = make_file(SIZE)

    told = upload(file, {"abortAt": SIZE // 3, "slow": SLOW})

    assert methods(told) == ["HEAD", "PATCH"]
    assert offsets(told)[0] > 0 or not service.server.kind.streams
    assert service.handed_over() == [digest(file.read_bytes())]


def test_abort_and_resume_between_chunks(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """The same between two requests."""
    file = make_file(SIZE)

    told = upload(file, {"abortAt": CHUNK}, chunkSize=CHUNK)

    assert methods(told)[0] == "HEAD"
    assert offsets(told)[0] >= CHUNK
    assert service.handed_over() == [digest(file.read_bytes())]


def test_terminate(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """A user who cancels is done with it."""
    told = upload(make_file(SIZE), {"terminateAt": SIZE // 3, "slow": SLOW})

    assert (told["requests"][-1]["method"], told["requests"][-1]["status"]) == ("DELETE", 204)
    assert service.ask("HEAD", told["url"]).status in (404, 410)
    assert service.handed_over() == []


def test_empty_file(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """With the data in the creation the client says that this is all; without, it never does."""
    file = make_file(0)

    upload(file, uploadDataDuringCreation=True)
    silent = upload(file)

    assert service.handed_over() == [digest(b"")]
    assert offset(service, silent["url"]) == ("0", "?0")


def test_file_stream_in_chunks(service: Service, upload: Upload, make_file: MakeFile) -> None:
    """A fault of version 4.3.1 under node: of a file stream it sends the last chunk with ?0. Nothing is lost, and
    nothing is complete before somebody says so."""
    file = make_file(SIZE)

    told = upload(file, {"buffer": False}, chunkSize=CHUNK)

    assert service.handed_over() == []
    assert offset(service, told["url"]) == (str(SIZE), "?0")


def offset(service: Service, url: str) -> tuple[str, str]:
    """How far an upload is, and whether it is complete."""
    headers = {"Host": urlsplit(url).netloc, "Upload-Draft-Interop-Version": "6", "Connection": "close"}
    answer = wire.ask(service.server.address, "HEAD", urlsplit(url).path, headers)
    return answer["Upload-Offset"], answer["Upload-Complete"]
