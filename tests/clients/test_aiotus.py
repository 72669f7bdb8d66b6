"""aiotus, the asynchronous client, does all it can against the filter, also concatenation and metadata."""

from __future__ import annotations

import asyncio
import io

import pytest

from tests.clients.conftest import MakeFile, Service, digest

aiotus = pytest.importorskip("aiotus", reason="aiotus is not installed (pip install aiotus)")

SIZE = 3_000_000  # bytes; several blocks of every reader, and no multiple of a chunk
CHUNK = 700_000  # bytes
ONCE = aiotus.RetryConfiguration(retry_attempts=1)  # a retry would hide what failed

pytestmark = [
    pytest.mark.clients,
    # aiohttp would rather be given a file than the large chunk that aiotus gives it.
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]


@pytest.mark.parametrize("chunk", [SIZE, CHUNK])
def test_upload(service: Service, make_file: MakeFile, chunk: int) -> None:
    """A file in one piece or in chunks arrives bit by bit, and is handed over once."""
    content = make_file(SIZE).read_bytes()

    url = asyncio.run(aiotus.upload(service.endpoint, io.BytesIO(content), chunksize=chunk, config=ONCE))

    assert url is not None
    assert service.handed_over() == [digest(content)]


def test_several_files_become_one(service: Service, make_file: MakeFile) -> None:
    """Partial uploads in parallel are concatenated in order; the application sees the final one only."""
    contents = [make_file(size).read_bytes() for size in (SIZE, 1, CHUNK)]
    files = [io.BytesIO(content) for content in contents]

    url = asyncio.run(aiotus.upload_multiple(service.endpoint, files, chunksize=CHUNK, config=ONCE))

    assert url is not None
    assert service.handed_over() == [digest(b"".join(contents))]


def test_empty_file(service: Service) -> None:
    """A file without a byte is finished."""
    url = asyncio.run(aiotus.upload(service.endpoint, io.BytesIO(), config=ONCE))

    assert url is not None
    assert service.handed_over() == [digest(b"")]


def test_metadata(service: Service) -> None:
    """Names in any script, and empty values, come back; aiotus reads an empty value as none."""
    metadata = {"filename": "größe 日本.bin".encode(), "empty": b"", "key": None}

    async def send_and_ask() -> aiotus.Metadata | None:
        url = await aiotus.upload(service.endpoint, io.BytesIO(b"x"), metadata, config=ONCE)
        return await aiotus.metadata(url, config=ONCE)

    assert asyncio.run(send_and_ask()) == {**metadata, "empty": None}
