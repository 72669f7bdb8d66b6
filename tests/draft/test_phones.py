"""What the systems of phones send, replayed over TLS, where nothing but the default options is set."""

from __future__ import annotations

import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.cli.conftest import certificate
from tests.draft.client import limits
from tests.draft.host import TARGETS
from tests.draft.phone import Phone

pytestmark = [pytest.mark.slow]
PHOTO = bytes(range(256)) * 4096
HEIC = {"Content-Type": "image/heic", "Authorization": "Bearer secret", "X-File": "IMG_0001.HEIC"}


def gunicorn(home: Path) -> live.Kind:
    def command(port: int, settings: dict[str, Any]) -> list[str]:
        words = [f"--bind=127.0.0.1:{port}", f"--certfile={home / 'cert.pem'}", f"--keyfile={home / 'key.pem'}"]
        words += ["--worker-class=gthread", "--threads=8", "--graceful-timeout=1", "--no-control-socket"]
        return [sys.executable, "-m", "gunicorn", *words, "tests.draft.host:application()"]

    return live.Kind("gunicorn", command, ("gunicorn",))


class Secure(live.Live):
    """A server that speaks TLS."""

    def phone(self) -> Phone:
        """One that trusts it. Interop 6 is what iOS 18.1 to 26 and macOS 27 send."""
        return Phone(self.address, 6, ssl.create_default_context(cafile=self.home / "cert.pem"))

    def ask_anything(self) -> None:
        self.phone().options("/upload")


@pytest.fixture(scope="module")
def secure() -> Iterator[Secure]:
    """A photo store behind the filter."""
    if not live._found("gunicorn"):
        pytest.skip("gunicorn is not installed")
    home = Path(tempfile.mkdtemp(prefix="tus-phones-"))
    certificate(home)
    live.configure(home, {"draft_targets": TARGETS, "sweep_interval": "none", "durable": "none"})
    server = Secure(gunicorn(home), home, live.free_port(), {}, temporary=True, environ={})
    server.start()
    yield server
    server.close()


@pytest.fixture
def phone(secure: Secure) -> Phone:
    return secure.phone()


def photos(server: live.Live) -> list[bytes]:
    return [path.read_bytes() for path in (server.home / "photos").glob("*")]


def stored(server: live.Live, url: str | None) -> int:
    assert url
    return (server.home / "uploads" / url.rpartition("/")[2]).stat().st_size


@pytest.mark.parametrize("target", ["/photos", "/upload"])
def test_photokit_hears_that_uploads_can_be_resumed(phone: Phone, target: str) -> None:
    """OPTIONS is 200 with the limits, before anybody has logged in."""
    answer = phone.options(target)

    assert answer.status == 200
    assert limits(answer)["expires"] > 0


@pytest.mark.parametrize("method, target", [("POST", "/photos"), ("PUT", "/photos/7.heic")])
def test_phone_backs_up_through_two_cuts(secure: live.Live, phone: Phone, method: str, target: str) -> None:
    """It learns the address in time without an option of the site, and the application sees one request in the end."""
    before = len(photos(secure))

    assert phone.upload(method, target, PHOTO, cut_after=300_000, headers=HEIC) is None
    live.until(lambda: stored(secure, phone.location) == 300_000)
    assert phone.resume(PHOTO, cut_after=200_000) is None
    answer = phone.resume(PHOTO)
    if answer and answer.status == 409:  # what was cut off before had not begun when the offset was asked for
        answer = phone.resume(PHOTO)

    assert answer and answer.status in (200, 201)
    assert phone.asked[:5] == [method, "HEAD", "PATCH", "HEAD", "PATCH"]
    assert len(photos(secure)) == before + 1 and PHOTO in photos(secure)


def test_phone_behind_a_proxy_gets_no_104_by_itself(secure: live.Live, phone: Phone) -> None:
    """What shows a proxy keeps the 104 back, and the upload succeeds."""
    answer = phone.upload("POST", "/photos", PHOTO, headers={**HEIC, "X-Forwarded-For": "192.0.2.1"})

    assert answer and (answer.status, answer.interim, phone.location) == (201, (), None)
