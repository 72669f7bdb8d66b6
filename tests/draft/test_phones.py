"""What the systems of phones send, replayed over TLS, where nothing but the default options is set."""

from __future__ import annotations

import secrets
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.conftest import certificate
from tests.draft.client import limits
from tests.draft.host import TARGETS
from tests.draft.phone import Phone, Phone2

pytestmark = [pytest.mark.slow]
PHOTO = bytes(range(256)) * 4096
HEIC = {"Content-Type": "image/heic", "Authorization": "Bearer secret", "X-File": "IMG_0001.HEIC"}
CUT = 300_000  # bytes
AWAITED = "tests.draft.awaited:application"

Command = Callable[[str, str, Path], list[str]]


@dataclass(frozen=True)
class Site:
    """A way to serve over TLS; `command` gets a port, the file with the certificate and its key, and a directory."""

    name: str
    command: Command
    needs: tuple[str, ...]
    http2: bool = False
    resumes: bool = True  # a phone hears the address in time
    stored: str = "uploads"  # where they are while they arrive
    kept: str = "photos"  # and in the end
    target: str = "/photos"
    named: bool = True  # it takes PUT below that


def gunicorn(port: str, pem: str, home: Path) -> list[str]:
    words = [f"--bind=127.0.0.1:{port}", f"--certfile={pem}", f"--keyfile={pem}", "--graceful-timeout=1"]
    return ["gunicorn", "--worker-class=gthread", "--threads=8", "--no-control-socket", *words,
            "tests.draft.host:application()"]  # fmt: skip


def uvicorn(http: str) -> Command:
    def command(port: str, pem: str, home: Path) -> list[str]:
        return ["uvicorn", f"--port={port}", f"--ssl-certfile={pem}", f"--ssl-keyfile={pem}", f"--http={http}",
                "--ws=none", "--log-level=warning", "--timeout-graceful-shutdown=1", AWAITED]  # fmt: skip

    return command


def hypercorn(port: str, pem: str, home: Path) -> list[str]:
    return ["hypercorn", f"--bind=127.0.0.1:{port}", f"--certfile={pem}", f"--keyfile={pem}",
            "--graceful-timeout=1", AWAITED]  # fmt: skip


def granian(port: str, pem: str, home: Path) -> list[str]:
    key = pem.replace("cert.pem", "key.pem")  # it takes no file with both
    return ["granian", "--interface=asgi", f"--port={port}", f"--ssl-certificate={pem}", f"--ssl-keyfile={key}",
            "--no-access-log", "--log-level=error", AWAITED]  # fmt: skip


def tus(*words: str) -> Command:
    def command(port: str, pem: str, home: Path) -> list[str]:
        return ["tus", "serve", str(home / "up"), f"--port={port}", f"--tls-cert={pem}", "--durable=none", *words]

    return command


OURS = Site("tus serve", tus(), ("granian", "cryptography"), stored="up", kept="up", target="/files", named=False)
SITES = (
    Site("gunicorn", gunicorn, ("gunicorn",)),
    Site("uvicorn", uvicorn("h11"), ("uvicorn",)),
    Site("uvicorn-httptools", uvicorn("httptools"), ("uvicorn", "httptools")),
    Site("hypercorn", hypercorn, ("hypercorn",)),
    Site("hypercorn-h2", hypercorn, ("hypercorn", "h2"), http2=True),
    Site("granian", granian, ("granian",), resumes=False),
    Site("granian-h2", granian, ("granian", "h2"), http2=True, resumes=False),
    replace(OURS, name="tus serve --http1", command=tus("--http1")),
    replace(OURS, name="tus serve --http1 --workers 2", command=tus("--http1", "--workers=2")),
    replace(OURS, resumes=False),
    replace(OURS, name="tus serve-h2", http2=True, resumes=False),
)


