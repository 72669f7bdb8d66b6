"""The how-to guides: their programs are taken from the pages, and do what the pages say."""

from __future__ import annotations

import base64
import importlib
import json
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import documents, live
from tests.test_types import complaints
from tus import TusFilter

webob = pytest.importorskip("webob", reason="WebOb is not installed")

# The file by which scanners are tested, in two halves, so that none takes this one for it.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
CREATION = {"Tus-Resumable": "1.0.0"}
PIECE = {**CREATION, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a program of a page, by the name that the page gives it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def load(page: str, name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        documents.write(documents.page(f"howto/{page}"), tmp_path)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return load


def ask(app: Any, method: str, url: str, headers: dict[str, str], body: bytes = b"", user: str = "") -> Any:
    environ = {"REMOTE_USER": user} if user else {}
    return webob.Request.blank(url, method=method, headers=headers, body=body, environ=environ).get_response(app)


def send(app: Any, content: bytes, user: str = "") -> tuple[Any, str]:
    """The last answer, and the upload's URL."""
    said = {**CREATION, "Upload-Length": str(len(content))}
    created = ask(app, "POST", "/upload", said, user=user)
    if created.status_int != 201:
        return created, ""
    url = created.headers["Location"]
    return ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "0"}, content, user), url


class Clamd(socketserver.StreamRequestHandler):
    """What clamd says to INSTREAM, if all that it knows is the file by which scanners are tested."""

    def handle(self) -> None:
        assert self.rfile.read(10) == b"zINSTREAM\0"
        content = b""
        while size := int.from_bytes(self.rfile.read(4), "big"):
            content += self.rfile.read(size)
        found = EICAR in content
        self.wfile.write(b"stream: Eicar-Test-Signature FOUND\0" if found else b"stream: OK\0")


@contextmanager
def scanner(address: Any, kind: type[socketserver.BaseServer]) -> Iterator[Any]:
    with kind(address, Clamd) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_address  # type: ignore[attr-defined]
        server.shutdown()
        thread.join(5)


def filtered(home: Path, hooks: Any) -> tuple[Any, list[bytes]]:
    """An application behind the filter, and what it got."""
    got: list[bytes] = []

    def host(environ: Any, start_response: Any) -> list[bytes]:
        got.append(environ["wsgi.input"].read())
        start_response("204 No Content", [])
        return [b""]

    return TusFilter(host, tmp_file_dir=str(home / "uploads"), hooks=hooks, hand_over="file"), got


@pytest.mark.parametrize("way", ["socket", "port"])
def test_infected_file_never_reaches_the_application(load: Any, tmp_path: Path, way: str) -> None:
    """The client reads what was found, each time that it asks; a clean file comes through."""
    scanning = load("virus-scan", "scanning")
    unix = tmp_path / "clamd.ctl"
    where, kind = (str(unix), socketserver.UnixStreamServer) if way == "socket" else (("127.0.0.1", 0), Server)

    with scanner(where, kind) as address:
        named = address if way == "socket" else f"127.0.0.1:{address[1]}"
        app, got = filtered(tmp_path, scanning.Scan(named))
        infected, url = send(app, b"before " + EICAR + b" behind")
        again = ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "0"})
        clean, _ = send(app, b"clean" * 500_000)

    assert (infected.status_int, infected.text.strip()) == (422, "this file is not taken: Eicar-Test-Signature")
    assert (again.status_int, again.text) == (422, infected.text)
    assert (clean.status_int, got) == (204, [b"clean" * 500_000])


@contextmanager
def clamd(home: Path) -> Iterator[str]:
    """The real daemon, which knows nothing but the file by which scanners are tested; the path of its socket."""
    (home / "known").mkdir()
    (home / "known" / "own.ndb").write_text(f"Test.Own:0:*:{EICAR.hex()}\n")
    path = home / "real.ctl"
    (home / "clamd.conf").write_text(f"DatabaseDirectory {home / 'known'}\nLocalSocket {path}\nForeground yes\n")
    with open(home / "clamd.log", "wb") as log:
        process = subprocess.Popen(["clamd", "-c", home / "clamd.conf"], stdout=log, stderr=log)
    try:
        live.until(lambda: path.exists() or process.poll() is not None, within=60)
        assert path.exists(), (home / "clamd.log").read_text()
        yield str(path)
    finally:
        process.kill()
        process.wait()


@pytest.mark.clients
@pytest.mark.skipif(not shutil.which("clamd"), reason="clamd is not installed (apt install clamav-daemon)")
def test_clamd_itself_finds_what_the_guide_sends_it(load: Any, tmp_path: Path) -> None:
    """Debian's daemon, with a signature of ours: no answer of it is what we take it for."""
    with clamd(tmp_path) as address:
        app, got = filtered(tmp_path, load("virus-scan", "scanning").Scan(address))

        infected, _ = send(app, b"before " + EICAR + b" behind")
        clean, _ = send(app, b"clean" * 500_000)

    assert (infected.status_int, infected.text.strip()) == (422, "this file is not taken: Test.Own.UNOFFICIAL")
    assert (clean.status_int, got) == (204, [b"clean" * 500_000])


class Server(socketserver.TCPServer):
    address_family = socket.AF_INET


