"""Real servers for real clients: each test gets a collection of its own under every server that we recommend.

Nothing here may know which client is used.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import live, wire

# More than one process wherever the server can, since clients do not choose who answers them.
SETTINGS: dict[str, dict[str, Any]] = {"gunicorn-sync": {"workers": 2}}
KINDS = (
    "ours",
    "ours-workers",
    "waitress",
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-workers",
    "asgi",
    "asgi-granian",
    "asgi-uvloop",
    "asgi-hypercorn",
)

Digest = str
MakeFile = Callable[[int], Path]


def digest(content: bytes) -> Digest:
    return sha256(content).hexdigest()


@dataclass(frozen=True)
class Service:
    """One collection of uploads, the root one for the name "", and what the application behind it was handed."""

    server: live.Live
    name: str

    @property
    def endpoint(self) -> str:
        return self.server.origin + self.server.path(self.name)

    def handed_over(self) -> list[Digest]:
        """The content of each file that the application got."""
        records = sorted((self.server.home / self.name / "handed").glob("*.json"))
        return [digest(base64.b64decode(json.loads(record.read_text())["file"])) for record in records]

    def uploads(self) -> list[Path]:
        """The files with what has arrived of each upload."""
        directory = self.server.home / self.name / "uploads"
        return [info.with_suffix("") for info in directory.glob("*.info") if info.with_suffix("").exists()]

    def ask(self, method: str, url: str) -> wire.Answer:
        headers = {"Host": urlsplit(url).netloc, "Tus-Resumable": "1.0.0", "Connection": "close"}
        return wire.ask(self.server.address, method, urlsplit(url).path, headers)

    def metadata(self, url: str) -> dict[str, str]:
        """The metadata that the server kept, decoded."""
        pairs = (pair.partition(" ") for pair in self.ask("HEAD", url)["Upload-Metadata"].split(","))
        return {key: base64.b64decode(value).decode() for key, _, value in pairs}


@pytest.fixture(scope="session")
def started() -> Iterator[Callable[[str], live.Live]]:
    """Starts a server when it is first asked for; they all end with the run."""
    running: dict[str, live.Live] = {}

    def start(kind: str) -> live.Live:
        if kind not in running:
            running[kind] = live.start(kind, settings=SETTINGS.get(kind))
        return running[kind]

    yield start
    for server in running.values():
        server.close()


@pytest.fixture(params=KINDS)
def service(request: pytest.FixtureRequest, started: Callable[[str], live.Live]) -> Service:
    """A fresh collection under each server."""
    if not live.available(request.param):
        pytest.skip(f"{' and '.join(live.KINDS[request.param].needs)} cannot be imported")
    server = started(request.param)
    return Service(server, server.collection())


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Makes a file of so many bytes, no two blocks of which are alike."""

    def make(size: int) -> Path:
        path = tmp_path / f"{size}.bin"
        path.write_bytes(random.Random(size).randbytes(size))
        return path

    return make