class Secure(live.Live):
    """A server that speaks TLS."""

    site: Site

    def phone(self) -> Phone:
        """One that trusts it. Interop 6 is what iOS 18.1 to 26 and macOS 27 send."""
        context = ssl.create_default_context(cafile=self.home / "cert.pem")
        context.set_alpn_protocols(["h2" if self.site.http2 else "http/1.1"])
        return (Phone2 if self.site.http2 else Phone)(self.address, 6, context)

    def ask_anything(self) -> None:
        self.phone().options("/upload")

    def target(self, method: str) -> str:
        """Where a phone sends a photo; with PUT it says the name."""
        return self.site.target + (f"/{secrets.token_hex(4)}.heic" if method == "PUT" and self.site.named else "")

    def photos(self) -> int:
        """How many times the site has got it, each whole."""
        return sum(path.read_bytes() == PHOTO for path in (self.home / self.site.kept).glob("*"))

    def stored(self, url: str | None) -> int:
        """How many bytes of the upload are there."""
        assert url
        path = self.home / self.site.stored / url.rpartition("/")[2]
        return path.stat().st_size if path.exists() else 0


@pytest.fixture(scope="module", params=SITES, ids=lambda site: site.name)
def secure(request: pytest.FixtureRequest) -> Iterator[Secure]:
    """A photo store behind the filter; of `tus serve`, its own directory."""
    site: Site = request.param
    if absent := [module for module in site.needs if not live._found(module)]:
        pytest.skip(f"{', '.join(absent)} is not installed")
    home = Path(tempfile.mkdtemp(prefix="tus-phones-"))
    certificate(home)
    pem = home / "both.cert.pem"
    pem.write_bytes((home / "cert.pem").read_bytes() + (home / "key.pem").read_bytes())
    (home / "both.key.pem").write_bytes((home / "key.pem").read_bytes())
    live.configure(home, {"draft_targets": TARGETS, "sweep_interval": "none", "durable": "none"})

    def command(port: int, settings: dict[str, Any]) -> list[str]:
        return [sys.executable, "-m", *site.command(str(port), str(pem), home)]

    kind = live.Kind(site.name, command, site.needs)
    server = Secure(kind, home, live.free_port(), {}, temporary=True, environ={})
    server.site = site
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def phone(secure: Secure) -> Phone:
    return secure.phone()


def test_photokit_hears_that_uploads_can_be_resumed(secure: Secure, phone: Phone) -> None:
    """OPTIONS is 200 with the limits, before anybody has logged in."""
    answer = phone.options(secure.site.target)

    assert answer.status == 200
    assert "min-size" in limits(answer) or limits(answer)["expires"] > 0


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_phone_backs_up_through_two_cuts(secure: Secure, phone: Phone, method: str) -> None:
    """It learns the address in time without an option of the site, and the application sees one request in the end."""
    if not secure.site.resumes:
        pytest.skip(f"{secure.site.name} can send nothing before the answer, so that a phone begins anew")
    before, target = secure.photos(), secure.target(method)

    phone.breaks = lambda: live.until(lambda: secure.stored(phone.location) == CUT)
    assert phone.upload(method, target, PHOTO, cut_after=CUT, headers=HEIC) is None
    phone.breaks = lambda: live.until(lambda: secure.stored(phone.location) == 2 * CUT)
    assert phone.resume(PHOTO, cut_after=CUT) is None
    answer = phone.resume(PHOTO)

    assert answer and answer.status in (200, 201, 204)
    assert phone.asked == [method, "HEAD", "PATCH", "HEAD", "PATCH"]
    assert phone.offsets == [CUT, 2 * CUT]
    assert secure.photos() == before + 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_phone_that_heard_no_address_begins_anew(secure: Secure, phone: Phone, method: str) -> None:
    """Behind a proxy, or where a server cannot send a 104: the site gets the photo once, and no part of it."""
    before, target = secure.photos(), secure.target(method)
    headers = {**HEIC, "X-Forwarded-For": "192.0.2.1"} if secure.site.resumes else HEIC

    phone.patience = 0.2
    assert phone.upload(method, target, PHOTO, cut_after=CUT, headers=headers) is None
    answer = phone.upload(method, target, PHOTO, headers=headers)

    assert answer and (answer.status // 100, answer.interim, phone.location) == (2, (), None)
    assert secure.photos() == before + 1
