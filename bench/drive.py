"""Drives the filter with N requests of one kind, in this process or over a socket: what count.py counts.

`python bench/drive.py KIND N [PORT]`. Without a port there is no server and no network: what is left is our own
cost; the directory with its files is printed, for the caller to remove.
"""

from __future__ import annotations

import http.client
import sys
import tempfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

KIB = b"x" * 1024
TYPE = ("Content-Type", "application/offset+octet-stream")
METADATA = ("Upload-Metadata", "filename YmVuY2guYmlu,filetype aW1hZ2UvcG5n")
Headers = Iterable[tuple[str, str]]
Send = Callable[[str, str, Headers, bytes], dict[str, str]]  # method, path, headers, body: the headers of the answer


def in_process(directory: str) -> Send:
    """Calls the filter as a server would; the bodies lie in memory."""
    from tus import TusFilter

    application = TusFilter(tmp_file_dir=directory, upload_path="/files", durable="none", sweep_interval=None)
    errors = sys.stderr

    def send(method: str, path: str, headers: Headers, body: bytes) -> dict[str, str]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
            "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1", "HTTP_TUS_RESUMABLE": "1.0.0", "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": BytesIO(body), "wsgi.errors": errors,
            "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        for name, value in headers:
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else "HTTP_" + key] = value
        answer: dict[str, str] = {}

        def start_response(status: str, found: list[tuple[str, str]]) -> None:
            answer.update(found)
            if status[0] != "2":
                raise SystemExit(f"{method} {path}: {status}")

        result = application(environ, start_response)
        for _ in result:
            pass
        close = getattr(result, "close", None)
        if close:
            close()
        return answer

    return send


def under_uvicorn(directory: str) -> Send:
    """Calls `TusASGI` by way of uvicorn's protocol and loop: all that it does but for the socket."""
    import asyncio

    import uvloop
    from uvicorn import Config
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

    from tus import TusASGI
    from tus.adapters import watch

    watch.QUICK = float("inf")  # the loop takes every step that it may take, however slow a profiler makes it
    application = TusASGI(tmp_file_dir=directory, upload_path="/files", durable="none", sweep_interval=None)
    config = Config(application, access_log=False, log_level="error", lifespan="off")
    config.load()
    loop, state, transport = uvloop.new_event_loop(), ServerState(), Wire()
    asyncio.set_event_loop(loop)
    protocol = HttpToolsProtocol(config, state, {}, _loop=loop)
    protocol.connection_made(transport)

    def send(method: str, path: str, headers: Headers, body: bytes) -> dict[str, str]:
        fields = {"Host": "localhost", "Tus-Resumable": "1.0.0", "Content-Length": str(len(body)), **dict(headers)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        transport.answer = b""
        protocol.data_received(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        loop.run_until_complete(next(iter(state.tasks)))
        status, *found = transport.answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        if not status.startswith("HTTP/1.1 2"):
            raise SystemExit(f"{method} {path}: {status}")
        return {name.title(): value for name, _, value in (line.partition(": ") for line in found)}

    return send


class Wire:
    """A transport that leads nowhere."""

    answer = b""

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 80) if name in ("peername", "sockname") else None

    def write(self, data: bytes) -> None:
        self.answer += data

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def over_socket(port: int) -> Send:
    """One keep-alive connection to a server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(method: str, path: str, headers: Headers, body: bytes) -> dict[str, str]:
        connection.request(method, path, body or None, {"Tus-Resumable": "1.0.0", **dict(headers)})
        response = connection.getresponse()
        response.read()
        if response.status // 100 != 2:
            raise SystemExit(f"{method} {path}: {response.status}")
        return dict(response.getheaders())

    return send


# ---- the kinds of requests ----


def _create(send: Send, length: int, body: bytes = b"") -> str:
    headers = [("Upload-Length", str(length)), METADATA, *([TYPE] if body else [])]
    location = send("POST", "/files", headers, body)["Location"]
    return "/files/" + location.rpartition("/")[2]


def options(send: Send, count: int) -> None:
    for _ in range(count):
        send("OPTIONS", "/files", (), b"")


def head(send: Send, count: int) -> None:
    upload = _create(send, 1 << 40)
    for _ in range(count):
        send("HEAD", upload, (), b"")


def post(send: Send, count: int) -> None:
    for _ in range(count):
        _create(send, 1024)


def post_with_body(send: Send, count: int) -> None:
    for _ in range(count):
        _create(send, 1024, KIB)


def patch(send: Send, count: int) -> None:
    upload = _create(send, 1 << 40)
    for number in range(count):
        send("PATCH", upload, [TYPE, ("Upload-Offset", str(number * 1024))], KIB)


def post_and_last_patch(send: Send, count: int) -> None:
    """The PATCH that finishes an upload; with the POST before it."""
    for _ in range(count):
        send("PATCH", _create(send, 1024), [TYPE, ("Upload-Offset", "0")], KIB)


def get(send: Send, count: int) -> None:
    upload = _create(send, 1024, KIB)
    for _ in range(count):
        send("GET", upload, (), b"")


def post_and_delete(send: Send, count: int) -> None:
    for _ in range(count):
        send("DELETE", _create(send, 1024), (), b"")


KINDS: dict[str, Callable[[Send, int], None]] = {
    function.__name__: function
    for function in (options, head, post, post_with_body, patch, post_and_last_patch, get, post_and_delete)
}


def main() -> None:
    kind, count, *port = sys.argv[1:]
    if port:
        KINDS[kind](over_socket(int(port[0])), int(count))
        return
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    directory = tempfile.mkdtemp(prefix="tus-drive-", dir=where)
    KINDS[kind](in_process(directory), int(count))
    # In another process: removing the files must not be counted.
    print(directory)


if __name__ == "__main__":
    main()
