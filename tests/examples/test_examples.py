"""Every file in `examples/`, as a reader would start it: a real client, a cut connection, and what else it answers."""

from __future__ import annotations

import base64
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import pytest

from tests import live, wire
from tests.clients.test_tus_js_client import begun, missing, result

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
CONTENT = random.Random(4).randbytes(1_000_000)
START = 30.0  # seconds that a framework may take to be imported
TYPE = {"Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True)
class Example:
    """How one is started, and where it takes uploads."""

    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    ways: tuple[str, ...] = ("/files", "/upload")
    whole: tuple[str, ...] = ()  # the ways that get a body only when all of it has come
    reasons: bool = True  # the server sends the reason of a status that it does not know


def gunicorn(module: str, *needs: str) -> Example:
    return Example(("gunicorn", "--threads", "4", "--bind", "127.0.0.1:{port}", f"{module}:application"), needs)


def uvicorn(module: str, *needs: str, whole: tuple[str, ...] = ()) -> Example:
    command = ("uvicorn", "--port", "{port}", "--timeout-graceful-shutdown", "1", f"{module}:application")
    return Example(command, ("uvicorn", *needs), whole=whole, reasons=False)


RUN = {
    "plain_wsgi": gunicorn("plain_wsgi"),
    "flask": gunicorn("flask_app", "flask"),
    "django": gunicorn("django_app", "django"),
    "falcon": gunicorn("falcon_app", "falcon"),
    "bottle": gunicorn("bottle_app", "bottle"),
    "werkzeug": gunicorn("werkzeug_app", "werkzeug"),
    "cherrypy": gunicorn("cherrypy_app", "cherrypy"),
    "pyramid": Example(("pyramid.scripts.pserve", "{ini}"), ("pyramid",)),
    "fastapi": uvicorn("fastapi_app", "fastapi"),
    "starlette": uvicorn("starlette_app", "starlette"),
    "django_async": uvicorn("django_async_app", "django", whole=("/files",)),
    "litestar": uvicorn("litestar_app", "litestar"),
    "quart": uvicorn("quart_app", "quart"),
    "urlmap": Example(
        ("gunicorn", "--threads", "4", "--bind", "127.0.0.1:{port}", "--paste", "{ini}"),
        ("paste.urlmap",),
        ("/shop/files", "/shop/upload"),
    ),
}
CASES = [pytest.param((name, way), id=name + way) for name, example in RUN.items() for way in example.ways]

pytestmark = [
    pytest.mark.clients,
    # tuspy leaves the file open that it measures.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass
class Running:
    """One example in a process and a directory of its own."""

    name: str
    home: Path
    port: int
    process: subprocess.Popen[bytes]
    way: str = ""

    @property
    def address(self) -> wire.Address:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.way}"

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> wire.Answer:
        given = {"Host": f"127.0.0.1:{self.port}", "Tus-Resumable": "1.0.0", "Connection": "close"}
        length = {"Content-Length": str(len(body))} if method in ("POST", "PATCH") else {}
        return wire.ask(self.address, method, path.removeprefix(f"http://127.0.0.1:{self.port}"),
                        {**given, **length, **(headers or {})}, body)  # fmt: skip

    def create(self, length: int, name: str) -> str:
        encoded = base64.b64encode(name.encode()).decode()
        headers = {"Upload-Length": str(length), "Upload-Metadata": f"filename {encoded}"}
        answer = self.ask("POST", self.way, headers)
        assert answer.status == 201, answer
        return answer["Location"].removeprefix(f"http://127.0.0.1:{self.port}")

    def kept(self, name: str) -> bytes | None:
        path = next((self.home / "kept").glob(f"*-{name}"), None)
        return path.read_bytes() if path else None

    def end(self) -> None:
        if not live.ended(self.process):
            os.kill(self.process.pid, signal.SIGTERM)
            with suppress(AssertionError):
                live.until(lambda: live.ended(self.process), within=5)
        # Not waited for yet, so the group is still ours.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def run(name: str, home: Path) -> Running:
    port = live.free_port()
    ini = home / f"{name}.ini"
    if (EXAMPLES / ini.name).exists():
        ini.write_text((EXAMPLES / ini.name).read_text().replace("port = 8080", f"port = {port}"))
    module, *words = (word.format(port=port, ini=ini) for word in RUN[name].command)
    if module == "gunicorn":
        words = ["--no-control-socket", "--graceful-timeout", "1", *words]
    path = [str(EXAMPLES), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(home / "output.txt", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Running(name, home, port, process)
    until = time.monotonic() + START
    while not live.ended(process) and time.monotonic() < until:
        with suppress(OSError, wire.Broken):
            running.ask("GET", "/")
            return running
        time.sleep(0.02)
    running.end()
    raise RuntimeError(f"{name} does not answer; it printed:\n{(home / 'output.txt').read_text()}")


def found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Those that were asked for; each runs to the end of the session."""
    running: dict[str, Running] = {}
    yield running
    for example in running.values():
        example.end()


@pytest.fixture(params=CASES)
def example(request: pytest.FixtureRequest, examples: dict[str, Running], tmp_path_factory) -> Running:
    """One example, and one of its ways to take uploads."""
    name, way = request.param
    for module in RUN[name].needs:
        if not found(module):
            pytest.skip(f"{module} is not installed (pip install -e .[examples])")
    if name not in examples:
        examples[name] = run(name, tmp_path_factory.mktemp(name))
    examples[name].way = way
    return examples[name]


def test_tuspy_uploads_in_chunks(example: Running, tmp_path: Path) -> None:
    """With a checksum for each; the application keeps the file under its name, and the upload is cleaned up."""
    client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    name = f"größe{example.way.replace('/', '-')}.bin"

    uploader = client.TusClient(example.url).uploader(
        str(file), chunk_size=300_000, upload_checksum=True, metadata={"filename": name}
    )
    uploader.upload()

    assert example.kept(name) == CONTENT
    assert not (example.home / "uploads" / uploader.url.rpartition("/")[2]).exists()


def test_tus_js_client_goes_on_where_it_was_cut(example: Running, tmp_path: Path) -> None:
    """It stops in the middle, asks with a HEAD, and sends the rest; the application keeps the file under its name."""
    if why := missing():
        pytest.skip(why)
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    name = f"node{example.way.replace('/', '-')}.bin"
    plan = {
        "file": str(file),
        "endpoint": example.url,
        "options": {"chunkSize": 300_000, "metadata": {"filename": name}},
        "storage": str(tmp_path / "urls.json"),
        "slow": 10,
        "abortAt": 400_000,
    }

    said = result(begun(plan))

    assert said["requests"][0]["method"] == "HEAD"
    assert example.kept(name) == CONTENT
    assert not (example.home / "uploads" / said["url"].rpartition("/")[2]).exists()


def test_a_cut_connection_loses_nothing(example: Running) -> None:
    """What arrived is in the file; the client goes on behind it."""
    if example.way in RUN[example.name].whole:
        pytest.skip("the framework waits for the whole body")
    name = f"cut{example.way.replace('/', '-')}.bin"
    url = example.create(len(CONTENT), name)
    data = example.home / "uploads" / url.rpartition("/")[2]
    headers = {"Host": "x", "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Length": "1000000", **TYPE}
    with wire.Wire(example.address) as connection:
        connection.send(wire.head("PATCH", url, headers) + CONTENT[:200_000])
        live.until(lambda: data.stat().st_size == 200_000)

    head = example.ask("HEAD", url)
    answer = example.ask("PATCH", url, {"Upload-Offset": "200000", **TYPE}, CONTENT[200_000:])

    assert (head.status, head["Upload-Offset"]) == (200, "200000")
    assert (answer.status, answer["Upload-Offset"]) == (204, "1000000")
    assert example.kept(name) == CONTENT


def test_no_answer_is_changed(example: Running) -> None:
    """Every method reaches us, and the framework leaves status and headers as they are."""
    url = example.create(10, "never")
    wrong = base64.b64encode(sha1(b"something else").digest()).decode()

    options = example.ask("OPTIONS", example.way)
    checksum = example.ask("PATCH", url, {"Upload-Offset": "0", "Upload-Checksum": f"sha1 {wrong}", **TYPE}, b"hello")
    offset = example.ask("PATCH", url, {"Upload-Offset": "3", **TYPE}, b"hello")
    deleted = example.ask("DELETE", url)
    gone = example.ask("HEAD", url)

    assert (options.status, "creation" in options["Tus-Extension"]) == (200, True)
    assert (checksum.status, checksum.reason) == (460, "Checksum Mismatch" if RUN[example.name].reasons else "")
    assert (offset.status, offset["Upload-Offset"]) == (409, "0")
    assert (deleted.status, gone.status) == (204, 404)
    assert {answer["Tus-Resumable"] for answer in (options, checksum, offset, deleted, gone)} == {"1.0.0"}


def test_a_slash_at_the_end_does_not_matter(example: Running) -> None:
    """A client may be given the address with it, and must not be redirected: it would repeat the POST as a GET."""
    answer = example.ask("POST", example.way + "/", {"Upload-Length": "5"})

    assert answer.status == 201
    assert f"{example.way}/" in answer["Location"]
    assert "//" not in answer["Location"].removeprefix("http://")


def test_other_requests_reach_the_application(example: Running) -> None:
    """The rest of the application is as it was."""
    answer = wire.ask(example.address, "GET", "/", {"Host": "x", "Connection": "close"})

    assert (answer.status, answer.body) == (200, b"hello")


def test_every_example_is_run() -> None:
    """A file that no test starts is one that will not work some day."""
    elsewhere = {"photos"}  # has tests of its own
    names = {path.stem.removesuffix("_app") for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ini")}

    assert names - elsewhere == set(RUN)
