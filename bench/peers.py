"""Every server that is measured: how it is installed and how it is started. `python bench/peers.py [NAME…]` installs.

Nothing is installed outside bench/.peers, and nothing listens on any address but 127.0.0.1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = HERE / ".peers"
VENV = PEERS / "venv" / "bin"
TUSD = "v2.10.0"  # the release that is measured
RUSTUS = "0.5.10"


@dataclass(frozen=True)
class Peer:
    name: str
    about: str
    program: Path  # missing: the peer is skipped
    argv: Callable[[int, Path], list[str]]  # port, directory
    collection: str = "/files"
    env: dict[str, str] = field(default_factory=dict)
    ours: bool = False  # runs our filter
    missing: str = "not installed: python bench/peers.py"
    group: str = ""  # what peers.py installs it with
    lacks: frozenset[str] = frozenset()  # workloads that it cannot do, or not in reasonable time


def tus_command(*arguments: str) -> list[str]:
    """Our command line, run from this checkout."""
    return [sys.executable, "-m", "tus", *arguments]


def _tus(*options: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: tus_command("serve", str(directory), "--port", str(port), "--quiet", *options)


def _limit(how: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [str(HERE / ".build" / "limit"), how, str(port), str(directory)]


def _tusd(port: int, directory: Path) -> list[str]:
    return [
        str(PEERS / "bin" / "tusd"), "-host", "127.0.0.1", "-port", str(port), "-upload-dir", str(directory),
        "-base-path", "/files/",
    ]  # fmt: skip


def _node(port: int, directory: Path) -> list[str]:
    return ["node", str(HERE / "hosts" / "node_peer.mjs"), str(PEERS / "node"), str(port), str(directory)]


def _rustus(port: int, directory: Path) -> list[str]:
    return [
        str(PEERS / "bin" / "rustus"), "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
        "--data-dir", str(directory / "data"), "--info-dir", str(directory / "info"), "--log-level", "ERROR",
        "--max-body-size", str(1 << 40), "--dir-structure", "",
    ]  # fmt: skip


def hosted(program: str, *options: str) -> Callable[[int, Path], list[str]]:
    def argv(port: int, directory: Path) -> list[str]:
        values = {"port": str(port), "directory": str(directory)}
        return [str(VENV / program), *(option.format(**values) for option in options)]

    return argv


_HOSTED = {"PYTHONPATH": f"{HERE / 'hosts'}:{ROOT}"}
_UWSGI = (
    "--http11-socket", "127.0.0.1:{port}", "--http-keepalive", "--master", "--processes", "2", "--threads", "1",
    "--socket-timeout", "60", "--die-on-term", "--disable-logging", "--listen", "128",
    "--module", "filtered:application",
)  # fmt: skip
_UVICORN = ("--port", "{port}", "--no-access-log", "--log-level", "error")
_GRANIAN = ("--interface", "asgi", "--port", "{port}", "--no-access-log", "--log-level", "error")
# litestar-tus is in no registry, and peregrine-server speaks the draft alone, which the load generator does not.
_COROUTINES = (
    ("uvicorn", "uvicorn", ("uvicorn", "coroutines:application", *_UVICORN)),
    ("uvicorn-2", "uvicorn, 2 workers", ("uvicorn", "coroutines:application", *_UVICORN, "--workers", "2")),
    ("granian", "granian", ("granian", *_GRANIAN, "coroutines:application")),
)
_NO_RESTART = frozenset({"W8"})  # the limit counts its uploads from one
_SLOW = "W6"  # a thread, a process or a whole body in memory for each slow client

PEERS_BY_NAME = {
    peer.name: peer
    for peer in (
        Peer("limit-recv", "C: recv and write, nothing else", HERE / "limit.c", _limit("recv"), lacks=_NO_RESTART),
        Peer("limit-splice", "C: splice, nothing else", HERE / "limit.c", _limit("splice"), lacks=_NO_RESTART),
        Peer("tusd", f"tusd {TUSD}", PEERS / "bin" / "tusd", _tusd, group="go"),
        Peer("tus", "tus serve --durable none", ROOT / "tus/cli/serve.py", _tus("--durable", "none"), ours=True),
        Peer(
            "tus-2", "tus serve --durable none --workers 2", ROOT / "tus/cli/serve.py",
            _tus("--durable", "none", "--workers", "2"), ours=True,
        ),
        Peer("tus-finish", "tus serve, its default durable = finish", ROOT / "tus/cli/serve.py", _tus(), ours=True),
        Peer(
            "tus-2-finish", "tus serve --workers 2, its default durable = finish", ROOT / "tus/cli/serve.py",
            _tus("--workers", "2"), ours=True,
        ),
        Peer("node", "@tus/server, @tus/file-store", PEERS / "node/node_modules/@tus/server", _node, group="npm"),
        Peer("rustus", f"rustus {RUSTUS}", PEERS / "bin" / "rustus", _rustus, group="cargo"),
        Peer(
            "tuspyserver", "tuspyserver on uvicorn", VENV / "uvicorn",
            hosted("uvicorn", "tuspyserver_host:app", *_UVICORN),
            env=_HOSTED, group="pip",
        ),
        Peer(
            "resumable-upload", "resumable-upload on uvicorn", VENV / "uvicorn",
            hosted("uvicorn", "resumable_upload_host:app", *_UVICORN), env=_HOSTED, group="pip",
        ),
        *(
            Peer(
                f"asgi-{name}", f"TusASGI on {about}", VENV / argv[0], hosted(*argv),
                env=_HOSTED, ours=True, group="pip",
            )
            for name, about, argv in _COROUTINES
        ),
        Peer(
            "tuswsgi", "tuswsgi on gunicorn gthread", VENV / "gunicorn",
            hosted("gunicorn", "-b", "127.0.0.1:{port}", "-k", "gthread", "--threads", "32", "--timeout", "300",
                  "tuswsgi_host:application"),
            env=_HOSTED, group="pip", # No creation-with-upload, and no offset in its last answer.
            lacks=frozenset({"W4", "W9", _SLOW}),
        ),
        Peer(
            "waitress", "our filter on stock waitress", VENV / "waitress-serve",
            hosted("waitress-serve", "--listen", "127.0.0.1:{port}", "--max-request-body-size", str(1 << 40),
                  "--threads", "8", "--connection-limit", "2000", "filtered:application"),
            env=_HOSTED, ours=True, group="pip",
        ),
        Peer(
            "gunicorn", "our filter on gunicorn gthread", VENV / "gunicorn",
            hosted("gunicorn", "-b", "127.0.0.1:{port}", "-k", "gthread", "--threads", "32", "--timeout", "300",
                  "--keep-alive", "30", "filtered:application"),
            env=_HOSTED, ours=True, group="pip", lacks=frozenset({_SLOW}),
        ),
        Peer(
            "uwsgi", "our filter on uWSGI, 2 processes", VENV / "uwsgi", hosted("uwsgi", *_UWSGI),
            env=_HOSTED, ours=True, group="pip", lacks=frozenset({_SLOW}),
        ),
        Peer(
            "granian", "our filter on granian, 2 workers", VENV / "granian",
            hosted("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2",
                  "--no-access-log", "--log-level", "error", "filtered:application"),
            env=_HOSTED, ours=True, group="pip", lacks=frozenset({_SLOW}),
        ),
    )
}  # fmt: skip


def environment(peer: Peer, directory: Path) -> dict[str, str]:
    """What a hosted application reads: where uploads go, and that nothing is synced, since no peer does."""
    paths = peer.env.get("PYTHONPATH", str(ROOT))
    return {"BENCH_DIRECTORY": str(directory), "GOGC": os.environ.get("GOGC", "100"), **peer.env, "PYTHONPATH": paths}


def why_not(peer: Peer) -> str:
    """Why this peer cannot be measured here; empty when it can."""
    if not peer.program.exists():
        return peer.missing if peer.group else f"{peer.program.name} is not there"
    if peer.name == "node" and not shutil.which("node"):
        return "node is not there"
    return ""


# ---- installation ----


def _run(*argv: str, cwd: Path = HERE, timeout: float = 600, **env: str) -> None:
    subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, timeout=timeout, check=True)


def _install_go() -> None:
    # A module of our own, not `go install`: that asks for the list of all releases, which not every proxy gives.
    module, command = PEERS / "tusd", "github.com/tus/tusd/v2/cmd/tusd"
    module.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text(f"module bench\n\ngo 1.24\n\nrequire github.com/tus/tusd/v2 {TUSD}\n")
    (module / "tools.go").write_text(f'//go:build tools\n\npackage bench\n\nimport _ "{command}"\n')
    _run("go", "mod", "tidy", cwd=module)
    _run("go", "build", "-o", str(PEERS / "bin" / "tusd"), command, cwd=module)


def _install_npm() -> None:
    node = PEERS / "node"
    node.mkdir(parents=True, exist_ok=True)
    (node / "package.json").write_text('{"private": true}\n')
    _run("npm", "install", "--no-audit", "--no-fund", "@tus/server@2", "@tus/file-store@2", "@tus/s3-store@2", cwd=node)


def _install_pip() -> None:
    _run(sys.executable, "-m", "venv", str(PEERS / "venv"))
    _run(
        str(VENV / "python"), "-m", "pip", "install", "-q", "uvicorn", "tuspyserver", "tuswsgi", "waitress",
        "gunicorn", "pyuwsgi", "granian", "cheroot", "gevent", "packaging", "a2wsgi", "paste", "werkzeug",
        "uvloop", "httptools", "resumable-upload",
    )  # fmt: skip


def _install_cargo() -> None:
    target = PEERS / "rustus"
    _run("nice", "cargo", "install", "rustus", "--version", RUSTUS, "--root", str(PEERS), timeout=3000,
         CARGO_TARGET_DIR=str(target))  # fmt: skip
    shutil.rmtree(target, ignore_errors=True)


def main() -> int:
    groups = {"pip": _install_pip, "npm": _install_npm, "go": _install_go, "cargo": _install_cargo}
    failed = 0
    for name in sys.argv[1:] or groups:
        try:
            groups[name]()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = 1
    for peer in PEERS_BY_NAME.values():
        print(f"{peer.name:14} {why_not(peer) or 'ready'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
