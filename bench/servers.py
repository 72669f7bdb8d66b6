"""How each server treats uploads under our filter: `python bench/servers.py [--asgi] [NAME…] [--write]`.

Measures what the table in docs/servers.rst, or in docs/asgi.rst, shows, on this machine. It judges nothing: the advice
there is ours.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import peers
import processes
import report
import run
import workloads
from peers import HERE, VENV, Peer
from workloads import MIB, Failed, Stage

DOCUMENTS = peers.ROOT / "docs"
TAIL = 18929  # bytes that fill no block: what a server still gathers when the connection dies
SLOW = 100  # slow uploads at once
ROUNDS = 3  # of which the best counts: what disturbs only ever slows
TYPE = "Content-Type: application/offset+octet-stream\r\n"


def _hosted(name: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [str(VENV / "python"), str(HERE / "hosts" / "serve_with.py"), name, str(port)]


_ENV = peers.PEERS_BY_NAME["gunicorn"].env


def _more(name: str, about: str, needs: str = "") -> Peer:
    program = VENV.parent / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages" / needs
    return Peer(name, about, program if needs else VENV / "python", _hosted(name), env=_ENV, ours=True, group="pip")


SERVERS = (
    Peer("tus", "tus.server", peers.ROOT / "tus", peers.PEERS_BY_NAME["tus"].argv, ours=True),
    peers.PEERS_BY_NAME["waitress"],
    peers.PEERS_BY_NAME["gunicorn"],
    Peer(
        "gunicorn-gevent", "gunicorn, gevent", VENV / "gunicorn",
        peers.hosted("gunicorn", "-b", "127.0.0.1:{port}", "-k", "gevent", "--timeout", "300", "filtered:application"),
        env=_ENV, ours=True, group="pip",
    ),
    _more("cheroot", "cheroot", "cheroot"),
    peers.PEERS_BY_NAME["uwsgi"],
    peers.PEERS_BY_NAME["granian"],
    _more("pywsgi", "gevent.pywsgi", "gevent"),
    _more("uvicorn", "uvicorn, a2wsgi", "a2wsgi"),
    _more("paste", "Paste", "paste"),
    _more("werkzeug", "Werkzeug", "werkzeug"),
    _more("wsgiref", "wsgiref"),
)  # fmt: skip


def _coroutines(name: str, about: str, *argv: str) -> Peer:
    """A server of ASGI, from the environment that runs this."""
    module = argv[0]
    found = importlib.util.find_spec(module)
    program = Path(found.origin) if found and found.origin else Path(module)

    def command(port: int, directory: Path) -> list[str]:
        return [sys.executable, "-m", *(word.format(port=port) for word in argv), "coroutines:application"]

    return Peer(name, about, program, command, env=_ENV, ours=True, missing="not installed", group="asgi")


_UVICORN = ("uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "error")
ASGI_SERVERS = (
    _coroutines("uvicorn", "uvicorn, uvloop, httptools", *_UVICORN, "--loop", "uvloop", "--http", "httptools"),
    _coroutines("uvicorn-h11", "uvicorn, asyncio, h11", *_UVICORN, "--loop", "asyncio", "--http", "h11"),
    _coroutines(
        "granian", "granian", "granian", "--interface", "asgi", "--port", "{port}", "--no-access-log",
        "--log-level", "error",
    ),
    _coroutines("hypercorn", "hypercorn", "hypercorn", "--bind", "127.0.0.1:{port}", "--log-level", "ERROR"),
    _coroutines("daphne", "daphne", "daphne", "--port", "{port}", "--verbosity", "0"),
)  # fmt: skip


# ---- one question each ----


class Line:
    """A socket to the server, spoken to byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)

    def send(self, head: str, body: bytes = b"") -> None:
        self.socket.sendall((head + "Host: 127.0.0.1\r\nTus-Resumable: 1.0.0\r\n\r\n").encode() + body)

    def answer(self, seconds: float = 5) -> str:
        """Status line and headers, or as much of them as came in time."""
        self.socket.settimeout(seconds)
        got = b""
        with suppress(OSError):
            while b"\r\n\r\n" not in got and (block := self.socket.recv(4096)):
                got += block
        return got.decode("latin-1")

    def close(self) -> None:
        self.socket.close()


