"""A directory can move from tusd to us and back, in the middle of an upload."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import engines
from tests.engines import append, ask, content, create
from tests.live import free_port, until
from tus import Metadata

TUSD = os.environ.get("TUSD") or shutil.which("tusd")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TUSD, reason="tusd is not installed; put it on the PATH, or name it in the variable TUSD"),
]


class Tusd:
    """A tusd that serves the directory."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        command = [str(TUSD), "-host", "127.0.0.1", "-port", str(self.port), "-upload-dir", str(directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, within=10)

    def answers(self) -> bool:
        with suppress(ConnectionError):
            return self("OPTIONS", "/files/", {})[0] == 200
        return False

    def __call__(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"Tus-Resumable": "1.0.0", **headers})
            answer = connection.getresponse()
            answer.read()
            return answer.status, dict(answer.getheaders())
        finally:
            connection.close()

    def patch(self, id: str, offset: int, body: bytes) -> int:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return self("PATCH", f"/files/{id}", headers, body)[0]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def tusd(tmp_path: Path) -> Iterator[Tusd]:
    server = Tusd(tmp_path)
    yield server
    server.stop()


def test_tusd_goes_on_with_an_upload_of_ours(tmp_path: Path, tusd: Tusd) -> None:
    """It knows length, offset and metadata, and we know what it has done."""
    engine = engines.build(tmp_path)
    upload = create(engine, 6, metadata=Metadata("filename w6QudHh0"))
    append(engine, upload.id, b"abc")

    status, headers = tusd("HEAD", f"/files/{upload.id}", {})
    patched = tusd.patch(upload.id, 3, b"def")

    assert (status, headers["Upload-Offset"], headers["Upload-Length"]) == (200, "3", "6")
    assert headers["Upload-Metadata"] == "filename w6QudHh0"
    assert patched == 204
    found = engine.seize(ask(upload.id))
    assert (found.complete, content(engine, found)) == (True, b"abcdef")


def test_we_go_on_with_an_upload_of_tusd(tmp_path: Path, tusd: Tusd) -> None:
    """We know length, offset and metadata, and it knows what we have done."""
    headers = {"Upload-Length": "6", "Upload-Metadata": "filename w6QudHh0,empty"}
    id = tusd("POST", "/files/", headers)[1]["Location"].rpartition("/")[2]
    tusd.patch(id, 0, b"abc")
    engine = engines.build(tmp_path)

    before = engine.seize(ask(id))
    after = append(engine, id, b"def", offset=3)

    assert (before.length, before.offset, before.metadata.filename) == (6, 3, "ä.txt")
    assert (after.complete, after.pending, content(engine, after)) == (True, True, b"abcdef")
    assert tusd("HEAD", f"/files/{id}", {})[1]["Upload-Offset"] == "6"


def test_tusd_declares_the_length_of_an_upload_of_ours(tmp_path: Path, tusd: Tusd) -> None:
    """It writes the record anew, and we understand that one, too."""
    engine = engines.build(tmp_path)
    upload = create(engine)
    headers = {"Upload-Offset": "0", "Upload-Length": "3", "Content-Type": "application/offset+octet-stream"}

    status, _ = tusd("PATCH", f"/files/{upload.id}", headers, b"ab")

    assert status == 204
    done = append(engine, upload.id, b"c", offset=2)
    assert (done.length, done.complete, content(engine, done)) == (3, True, b"abc")


def test_tusd_joins_parts_of_ours(tmp_path: Path, tusd: Tusd) -> None:
    """And we understand what it made of them."""
    engine = engines.build(tmp_path)
    ids = [create(engine, 2, partial=True, concat="partial").id for _ in range(2)]
    for id in ids:
        append(engine, id, b"ab")
    concat = "final;" + " ".join(f"/files/{id}" for id in ids)

    status, headers = tusd("POST", "/files/", {"Upload-Concat": concat})

    final = engine.look(ask(headers["Location"].rpartition("/")[2]))
    assert status == 201
    assert (final.final, final.complete, final.pending, content(engine, final)) == (True, True, False, b"abab")
