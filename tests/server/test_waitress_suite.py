"""waitress's own tests, run with our channel in place of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
CACHE = CHECKOUT / ".cache" / "waitress"
CONFTEST = """
import waitress.server
from tus.server.channel import Channel
from tus.server.request import ParsedRequest


class Lenient(ParsedRequest):
    # Nearly all requests of this suite are HTTP/1.1 without Host, which RFC 9112, 3.2, wants refused. Ours does so,
    # and test_raw_requests.py shows it; all the rest that it refuses holds here, too.
    def _check_host(self):
        if "HOST" in self.headers:
            super()._check_host()


class Tested(Channel):
    parser_class = Lenient


waitress.server.BaseWSGIServer.channel_class = Tested
"""


def sources() -> Path:
    """waitress's source distribution for the installed version, downloaded once."""
    name = f"waitress-{version('waitress')}"
    if not (CACHE / name / "tests").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", str(CACHE)]
        done = subprocess.run([*command, name.replace("-", "==")], capture_output=True, text=True, timeout=300)
        archive = CACHE / f"{name}.tar.gz"
        if done.returncode or not archive.exists():
            pytest.skip(f"waitress's source distribution cannot be downloaded: {done.stderr.strip()[-200:]}")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return CACHE / name


@pytest.mark.slow
def test_waitress_s_own_suite_passes_with_our_channel() -> None:
    """Whoever relies on waitress's behaviour keeps it."""
    tests = sources()
    (tests / "conftest.py").write_text(CONFTEST)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", ".", "tests"],
        cwd=tests,
        env=environ,
        capture_output=True,
        text=True,
        timeout=900,
    )

    print(done.stdout[-3000:])
    assert done.returncode == 0
    assert " passed" in done.stdout
