"""tuspy, the Python client of the tus project, does all it can against the filter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.clients.conftest import MakeFile, Service, digest

client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")
storage = pytest.importorskip("tusclient.storage.filestorage", reason="tuspy is not installed (pip install tuspy)")

SIZE = 3_000_000  # bytes; several blocks of every reader, and no multiple of a chunk
CHUNK = 700_000  # bytes

pytestmark = [
    pytest.mark.clients,
    # tuspy leaves the file open that it measures.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_upload_in_one_piece(service: Service, make_file: MakeFile) -> None:
    """One PATCH with everything arrives bit by bit, and is handed over once."""
    file = make_file(SIZE)

    client.TusClient(service.endpoint).uploader(str(file)).upload()

    assert service.handed_over() == [digest(file.read_bytes())]


def test_upload_in_chunks_with_checksums(service: Service, make_file: MakeFile) -> None:
    """Every chunk carries its sha1, and the server finds them right."""
    file = make_file(SIZE)

    client.TusClient(service.endpoint).uploader(str(file), chunk_size=CHUNK, upload_checksum=True).upload()

    assert service.handed_over() == [digest(file.read_bytes())]


def test_upload_by_asyncio(service: Service, make_file: MakeFile) -> None:
    """The asynchronous uploader of tuspy works the same."""
    file = make_file(SIZE)
    uploader = client.TusClient(service.endpoint).async_uploader(str(file), chunk_size=CHUNK)

    asyncio.run(uploader.upload())

    assert service.handed_over() == [digest(file.read_bytes())]


def test_resume_by_a_stored_url(service: Service, make_file: MakeFile, tmp_path: Path) -> None:
    """A second process that knows the URL from a file goes on where the first one stopped."""
    file = make_file(SIZE)

    def uploader():
        urls = storage.FileStorage(str(tmp_path / "urls"))
        settings = {"chunk_size": CHUNK, "store_url": True, "url_storage": urls}
        return client.TusClient(service.endpoint).uploader(str(file), **settings)

    uploader().upload(stop_at=2 * CHUNK)
    second = uploader()
    began_at = second.offset
    second.upload()

    assert began_at == 2 * CHUNK
    assert service.handed_over() == [digest(file.read_bytes())]


def test_empty_file(service: Service, make_file: MakeFile) -> None:
    """A file without a byte is finished by its creation."""
    client.TusClient(service.endpoint).uploader(str(make_file(0))).upload()

    assert service.handed_over() == [digest(b"")]


def test_metadata(service: Service, make_file: MakeFile) -> None:
    """Names in any script and empty values come back as they were sent."""
    metadata = {"filename": "größe 日本.bin", "empty": ""}
    uploader = client.TusClient(service.endpoint).uploader(str(make_file(1)), metadata=metadata)

    uploader.upload()

    assert service.metadata(uploader.url) == metadata
