"""Real object storage for tests: started once for each process that asks, on free ports, and ended with it."""

from __future__ import annotations

import atexit
import base64
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tus.stores.azure.client import AzureClient
from tus.stores.azure.container import Container
from tus.stores.azure.signing import SharedKey
from tus.stores.s3.bucket import Bucket
from tus.stores.s3.client import S3Client
from tus.stores.s3.signing import Credentials

SCRIPTS = Path(__file__).parent / "engines"
CACHE = Path(os.environ.get("ENGINES_CACHE") or Path.home() / ".cache" / "tus-engines")
BUCKET = "tus"
USUAL = os.environ.get("LIVE_ENGINE", "versitygw")  # what tests run on that need some object storage


class Needs(NamedTuple):
    programs: tuple[str, ...] = ("curl",)
    built: str = ""  # what is in the cache, once it was made


NEEDS = {
    "versitygw": Needs(built="versitygw-v*[0-9]"),
    "ceph": Needs(("radosgw", "ceph-mon", "ceph-osd", "ceph", "radosgw-admin")),
    "swift": Needs(built="swift-*[0-9]"),
    "seaweedfs": Needs(built="weed-v*[0-9a-f]"),
    "azurite": Needs(("curl", "node"), built="azurite-*[0-9]"),
    "versitygw-tls": Needs(("curl", "openssl"), built="versitygw-v*[0-9]"),
}
ENGINES = ("versitygw", "ceph", "swift", "seaweedfs")  # of S3; each speaks a dialect of its own
QUICK = ("versitygw", "ceph")  # those on which all tests run at any time; on the others, if EVERY_ENGINE says so
_RUNNING = "LIVE_ENGINES"  # what runs already, for the processes that a test starts


@cache
def engine(name: str = USUAL) -> dict[str, str]:
    """Where the engine by this name is, and with which keys."""
    running = json.loads(os.environ.get(_RUNNING, "{}"))
    if name in running:
        found: dict[str, str] = running[name]
        return found
    started = _started(name) or _started(name, again=True)  # a busy machine may be too slow for one of eight clusters
    assert started
    facts = dict(line.split("=", 1) for line in started.split() if "=" in line)
    os.environ[_RUNNING] = json.dumps({**running, name: facts})
    made = bucket_at(endpoint(facts), facts)
    made.client.ask("PUT", "", [("restype", "container")] if isinstance(made, Container) else ())
    return facts


def _started(name: str, *, again: bool = False) -> str:
    """Start it, and return what its script says; "" if it did not start, the first time."""
    home = tempfile.mkdtemp(prefix=f"tus-{name}-")
    kind, _, tls = name.partition("-")
    script = ["bash", str(SCRIPTS / f"{kind}.sh")]
    environ = {**os.environ, "TLS": "1" if tls else ""}
    started = subprocess.run([*script, "start", str(CACHE), home], capture_output=True, text=True, env=environ)
    atexit.register(subprocess.run, [*script, "stop", home], check=False)
    if started.returncode and again:
        raise RuntimeError(f"{name} does not start:\n{started.stdout}{started.stderr}")
    return "" if started.returncode else started.stdout


def endpoint(facts: dict[str, str]) -> str:
    return facts.get("S3_ENDPOINT") or facts["AZURE_ENDPOINT"]


def bucket_at(endpoint: str, facts: dict[str, str], name: str = BUCKET) -> Bucket:
    if "AZURE_KEY" in facts:
        signer = SharedKey(facts["AZURE_ACCOUNT"], base64.b64decode(facts["AZURE_KEY"]))
        url = urlsplit(endpoint)
        return Container(AzureClient(f"{url.scheme}://{url.netloc}", name, signer, base=f"/{signer.account}"))
    keys = Credentials(facts["S3_KEY"], facts["S3_SECRET"])
    return Bucket(S3Client(endpoint, name, lambda: keys, region=facts["S3_REGION"], ca=facts.get("S3_CA")))


@cache
def bucket(name: str = USUAL) -> Bucket:
    """A bucket of this engine."""
    facts = engine(name)
    return bucket_at(endpoint(facts), facts)


@cache
def missing(name: str) -> str:
    """Why that engine cannot be had; "" if it can."""
    needs = NEEDS[name]
    lacking = [program for program in needs.programs if not shutil.which(program)]
    if lacking:
        return f"{name} needs {', '.join(lacking)}: see tests/engines/{name}.sh"
    if needs.built and not list(CACHE.glob(needs.built)):
        return f"{name} is not built: scripts/make-engines"
    return ""


def needed(name: str) -> None:
    """Skip a test that this engine is needed for, if it cannot be had."""
    if reason := missing(name):
        pytest.skip(reason)


def chosen(name: str, *, but: str = "") -> None:
    """Skip a test that takes long on this engine, if it is not for now; `but`: an engine on which it does not."""
    needed(name)
    if name.partition("-")[0] not in (*QUICK, but) and not os.environ.get("EVERY_ENGINE"):
        pytest.skip(f"on {name}, make test-engines runs all")
