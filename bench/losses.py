"""Two ways to lose bytes in object storage, tried on us, on tusd and on @tus/s3-store.

    python bench/losses.py [--engine versitygw] [--servers tus,tusd,node]

A hole: of 32 MiB in one PATCH the second part fails while others are stored; the client goes on where it is told to.
A crash: 4 MiB were acknowledged, and the server is killed in the next request, as soon as it begins to store a part.
`python bench/peers.py go npm` installs the others.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import processes  # noqa: E402
import storage  # noqa: E402

from tests import lease_servers, live, real  # noqa: E402
from tests.s3 import proxy as proxies  # noqa: E402
from tests.s3.proxy import Proxy  # noqa: E402

MIB = 1 << 20
ATTEMPTS = 6  # of a client, to go on
ASKS = 30  # HEADs, until one is answered
SOON = 30.0  # seconds
TUS = {"Tus-Resumable": "1.0.0"}


@contextmanager
def running(name: str, facts: dict[str, str], redis: str, endpoint: str) -> Iterator[processes.Server]:
    """A server that keeps its uploads there."""
    port = live.free_port()
    env = {"AWS_ACCESS_KEY_ID": facts["S3_KEY"], "AWS_SECRET_ACCESS_KEY": facts["S3_SECRET"],
           "AWS_REGION": facts["S3_REGION"], "PYTHONPATH": str(ROOT)}  # fmt: skip
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = storage.argv(name, port, Path(home), facts, redis, endpoint)
        server = processes.Server(command, port, log=Path(home) / "log", env=env, cwd=Path(home), patience=60)
        try:
            yield server
        finally:
            server.kill()


class Client:
    """Asks once, on a connection of its own, and takes whatever comes."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Status and headers; 0 if there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, body=body, headers={**TUS, **headers})
            response = connection.getresponse()
            response.read()
            return response.status, {name.lower(): value for name, value in response.getheaders()}
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def create(self, size: int) -> str:
        place = self.ask("POST", "/files/", {"Upload-Length": str(size)})[1]["location"]
        return "/" + place.split("://")[-1].partition("/")[2] if "://" in place else place

    def offset(self, path: str) -> int | None:
        for _ in range(ASKS):
            status, headers = self.ask("HEAD", path, {})
            if status == 200:
                return int(headers["upload-offset"])
            time.sleep(0.5)
        return None

    def patch(self, path: str, offset: int, body: bytes) -> int:
        return self.ask(
            "PATCH", path, {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}, body
        )[0]

    def finish(self, path: str, data: bytes) -> str:
        """Go on until all is there; what went wrong."""
        offset: int | None = 0
        for _ in range(ATTEMPTS):
            offset = self.offset(path)
            if offset is None:
                return "HEAD fails"
            if offset == len(data):
                return ""
            self.patch(path, offset, data[offset:])
        return f"never finishes: it stays at {(offset or 0) / MIB:g} MiB"


def stored(facts: dict[str, str], path: str) -> bytes:
    """The finished file, as it lies in the bucket."""
    bucket = real.bucket_at(facts["S3_ENDPOINT"], facts)
    id = path.rpartition("/")[2].partition("+")[0]
    found = [
        one for one in bucket.objects("") if id in one.key and not one.key.endswith(".info") and ".tus" not in one.key
    ]
    return bucket.get(max(found, key=lambda one: one.size).key).body if found else b""


def verdict(facts: dict[str, str], path: str, data: bytes, wrong: str) -> str:
    if wrong:
        return wrong
    return (
        "the file is right"
        if stored(facts, path) == data
        else "THE FILE IS WRONG, and the client was told that it is there"
    )


def hole(name: str, facts: dict[str, str], redis: str, proxy: Proxy) -> str:
    data = random.Random(1).randbytes(32 * MIB)
    with running(name, facts, redis, proxy.endpoint) as server:
        client = Client(server.port)
        path = client.create(len(data))
        proxy.fail("UploadPart .*partNumber=2(&|$)", 503, times=100)
        status = client.patch(path, 0, data)
        with proxy.guard:
            proxy.rules.clear()
        told = client.offset(path)
        end = verdict(facts, path, data, client.finish(path, data))
    return f"PATCH answers {status}, HEAD says {(told or 0) / MIB:g} MiB; then {end}"


def crash(name: str, facts: dict[str, str], redis: str, proxy: Proxy) -> str:
    data, acknowledged = random.Random(2).randbytes(24 * MIB), 4 * MIB
    with running(name, facts, redis, proxy.endpoint) as server:
        client = Client(server.port)
        path = client.create(len(data))
        status = client.patch(path, 0, data[:acknowledged])
        held = proxy.hold("UploadPart ", threading.Event(), times=100)
        threading.Thread(target=client.patch, args=(path, acknowledged, data[acknowledged:]), daemon=True).start()
        held.met.wait(SOON)
        server.kill()
        with proxy.guard:
            proxy.rules.clear()
    with running(name, facts, redis, proxy.endpoint) as server:
        client = Client(server.port)
        told = client.offset(path)
        end = verdict(facts, path, data, client.finish(path, data))
    lost = "" if (told or 0) >= acknowledged else ": ACKNOWLEDGED BYTES ARE LOST"
    return f"PATCH of 4 MiB answers {status}; after the crash HEAD says {(told or 0) / MIB:g} MiB{lost}; then {end}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="versitygw")
    parser.add_argument("--servers", default="tus,tusd,node")
    args = parser.parse_args()
    facts = real.engine(args.engine)
    with lease_servers.LeaseServer("redis") as redis, proxies.running(facts["S3_ENDPOINT"]) as proxy:
        for case in (hole, crash):
            print(f"{case.__name__}, on {args.engine}; load {os.getloadavg()[0]:.0f}")
            for name in args.servers.split(","):
                said = storage.why_not(name) or case(name, facts, redis.url, proxy)
                print(f"  {name:5} {said}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
