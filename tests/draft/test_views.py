"""The draft in a view of any framework: the same protocol, without a filter that could call the application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tus import Tus

webob = pytest.importorskip("webob", reason="WebOb is not installed")


def view(home: Path, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[Any, bytes | None]:
    """The answer of a view, and what it was handed."""
    from tus import WebobAdapter

    request = webob.Request.blank(path, method=method, body=body, headers=headers)
    adapter = WebobAdapter(request)
    tus = Tus(adapter, str(home), sweep_interval="none")
    assert tus.valid
    tus.handle()
    content = None
    if tus.upload_finished:
        content = Path(tus.get_filepath()).read_bytes()
        tus.cleanup_file()
    b"".join(adapter.resp.app_iter)
    adapter.resp.app_iter.close()
    return adapter.resp, content


def test_view_is_handed_the_upload(tmp_path: Path) -> None:
    """Created, appended to and completed; asked again, it is complete and not handed over again."""
    version = {"Upload-Draft-Interop-Version": "8"}
    created, _ = view(tmp_path, "POST", "/upload", b"hello", {**version, "Upload-Complete": "?0"})
    path = "/upload/" + created.headers["Location"].rpartition("/")[2]
    append = {**version, "Upload-Complete": "?1", "Content-Type": "application/partial-upload"}

    ended, content = view(tmp_path, "PATCH", path, b" world", {**append, "Upload-Offset": "5"})
    again, nothing = view(tmp_path, "PATCH", path, b"", {**append, "Upload-Offset": "11"})
    asked, _ = view(tmp_path, "HEAD", path, b"", version)

    assert (ended.status_int, ended.headers["Upload-Complete"], content) == (204, "?1", b"hello world")
    assert (again.headers["Upload-Complete"], nothing) == ("?1", None)
    assert asked.headers["Upload-Complete"] == "?1"
