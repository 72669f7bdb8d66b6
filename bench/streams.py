"""How each server of ASGI ends a request that was taken over: `python bench/streams.py [NAME…] [--write]`.

A PATCH has sent half of its body and says nothing more. Then a HEAD, a DELETE or a PATCH comes for the same upload, and
the time is taken until the old client hears of it. Measures the second table of docs/asgi.rst, and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import peers
import report

sys.path.insert(0, str(peers.ROOT))
from tests import live, wire  # noqa: E402
from tests.https import datagrams, frames  # noqa: E402
from tus.https.certificates import Pair, self_signed  # noqa: E402

ROUNDS = 5
SIZE = 1 << 18
SOON = 2.0  # seconds
METHODS = ("HEAD", "DELETE", "PATCH")
PATCH = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}


@dataclass
class Ended:
    """What became of the old request."""

    seconds: float | None  # until its client heard of it; None: never
    how: str
    lives: bool  # its connection takes another request


# ---- one question for each protocol ----


def _headers(method: str) -> dict[str, str]:
    return {**PATCH, "Upload-Offset": str(SIZE // 2)} if method == "PATCH" else {}


def http1(place: Place, method: str) -> Ended:
    def connect() -> wire.Wire:
        client = wire.Wire(place.address)
        if place.secure:
            client.socket = frames.trusting(protocols=("http/1.1",)).wrap_socket(client.socket)
        return client

    def ask(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> wire.Answer:
        fields = {"Host": "localhost", "Tus-Resumable": "1.0.0", **headers, "Content-Length": str(len(body))}
        with connect() as client:
            client.send(wire.head(method, path, fields) + body)
            return client.answer(bodiless=method == "HEAD")

    path = "/files/" + ask("POST", "/files", {"Upload-Length": str(SIZE)})["Location"].rpartition("/")[2]
    with connect() as old:
        fields = {"Host": "localhost", "Tus-Resumable": "1.0.0", **PATCH, "Content-Length": str(SIZE)}
        old.send(wire.head("PATCH", path, fields) + bytes(SIZE // 2))
        live.until(lambda: place.stored(path) == SIZE // 2)
        begin = time.monotonic()
        ask(method, path, _headers(method), b"x" if method == "PATCH" else b"")
        old.socket.settimeout(SOON)
        try:
            status = old.answer().status
        except (OSError, wire.Broken) as error:
            return Ended(None, f"no answer ({type(error).__name__})", lives=False)
        waited = time.monotonic() - begin
        with suppress(OSError):
            return Ended(waited, f"{status}" + (", closed" if not old.socket.recv(1) else ""), lives=False)
        return Ended(waited, f"{status}", lives=False)


def http2(place: Place, method: str) -> Ended:
    with frames.Connection(place.address) as old, frames.Connection(place.address) as new:
        made = new.ask("POST", "/files", {**frames.TUS, "upload-length": str(SIZE)})
        path = "/files/" + made.headers["location"].rpartition("/")[2]
        stream = old.begin("PATCH", path, {**frames.PATCH, "content-length": str(SIZE)})
        old.send(stream, bytes(SIZE // 2))
        live.until(lambda: place.stored(path) == SIZE // 2)
        begin = time.monotonic()
        headers = {**frames.TUS, **{name.lower(): value for name, value in _headers(method).items()}}
        new.ask(method, path, headers, body=b"x" if method == "PATCH" else b"")
        try:
            old.until(lambda: stream.over, within=SOON)
        except AssertionError:
            return Ended(None, "nothing", lives=False)
        waited = time.monotonic() - begin
        with suppress(AssertionError):
            old.until(lambda: stream.reset is not None, within=0.3)
        how = f"{stream.status}, " + ("no reset" if stream.reset is None else f"RST_STREAM {stream.reset}")
        try:  # a client that has not heard yet goes on sending
            if stream.reset is None:
                old.send(stream, bytes(1 << 14))
            return Ended(waited, how, lives=old.ask("OPTIONS", "/files", within=SOON).status < 300)
        except Exception:
            return Ended(waited, how, lives=False)


def http3(place: Place, method: str) -> Ended:
    async def act() -> Ended:
        async with datagrams.connected(place.address) as old, datagrams.connected(place.address) as new:
            made = await new.ask("POST", "/files", {**datagrams.TUS, "upload-length": str(SIZE)})
            path = "/files/" + made.headers["location"].rpartition("/")[2]
            flow = old.begin("PATCH", path, {**datagrams.PATCH, "content-length": str(SIZE)})
            await old.send(flow, bytes(SIZE // 2))
            while place.stored(path) < SIZE // 2:
                await asyncio.sleep(live.POLL)
            begin = time.monotonic()
            headers = {**datagrams.TUS, **{name.lower(): value for name, value in _headers(method).items()}}
            await new.ask(method, path, headers, body=b"x" if method == "PATCH" else b"")
            try:
                await old.until(lambda: flow.ended or flow.reset is not None, within=SOON)
            except (AssertionError, TimeoutError):
                return Ended(None, "nothing", lives=False)
            waited = time.monotonic() - begin
            with suppress(AssertionError, TimeoutError):
                await old.until(lambda: flow.stopped is not None, within=0.3)
            how = f"{flow.status}, " + ("no STOP_SENDING" if flow.stopped is None else "STOP_SENDING")
            try:
                if flow.stopped is None:
                    await old.send(flow, bytes(1 << 14))
                return Ended(waited, how, lives=(await old.ask("OPTIONS", "/files")).status < 300)
            except Exception:
                return Ended(waited, how, lives=False)

    try:
        return asyncio.run(asyncio.wait_for(act(), 20))
    except (AssertionError, OSError, TimeoutError):
        return Ended(None, "no answer any more", lives=False)


# ---- the servers ----


@dataclass
class Place:
    """Where a server runs, and where it stores."""

    address: tuple[str, int]
    directory: Path
    secure: bool

    def stored(self, path: str) -> int:
        return (self.directory / path.rpartition("/")[2]).stat().st_size


Command = Callable[[int, Path, Pair], list[str]]


def _module(*words: str) -> Command:
    def command(port: int, directory: Path, pair: Pair) -> list[str]:
        filled = [word.format(port=port, cert=pair.certificate, key=pair.key) for word in words]
        return [sys.executable, "-m", *filled, "coroutines:application"]

    return command


def _tus(*words: str) -> Command:
    def command(port: int, directory: Path, pair: Pair) -> list[str]:
        named = ["--tls-cert", pair.certificate] if words else []
        return [sys.executable, "-m", "tus", "serve", str(directory), "--port", str(port), "--quiet", *named, *words]

    return command


_HYPERCORN = ("hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "ERROR", "--certfile", "{cert}",
              "--keyfile", "{key}")  # fmt: skip
_GRANIAN = ("granian", "--interface", "asgi", "--port", "{port}", "--log-level", "error", "--ssl-certificate",
            "{cert}", "--ssl-keyfile", "{key}")  # fmt: skip
_UVICORN = ("uvicorn", "--port", "{port}", "--log-level", "error", "--ssl-certfile", "{cert}",
            "--ssl-keyfile", "{key}")  # fmt: skip
SERVERS: dict[str, tuple[Command, dict[str, Callable[[Place, str], Ended]]]] = {
    "uvicorn": (_module(*_UVICORN), {"1.1": http1}),
    "granian": (_module(*_GRANIAN), {"1.1": http1, "2": http2}),
    "hypercorn": (_module(*_HYPERCORN, "--quic-bind", "127.0.0.1:{port}"), {"1.1": http1, "2": http2, "3": http3}),
    "tus serve": (_tus(), {"1.1": http1}),
    "tus serve --tls-cert": (_tus("--http3"), {"1.1": http1, "2": http2, "3": http3}),
}


def row(name: str, version: str, command: Command, ask: Callable[[Place, str], Ended]) -> list[str]:
    """A server for each row: a question may leave it broken."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "up"
        directory.mkdir()
        pair = self_signed(Path(scratch), [], datetime.now(timezone.utc))
        address = ("127.0.0.1", live.free_port())
        environ = {**os.environ, "BENCH_DIRECTORY": str(directory), "TUS_DURABLE": "none",
                   "PYTHONPATH": f"{peers.ROOT}:{peers.HERE / 'hosts'}"}  # fmt: skip
        process = subprocess.Popen(
            command(address[1], directory, pair), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        place = Place(address, directory, secure=name != "tus serve")
        try:
            live.until(lambda: _listens(address), within=30)
            return [name, f"HTTP/{version}", *_cells(place, ask)]
        finally:
            process.kill()
            process.wait()


def _listens(address: tuple[str, int]) -> bool:
    with suppress(OSError), wire.Wire(address):
        return True
    return False


def _cells(place: Place, ask: Callable[[Place, str], Ended]) -> list[str]:
    times, found = [], []
    for method in METHODS:
        ended = [ask(place, method)]
        while ended[-1].seconds is not None and len(ended) < ROUNDS:
            ended.append(ask(place, method))
        heard = [one.seconds for one in ended if one.seconds is not None]
        times.append(f"{statistics.median(heard) * 1000:.0f} ms" if heard else "never")
        found += ended
    hows = sorted({one.how for one in found})
    return [*times, "; ".join(hows), "yes" if all(one.lives for one in found) else "no"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SERVERS)}")
    arguments = parser.parse_args()
    rows = [["server", "protocol", *METHODS, "the old request gets", "its connection lives"]]
    for name, (command, protocols) in SERVERS.items():
        for version, ask in protocols.items():
            if not arguments.names or name in arguments.names:
                rows.append(row(name, version, command, ask))
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    if arguments.write:
        head = f"Medians of {ROUNDS}, with a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs:"
        report.update_document(peers.ROOT / "docs/asgi.rst", "streams", f"{head}\n\n{report.list_table(rows)}")
    print(report.list_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
