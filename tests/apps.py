"""The applications that live servers run: a recorder behind the filter, and many collections in one process.

A recorder must write down everything it was handed, and decide nothing that a test did not plan.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import shift_path_info

from tests import kinds
from tus import Hooks, Refused, TusASGI, TusFilter
from tus.adapters.handover import call
from tus.adapters.scopes import environ_of

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

HOME = "LIVE_HOME"  # the variable that names the directory; not TUS_…, which the filter would read as an option
MOUNT = "at"  # the first part of the path of every collection but the root one
COUNT = itertools.count()


class Owners(Hooks):
    """Uploads belong to whoever the request header X-User names, and this hook decides nothing else."""

    def user(self, request: Any) -> Any:
        return request.headers.get("x-user")


class Policy(Hooks):
    """Refuses what the request header X-Forbid names: an intent, or `create` with a name; and evil content."""

    def authorise(self, request: Any, intent: str, upload: Any) -> None:
        if request.headers.get("x-forbid") == intent:
            raise Refused(f"you may not {intent}", status=401, headers=(("WWW-Authenticate", "Basic"),))

    def before_create(self, request: Any, upload: Any) -> Any:
        if upload.metadata.filename == "forbidden":
            raise Refused("not by this name", status=403)

    def before_finish(self, upload: Any, file: Any) -> None:
        if b"evil" in file.read():
            raise Refused("the content is evil", status=422)

    def before_terminate(self, request: Any, upload: Any) -> None:
        if upload.metadata.filename == "precious":
            raise Refused("this one stays", status=403)


class Recorder:
    """Writes each request into `home/handed`, and answers as `home/plan.json` says, 200 if there is none."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "handed").mkdir(parents=True, exist_ok=True)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self._record(environ, body)
        plan = self._plan()
        if plan.get("takes") and body:
            Path(os.fsdecode(body)).rename(self.home / "taken")
        if plan.get("waits"):
            self._wait()
        if plan.get("raises"):
            raise RuntimeError("the test planned that the application fails")
        answer = plan.get("body", "from the application").encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))]
        start_response(plan.get("status", "200 OK"), headers + [(n, v) for n, v in plan.get("headers", [])])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer]

    def _wait(self) -> None:
        """Until the test makes the file `go`."""
        until = time.monotonic() + 10
        while not (self.home / "go").exists() and time.monotonic() < until:
            time.sleep(0.005)

    def _plan(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.home / "plan.json").read_text()))
        except FileNotFoundError:
            return {}

    def _record(self, environ: Environ, body: bytes) -> None:
        upload = environ.get("tus.upload")
        record = {
            "method": environ["REQUEST_METHOD"],
            "path": environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            "headers": {n[5:].replace("_", "-").lower(): v for n, v in environ.items() if n.startswith("HTTP_")},
            "type": environ.get("CONTENT_TYPE", ""),
            "body": base64.b64encode(body).decode(),
            "file": self._file(body),
            "upload": getattr(upload, "id", None),
        }
        name = f"{time.time_ns():020}-{os.getpid()}-{next(COUNT)}"
        # Renamed when it is whole, since a test may look at any moment.
        (self.home / f"{name}.part").write_text(json.dumps(record))
        (self.home / f"{name}.part").rename(self.home / "handed" / f"{name}.json")

    def _file(self, body: bytes) -> str | None:
        """What the path in the body leads to; None if it is no path below our own directory."""
        if not body.startswith(os.fsencode(self.home)):
            return None
        try:
            return base64.b64encode(Path(os.fsdecode(body)).read_bytes()).decode()
        except (OSError, ValueError):
            return None


class Collections:
    """A filter at the root, and at `/at/<name>` one for each directory `<home>/<name>`, made when asked for.

    Each has its own uploads, options and recorder, so that one server serves every test with what it needs.
    """

    parks = True  # what a filter returns is passed on as it is

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = built(home)
        self.made: dict[str, TusFilter] = {}
        self.lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.found(environ)(environ, start_response)

    def found(self, environ: Environ) -> TusFilter:
        """The filter that the request is for, to which its path is shifted."""
        if not environ["PATH_INFO"].startswith(f"/{MOUNT}/"):
            return self.root
        shift_path_info(environ)
        return self._named((shift_path_info(environ) or "").encode("latin-1").decode())

    def _named(self, name: str) -> TusFilter:
        with self.lock:
            if name not in self.made:
                self.made[name] = built(self.home / name)
            return self.made[name]


def built(home: Path) -> TusFilter:
    """A filter over a recorder, with the options that `home/options.json` gives."""
    options = json.loads((home / "options.json").read_text())
    return kinds.filtered(Recorder(home), home / "uploads", **options)


def application() -> Collections:
    """What gunicorn loads."""
    return Collections(Path(os.environ[HOME]))


class Coroutines:
    """The same for ASGI: what serves a collection is a `TusASGI` over the same recorder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = awaited(home)
        self.made: dict[str, TusASGI] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        parts = scope.get("path", "").split("/", 3)
        if scope["type"] != "http" or parts[:2] != ["", MOUNT]:
            return await self.root(scope, receive, send)
        name = parts[2]
        if name not in self.made:
            self.made[name] = awaited(self.home / name)
        await self.made[name]({**scope, "root_path": "/".join(parts[:3])}, receive, send)


def awaited(home: Path) -> TusASGI:
    options = json.loads((home / "options.json").read_text())
    return TusASGI(asynchronous(Recorder(home)), tmp_file_dir=str(home / "uploads"), **options)


def asynchronous(app: Wsgi) -> Any:
    """An ASGI application that answers as this one does."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError("the recorder has nothing to start")
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        environ = {**environ_of(scope), "wsgi.input": io.BytesIO(body), "tus.upload": scope.get("tus.upload")}
        status, headers, answer = await asyncio.to_thread(call, app, environ)
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": answer})

    return application


def coroutines() -> Coroutines:
    """What uvicorn loads."""
    return Coroutines(Path(os.environ[HOME]))


def main() -> None:
    """Serve with waitress, or with our own server; gunicorn and uvicorn have commands of their own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("waitress", "ours", "relay"))
    parser.add_argument("port", type=int)
    parser.add_argument("settings", type=json.loads)
    chosen = parser.parse_args()
    listen = f"127.0.0.1:{chosen.port}"
    if chosen.kind == "ours":
        from tus.server import serve
    elif chosen.kind == "relay":
        from tus.https import serve_asgi as serve
    else:
        from waitress import serve
    serve(application(), listen=listen, **chosen.settings)


if __name__ == "__main__":
    main()
