"""An upload in object storage is read while it arrives, and its writer notices nothing."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engines import append, ask, create
from tests.s3.conftest import MIB, PART, Reopen
from tests.s3.proxy import Proxy, count
from tus import Engine, Options, Silent
from tus.downloads import download
from tus.engine.writer import Writer
from tus.lockers.memory import MemoryLocker

pytestmark = [pytest.mark.engines, pytest.mark.slow]
SILENCE = 60.0  # seconds after which a reader that hears nothing has found a fault


@pytest.fixture
def host(reopen: Reopen) -> Engine:
    return Engine(reopen(), MemoryLocker(patience=1.0), Options({"download": "live"}, environ={}), None)


def test_reader_leaves_parts_alone(host: Engine, proxy: Proxy) -> None:
    """Whoever asks for bytes in parts waits: those are put together once, at the end, and none is sent or copied a
    second time."""
    data = os.urandom(3 * PART)
    upload = create(host, len(data))

    def look(writer: Writer) -> None:
        writer.draft.settle()  # type: ignore[union-attr]
        with host.follow(upload, timeout=0.1) as file, pytest.raises(Silent):
            file.read1()

    with ThreadPoolExecutor(1) as threads, host.follow(upload, timeout=SILENCE) as file:
        whole = threads.submit(file.read)
        for offset in range(0, len(data), PART):
            append(host, upload.id, data[offset : offset + PART], offset=offset, then=look)
        same = whole.result() == data
    calls = count(proxy.calls)

    assert same
    assert (calls["UploadPart"], calls["CompleteMultipartUpload"], calls.get("UploadPartCopy")) == (3, 1, None)


def test_get_waits_for_the_rest(reopen: Reopen) -> None:
    """A client gets what a request brought before the next one, and then what that one brings."""
    host = Engine(reopen(), MemoryLocker(), Options({"download": "live"}, environ={}), None, delivers=False)
    data = os.urandom(2 * MIB)
    upload = create(host, len(data))
    append(host, upload.id, data[:MIB])
    seen = threading.Event()

    def get() -> tuple[int, bytes]:
        response = download(ask(upload.id)._replace(method="GET"), host)
        body = b""
        for block in response.body:
            body += block
            if len(body) >= MIB:
                seen.set()
        return response.status, body

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(get)
        early = seen.wait(SILENCE)
        append(host, upload.id, data[MIB:], offset=MIB)
        status, body = reader.result()

    assert (early, status, body == data) == (True, 200, True)


def test_reader_gets_what_lies_before_the_parts(host: Engine) -> None:
    """A request that brought less than a part is read at once, and what follows it from the finished object."""
    data = os.urandom(2 * PART + MIB)
    upload = create(host, len(data))

    with host.follow(upload, timeout=SILENCE) as file:
        append(host, upload.id, data[:MIB])
        first = file.read(MIB)
        append(host, upload.id, data[MIB:], offset=MIB)
        rest = file.read()

    assert first + rest == data
