"""Chunks in a view of the application's own: the same function for every framework that has an environ."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.chunks.conftest import form
from tus import Tus
from tus.errors import BadRequest, NoContent, Refused

webob = pytest.importorskip("webob")
DATA = b"0123456789" * 250
FLOW = {
    "flowChunkSize": 1000,
    "flowTotalSize": 2500,
    "flowTotalChunks": 2,
    "flowIdentifier": "x",
    "uploadKey": "k" * 20,
}


def view(directory: Path, method: str, number: Any, body: bytes = b"", **options: Any) -> tuple[Tus, Any]:
    """What a view makes of one request to /photos/chunks."""
    from tus import WebobAdapter

    query = urlencode({**FLOW, "flowChunkNumber": number})
    environ = webob.Request.blank(f"/photos/chunks?{query}", method=method, body=body).environ
    adapter = WebobAdapter(environ)
    tus = Tus(adapter, tmp_file_dir=str(directory), upload_path="/photos", durable="none", **options)
    assert tus.valid
    tus.handle()
    return tus, adapter


def test_view_gets_the_file(tmp_path: Path) -> None:
    """The view hears of the last chunk, takes the file, and the page that asks again hears that all is there."""
    tus, _ = view(tmp_path, "POST", 2, DATA[1000:])
    assert not tus.upload_finished

    tus, adapter = view(tmp_path, "POST", 1, DATA[:1000])
    assert tus.upload_finished
    assert Path(tus.get_filepath()).read_bytes() == DATA
    tus.cleanup_file()
    adapter.resp.app_iter.close()
    tus, adapter = view(tmp_path, "GET", 1)

    assert (adapter.resp.status_int, tus.upload_finished) == (200, False)


def test_view_hears_exceptions(tmp_path: Path) -> None:
    """Of a chunk that is not there, of words that make no sense, and of what is refused."""
    view(tmp_path, "POST", 1, DATA[:1000])[0].check()

    with pytest.raises(NoContent):
        view(tmp_path, "GET", 2)[0].check()
    with pytest.raises(BadRequest):
        view(tmp_path, "POST", 2, b"short")[0].check()
    with pytest.raises(Refused):
        view(tmp_path / "small", "POST", 2, DATA[1000:], max_size=10)[0].check()


def test_missing_library_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    """Forms need a parser, which is asked for when the first form arrives; the log says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "multipart", None)
    from tus import TusFilter

    app = TusFilter(None, tmp_file_dir=str(tmp_path))
    body, kind = form({}, b"x")
    request = webob.Request.blank("/upload/form", method="POST", body=body, content_type=kind)

    answer = request.get_response(app)

    assert (answer.status_int, "pip install multipart" in answer.text) == (500, True)
