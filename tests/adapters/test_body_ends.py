"""Where a body ends, on every server: that is known, or the request is refused. Silence is not an end."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tus import TusFilter

CONTENT = os.urandom(100_000)
HOSTS = live.ROOT / "bench" / "hosts"
HTTP1, HTTP2 = "--http1.1", "--http2-prior-knowledge"


def module(name: str, *words: str) -> Callable[[int, dict[str, Any]], list[str]]:
    return lambda port, settings: [sys.executable, "-m", name, *(word.format(port=port) for word in words)]


def hosted(name: str) -> Callable[[int, dict[str, Any]], list[str]]:
    return lambda port, settings: [sys.executable, str(HOSTS / "serve_with.py"), name, str(port)]


GRANIAN = ("--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log", "filtered:application")
GUNICORN = ("--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--no-control-socket", "filtered:application")
UWSGI = str(Path(sys.executable).with_name("uwsgi"))
SERVERS = {
    "ours": live.Kind("ours", module("tus", "serve", "--no-page", "--port", "{port}"), ("tus",)),
    "waitress": live.Kind(
        "waitress",
        module("waitress", "--listen=127.0.0.1:{port}", "filtered:application"),
        ("waitress",),
    ),
    "gunicorn": live.Kind("gunicorn", module("gunicorn", *GUNICORN), ("gunicorn",)),
    "granian": live.Kind("granian", module("granian", *GRANIAN), ("granian",)),
    "hypercorn": live.Kind(
        "hypercorn",
        module("hypercorn", "--bind", "127.0.0.1:{port}", "wsgi:filtered:application"),
        ("hypercorn",),
    ),
    "cheroot": live.Kind("cheroot", hosted("cheroot"), ("cheroot",)),
    "pywsgi": live.Kind("pywsgi", hosted("pywsgi"), ("gevent",)),
    "uvicorn": live.Kind("uvicorn", hosted("uvicorn"), ("uvicorn", "a2wsgi")),
    "paste": live.Kind("paste", hosted("paste"), ("paste.httpserver",)),
    "werkzeug": live.Kind("werkzeug", hosted("werkzeug"), ("werkzeug",)),
    "wsgiref": live.Kind("wsgiref", hosted("wsgiref"), ("wsgiref",)),
    "uwsgi": live.Kind(
        "uwsgi",
        lambda port, settings: [UWSGI, "--http11-socket", f"127.0.0.1:{port}", "--die-on-term", "-w", "filtered"],
        ("pyuwsgi",),
    ),
}
REFUSING = {"uvicorn", "paste", "werkzeug", "wsgiref"}  # they do not show where a body in chunks ends


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], live.Live]]:
    """Start a server by its name, with our filter at /files."""
    running: list[live.Live] = []

    def start(name: str) -> live.Live:
        kind = SERVERS[name]
        missing = [need for need in kind.needs if not live._found(need)]
        if missing:
            pytest.skip(f"{' and '.join(missing)} cannot be imported")
        if not shutil.which("curl"):
            pytest.skip("there is no curl")
        uploads = str(tmp_path / "uploads")
        paths = os.pathsep.join([str(live.ROOT), str(HOSTS)])
        environ = {"PYTHONPATH": paths, "BENCH_DIRECTORY": uploads, "TUS_TMP_FILE_DIR": uploads}
        running.append(live.Live(kind, tmp_path, live.free_port(), {}, temporary=False, environ=environ))
        running[0].start()
        return running[0]

    yield start
    for server in running:
        server.close()


def curl(url: str, *words: str, content: bytes = b"") -> tuple[int, dict[str, str]]:
    """Status and headers of the last answer."""
    command = ["curl", "-s", "-S", "-i", "--max-time", "20", *words, url]
    done = subprocess.run(command, input=content, capture_output=True, timeout=40)
    heads = [part for part in done.stdout.decode("latin-1").split("\r\n\r\n") if part.startswith("HTTP/")]
    assert heads, done.stderr.decode()
    status, *lines = heads[-1].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(status.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}


def speaks(http: str) -> None:
    if http == HTTP2 and "HTTP2" not in subprocess.run(["curl", "-V"], capture_output=True, text=True).stdout:
        pytest.skip("curl was built without HTTP/2")


def kept(server: live.Live) -> list[bytes]:
    """What lies in the files of the uploads."""
    files = (server.home / "uploads").glob("*")
    return [file.read_bytes() for file in files if len(file.name) == 32 and "." not in file.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "http"), [*((name, HTTP1) for name in SERVERS), ("granian", HTTP2), ("hypercorn", HTTP2)]
)
def test_a_body_without_a_length_is_kept_or_refused(started, name: str, http: str) -> None:
    """Every byte of it, or 411 and nothing: the answer is never that an empty file has come."""
    speaks(http)
    server = started(name)

    status, fields = curl(
        f"{server.origin}/files", http, "-X", "POST", "-T", "-", "-H", "Upload-Complete: ?1", content=CONTENT
    )

    if name in REFUSING:
        assert (status, kept(server)) == (411, [])
    else:
        assert status in (201, 204) and fields["upload-offset"] == str(len(CONTENT))
        assert kept(server) == [CONTENT]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["granian", "hypercorn"])
def test_requests_without_a_body_work_over_http2(started, name: str) -> None:
    """There a request without a body announces none: creations, an empty file and a concatenation are answered."""
    speaks(HTTP2)
    server = started(name)
    url, tus = f"{server.origin}/files", ("-H", "Tus-Resumable: 1.0.0")
    kind = ("-H", "Content-Type: application/offset+octet-stream", "-H", "Upload-Offset: 0")

    empty = curl(url, HTTP2, "-X", "POST", *tus, "-H", "Upload-Length: 0")
    part = curl(url, HTTP2, "-X", "POST", *tus, "-H", "Upload-Length: 5", "-H", "Upload-Concat: partial")
    where = part[1]["location"] if part[1]["location"].startswith("http") else server.origin + part[1]["location"]
    # curl cannot tell how long what it reads from a pipe is.
    patched = curl(where, HTTP2, "-X", "PATCH", "-T", "-", *tus, *kind, content=b"hello")
    whole = curl(url, HTTP2, "-X", "POST", *tus, "-H", f"Upload-Concat: final;{part[1]['location']}")
    removed = curl(where, HTTP2, "-X", "DELETE", *tus)

    assert [answer[0] for answer in (empty, part, patched, whole, removed)] == [201, 201, 204, 201, 204]
    assert empty[1]["upload-offset"] == "0"
    assert patched[1]["upload-offset"] == whole[1]["upload-offset"] == "5"


class Endless:
    """The input of a server on which a read beyond the body's end blocks for ever."""

    def read(self, size: int) -> bytes:
        raise AssertionError("nobody knows where this body ends")


