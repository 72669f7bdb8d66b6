"""Real servers in processes of their own, on free ports of 127.0.0.1, to be stopped, killed and restarted.

Nothing here may sleep for a fixed time, or end a process that it did not start.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests import wire

ROOT = Path(__file__).resolve().parent.parent
MOUNT = "at"  # as in tests.apps, which this module must not import: it runs without the package being tested
START = 20.0  # seconds that a server may take to answer for the first time
STOP = 10.0  # seconds that a server may take to stop when it is asked to
POLL = 0.005  # seconds between two looks at something that has no way to tell us


@dataclass(frozen=True)
class Kind:
    """One way to serve, and what a client can expect of it."""

    name: str
    command: Callable[[int, dict[str, Any]], list[str]]
    needs: tuple[str, ...]
    streams: bool = True  # the application runs before the body has ended
    waits: bool = False  # 100 Continue goes out when the body is asked for, and not before
    trailers: bool = True  # the application can see them
    threads: bool = True  # it answers a second request while one is stuck
    shows_proxies: bool = True  # it passes headers on that a proxy may have set
    hears_halves: bool = True  # a client that has closed its half of the connection, and listens, is answered
    reasons: bool = True  # the application's reason phrase is sent
    processes: int = 1
    pair: str = "file"  # the store and the locker, as in tests.kinds

    @property
    def on_files(self) -> bool:
        """Whether uploads are files, and the application can have them."""
        return self.pair == "file"

    def environ(self, **how: Any) -> dict[str, str]:
        """What its process has to know."""
        if self.on_files:
            return {}
        from tests import kinds  # late, since it imports the package

        return kinds.environ(self.pair, **how)

    @property
    def options(self) -> dict[str, Any]:
        """What every collection there needs: an application cannot have a path to what is no file."""
        return {} if self.on_files else {"hand_over": "file"}


def _own(kind: str, **fixed: Any) -> Callable[[int, dict[str, Any]], list[str]]:
    def command(port: int, settings: dict[str, Any]) -> list[str]:
        return [sys.executable, "-m", "tests.apps", kind, str(port), json.dumps(fixed | settings)]

    return command


def _gunicorn(**fixed: Any) -> Callable[[int, dict[str, Any]], list[str]]:
    def command(port: int, settings: dict[str, Any]) -> list[str]:
        # A sync worker is killed in the middle of a body that takes longer, and on a busy machine 4 GiB do.
        given = {"bind": f"127.0.0.1:{port}", "graceful_timeout": 1, "timeout": 300, **fixed, **settings}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return [sys.executable, "-m", "gunicorn", "--no-control-socket", *words, "tests.apps:application()"]

    return command


def coroutines(
    module: str, *, application: str = "tests.coroutines:application", **fixed: Any
) -> Callable[[int, dict[str, Any]], list[str]]:
    """A server of ASGI, with its options; True is one without a value, and `{port}` the port."""

    def command(port: int, settings: dict[str, Any]) -> list[str]:
        words: list[str] = []
        for name, value in {**fixed, **settings}.items():
            words += [f"--{name.replace('_', '-')}"] + ([str(value).format(port=port)] if value is not True else [])
        return [sys.executable, "-m", module, *words, application]

    return command


UVICORN = {"port": "{port}", "no_proxy_headers": True, "ws": "none", "log_level": "warning"}
_STOP = {"timeout_graceful_shutdown": 1}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ours", _own("ours"), ("tus.server",), waits=True),
        Kind("ours-workers", _own("ours", workers=3), ("tus.server",), waits=True, processes=3),
        Kind("ours-slow", _own("ours"), ("tus.server",), waits=True, pair="slow"),
        Kind(
            "waitress",
            _own("waitress"),
            ("waitress",),
            streams=False,
            trailers=False,
            shows_proxies=False,
        ),
        Kind(
            "gunicorn-gthread",
            _gunicorn(worker_class="gthread", threads=8),
            ("gunicorn",),
        ),
        Kind("gunicorn-sync", _gunicorn(worker_class="sync"), ("gunicorn",), threads=False),
        Kind(
            "gunicorn-workers",
            _gunicorn(worker_class="gthread", threads=8, workers=3),
            ("gunicorn",),
            processes=3,
        ),
        Kind(
            "asgi",
            coroutines("uvicorn", **UVICORN, **_STOP, loop="asyncio", http="h11"),
            ("uvicorn",),
            waits=True,
            trailers=False,
            hears_halves=False,
            reasons=False,
        ),
        Kind(
            "asgi-uvloop",
            coroutines("uvicorn", **UVICORN, **_STOP, loop="uvloop", http="httptools"),
            ("uvicorn", "uvloop", "httptools"),
            waits=True,
            trailers=False,
            hears_halves=False,
            reasons=False,
        ),
        Kind(
            "asgi-hypercorn",
            coroutines("hypercorn", bind="127.0.0.1:{port}", graceful_timeout=1),
            ("hypercorn",),
            trailers=False,
            hears_halves=False,
            reasons=False,
        ),
        Kind(
            "asgi-granian",
            coroutines("granian", interface="asgi", port="{port}", no_access_log=True, log_level="error"),
            ("granian",),
            trailers=False,
            reasons=False,
        ),
        Kind(
            "asgi-relay",  # `tus serve --asgi`: a WSGI application there
            _own("relay"),
            ("granian", "cryptography"),
            waits=True,
            trailers=False,
            reasons=False,
        ),
        Kind(
            "asgi-daphne",
            coroutines("daphne", port="{port}", verbosity=0),
            ("daphne",),
            streams=False,
            trailers=False,
            hears_halves=False,
            reasons=False,
        ),
    )
}


def available(name: str) -> bool:
    """Whether what the kind needs is installed."""
    return all(_found(module) for module in KINDS[name].needs)


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def default() -> str:
    """Our own server where there is one, else the one that everybody has."""
    return "ours" if available("ours") else "waitress"


@dataclass
class Live:
    """A running server. Its directory survives `kill` and `restart`, and is removed by `close`."""

    kind: Kind
    home: Path
    port: int
    settings: dict[str, Any]
    temporary: bool
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> wire.Address:
        return "127.0.0.1", self.port

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The collection at the root."""
        return f"{self.origin}/upload"

    @property
    def output(self) -> str:
        """What the server printed."""
        return (self.home / "output.txt").read_text(errors="replace")

    def collection(self, name: str = "", **options: Any) -> str:
        """Make a fresh collection with these options of the filter, and return its name."""
        name += secrets.token_hex(6)
        configure(self.home / name, self.kind.options | options)
        return name

    def path(self, name: str = "") -> str:
        """The URL path of a collection, the root one for ""."""
        return f"/{MOUNT}/{quote(name)}/upload" if name else "/upload"

    def start(self) -> None:
        """Start the process, and return when it has answered a request."""
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "LIVE_HOME": str(self.home),
            **self.kind.environ(),
            **self.environ,
        }
        with open(self.home / "output.txt", "ab") as output:
            self.process = subprocess.Popen(
                self.kind.command(self.port, self.settings),
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be ended together with it, and nobody else
            )
        self._ready()

    def _ready(self) -> None:
        until = time.monotonic() + START
        while self.process is not None and not ended(self.process) and time.monotonic() < until:
            try:
                self.ask_anything()
                return
            except (OSError, wire.Broken):
                time.sleep(POLL)
        self.kill()
        raise RuntimeError(f"{self.kind.name} does not answer; it printed:\n{self.output}")

    def ask_anything(self) -> None:
        """A request that it answers once it runs."""
        wire.ask(self.address, "OPTIONS", "/upload", {"Host": "127.0.0.1", "Connection": "close"})

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and every worker, as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same directory and port."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.stop()
        if self.temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        # Until the leader was waited for nobody else can get its number, so the group is surely ours.
        if number is signal.SIGTERM and not ended(process):
            os.kill(process.pid, number)
            with contextlib.suppress(AssertionError):
                until(lambda: ended(process), within=STOP)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has exited; unlike `poll` this leaves its number reserved."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def configure(home: Path, options: dict[str, Any]) -> None:
    """Prepare the directory of one collection."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "options.json").write_text(json.dumps(options))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    kind: str | None = None,
    *,
    home: Path | None = None,
    settings: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    **options: Any,
) -> Live:
    """Start a server of that kind; `options` are the filter's, `settings` the server's own."""
    place = home or Path(tempfile.mkdtemp(prefix="tus-live-"))
    chosen = KINDS[kind or default()]
    configure(place, chosen.options | options)
    server = Live(
        chosen,
        place,
        free_port(),
        settings or {},
        temporary=home is None,
        environ=environ or {},
    )
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def until(true: Callable[[], Any], *, within: float = 5.0) -> Any:
    """Wait until something holds, and return what it said; fails with what it said last."""
    end = time.monotonic() + within
    while not (said := true()):
        if time.monotonic() > end:
            raise AssertionError(f"still {said!r} after {within} seconds")
        time.sleep(POLL)
    return said
