"""One live server for the tests of the commands, and a way to run a command as a user does."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.faulty import Proxy
from tus.cli import put

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Upstream:
    """A server with one collection of uploads at /upload, and the directory with the files."""

    address: tuple[str, int]
    files: Path

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}/upload"

    def content(self, url: str) -> bytes:
        """What the server has of the upload."""
        return (self.files / url.rpartition("/")[2]).read_bytes()


@pytest.fixture(scope="session")
def server() -> Iterator[live.Live]:
    """A running server whose files stay after they were handed over."""
    with live.start(cleanup=False) as running:
        yield running


@pytest.fixture(scope="session")
def upstream(server: live.Live) -> Upstream:
    return Upstream(server.address, server.home / "uploads")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command as a process of its own, with a state directory for this test."""
    started = []

    def start(*words: object, stdin: int | None = subprocess.DEVNULL, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tus", *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **environ},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hears_interrupts,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def hears_interrupts() -> None:
    """As on a terminal, however the tests were started: a shell has what it starts in the background ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def certificate(directory: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody but this test trusts."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed (apt install openssl)")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + [
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            names,
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of 3 MiB and a bit."""
    path = tmp_path / "a picture.png"
    path.write_bytes(random.Random(1).randbytes((3 << 20) + 17))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command in this process: exit status, standard output, standard error."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*words: object) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        put.add_arguments(parser)
        status = put.main(parser.parse_args([str(word) for word in words]))
        said = capfd.readouterr()
        return status, said.out.strip(), said.err

    return call


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[Proxy]:
    """A proxy without faults yet."""
    with Proxy(upstream.address) as running:
        yield running


def through(proxy: Proxy) -> str:
    """Where uploads are created behind the proxy."""
    return f"http://{proxy.netloc}/upload"
