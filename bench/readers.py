"""What readers of an upload that still arrives cost its writer: python bench/readers.py [READERS] [MIB] [ROUNDS]

One `tus serve`, one writer, and three cases in turn: nobody reads; so many readers wait for the last byte; so many get
every byte as it comes. Each case is told as it is for a writer that sends as fast as it can, and for one with a
connection of 20 Mbit/s. The figures are medians of the seconds from the first byte to the answer, of the processor
seconds of the server, and of both against the same round without readers. The readers are one process of their own,
which throws everything away, and has its share of the same processors.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PACE = 20_000_000 // 8  # bytes a second
BLOCK = os.urandom(1 << 16)
CASES = ("nobody", "waiting", "reading")


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """A server; its port and its process."""
    with tempfile.TemporaryDirectory() as home:
        words = ["--download", "live", "--no-page", "--durable", "none", "--port", "0"]
        command = [sys.executable, "-m", "tus", "serve", home, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        try:
            assert process.stdout
            found = re.search(r"127\.0\.0\.1:(\d+)(/\S*)?", process.stdout.readline())
            assert found
            yield int(found[1]), process.pid
        finally:
            process.terminate()
            process.wait()


def asked(sock: socket.socket, method: str, path: str, *fields: str) -> None:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Tus-Resumable: 1.0.0", *fields, "", ""]
    sock.sendall("\r\n".join(lines).encode())


def answer(sock: socket.socket) -> str:
    """The head of an answer without a body."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        assert data, head
        head += data
    return head.decode()


def created(sock: socket.socket, length: int) -> str:
    """A new upload; its path."""
    asked(sock, "POST", "/files/", f"Upload-Length: {length}")
    found = re.search(r"Location: https?://[^/]+(\S+)", answer(sock))
    assert found
    return found[1]


def send(sock: socket.socket, size: int, pace: int | None) -> None:
    began = time.perf_counter()
    for sent in range(0, size, len(BLOCK)):
        sock.sendall(BLOCK)
        if pace and (early := sent / pace - (time.perf_counter() - began)) > 0:
            time.sleep(early)


def processor(process: int) -> float:
    """Seconds of the processor that it has had."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure(port: int, process: int, case: str, readers: int, size: int, pace: int | None) -> tuple[float, float]:
    """Seconds until the writer has its answer, and of the processor of the server until then."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        path = created(sock, size)
        asked(
            sock,
            "PATCH",
            path,
            "Upload-Offset: 0",
            "Content-Type: application/offset+octet-stream",
            "Content-Length: 1",
        )
        sock.sendall(b"x")
        answer(sock)
        start = 0 if case == "reading" else size - 1
        count = 0 if case == "nobody" else readers
        command = [sys.executable, __file__, "read", str(port), path, str(count), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reading:
            assert reading.stdout and reading.stdout.readline() == "ready\n"
            before, began = processor(process), time.perf_counter()
            body = (size - 1) // len(BLOCK) * len(BLOCK)
            asked(
                sock, "PATCH", path, "Upload-Offset: 1", "Content-Type: application/offset+octet-stream",
                f"Content-Length: {size - 1}",
            )  # fmt: skip
            send(sock, body, pace)
            sock.sendall(BLOCK[: size - 1 - body])
            answer(sock)
            took = time.perf_counter() - began, processor(process) - before
            got = int(reading.stdout.readline())
        assert got == count * (size - start), (got, count)
    return took


def read(port: int, path: str, count: int, start: int) -> None:
    """So many readers in one loop; the number of bytes that they get."""
    loop, got = selectors.DefaultSelector(), 0
    heads: dict[socket.socket, bytes | None] = {}
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Range: bytes={start}-", "Connection: close", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        heads[sock] = b""
        loop.register(sock, selectors.EVENT_READ)
    waiting = set(heads)  # for the head of their answer
    if not waiting:
        print("ready", flush=True)
    buffer = bytearray(1 << 20)
    while heads:
        for key, _ in loop.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            size = sock.recv_into(buffer)
            if not size:
                loop.unregister(sock)
                del heads[sock]
                sock.close()
            elif (head := heads[sock]) is not None:
                heads[sock] = head = head + buffer[:size]
                head, end, body = head.partition(b"\r\n\r\n")
                if end:
                    assert head.startswith(b"HTTP/1.1 206"), head
                    heads[sock], got = None, got + len(body)
            else:
                got += size
            if sock in waiting and heads.get(sock) is None:
                waiting.discard(sock)
                if not waiting:
                    print("ready", flush=True)
    print(got, flush=True)


def main() -> None:
    """Print a table."""
    readers, mib, rounds = (int(word) for word in (sys.argv[1:] + ["100", "16", "5"][len(sys.argv) - 1 :])[:3])
    print(f"{readers} readers, {mib} MiB, {rounds} rounds; load {os.getloadavg()[0]:.0f}")
    print(f"{'writer':>10} {'readers':>8} {'seconds':>8} {'times':>6} {'CPU':>6} {'times':>6}")
    with serving() as (port, process):
        for name, pace in (("fast", None), ("20 Mbit/s", PACE)):
            found = {case: [] for case in CASES}
            for _ in range(rounds):
                for case in CASES:
                    found[case].append(measure(port, process, case, readers, mib << 20, pace))
            for case in CASES:
                pairs = list(zip(found[case], found["nobody"], strict=True))
                wall, cpu = (median(one[n] for one, _ in pairs) for n in (0, 1))
                times, more = (median(one[n] / (alone[n] or 0.01) for one, alone in pairs) for n in (0, 1))
                print(f"{name:>10} {case:>8} {wall:>8.2f} {times:>6.2f} {cpu:>6.2f} {more:>6.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
