"""Real Zopes and Plones, each in a process and an environment of its own, with a product of the tests in it.

Nothing here may import Zope.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests import live, wire
from tests.zope.environment import ROOT, ZOPES, Uninstallable

START = 180.0  # seconds that Zope may take to answer for the first time
PATIENCE = 60.0  # seconds that it may take to answer when many ask at once

WAYS = ("path", "file", "form")
FILTER = """
[filter:tus-{way}-{number}]
use = egg:tus#main
upload_path = {path}
tmp_file_dir = {uploads}
hand_over = {way}
"""
SERVERS = {
    "waitress": "use = egg:waitress#main\nhost = 127.0.0.1\nport = {port}\nthreads = 8",
    "ours": "use = egg:tus#server\nhost = 127.0.0.1\nport = {port}",
    "gunicorn": "use = egg:waitress#main",
}
SITE = """<configure xmlns="http://namespaces.zope.org/zope" xmlns:five="http://namespaces.zope.org/five">
  <include package="Zope2.App" />
  <five:loadProducts file="meta.zcml" />
  <five:loadProducts />
  <five:loadProductsOverrides />
  <include package="{product}" />
</configure>
"""
BLOBS = """<blobstorage>
    blob-dir $INSTANCE/var/blobs
    <filestorage>
      path $INSTANCE/var/Data.fs
    </filestorage>
  </blobstorage>"""


@dataclass(frozen=True)
class Kind:
    """A version of Zope under a server; with TUS_SEND_FILE or without."""

    version: str
    server: str
    send_file: bool = False
    product: str = "tests.zope.product"
    folder: str = "/f"
    blobs: bool = False

    @property
    def streams(self) -> bool:
        """Whether the view runs before the body has ended."""
        return self.server != "waitress"


KINDS = {
    "zope6-waitress": Kind("6.3", "waitress"),
    "zope6-gunicorn": Kind("6.3", "gunicorn", send_file=True),
    "zope6-ours": Kind("6.3", "ours"),
    "zope5-waitress": Kind("5.14.2", "waitress", send_file=True),
}
PLONES = {
    name: Kind("plone-6.2.2", server, send_file, product="tests.zope.plone", folder="/plone/f", blobs=True)
    for name, server, send_file in (
        ("plone-waitress", "waitress", False),
        ("plone-gunicorn", "gunicorn", True),
        ("plone-ours", "ours", True),
    )
}


@dataclass
class Zope:
    """A running instance."""

    kind: Kind
    home: Path
    port: int = field(default_factory=live.free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> wire.Address:
        return "127.0.0.1", self.port

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def uploads(self) -> Path:
        return self.home / "uploads"

    def prepare(self) -> None:
        """Make the instance."""
        installed = ZOPES[self.kind.version]
        command = [str(installed.program("mkwsgiinstance")), "-d", str(self.home), "-u", "admin:admin"]
        subprocess.run(command, check=True, capture_output=True)
        self.uploads.mkdir()
        (self.home / "etc" / "site.zcml").write_text(SITE.format(product=self.kind.product))
        if self.kind.blobs:
            self._keep_blobs()
        ini = self.home / "etc" / "zope.ini"
        before, _, after = ini.read_text().partition("[server:main]")
        after = after.partition("[filter:translogger]")[2]
        server = SERVERS[self.kind.server].format(port=self.port)
        text = f"{before}[server:main]\n{server}\n\n[filter:translogger]{after}"
        filters = {
            f"tus-{way}-{number}": FILTER.format(way=way, number=number, path=path, uploads=self.uploads)
            for way in WAYS
            for number, path in enumerate(
                (f"{self.kind.folder}/@@take-{way}", f"{self.kind.folder}/by-{way}/fileUpload")
            )
        }
        # The filters stand outside httpexceptions, so that they see answers and not exceptions.
        text = text.replace("pipeline =\n", "\n    ".join(["pipeline =", *filters]) + "\n")
        ini.write_text(text + "".join(filters.values()))

    def _keep_blobs(self) -> None:
        """Let the database have a directory for blobs, as every Plone has."""
        conf = self.home / "etc" / "zope.conf"
        text, found = re.subn(r"<filestorage>.*?</filestorage>", BLOBS, conf.read_text(), flags=re.DOTALL)
        assert found == 1
        conf.write_text(text)

    def start(self) -> None:
        ini = str(self.home / "etc" / "zope.ini")
        program = ZOPES[self.kind.version].program
        command = [str(program("runwsgi")), ini]
        if self.kind.server == "gunicorn":
            command = [str(program("gunicorn")), "--no-control-socket", "--paste", ini, "--threads", "8",
                       "--graceful-timeout", "1", "--bind", f"127.0.0.1:{self.port}"]  # fmt: skip
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "TUS_ENABLED": "1",
            "TUS_TMP_FILE_DIR": str(self.uploads),
            "TUS_UPLOAD_VALID_DURATION": "3600",
        }
        if self.kind.send_file:
            environ["TUS_SEND_FILE"] = "true"
        with open(self.home / "output.txt", "ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.home, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self._ready()

    def _ready(self) -> None:
        until = time.monotonic() + START
        while self.process and not live.ended(self.process) and time.monotonic() < until:
            with contextlib.suppress(OSError, wire.Broken):
                if self.ask("GET", "/prepare").status == 200:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"Zope does not answer; it printed:\n{self.output[-3000:]}")

    @property
    def output(self) -> str:
        return (self.home / "output.txt").read_text(errors="replace")

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if not live.ended(process):
            os.kill(process.pid, signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                live.until(lambda: live.ended(process), within=10)
        # Not waited for yet, so the group is still ours.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> wire.Answer:
        """One request by a tus client, on a connection of its own."""
        given = {"Host": f"127.0.0.1:{self.port}", "Tus-Resumable": "1.0.0", "Connection": "close", **(headers or {})}
        if body or method in ("POST", "PATCH"):
            given.setdefault("Content-Length", str(len(body)))
        return wire.ask(self.address, method, urlsplit(url).path, given, body, timeout=PATIENCE)

    def create(self, view: str, length: int, name: str = "", **headers: str) -> str:
        """A new upload's URL."""
        given = (
            {"Upload-Length": str(length), "Upload-Metadata": named(name)} if name else {"Upload-Length": str(length)}
        )
        answer = self.ask("POST", view, {**given, **headers})
        assert answer.status == 201, answer
        return answer["Location"]

    def patch(self, url: str, body: bytes, offset: int = 0, **headers: str) -> wire.Answer:
        return self.ask("PATCH", url, {"Upload-Offset": str(offset), **TYPE, **headers}, body)

    def stored(self, name: str) -> Any:
        """Size, sha1 and title of what the folder has by this name; None if it has nothing."""
        return self.all_stored(self.kind.folder).get(name)

    def all_stored(self, folder: str) -> Any:
        """The same of everything, by name."""
        return json.loads(self.ask("GET", f"{folder}/stored").body)

    def kept(self, url: str) -> bool:
        """Whether the data of the upload is still there."""
        return (self.uploads / url.rpartition("/")[2]).exists()