def test_nothing_gets_in_while_the_scanner_is_away(load: Any, tmp_path: Path) -> None:
    """The upload stays, HEAD says 423, and the next request asks the scanner again."""
    scanning = load("virus-scan", "scanning")
    unix = str(tmp_path / "clamd.ctl")
    app, got = filtered(tmp_path, scanning.Scan(unix))

    away, url = send(app, b"a file")
    head = ask(app, "HEAD", url, CREATION)
    before = list(got)
    with scanner(unix, socketserver.UnixStreamServer):
        back = ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "6"})

    assert (away.status_int, head.status_int, before) == (500, 423, [])
    assert (back.status_int, got) == (204, [b"a file"])


def test_quota_is_one_of_each_user(load: Any, tmp_path: Path) -> None:
    """What does not fit is refused before a byte is sent; other users have their own."""
    quotas = load("quotas", "quotas")
    app, got = filtered(tmp_path, quotas.Quotas(str(tmp_path / "quotas.db"), quota=100))

    statuses = [send(app, b"x" * size, user)[0].status_int for user, size in
                [("anna", 60), ("anna", 41), ("anna", 40), ("anna", 1), ("ben", 100)]]  # fmt: skip

    assert statuses == [204, 413, 204, 413, 204]
    assert [len(body) for body in got] == [60, 40, 100]


def test_uploads_that_fit_only_one_by_one_are_counted_again(load: Any, tmp_path: Path) -> None:
    """Two that were created before either was finished: the second one is refused at its end."""
    quotas = load("quotas", "quotas")
    app, got = filtered(tmp_path, quotas.Quotas(str(tmp_path / "quotas.db"), quota=100))
    said = {**CREATION, "Upload-Length": "80"}
    urls = [ask(app, "POST", "/upload", said, user="anna").headers["Location"] for _ in range(2)]

    statuses = [ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "0"}, b"x" * 80, "anna").status_int for url in urls]

    assert (statuses, len(got)) == ([204, 413], 1)


def test_upload_without_a_length_stays_within_the_quota(load: Any, tmp_path: Path) -> None:
    """Its limit is what is left."""
    quotas = load("quotas", "quotas")
    app, _ = filtered(tmp_path, quotas.Quotas(str(tmp_path / "quotas.db"), quota=100))
    url = ask(app, "POST", "/upload", {**CREATION, "Upload-Defer-Length": "1"}, user="anna").headers["Location"]

    answer = ask(app, "PATCH", url, {**PIECE, "Upload-Offset": "0"}, b"x" * 101, "anna")

    assert answer.status_int == 413


def test_removed_upload_is_not_counted(load: Any, tmp_path: Path) -> None:
    """Its bytes are free again."""
    quotas = load("quotas", "quotas")
    app = TusFilter(None, tmp_file_dir=str(tmp_path), hooks=quotas.Quotas(str(tmp_path / "quotas.db"), quota=100))
    _, url = send(app, b"x" * 100, "anna")

    removed = ask(app, "DELETE", url, CREATION, user="anna").status_int
    again, _ = send(app, b"x" * 100, "anna")

    assert (removed, again.status_int) == (204, 204)


def test_directory_that_tusd_left_is_taken_over(tmp_path: Path) -> None:
    """An upload that was under way there has its offset, length and name, and is finished here."""
    id = "24e533e02ec3bc40c387f1a0e460e216"
    name = base64.b64encode(b"film.mp4").decode()
    record = {
        "ID": id, "Size": 10, "SizeIsDeferred": False, "Offset": 0, "MetaData": {"filename": "film.mp4"},
        "IsPartial": False, "IsFinal": False, "PartialUploads": None,
        "Storage": {"InfoPath": f"{tmp_path}/{id}.info", "Path": f"{tmp_path}/{id}", "Type": "filestore"},
    }  # fmt: skip
    (tmp_path / id).write_bytes(b"hello")
    (tmp_path / f"{id}.info").write_text(json.dumps(record))
    app = TusFilter(None, tmp_file_dir=str(tmp_path), upload_path="/files")

    head = ask(app, "HEAD", f"/files/{id}", CREATION)
    patch = ask(app, "PATCH", f"/files/{id}", {**PIECE, "Upload-Offset": "5"}, b"world")

    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("5", "10")
    assert head.headers["Upload-Metadata"] == f"filename {name}"
    assert (patch.status_int, (tmp_path / id).read_bytes()) == (204, b"helloworld")


@pytest.mark.slow
def test_application_that_was_one_of_tuspyserver_takes_uploads(load: Any, tmp_path: Path) -> None:
    """The program of the page, by its own routes."""
    pytest.importorskip("fastapi", reason="fastapi is not installed (pip install -e .[examples])")
    main = load("moving", "main")

    paths = {getattr(route, "path", "") for route in main.app.routes}

    assert {"/files", "/files/{id:path}"} <= paths


@pytest.mark.slow
@pytest.mark.parametrize(("page", "name"), [("virus-scan", "scanning.py"), ("quotas", "quotas.py")])
def test_program_has_right_types(page: str, name: str, tmp_path: Path) -> None:
    """mypy --strict has nothing to say of it."""
    pytest.importorskip("mypy", reason="mypy is not installed")

    said = complaints(documents.files(documents.page(f"howto/{page}"))[name], tmp_path)

    assert "error" not in said, said
