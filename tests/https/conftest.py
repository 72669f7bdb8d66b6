"""`tus serve` with a certificate, as a person starts it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import live, wire
from tests.cli.conftest import ROOT, certificate, command, hears_interrupts

if TYPE_CHECKING:
    from tests.https.frames import Connection

__all__ = ["command"]  # a fixture of theirs

START = 30.0  # seconds


@dataclass
class Secure:
    """A running `tus serve`, and what it printed."""

    process: subprocess.Popen[str]
    home: Path
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Once the process was ended."""
        self.process.wait()
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(line.rstrip("\n") for line in iter(self.process.stdout.readline, ""))

    def said(self, word: str, *, within: float = START) -> str:
        """The line with this word, once it was printed."""
        found = live.until(
            lambda: next((line for line in self.lines if word in line), None) or self._ended(), within=within
        )
        assert found is not True, self.complaint
        return str(found)

    def _ended(self) -> bool:
        return self.process.returncode is None and live.ended(self.process)

    @property
    def complaint(self) -> str:
        return (self.home / "errors.txt").read_text()

    @property
    def url(self) -> str:
        return self.said("listening on").split()[-1]

    @property
    def address(self) -> wire.Address:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    @property
    def fingerprint(self) -> str:
        return self.said("--fingerprint").split()[4]

    @property
    def files(self) -> Path:
        return self.home / "up"

    def connect(self) -> Connection:
        """A connection that speaks HTTP/2."""
        from tests.https.frames import Connection  # late, since h2 may be missing

        return Connection(self.address)

    def stored(self, path: str) -> int:
        """How many bytes of the upload are there."""
        return (self.files / path.rpartition("/")[2]).stat().st_size

    def stop(self) -> int:
        """End it as an operator would; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(live.STOP)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Secure]]:
    """Start `tus serve` on a free port with these words; `files` is how many it may open."""
    started: list[Secure] = []

    def start(*words: str, files: int = 0, **environ: str) -> Secure:
        def prepare() -> None:
            hears_interrupts()
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with open(tmp_path / "errors.txt", "ab") as errors:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tus",
                    "serve",
                    str(tmp_path / "up"),
                    *([] if "unix_socket" in str(words) else ["--port", "0"]),
                    *words,
                ],
                cwd=ROOT,
                env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TUS_DURABLE": "none", **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # so that its workers can be ended together with it, and nobody else
                preexec_fn=prepare,
            )
        server = Secure(process, tmp_path)
        started.append(server)
        return server

    yield start
    for server in started:
        # A process that nobody has waited for keeps its number, so the group is surely ours.
        if server.process.returncode is None:
            os.killpg(server.process.pid, signal.SIGKILL)
        server.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Make a certificate and its key by this name."""

    def make(name: str) -> tuple[str, str]:
        directory = tmp_path / name
        directory.mkdir()
        certificate(directory)
        return str(directory / "cert.pem"), str(directory / "key.pem")

    yield make


def replace(old: tuple[str, str], new: tuple[str, str]) -> None:
    """Put a renewed certificate where the old one lies, as clients of ACME do."""
    for ours, theirs in zip(old, new, strict=True):
        shutil.copyfile(theirs, ours + ".new")
        os.replace(ours + ".new", ours)


def trusted(file: str) -> ssl.SSLContext:
    """A client that trusts this certificate only."""
    context = ssl.create_default_context(cafile=file)
    context.set_alpn_protocols(["h2"])
    return context
