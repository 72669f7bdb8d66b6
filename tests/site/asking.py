"""Ask a WSGI application, as a server does; without a server."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(app: Callable[..., Any], url: str, method: str = "GET", body: bytes = b"", **environ: Any) -> Answer:
    """The whole answer. `environ` is added; HTTP_… for headers."""
    path, _, query = url.partition("?")
    given = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
        **environ,
    }
    started: list[Any] = []
    parts_of_body = app(given, lambda status, headers, exc_info=None: started.append((status, headers)))
    try:
        content = b"".join(parts_of_body)
    finally:
        if hasattr(parts_of_body, "close"):
            parts_of_body.close()
    status, headers = started[-1]
    return Answer(int(status.split()[0]), {name.title(): value for name, value in headers}, content)


def upload(app: Callable[..., Any], collection: str, content: bytes, **metadata: str) -> Answer:
    """Send a file by tus, in one request."""
    from base64 import b64encode

    pairs = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in metadata.items())
    return ask(
        app,
        collection,
        "POST",
        content,
        CONTENT_TYPE="application/offset+octet-stream",
        HTTP_TUS_RESUMABLE="1.0.0",
        HTTP_UPLOAD_LENGTH=str(len(content)),
        HTTP_UPLOAD_METADATA=pairs,
    )
