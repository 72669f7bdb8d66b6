"""`tus check` before real proxies: as they are configured here it finds no fault, and each wrong line by its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.fronts import FRONTS, serving, started
from tests.proxies.conftest import Way
from tests.test_tusd import TUSD, Tusd

pytestmark = pytest.mark.slow


def checked(url: str, certificate: Path | None = None) -> dict[str, Any]:
    """What `tus check --json` prints, with the level, the text and the advice by name."""
    trusted = {"SSL_CERT_FILE": str(certificate)} if certificate else {}
    done = subprocess.run(
        [sys.executable, "-m", "tus", "check", "--json", url],
        cwd=live.ROOT,
        env={**os.environ, **trusted},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if told["faults"] else 0)
    return told


def levels(told: dict[str, Any], level: str) -> dict[str, str]:
    """Text and advice of the findings of a level, by name."""
    return {f["name"]: f"{f['text']} -> {f['advice']}" for f in told["findings"] if f["level"] == level}


def test_right_proxy_has_no_fault(way: Way, certificate: Path) -> None:
    """But for a 104, where the server sends one and nginx breaks it; what is lost is as the table says."""
    told = checked(f"{way.origin}/files", certificate)

    interim = {"at once": "ok", "late": "note", "broken": "fault"}[way.front.interim]
    found = {finding["name"]: finding["level"] for finding in told["findings"]}
    assert set(levels(told, "fault")) == ({"interim"} if interim == "fault" else set()), told["findings"]
    assert found["interim"] == interim
    assert (found["buffering"], found["trailers"]) == ("ok", "ok")
    assert ("http2" in found) == way.front.tls


@dataclass(frozen=True)
class Wrong:
    """A line of a recipe that is wrong, and what has to be found."""

    front: str
    line: str
    instead: str
    name: str
    word: str  # of the advice
    level: str = "fault"


CACHE = """proxy_cache_path cache keys_zone=uploads:1m;
server {
    proxy_cache uploads; proxy_cache_valid any 1m; proxy_ignore_headers Cache-Control;
"""
CACHING = """if (req.method != "HEAD" && req.method != "GET") { return (pipe); }
        return (hash);
    }
}
sub vcl_backend_response { set beresp.ttl = 60s; return (deliver); }
sub vcl_recv {
    if (false) {"""
WINDOW = "http2_body_preread_size 1m;\n    client_body_buffer_size 1m;"
WRONG = {
    "nginx collects bodies": Wrong(
        "nginx", "proxy_request_buffering off", "proxy_request_buffering on", "buffering", "proxy_request_buffering off"
    ),
    "nginx with its limit": Wrong(
        "nginx", "client_max_body_size 0", "client_max_body_size 1m", "size", "of 1,048,576 bytes gets through"
    ),
    "nginx hides TLS": Wrong(
        "nginx", "X-Forwarded-Proto $scheme", "X-Forwarded-Proto http", "location", "X-Forwarded-Proto $scheme"
    ),
    "nginx hides the port": Wrong("nginx", "$http_host", "$host", "location", "Host $http_host"),
    "nginx caches": Wrong("nginx", "server {", CACHE, "cache", "proxy_cache off"),
    "nginx with its window": Wrong("nginx", WINDOW, "", "http2", WINDOW.split()[0], "note"),
    "Varnish caches": Wrong("Varnish", "return (pipe);", CACHING, "cache", "return (pipe)"),
    "Apache hides TLS": Wrong("Apache", 'Proto "https"', 'Proto "http"', "location", "X-Forwarded-Proto"),
    "Apache with its window": Wrong(
        "Apache", "H2WindowSize 1048576", "H2WindowSize 65535", "http2", "H2WindowSize", "note"
    ),
    "HAProxy with its window": Wrong(
        "HAProxy", "size 1048576", "size 65535", "http2", "tune.h2.initial-window-size", "note"
    ),
    "Caddy with a limit": Wrong(
        "Caddy", "\thandle {", "\trequest_body {\n\t\tmax_size 1MB\n\t}\n\thandle {", "size", "request_body"
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_wrong_line_is_found(wrong: Wrong, tmp_path: Path, certificate: Path) -> None:
    """By the name of what suffers, with the line to write for what was recognised; and nothing else is a fault."""
    front = FRONTS[wrong.front]
    if front.missing:
        pytest.skip(front.missing)

    def spoiled(text: str) -> str:
        assert wrong.line in text
        return text.replace(wrong.line, wrong.instead)

    with (
        serving(tmp_path, "--trusted-proxies", "127.0.0.1", "--quiet") as server,
        started(front, tmp_path / "proxy", upstream=server, certificate=certificate, change=spoiled) as port,
    ):
        scheme = "https" if front.tls else "http"
        told = checked(f"{scheme}://localhost:{port}/files", certificate)

    assert wrong.word in levels(told, wrong.level).get(wrong.name, ""), told["findings"]
    assert set(levels(told, "fault")) <= {wrong.name}, told["findings"]
    assert wrong.name in told["lost"]


def test_own_server_alone_loses_nothing(tmp_path: Path) -> None:
    """`tus serve` without a proxy has every point."""
    with serving(tmp_path, "--quiet") as port:
        told = checked(f"http://127.0.0.1:{port}/files")

    assert (told["lost"], told["points"]) == ({}, told["of"])
    assert told["of"] >= 22
    assert told["software"] == []


@pytest.mark.parametrize(("kind", "name"), [("waitress", "buffering"), ("waitress", "size"), ("hypercorn", "size")])
def test_what_collects_bodies_is_named(kind: str, name: str, tmp_path: Path, start: Callable[[str, Path], str]) -> None:
    """waitress keeps nothing of what is cut; it and, for an application of WSGI, hypercorn refuse large bodies."""
    told = checked(start(kind, tmp_path))

    assert f"{kind}: " in levels(told, "fault")[name] or f"{kind} reads" in levels(told, "fault")[name]
    assert kind in told["software"]


@pytest.mark.skipif(not TUSD, reason="tusd is not installed; put it on the PATH, or name it in the variable TUSD")
def test_tusd_is_checked_as_well(tmp_path: Path) -> None:
    """Another implementation: its GET takes an upload over, and it does not speak the IETF protocol unasked."""
    tusd = Tusd(tmp_path)
    try:
        told = checked(f"http://127.0.0.1:{tusd.port}/files/")
    finally:
        tusd.stop()

    assert set(levels(told, "fault")) == {"reader"}
    assert "ietf" in levels(told, "note")
    assert not [file for file in tmp_path.iterdir() if file.suffix == ".info"]