class Ending:
    """The input of a server on which reading stops at the body's end."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


def asked(directory: Path, input: Any, **environ: Any) -> tuple[str, dict[str, str]]:
    """What the filter answers to a creation of the draft's with that body."""
    answers: list[Any] = []
    given = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/upload",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_UPLOAD_COMPLETE": "?0",
        "wsgi.input": input,
        **environ,
    }
    app = TusFilter(tmp_file_dir=str(directory), durable="none")
    list(app(given, lambda status, headers: answers.append((status, dict(headers)))))
    return answers[0][0], answers[0][1]


@pytest.mark.parametrize(
    "environ",
    [
        {"SERVER_PROTOCOL": "HTTP/2"},
        {"SERVER_PROTOCOL": "HTTP/2.0", "CONTENT_LENGTH": ""},
        {"SERVER_PROTOCOL": "HTTP/3"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""},
        {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "0"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "00"},
        {"CONTENT_LENGTH": "5, 5"},
    ],
    ids=str,
)
def test_what_does_not_tell_its_end_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    """Where the server does not end its input either: 411, without a read."""
    assert asked(tmp_path, Endless(), **environ)[0] == "411 Length Required"


@pytest.mark.parametrize("protocol", ["HTTP/2", "HTTP/2.0", "HTTP/3"])
@pytest.mark.parametrize("content", [b"", b"hello"])
def test_an_input_that_ends_tells_where_the_body_does(tmp_path: Path, protocol: str, content: bytes) -> None:
    """`wsgi.input_terminated` is a promise; an empty body is one that ends at once."""
    status, fields = asked(tmp_path, Ending(content), SERVER_PROTOCOL=protocol, **{"wsgi.input_terminated": True})

    assert (status[:3], fields["Upload-Offset"]) == ("201", str(len(content)))


def test_a_request_in_http_1_that_says_nothing_has_no_body(tmp_path: Path) -> None:
    """RFC 9112, 6.3: it needs no input that ends."""
    status, fields = asked(tmp_path, Endless())

    assert (status[:3], fields["Upload-Offset"]) == ("201", "0")
