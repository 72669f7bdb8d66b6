"""A photo store that knows nothing of resumable uploads, and takes them all the same: the filter makes it so.

    python -m examples.photos            # http://127.0.0.1:8080/photos

An iPhone, or any client of the IETF draft, may break off in the middle of a POST and go on later; the application sees
one ordinary request, with the whole body.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tus import TusFilter

Environ = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], bytes]

BLOCK = 1 << 18  # bytes
NAME = re.compile(r"/photos/([A-Za-z0-9_-]+\.[a-z]+)")


class Photos:
    """POST /photos keeps a photo, PUT /photos/<name> keeps it by a name, GET shows one, or the list of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = self.answer(environ)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def answer(self, environ: Environ) -> Answer:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        named = NAME.fullmatch(path)
        if method == "POST" and path == "/photos":
            number = len(list(self.directory.iterdir())) + 1
            return self.keep(environ, f"{number}.{environ.get('CONTENT_TYPE', '').rpartition('/')[2]}")
        if method == "PUT" and named:
            return self.keep(environ, named[1])
        if method == "GET" and path == "/photos":
            return "200 OK", [("Content-Type", "application/json")], json.dumps(self.names()).encode()
        if method == "GET" and named and named[1] in self.names():
            return "200 OK", [("Content-Type", "image/*")], (self.directory / named[1]).read_bytes()
        return "404 Not Found", [], b""

    def names(self) -> list[str]:
        return sorted(photo.name for photo in self.directory.iterdir())

    def keep(self, environ: Environ, name: str) -> Answer:
        if not environ.get("CONTENT_TYPE", "").startswith("image/"):
            return "415 Unsupported Media Type", [("Content-Type", "text/plain")], b"photos only\n"
        if environ.get("HTTP_IF_NONE_MATCH") == "*" and name in self.names():
            return "412 Precondition Failed", [], b""
        left = int(environ["CONTENT_LENGTH"])
        with open(self.directory / name, "wb") as file:
            while left and (block := environ["wsgi.input"].read(min(left, BLOCK))):
                file.write(block)
                left -= len(block)
        body = json.dumps({"name": name, "size": (self.directory / name).stat().st_size})
        return "201 Created", [("Location", f"/photos/{name}"), ("Content-Type", "application/json")], body.encode()


def main() -> None:
    """Serve it, with a server that streams."""
    from tus.server import serve

    photos = Photos(Path(tempfile.mkdtemp(prefix="photos-")))
    serve(TusFilter(photos, draft_targets="/photos PUT:/photos/*", interim_responses=True), listen="127.0.0.1:8080")


if __name__ == "__main__":
    main()