TYPE = {"Content-Type": "application/offset+octet-stream"}


def named(name: str, **more: str) -> str:
    """Upload-Metadata."""
    pairs = {"filename": name, **more}
    return ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())


def basic(name: str) -> dict[str, str]:
    """The Authorization of a user whose password is the name."""
    return {"Authorization": "Basic " + b64encode(f"{name}:{name}".encode()).decode()}


def digest(content: bytes) -> str:
    return sha1(content).hexdigest()


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def monster(view: str, host: str = "example.com:443") -> str:
    """The path that a proxy asks Zope for, when the client asks https://example.com/<view> of the folder f."""
    return f"/VirtualHostBase/https/{host}/f/VirtualHostRoot/{quote(view)}"


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Zope]]:
    """Starts an instance when it is first asked for; they all end with the run."""
    running: dict[str, Zope | Exception] = {}
    kinds = KINDS | PLONES

    def begin(name: str) -> Zope | Exception:
        try:
            ZOPES[kinds[name].version].install()
            zope = Zope(kinds[name], tmp_path_factory.mktemp(name) / "instance")
            zope.prepare()
            zope.start()
        except (Uninstallable, RuntimeError) as why:
            return why
        return zope

    def start(name: str) -> Zope:
        if name not in running:
            running[name] = begin(name)
        found = running[name]
        if isinstance(found, Uninstallable):
            pytest.skip(str(found))
        if isinstance(found, Exception):
            raise found
        return found

    yield start
    for zope in running.values():
        if isinstance(zope, Zope):
            zope.stop()


@pytest.fixture(params=KINDS)
def zope(request: pytest.FixtureRequest, started: Callable[[str], Zope]) -> Zope:
    """Every combination."""
    return started(request.param)


@pytest.fixture(params=PLONES)
def plone(request: pytest.FixtureRequest, started: Callable[[str], Zope]) -> Zope:
    """Every server with a Plone."""
    return started(request.param)


@pytest.fixture
def zope6(started: Callable[[str], Zope]) -> Zope:
    """The one that Zope itself recommends."""
    return started("zope6-waitress")
