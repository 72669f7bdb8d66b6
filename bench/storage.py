"""Us, tusd and @tus/s3-store on the same object storage: what an upload costs there.

    python bench/storage.py [--engine versitygw] [--delay MS]… [--large MIB] [--small N] [--servers tus,tusd,node]

Every call to the storage passes a proxy that counts it, and holds it back for so many milliseconds. Calls and processor
time hardly depend on what else the machine does; speeds do, so that only those of one run can be compared.
`python bench/peers.py go npm` installs the others.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import peers  # noqa: E402
import processes  # noqa: E402

from tests import lease_servers, live, real  # noqa: E402
from tests.s3 import proxy as proxies  # noqa: E402

MIB = 1 << 20
CHUNK = 5 * MIB
SIXTEEN = 16
TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": "application/offset+octet-stream"}
NODE = ROOT / "bench/hosts/node_s3.mjs"


class Row(NamedTuple):
    """One measurement: seconds, seconds of the server's processor time, and calls to the storage."""

    wall: float
    cpu: float
    calls: int


class Client:
    """One connection to a tus server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> http.client.HTTPResponse:
        self._connection.request(method, path, body=body, headers=headers)
        response = self._connection.getresponse()
        response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status}")
        return response

    def create(self, size: int, body: bytes = b"") -> str:
        how = {**(BODY if body else TUS), "Upload-Length": str(size)}
        location = self.ask("POST", "/files/", how, body).getheader("Location") or ""
        return "/" + location.split("://")[-1].partition("/")[2] if "://" in location else location

    def send(self, path: str, data: bytes, chunk: int) -> None:
        for offset in range(0, len(data), chunk):
            self.ask("PATCH", path, {**BODY, "Upload-Offset": str(offset)}, data[offset : offset + chunk])

    def upload(self, data: bytes, chunk: int) -> None:
        self.send(self.create(len(data)), data, chunk)


def argv(name: str, port: int, home: Path, facts: dict[str, str], redis: str, endpoint: str) -> list[str]:
    """How a server is started that keeps its uploads there."""
    if name == "tus":
        keys = f"access_key={facts['S3_KEY']}&secret={facts['S3_SECRET']}&region={facts['S3_REGION']}"
        where = ("--store", f"s3://{real.BUCKET}/ours?endpoint={endpoint}&{keys}", "--locker", redis)
        return peers.tus_command("serve", str(home), "--port", str(port), "--quiet", *where)
    if name == "tusd":
        program = str(peers.PEERS / "bin" / "tusd")
        where = (
            "-s3-bucket",
            real.BUCKET,
            "-s3-endpoint",
            endpoint,
            "-s3-object-prefix",
            "tusd",
            "-s3-part-size",
            "8388608",
        )
        return [program, "-host", "127.0.0.1", "-port", str(port), "-base-path", "/files/", *where]
    return ["node", str(NODE), str(peers.PEERS / "node"), str(port), endpoint, real.BUCKET]


def why_not(name: str) -> str:
    needed = {"tusd": peers.PEERS / "bin/tusd", "node": peers.PEERS / "node/node_modules/@tus/s3-store"}
    return "" if name not in needed or needed[name].exists() else "not installed: python bench/peers.py go npm"


@contextmanager
def running(name: str, facts: dict[str, str], redis: str, endpoint: str) -> Iterator[processes.Server]:
    home = Path(tempfile.mkdtemp(prefix=f"tus-storage-{name}-"))
    port = live.free_port()
    env = {
        "AWS_ACCESS_KEY_ID": facts["S3_KEY"], "AWS_SECRET_ACCESS_KEY": facts["S3_SECRET"],
        "AWS_REGION": facts["S3_REGION"], "PYTHONPATH": str(ROOT), "TMPDIR": str(home),
    }  # fmt: skip
    command = argv(name, port, home, facts, redis, endpoint)
    server = processes.Server(command, port, log=home / "log", env=env, cwd=home, patience=60)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def measured(server: processes.Server, proxy: proxies.Proxy, deed: Callable[[], object]) -> Row:
    cpu, calls, wall = server.cost().cpu, len(proxy.calls), time.monotonic()
    deed()
    return Row(time.monotonic() - wall, server.cost().cpu - cpu, len(proxy.calls) - calls)


def rows(server: processes.Server, proxy: proxies.Proxy, large: int, small: int) -> dict[str, str]:
    """Everything that is measured of one server."""
    data, client, tiny = random.Random(1).randbytes(MIB) * large, Client(server.port), b"x" * 1024
    crowd = [Client(server.port) for _ in range(SIXTEEN)]
    client.upload(tiny, 1024)

    def at_once(each: int = -(-small // SIXTEEN)) -> None:
        with ThreadPoolExecutor(SIXTEEN) as pool:
            list(pool.map(lambda own: [own.create(1024, tiny) for _ in range(each)], crowd))

    one = measured(server, proxy, lambda: client.upload(data, len(data)))
    many = measured(server, proxy, lambda: client.upload(data, CHUNK))
    two = measured(server, proxy, lambda: [client.upload(tiny, 1024) for _ in range(small)])
    at_once(1)  # threads and connections are made
    post = measured(server, proxy, at_once)
    gib, patches = large / 1024, -(-len(data) // CHUNK)

    def flow(row: Row) -> str:
        return f"{len(data) / row.wall / 1e6:5.0f} MB/s  {row.cpu / gib:5.2f} CPU s/GiB"

    def rate(row: Row, count: int) -> str:
        times = f"{count / row.wall:5.0f} /s     {row.cpu / count * 1e3:5.2f} CPU ms"
        return f"{times}     {row.calls / count:5.1f} calls each"

    return {
        f"{large} MiB in one PATCH": f"{flow(one)}  {one.calls:3} calls",
        f"{large} MiB in PATCHes of 5 MiB": f"{flow(many)}  {many.calls / patches:5.1f} calls each",
        "1 KiB by POST and PATCH": rate(two, small),
        "1 KiB by POST, 16 at once": rate(post, -(-small // SIXTEEN) * SIXTEEN),
    }


@contextmanager
def suppress_failure(name: str) -> Iterator[None]:
    """Say it, and go on with the next server."""
    try:
        yield
    except (SystemExit, OSError, http.client.HTTPException) as error:
        print(f"  {name}: failed: {error!r}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="versitygw")
    parser.add_argument("--delay", type=float, action="append", help="milliseconds of each call; 0 and 20")
    parser.add_argument("--large", type=int, default=64, help="MiB")
    parser.add_argument("--small", type=int, default=100, help="files of 1 KiB")
    parser.add_argument("--servers", default="tus,tusd,node")
    args = parser.parse_args()
    facts = real.engine(args.engine)
    with lease_servers.LeaseServer("redis") as redis, proxies.running(facts["S3_ENDPOINT"]) as proxy:
        for delay in args.delay or [0, 20]:
            proxy.delay = delay / 1000
            print(f"{args.engine}, {delay:g} ms a call; load {os.getloadavg()[0]:.0f}")
            for name in args.servers.split(","):
                if reason := why_not(name):
                    print(f"  {name}: {reason}")
                    continue
                with suppress_failure(name), running(name, facts, redis.url, proxy.endpoint) as server:
                    for what, found in rows(server, proxy, args.large, args.small).items():
                        print(f"  {name:5} {what:34} {found}", flush=True)


if __name__ == "__main__":
    main()
