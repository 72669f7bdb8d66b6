"""The photo store of the examples behind the filter, in a process of its own, with a log of what it is asked.

It must write down every request as the application sees it, and change none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from examples.photos import Environ, Photos
from tests.apps import asynchronous
from tus import Hooks, TusASGI, TusFilter

TARGETS = "/photos PUT:/photos/* POST:/broken POST:/preflight POST:/large"


class Small(Hooks):
    """No upload may have more than ten bytes, whatever the options say."""

    def before_create(self, request: Any, upload: Any) -> Any:
        return upload.evolve(limit=10)


class Logged:
    """The application, with a line of JSON for each request; and some resources that misbehave."""

    def __init__(self, home: Path) -> None:
        (home / "photos").mkdir(exist_ok=True)
        self.photos = Photos(home / "photos")
        self.home = home

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        line = {key: value for key, value in environ.items() if isinstance(value, str)}
        line["keys"] = sorted(environ)
        with open(self.home / "log", "a") as log:
            log.write(json.dumps(line) + "\n")
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/broken" and not (self.home / "mended").exists():
            raise RuntimeError("the test planned that the application fails")
        if path == "/preflight" and method == "OPTIONS":
            start_response("200 OK", [("Access-Control-Allow-Origin", "https://mine.example"), ("Content-Length", "0")])
            return [b""]
        if path in ("/broken", "/preflight", "/plain"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
            return [body]
        return self.photos(environ, start_response)


def application() -> TusFilter:
    """What gunicorn loads."""
    home = Path(os.environ["LIVE_HOME"])
    options = json.loads((home / "options.json").read_text())
    return TusFilter(Logged(home), tmp_file_dir=str(home / "uploads"), **options)


def coroutines() -> TusASGI:
    """The same for ASGI."""
    home = Path(os.environ["LIVE_HOME"])
    options = json.loads((home / "options.json").read_text())
    return TusASGI(asynchronous(Logged(home)), tmp_file_dir=str(home / "uploads"), **options)


def main() -> None:
    """Serve with waitress, or with our own server."""
    kind, port, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    if kind == "ours":
        from tus.server import serve
    else:
        from waitress import serve
    serve(application(), listen=f"127.0.0.1:{port}", **settings)


if __name__ == "__main__":
    main()
