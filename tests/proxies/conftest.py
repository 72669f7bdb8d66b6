"""A `tus serve`, and the proxies of `tests.fronts` before it; each starts when a test first needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import live, wire
from tests.cli.conftest import certificate as make_certificate
from tests.fronts import FRONTS, Front, running, serving, started


@dataclass(frozen=True)
class Way:
    """A proxy that runs, and the directory of the server behind it."""

    front: Front
    port: int
    files: Path

    @property
    def address(self) -> wire.Address:
        return "127.0.0.1", self.port

    @property
    def origin(self) -> str:
        return f"{'https' if self.front.tls else 'http'}://localhost:{self.port}"

    def line(self) -> Line:
        """A connection to the proxy."""
        return Line(self.address, tls=self.front.tls)

    def ask(self, method: str, target: str, headers: wire.Headers, body: bytes = b"") -> wire.Answer:
        """One request on a connection of its own."""
        with self.line() as line:
            line.offer(wire.head(method, target, {"Host": f"localhost:{self.port}", **dict(headers)}) + body)
            return line.answer(bodiless=method == "HEAD")

    def stored(self, path: str) -> int:
        """How many bytes of the upload are on the disk."""
        return (self.files / path.rpartition("/")[2]).stat().st_size


class Line(wire.Wire):
    """One connection, with TLS if that is spoken there."""

    def __init__(self, address: wire.Address, *, tls: bool) -> None:
        super().__init__(address, timeout=20.0)
        if tls:
            from tests.https.frames import trusting  # late, since h2 may be missing

            self.socket = trusting(protocols=("http/1.1",)).wrap_socket(self.socket, server_hostname="localhost")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key in one file."""
    home = tmp_path_factory.mktemp("certificate")
    make_certificate(home)
    pair = home / "pair.pem"
    pair.write_text((home / "cert.pem").read_text() + (home / "key.pem").read_text())
    pair.chmod(0o600)
    return pair


@pytest.fixture(scope="session")
def ways(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Callable[[str], Way]]:
    """Starts a proxy before a server, once in a run."""
    found: dict[str, Way] = {}
    with ExitStack() as stack:

        def way(name: str) -> Way:
            if name not in found:
                found[name] = _way(FRONTS[name], stack)
            return found[name]

        def _way(front: Front, stack: ExitStack) -> Way:
            home = tmp_path_factory.mktemp(front.name)
            # As each recipe says of the server behind it; and a 104 is sent, so that what becomes of it shows.
            words = ["--trusted-proxies", "127.0.0.1"] if front.marks else ["--location", "path"]
            server = stack.enter_context(serving(home, *words, "--interim-responses", "true", "--quiet"))
            port = stack.enter_context(started(front, home / "proxy", upstream=server, certificate=certificate))
            return Way(front, port, home / "up")

        yield way


@pytest.fixture(params=list(FRONTS))
def way(request: pytest.FixtureRequest, ways: Callable[[str], Way]) -> Way:
    """A proxy that runs before a server."""
    if missing := FRONTS[request.param].missing:
        pytest.skip(missing)
    return ways(request.param)


@pytest.fixture
def start() -> Iterator[Callable[[str, Path], str]]:
    """Starts a server that collects bodies; the URL where it takes uploads."""
    with ExitStack() as stack:

        def server(kind: str, home: Path) -> str:
            if kind == "waitress":
                return stack.enter_context(live.start("waitress")).url
            pytest.importorskip(kind)
            live.configure(home, {})
            # Its own limit, of 16 MiB, is met where the line is fast; a busy machine's is not.
            (home / "limit.toml").write_text("wsgi_max_body_size = 500000\n")
            command = [sys.executable, "-m", kind, "--config", str(home / "limit.toml")]
            command += ["wsgi:tests.apps:application()", "--bind"]
            words = {"LIVE_HOME": str(home), "PYTHONPATH": str(live.ROOT)}
            port = stack.enter_context(running(home, lambda port: [*command, f"127.0.0.1:{port}"], **words))
            return f"http://127.0.0.1:{port}/upload"

        yield server
