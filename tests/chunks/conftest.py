"""A filter in this process for the words of the browser libraries, and live servers where sockets matter.

A page here says exactly what the real library says; what that is was read from the library's source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests import kinds, live
from tests.servers import check_files
from tests.shelves import shelf
from tus import Hooks

BOUNDARY = "----formBoundary7MA4YWxk"


def form(fields: Mapping[str, Any], content: bytes | None = None, *, name: str = "file", filename: str = "blob") -> Any:
    """The body of a form as browsers write it, and its type; without `content` there is no file in it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    if content is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n"]
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={BOUNDARY}"


@dataclass
class Page:
    """A filter over an application that keeps what it is handed, and the browser of one visitor before it."""

    directory: Path
    options: dict[str, Any]
    pair: str = "file"
    handed: list[bytes] = field(default_factory=list)
    uploads: list[Any] = field(default_factory=list)
    status: str = "200 OK"
    body: bytes = b""
    cookies: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = {"hand_over": "file"} if self.pair != "file" else {}
        self.filter = kinds.filtered(self._app, self.directory, self.pair, **given | self.options)

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if "tus.upload" in environ:
            body = environ["wsgi.input"].read()
            self.handed.append(body if self.pair != "file" else Path(body.decode()).read_bytes())
            self.uploads.append(environ["tus.upload"])
        start_response(self.status, [("Content-Type", "text/plain"), ("Content-Length", str(len(self.body)))])
        return [self.body]

    def __call__(self, method: str, path: str, body: bytes = b"", kind: str = "", **headers: str) -> Any:
        """The answer to one request below the collection."""
        webob = pytest.importorskip("webob")
        request = webob.Request.blank(f"/upload{path}", method=method, body=body)
        if kind:
            request.content_type = kind
        sent = {"Cookie": "; ".join(self.cookies)} if self.cookies else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request.headers.update(sent)
        answer = request.get_response(self.filter)
        self.cookies += [cookie.partition(";")[0] for cookie in answer.headers.getall("Set-Cookie")]
        return answer

    def visitor(self) -> Page:
        """Somebody else, with a browser of their own, at the same address."""
        return replace(self, cookies=[])

    def files(self) -> set[str]:
        """What lies in the directory, without what is the store's own."""
        return {name for name in shelf(self.directory, self.pair).names() if not name.startswith(".")}


MakePage = Callable[..., Page]


@pytest.fixture(params=["file", pytest.param("slow", marks=pytest.mark.slow)])
def pair(request: pytest.FixtureRequest) -> str:
    """The kind of store and locker."""
    check_files(request, "the slow store", request.param == "file")
    return str(request.param)


@pytest.fixture
def make_page(tmp_path: Path, pair: str) -> MakePage:
    """Makes filters with these options over one directory."""

    def make(*, hooks: Hooks | None = None, **options: Any) -> Page:
        return Page(tmp_path / "uploads", {"durable": "none", "hooks": hooks or "", **options}, pair)

    return make


@pytest.fixture
def page(make_page: MakePage) -> Page:
    return make_page()


@pytest.fixture(scope="package")
def server() -> Iterator[live.Live]:
    """Our own server, with threads in one process."""
    with live.start("ours") as server:
        yield server


@pytest.fixture(scope="package")
def workers() -> Iterator[live.Live]:
    """Our own server, with three processes."""
    with live.start("ours-workers") as server:
        yield server