def _create(port: int, length: int) -> str:
    line = Line(port)
    line.send(f"POST /files HTTP/1.1\r\nUpload-Length: {length}\r\nContent-Length: 0\r\nConnection: close\r\n")
    answer = line.answer()
    line.close()
    found = [text for text in answer.split("\r\n") if text.lower().startswith("location:")]
    if not found:
        raise Failed(f"a POST was answered {answer[:60]!r}")
    return "/files/" + found[0].rpartition("/")[2]


def streams(stage: Stage, server: processes.Server) -> str:
    """Half of a body, and a look at the disk."""
    half = b"x" * (4 * MIB)
    upload = _create(server.port, 2 * len(half))
    line = Line(server.port)
    line.send(f"PATCH {upload} HTTP/1.1\r\nUpload-Offset: 0\r\n{TYPE}Content-Length: {2 * len(half)}\r\n", half)
    time.sleep(1)
    stored = (stage.scratch / "data" / upload.rpartition("/")[2]).stat().st_size
    line.close()
    return "yes" if stored == len(half) else "no" if stored == 0 else f"all but {len(half) - stored:,} B"


def _lost(how: str) -> Callable[[Stage, processes.Server], str]:
    def ask(stage: Stage, server: processes.Server) -> str:
        answer = stage.load(
            server, "cut", mode=how, size=64 * MIB, body=20 * MIB + TAIL, hold=0.5, pause=0.2, limit=60
        )  # fmt: skip
        lost = int(str(answer["sent"])) - max(0, int(str(answer["offset_later"])))
        return "all" if lost >= 20 * MIB else f"{lost:,}"

    return ask


def _chunked_patch(server: processes.Server, body: bytes, trailer: str) -> str:
    upload = _create(server.port, len(body))
    line = Line(server.port)
    announced = "Trailer: Upload-Checksum\r\n" if trailer else ""
    chunks = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer.encode())
    line.send(
        f"PATCH {upload} HTTP/1.1\r\nUpload-Offset: 0\r\n{TYPE}{announced}Transfer-Encoding: chunked\r\n", chunks
    )  # fmt: skip
    answer = line.answer()
    line.close()
    if answer[9:12] == "204" and f"upload-offset: {len(body)}\r\n" not in answer.lower():
        return "body lost"
    return answer[9:12]


def chunked(stage: Stage, server: processes.Server) -> str:
    status = _chunked_patch(server, b"abc", "")
    return {"204": "yes", "411": "411"}.get(status, status or "no answer")


def trailers(stage: Stage, server: processes.Server) -> str:
    digest = base64.b64encode(hashlib.sha1(b"abc").digest()).decode()
    right = _chunked_patch(server, b"abc", f"Upload-Checksum: sha1 {digest}\r\n")
    wrong = _chunked_patch(server, b"abd", f"Upload-Checksum: sha1 {digest}\r\n")
    return "yes" if (right, wrong) == ("204", "460") else "no"


def _expecting(server: processes.Server, offset: int) -> str:
    upload = _create(server.port, 1000)
    line = Line(server.port)
    line.send(
        f"PATCH {upload} HTTP/1.1\r\nUpload-Offset: {offset}\r\n{TYPE}Content-Length: 10\r\nExpect: 100-continue\r\n"
    )  # fmt: skip
    answer = line.answer(2)
    line.close()
    return answer[9:12]


def continues(stage: Stage, server: processes.Server) -> str:
    """Is a body asked for that is going to be refused; is one that is welcome?"""
    if _expecting(server, 7) == "100":
        return "always"
    return "when wanted" if _expecting(server, 0) == "100" else "never"


