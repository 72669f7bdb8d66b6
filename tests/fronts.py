"""The proxies that uploads are sent through: real ones, with the files that `deploy/proxies` has for a reader to copy.

A file is used as it is, but for the addresses, the certificate and the name in it.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import live

RECIPES = live.ROOT / "deploy" / "proxies"
ATTEMPTS = 3  # at a free port, which somebody else may take at that moment
APACHE_MODULES = "/usr/lib/apache2/modules"


@dataclass(frozen=True)
class Front:
    """One proxy, and what uploads have of it."""

    name: str
    program: str
    package: str  # of Debian; "" where it has none
    recipe: str
    command: Callable[[Path, int], list[str]]
    frame: str = "%s"  # what a system's own configuration has around the recipe
    tls: bool = True
    prefix: bool = True  # whether the recipe has one
    marks: bool = True  # it tells the server by which address it was called
    http2: bool = True
    http3: bool = False
    trailers: bool = True  # they arrive
    interim: str = "at once"  # when a client has a 104 of ours: also "late", after its body; "never", and "broken"

    @property
    def row(self) -> list[str]:
        """What the table of docs/proxies.rst says of it."""
        versions = ["1.1", *["2"] * self.http2, *["3"] * self.http3]
        tested = ["checked" if self.trailers else "refused", self.interim] if self.package else ["not tested"] * 2
        return [", ".join(versions), *tested]

    @property
    def missing(self) -> str:
        """Why it cannot run, "" if it can."""
        if shutil.which(self.program):
            return ""
        return f"{self.program} is not installed ({f'apt install {self.package}' if self.package else 'not in Debian'})"

    def configured(self, home: Path, *, port: int, upstream: int, certificate: Path) -> str:
        """The recipe, with the addresses of a test."""
        text = (RECIPES / self.recipe).read_text()
        places = {"8080": str(upstream), "443": str(port), "/etc/ssl/uploads.pem": str(certificate)}
        # In one pass: a port may hold the digits of another.
        text = re.sub(r"\b(8080|443)\b|/etc/ssl/uploads\.pem", lambda found: places[found[0]], text)
        text = text.replace("uploads.example {", f"https://localhost:{port}, https://127.0.0.1:{port} {{")
        framed = self.frame.replace("%s", text).replace("{home}", str(home)).replace("{port}", str(port))
        return framed.replace("{user}", getpass.getuser())


NGINX = """
user {user}; daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {}
http {
  access_log off;
  client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  %s
}
"""
_MODULES = [
    "mpm_event",
    "authz_core",
    "ssl",
    "socache_shmcb",
    "http2",
    "proxy",
    "proxy_http",
    "headers",
    "reqtimeout",
    "alias",
    "cache",
    "cache_disk",
]
APACHE = (
    "".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in _MODULES)
    + "PidFile {home}/pid\nErrorLog {home}/error.log\nDefaultRuntimeDir {home}\nServerName localhost\nListen {port}\n%s"
)
CADDY = (
    "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_sni localhost\n\tstorage file_system {home}/caddy\n}\n%s"
)
STUNNEL = "foreground = yes\npid =\nsyslog = no\noutput = {home}/error.log\n%s"


def _varnish(home: Path, port: int) -> list[str]:
    listen = ["-a", f"127.0.0.1:{port}", "-f", str(home / "recipe"), "-n", str(home / "state")]
    return ["varnishd", "-F", "-j", "none", *listen, "-s", "malloc,16m", "-p", "thread_pool_min=5"]


FRONTS = {
    front.name: front
    for front in (
        Front(
            "nginx", "nginx", "nginx-light", "nginx.conf",
            lambda home, port: ["nginx", "-p", str(home), "-c", str(home / "recipe"), "-e", str(home / "error.log")],
            frame=NGINX, trailers=False, interim="broken",
        ),
        Front(
            "Apache", "apache2", "apache2-bin", "apache.conf",
            lambda home, port: ["apache2", "-d", str(home), "-f", str(home / "recipe"), "-DFOREGROUND"],
            frame=APACHE, trailers=False, interim="late",
        ),
        Front(
            "HAProxy", "haproxy", "haproxy", "haproxy.cfg",
            lambda home, port: ["haproxy", "-db", "-f", str(home / "recipe")],
        ),
        Front(
            "Caddy", "caddy", "caddy", "Caddyfile",
            lambda home, port: ["caddy", "run", "--adapter", "caddyfile", "--config", str(home / "recipe")],
            frame=CADDY, http3=True, trailers=False,
        ),
        Front(
            "Varnish", "varnishd", "varnish", "varnish.vcl", _varnish,
            tls=False, prefix=False, marks=False, http2=False,
        ),
        Front(
            "stunnel", "stunnel4", "stunnel4", "stunnel.conf",
            lambda home, port: ["stunnel4", str(home / "recipe")],
            frame=STUNNEL, prefix=False, marks=False, http2=False,
        ),
        Front(
            "Envoy", "envoy", "", "envoy.yaml",
            lambda home, port: ["envoy", "--use-dynamic-base-id", "-c", str(home / "recipe")],
        ),
    )
}  # fmt: skip


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(home: Path, words: Callable[[int], list[str]], **more: str) -> Iterator[int]:
    """A process that listens on a free port, until the end; the port. `more` is for its environment."""
    process, port = _launched(home, words, more)
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _launched(
    home: Path, words: Callable[[int], list[str]], more: dict[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """On another port if somebody was quicker to take the first one."""
    home.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home), **more}
    for _ in range(ATTEMPTS):
        port = live.free_port()
        with open(home / "output.txt", "ab") as output:
            process = subprocess.Popen(
                words(port), cwd=home, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            live.until(lambda: reachable(port) or live.ended(process), within=30.0)  # noqa: B023
        except BaseException:
            process.kill()
            process.wait()
            raise
        if not live.ended(process):
            return process, port
        process.wait()
    raise AssertionError(
        "".join(file.read_text(errors="replace") for file in home.glob("*") if file.name in ("output.txt", "error.log"))
    )


@contextmanager
def started(
    front: Front, home: Path, *, upstream: int, certificate: Path, change: Callable[[str], str] = str
) -> Iterator[int]:
    """The proxy before what listens on `upstream`; its port. `change` spoils the recipe."""

    def words(port: int) -> list[str]:
        text = front.configured(home, port=port, upstream=upstream, certificate=certificate)
        (home / "recipe").write_text(change(text))
        return front.command(home, port)

    with running(home, words) as port:
        yield port


@contextmanager
def serving(home: Path, *words: str) -> Iterator[int]:
    """`tus serve` as a person starts it; its port. Uploads are in `home / "up"`."""
    command = [sys.executable, "-m", "tus", "serve", str(home / "up"), "--durable", "none", *words]
    with running(home / "tus", lambda port: [*command, "--port", str(port)]) as port:
        yield port
