"""Clients that others wrote, which upload to a cluster that is hurt: through one address, behind which any server
answers."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.live import ROOT
from tests.lockers.relay import Relay

if TYPE_CHECKING:
    from tests.s3.cluster import Cluster

JS = ROOT / "tests" / "clients" / "js"
CHUNKS = (700_000, 3_000_000, 16_000_000)  # bytes of a request
SIZES = (1000, 300_000, 6_000_000, 11_000_007)
GONE = 3  # the exit status of a client whose upload is unknown all of a sudden

TUSPY = f"""
import sys, time
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
endpoint, file, chunk = sys.argv[1:]
client, url = TusClient(endpoint), None
while True:
    try:
        uploader = client.uploader(file, chunk_size=int(chunk), url=url)
        try:
            uploader.upload()
            break
        finally:
            url = uploader.url
    except (TusCommunicationError, OSError) as error:
        if url and getattr(error, "status_code", 0) in (404, 410):
            sys.exit({GONE})
        time.sleep(0.1)
print(url)
"""


def tuspy(endpoint: str, file: Path, chunk: int) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", TUSPY, endpoint, str(file), str(chunk)]


def tus_js(endpoint: str, file: Path, chunk: int) -> list[str]:
    """It is asked to try again as long as it takes, as people do."""
    options = {"chunkSize": chunk, "retryDelays": [100] * 1000}
    plan = {"file": str(file), "endpoint": endpoint, "options": options, "storage": f"{file}.urls"}
    return ["node", str(JS / "upload.js"), json.dumps(plan)]


Command = Callable[[str, Path, int], list[str]]


def present() -> dict[str, Command]:
    """Those that are installed."""
    found: dict[str, Command] = {}
    if find_spec("tusclient"):
        found["tuspy"] = tuspy
    if shutil.which("node") and (JS / "node_modules" / "tus-js-client").is_dir():
        found["tus-js-client"] = tus_js
    return found


class Door(Relay):
    """One address, each connection to which leads to any server."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        dice = random.Random(seed)
        super().__init__("", 0, reach=lambda: socket.create_connection(dice.choice(cluster.servers).address, 10))


class Foreigner:
    """Sends one file after the other, by a client of others; to be judged as our own is."""

    def __init__(self, cluster: Cluster, name: str, command: Command, seed: int, over: threading.Event) -> None:
        self.name, self.command, self.dice, self.over = name, command, random.Random(seed), over
        self.files: dict[str, str] = {}
        self.told_at: dict[str, int] = {}
        self.stories: dict[str, list[str]] = {}
        self.seen = Counter[str]()
        self.failed: BaseException | None = None
        self.until = 0.0
        self.door = Door(cluster, seed)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="tus-foreign-") as home:
                while not self.over.is_set():
                    self.upload(Path(home) / "file")
        except BaseException as error:
            self.failed = error
        finally:
            self.door.close()

    def upload(self, file: Path) -> None:
        data = self.dice.randbytes(self.dice.choice(SIZES))
        file.write_bytes(data)
        said = self.result(self.command(f"http://127.0.0.1:{self.door.port}/upload", file, self.dice.choice(CHUNKS)))
        url = json.loads(said)["url"] if said.startswith("{") else said
        id = url.strip().rpartition("/")[2]
        self.told_at[id] = time.time_ns()
        self.files[id], self.stories[id] = hashlib.sha256(data).hexdigest(), [self.name]
        self.seen[f"{self.name} finished"] += 1

    def result(self, words: list[str]) -> str:
        """What it prints in the end."""
        client: Any = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        with client:
            while True:
                try:
                    said, complaint = client.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if self.until and time.monotonic() > self.until:
                        client.kill()
                        raise
        assert client.returncode == 0, f"{self.name}: {client.returncode} {complaint[-2000:]}"
        return str(said)
