"""A thousand slow uploads against one process, and a HEAD beside them: ``python -m tests.server.soak --help``.

It fails when an upload makes no progress, or when the 99th percentile of the HEADs is above the limit.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import os
import resource
import socket
import sys
import time
from typing import Any

from tus.server import serve


def swallow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Reads an upload as it comes, and tells its size."""
    body, buffer, received = environ["tus.input"], bytearray(1 << 16), 0
    while size := body.readinto(buffer):
        received += size
    start_response("200 OK", [("Content-Length", "0"), ("Upload-Offset", str(received))])
    return [b""]


def run(port: int) -> None:
    serve(swallow, listen=f"127.0.0.1:{port}", backlog=4096)


def memory(pid: int) -> tuple[int, int]:
    """Resident MiB and threads of a process."""
    with open(f"/proc/{pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmRSS"].split()[0]) // 1024, int(fields["Threads"])


def connect(port: int) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def soak(port: int, pid: int, wanted: argparse.Namespace) -> dict[str, Any]:
    """Send until the time is over, then end every upload and count."""
    head = connect(port)
    block = bytes(max(1, wanted.rate // 4))
    blocks = wanted.seconds * 4
    request = f"PATCH /file HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(block) * blocks}\r\n\r\n".encode()
    uploads = [connect(port) for _ in range(wanted.uploads)]
    start = time.monotonic()
    # Each upload sends a block every quarter of a second, all of them spread over it; -1 is the HEAD.
    queue: list[tuple[float, int, int]] = [(start + n / wanted.uploads / 4, n, 0) for n in range(wanted.uploads)]
    queue.append((start, -1, 0))
    heapq.heapify(queue)
    waits: list[float] = []
    peak = (0, 0)
    for sock in uploads:
        sock.sendall(request)
    while len(queue) > 1:
        due, number, sent = heapq.heappop(queue)
        time.sleep(max(0, due - time.monotonic()))
        if number < 0:
            asked = time.monotonic()
            head.sendall(b"HEAD /file HTTP/1.1\r\nHost: soak\r\n\r\n")
            head.recv(4096)
            waits.append(time.monotonic() - asked)
            peak = max(peak, memory(pid))
            heapq.heappush(queue, (due + 0.1, -1, 0))
            continue
        uploads[number].sendall(block)
        if sent + 1 < blocks:
            heapq.heappush(queue, (due + 0.25, number, sent + 1))
    whole = 0
    for sock in uploads:
        sock.settimeout(30)
        whole += f"Upload-Offset: {len(block) * blocks}".encode() in sock.recv(4096)
        sock.close()
    head.close()
    waits.sort()
    return {
        "uploads": wanted.uploads,
        "whole": whole,
        "heads": len(waits),
        "head_p50_ms": round(waits[len(waits) // 2] * 1000, 2),
        "head_p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 2),
        "peak_mib": peak[0],
        "threads": peak[1],
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=65536, help="bytes per second of each upload")
    parser.add_argument("--limit", type=float, default=20, help="milliseconds for the 99th percentile of HEAD")
    wanted = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # A process of its own, started afresh: its memory is the server's and not ours.
    server = multiprocessing.get_context("spawn").Process(target=run, args=(port,))
    server.start()
    try:
        found = soak(port, server.pid or 0, wanted)
    finally:
        server.terminate()
        server.join(15)
    print(*(f"{name}={value}" for name, value in found.items()), sep="\n")
    print(f"cores={os.cpu_count()}")
    return 0 if found["whole"] == wanted.uploads and found["head_p99_ms"] <= wanted.limit else 1


if __name__ == "__main__":
    sys.exit(main())