def throughput(stage: Stage, server: processes.Server) -> str:
    stage.load(server, "patch", size=MIB)
    best = 0.0
    for _ in range(ROUNDS):
        run.wait_for_calm(0.1)
        measured = Stage(stage.peer, stage.scratch, stage.disk, stage.pattern, quick=False)
        with measured.watched(server):
            answer = stage.load(server, "patch", size=1024 * MIB)
        if answer["errors"]:
            return f"answers {answer['last_error']}"
        speed = float(str(answer["mb_per_second"]))
        if speed > best:
            best, stage.numbers = speed, measured.numbers
        for path in (stage.scratch / "data").iterdir():
            path.unlink()  # a gibibyte of memory each
    return f"{best:,.0f}"


def processor(stage: Stage, server: processes.Server) -> str:
    return f"{stage.numbers['cpu']:.2f}"  # of the gibibyte that throughput() sent


def memory(stage: Stage, server: processes.Server) -> str:
    return f"{stage.numbers['peak_rss']:.0f}"


def slow_clients(stage: Stage, server: processes.Server) -> str:
    """Threads and processes while many uploads trickle, and whether all of them come through."""
    argv = stage.load_argv(server, "trickle", uploads=SLOW, rate=65536, seconds=3, limit=40)
    load = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    threads = server.cost().threads
    try:
        finished = int(str(workloads.answer_of(load.communicate(timeout=60)[0])["finished"]))
    except Failed:
        return f"{threads}; the uploads wait for each other"
    return f"{threads}" if finished == SLOW else f"{threads}; {finished} of {SLOW} finish"


QUESTIONS: tuple[tuple[str, Callable[[Stage, processes.Server], str]], ...] = (
    ("streams", streams),
    ("lost on FIN, bytes", _lost("fin")),
    ("lost on RST, bytes", _lost("rst")),
    ("chunked", chunked),
    ("trailers", trailers),
    ("100 Continue", continues),
    ("MB/s", throughput),
    ("CPU s/GiB", processor),
    ("MiB", memory),
    (f"threads for {SLOW} slow uploads", slow_clients),
)


# ---- the table ----


def row(peer: Peer, places: tuple[Path, Path, Path]) -> list[str]:
    """Every answer of one server, which is started anew for each: a question may leave it with a stuck thread."""
    cells = [peer.about.removeprefix("our filter on ")]
    stage = Stage(peer, *places, quick=False)
    for title, question in QUESTIONS:
        if question in (processor, memory):
            cells.append(question(stage, None) if stage.numbers else "")  # type: ignore[arg-type]
            continue
        try:
            with stage.server() as server:
                cells.append(question(stage, server))
        except (Failed, processes.DidNotStart, OSError, subprocess.SubprocessError) as error:
            cells.append("failed")
            print(f"{peer.name}, {title}: {error}", file=sys.stderr)
    print(" | ".join(cells), file=sys.stderr, flush=True)
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--asgi", action="store_true", help="servers of ASGI, and asgi.rst")
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(peer.name for peer in (*SERVERS, *ASGI_SERVERS))}")
    arguments = parser.parse_args()
    servers, document = (ASGI_SERVERS, "asgi") if arguments.asgi else (SERVERS, "servers")
    run.end_on_sigterm()
    run.build()
    rows = [["server", *(title for title, _ in QUESTIONS)]]
    with run.workshop(None) as places:
        for peer in servers:
            missing = peers.why_not(peer)
            if missing or (arguments.names and peer.name not in arguments.names):
                print(f"{peer.name}: {missing or 'not asked for'}", file=sys.stderr)
                continue
            rows.append(row(peer, places))
    print(report.list_table(rows))
    if arguments.write:
        head = f"Measured with {os.cpu_count()} CPUs, Python {sys.version.split()[0]}, uploads on tmpfs:"
        table = f"{head}\n\n{report.list_table(rows)}"
        report.update_document(DOCUMENTS / f"{document}.rst", document, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
