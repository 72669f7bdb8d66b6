"""`tus check` names every fault that it was made for, and finds none where none is."""

from __future__ import annotations

import argparse
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests import documents, live
from tests.cli.conftest import Upstream, certificate
from tests.cli.faulty import Faults, Proxy, answer, without
from tus.cli import check
from tus.client.connecting import Clock
from tus.client.link import Link
from tus.doctor.probes import PROBES
from tus.doctor.visit import Finding, Visit

FIRST = ("server", "create", "location")  # what every other question builds on


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command in this process: exit status, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        check.add_arguments(parser)
        status = check.main(parser.parse_args(words))
        said = capfd.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[Proxy]:
    """A proxy without faults yet."""
    with Proxy(upstream.address) as running:
        yield running


def ask(url: str, *names: str, origin: str = "https://app.example", timeout: float = 5.0) -> list[Finding]:
    """What the named questions find, and the removal at the end."""
    probes = {name: probe for name, probe in PROBES.items() if name in (*FIRST, *names)}
    client = Link(url, clock=Clock(timeout, time.monotonic() + 24))
    return list(check.examine(Visit(client, origin, origin_matters=True), probes))


def faults(findings: list[Finding]) -> dict[str, str]:
    """What is wrong, by name, with the advice."""
    return {f.name: f"{f.text} -> {f.advice}" for f in findings if f.level == "fault"}


def through(proxy: Proxy) -> str:
    return f"http://{proxy.netloc}/upload"


def test_nothing_is_left_behind(proxy: Proxy, upstream: Upstream) -> None:
    """The upload that a check makes is removed, and was never finished."""
    before = set(upstream.files.iterdir())

    findings = ask(through(proxy), "patch", "send")

    assert faults(findings) == {}
    assert set(upstream.files.iterdir()) == before
    assert "delete" in [finding.name for finding in findings]


def test_our_own_server_has_no_faults(run: Any) -> None:
    """A plain `tus serve` passes every question, and within the time that is promised."""
    if not live.available("ours"):
        pytest.skip("tus.server is not there")
    began = time.monotonic()
    with live.start("ours") as server:
        status, out, err = run(server.url, "--json")

    told = json.loads(out)
    assert (status, told["faults"]) == (0, 0), out
    assert {finding["name"] for finding in told["findings"]} >= {"busy", "buffering", "resume", "delete"}
    assert time.monotonic() - began < 20


def test_text_tells_what_to_change(run: Any, proxy: Proxy) -> None:
    """Without --json there is a line for each finding, advice below a fault, and no colour."""
    proxy.faults.refused["DELETE"] = answer("405 Method Not Allowed")
    proxy.faults.refused["POST"] = answer("404 Not Found")

    status, out, _ = run(through(proxy))

    assert status == 1
    assert "fault create      POST is answered 404 Not Found\n                  -> this is not where" in out
    assert "\x1b" not in out
    assert "\n1 fault\n" in out
    assert max(map(len, out.splitlines())) <= 110
    assert out.endswith("score: 2/3 (create -1)\n")


@pytest.mark.slow
def test_buffering_is_found(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that reads whole requests is told apart, with the nginx directive."""
    monkeypatch.setattr("tus.doctor.bodies.LATE", 0.2)
    monkeypatch.setattr("tus.doctor.bodies.AFTERMATH", 0.5)
    proxy.faults.buffers = True
    proxy.faults.answer = lambda head, method: without("server")(head) + b"Server: nginx\r\n"

    assert "proxy_request_buffering off" in faults(ask(through(proxy), "busy"))["buffering"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100 * 10**6, 1 << 20])
def test_announced_limit_is_found_to_the_byte(proxy: Proxy, limit: int) -> None:
    """A limit on Content-Length is found without sending as much."""
    proxy.faults.announced_limit = limit

    assert f"a request of {limit:,} bytes gets through" in faults(ask(through(proxy), "busy"))["size"]
    assert proxy.passed() < 3 * 2**20


@pytest.mark.slow
def test_limit_that_only_sending_shows_is_found_roughly(proxy: Proxy) -> None:
    """No exact number is told that was not seen: announcing more is refused by nobody."""
    proxy.faults.limit = 500_000

    assert "is refused with 413; one of " in faults(ask(through(proxy), "busy"))["size"]


def test_limit_in_mid_body_is_found(proxy: Proxy) -> None:
    """A 413 in the middle of a body, with a reset behind it, is a limit and no network failure."""
    proxy.faults.limit = 1_500_000

    assert "413" in faults(ask(through(proxy), "send"))["size"]


def _location(change: Callable[[str], str]) -> Callable[[bytes, str], bytes]:
    def rewrite(head: bytes, method: str) -> bytes:
        lines = head.decode().split("\r\n")
        lines = ["Location: " + change(line[10:]) if line.startswith("Location: ") else line for line in lines]
        return "\r\n".join(lines).encode()

    return rewrite


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda url: "http://localhost:1/upload/" + url.rpartition("/")[2], "names localhost:1"),
        (lambda url: "http://10.0.0.7/upload/" + url.rpartition("/")[2], "Host $http_host"),
        (lambda url: "http://127.0.0.1:1/upload/" + url.rpartition("/")[2], "names 127.0.0.1:1"),
        (lambda url: "/internal/" + url.rpartition("/")[2], "X-Forwarded-Prefix"),
        (lambda url: "/upload/" + "0" * 32, "no upload at the Location"),
        (lambda url: "ftp://x/y", "not a URL"),
    ],
)
def test_wrong_location_is_found(proxy: Proxy, change: Callable[[str], str], word: str) -> None:
    """A Location with a wrong host, port, path or scheme is named, and what would be right."""
    proxy.faults.answer = _location(change)

    assert word in faults(ask(through(proxy), timeout=2))["location"]


def test_http_location_behind_https_is_found(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not know of the TLS before it is the classic of all faults; the check goes on."""
    change = _location(lambda url: f"http://{proxy.netloc}/upload/" + url.rpartition("/")[2])
    with Proxy(upstream.address, Faults(answer=change), tls=certificate(tmp_path)) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        findings = ask(f"https://{proxy.netloc}/upload", "patch", "resume")

    assert list(faults(findings)) == ["location"]
    assert "X-Forwarded-Proto" in faults(findings)["location"]
    assert "resume" in [finding.name for finding in findings]


def test_stripped_version_in_requests_is_found(proxy: Proxy) -> None:
    """The server does not see Tus-Resumable."""
    proxy.faults.rewrite = without("tus-resumable")

    assert "proxy_pass_request_headers" in faults(ask(through(proxy)))["version"]


def test_stripped_version_in_answers_is_found(proxy: Proxy) -> None:
    """The client does not see Tus-Resumable."""
    proxy.faults.answer = without("tus-resumable")

    assert "from answers" in faults(ask(through(proxy)))["version"]


def test_proxy_that_answers_options_is_found(proxy: Proxy) -> None:
    """An OPTIONS that never reaches the server does not end the check."""
    proxy.faults.refused["OPTIONS"] = answer("204 No Content", "Access-Control-Allow-Origin: *")

    findings = ask(through(proxy), "cors", "patch")

    assert "$request_method" in faults(findings)["server"]
    assert "Allow-Methods" in faults(findings)["cors"]
    assert "patch" in [finding.name for finding in findings if finding.level == "ok"]


@pytest.mark.parametrize(
    ("change", "name", "word"),
    [
        (without("access-control-allow-origin"), "cors", "other origins"),
        (without("access-control-allow-headers"), "cors", "upload-offset"),
        (without("access-control-allow-methods"), "cors", "PATCH"),
        (lambda head, method: head + b"Access-Control-Allow-Origin: *\r\n", "cors", "proxy_hide_header"),
        (without("access-control-expose-headers"), "cors-expose", "location, upload-offset"),
        (
            lambda head, method: without("access-control-allow-origin")(head) if b" 409 " in head else head,
            "cors-errors",
            "always",
        ),
    ],
)
def test_cors_faults_are_found(proxy: Proxy, change: Callable[[bytes, str], bytes], name: str, word: str) -> None:
    """CORS headers that are missing, incomplete, doubled, or left out on errors."""
    proxy.faults.answer = change

    assert word in faults(ask(through(proxy), "cors", "cors-expose", "conflict"))[name]


def test_blocked_patch_is_found(proxy: Proxy) -> None:
    """Where PATCH is blocked the check goes on in disguise, as clients could."""
    proxy.faults.refused["PATCH"] = answer("403 Forbidden")

    findings = ask(through(proxy), "patch", "resume")

    assert "overridePatchMethod" in faults(findings)["patch"]
    assert list(faults(findings)) == ["patch"]


def test_cut_patch_is_found(proxy: Proxy) -> None:
    """A firewall that resets every PATCH is named, too."""
    proxy.faults.cuts = [1] * 9

    assert "was cut; POST with" in faults(ask(through(proxy), "patch"))["patch"]


def test_blocked_delete_is_found(proxy: Proxy) -> None:
    """DELETE is announced but does not get through; the upload is removed in disguise."""
    proxy.faults.refused["DELETE"] = answer("405 Method Not Allowed")

    assert "405" in faults(ask(through(proxy)))["delete"]
    assert any(b"Override: DELETE" in seen.head for seen in proxy.seen)


def test_what_cannot_be_removed_is_named(proxy: Proxy) -> None:
    """Who checks must know what is left behind."""
    proxy.faults.refused["DELETE"] = answer("405 Method Not Allowed")
    proxy.faults.answer = lambda head, method: head.replace(b"termination", b"nothing")

    last = ask(through(proxy))[-1]

    assert (last.name, last.level) == ("delete", "note")
    assert f"http://{proxy.netloc}/upload/" in last.text


@pytest.mark.parametrize("header", [b"Cache-Control: max-age=60\r\n", b"Cache-Control: no-store\r\nAge: 12\r\n"])
def test_cached_head_is_found(proxy: Proxy, header: bytes) -> None:
    """A cache between would tell old offsets."""
    proxy.faults.answer = lambda head, method: without("cache-control")(head) + header

    assert "proxy_cache off" in faults(ask(through(proxy), "head"))["cache"]


def test_age_of_nothing_is_no_cache(proxy: Proxy) -> None:
    """`Age: 0` is what a proxy says that has asked the server."""
    proxy.faults.answer = lambda head, method: head + b"Age: 0\r\n"

    assert faults(ask(through(proxy), "head")) == {}


def test_get_from_a_cache_is_found(proxy: Proxy) -> None:
    """Caches turn HEAD into GET."""
    proxy.faults.canned["GET"] = [answer("200 OK", "Upload-Offset: 0", "Age: 7")]

    assert "GET says" in faults(ask(through(proxy), "head"))["cache"]


def test_preflight_carries_no_login(proxy: Proxy) -> None:
    """A browser sends none, so a server that wants one lets no page upload."""
    url = through(proxy)
    client = Link(url, {"Authorization": "Basic eDp5"}, Clock(5.0, time.monotonic() + 24))
    proxy.faults.canned["OPTIONS"] = [answer("200 OK", "Tus-Version: 1.0.0"), answer("401 Unauthorized")]
    probes = {name: PROBES[name] for name in ("server", "cors")}

    findings = list(check.examine(Visit(client, "https://app.example", origin_matters=True), probes))

    first, preflight = (seen.head.lower() for seen in proxy.seen[:2])
    assert (b"\nauthorization:" in first, b"\nauthorization:" in preflight) == (True, False)
    assert "without a login" in faults(findings)["cors"]
    assert "authorization" in preflight.decode().partition("request-headers:")[2].partition("\r")[0]


def test_reader_that_ends_an_upload_is_found(proxy: Proxy) -> None:
    """Here a proxy makes a HEAD of a GET, and a HEAD takes an upload over."""
    proxy.faults.rewrite = lambda head: (
        b"HEAD " + head[4:] + b"Tus-Resumable: 1.0.0\r\n" if head.startswith(b"GET ") else head
    )

    findings = ask(through(proxy), "busy")

    assert "is answered 503" in faults(findings)["reader"]


@pytest.mark.slow
def test_small_limit_is_no_loss(proxy: Proxy) -> None:
    """Where a request may have little, little was sent, and all of it was kept."""
    proxy.faults.announced_limit = 10**6

    found = {finding.name: finding for finding in ask(through(proxy), "busy")}

    assert (found["size"].level, found["buffering"].level) == ("fault", "ok"), found["buffering"]


@pytest.mark.slow
def test_limit_of_what_keeps_bodies_in_memory_is_found(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MiB arrive, and 40 do not."""
    monkeypatch.setattr("tus.doctor.bodies.QUICK", 9.0)
    proxy.faults.limit = 16 << 20

    found = faults(ask(through(proxy), "busy", "send"))

    assert "41.9 MB" in found["size"]


def test_trailers_that_get_lost_are_noted(proxy: Proxy) -> None:
    """A wrong checksum that is accepted was not seen."""
    proxy.faults.canned["PATCH"] = [answer("204 No Content", "Upload-Offset: 1024")]

    found = faults(ask(through(proxy), "trailers"))

    assert "wrong checksum in a trailer is accepted" in found["trailers"]  # ours announces that it looks


def test_trailers_that_arrive_are_no_fault(proxy: Proxy) -> None:
    """The wrong checksum is refused with 460."""
    found = {finding.name: finding for finding in ask(through(proxy), "trailers")}

    assert (found["trailers"].level, "compared" in found["trailers"].text) == ("ok", True)


def test_ietf_protocol_is_asked_for_every_version(proxy: Proxy, upstream: Upstream) -> None:
    """The versions that are spoken are listed, and the upload that this took is gone."""
    before = set(upstream.files.iterdir())

    found = {finding.name: finding for finding in ask(through(proxy), "ietf")}

    assert found["ietf"].text.endswith("3, 4, 5, 6, 7, 8, 9, 10")
    assert set(upstream.files.iterdir()) == before


def test_server_without_the_ietf_protocol_is_noted(proxy: Proxy) -> None:
    """As most are."""
    proxy.faults.rewrite = without("upload-complete", "upload-draft-interop-version")

    assert {finding.name: finding.level for finding in ask(through(proxy), "ietf")}["ietf"] == "note"


@pytest.mark.parametrize(
    ("said", "name", "word"),
    [
        (b"Server: cloudflare", "buffering", "chunk_size = 16MB"),
        (b"Via: 1.1 varnish (Varnish/7.1)", "buffering", "return (pipe)"),
        (b"Server: openresty/1.21", "buffering", "proxy_request_buffering off"),
        (b"X-Envoy-Upstream-Service-Time: 4", "buffering", "envoy.filters.http.buffer"),
    ],
)
@pytest.mark.slow
def test_advice_is_for_what_was_recognised(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, said: bytes, name: str, word: str
) -> None:
    """And for nothing else."""
    monkeypatch.setattr("tus.doctor.bodies.LATE", 0.2)
    monkeypatch.setattr("tus.doctor.bodies.AFTERMATH", 0.5)
    proxy.faults.buffers = True
    proxy.faults.answer = lambda head, method: without("server")(head) + said + b"\r\n"

    found = faults(ask(through(proxy), "busy"))

    assert word in found[name]
    assert " | " not in found[name]


def test_every_name_is_documented() -> None:
    """Programs read the names of findings: what the code says, the page explains, and nothing else."""
    sources = [*Path(check.__file__).parents[1].joinpath("doctor").glob("*.py"), Path(check.__file__)]
    said = {name for file in sources for name in re.findall(r'Finding\(\s*"([a-z0-9-]+)"', file.read_text())}
    page = documents.page("check").read_text("utf-8")

    assert set(re.findall(r"^   \* - ``([a-z0-9-]+)``$", page, re.MULTILINE)) == said


def test_json_has_the_documented_names(run: Any, proxy: Proxy) -> None:
    """The keys, the score that fits the findings, and the levels."""
    proxy.faults.refused["POST"] = answer("404 Not Found")
    page = documents.page("check").read_text("utf-8").partition("For programs")[2]
    keys = {key for line in re.findall(r"^``.*``$", page, re.MULTILINE) for key in re.findall(r"``(\w+)``", line)}

    told = json.loads(run(through(proxy), "--json")[1])

    assert set(told) == keys - {"error"}
    assert (told["points"], told["of"], told["lost"]) == (2, 3, {"create": 1})
    assert {frozenset(finding) for finding in told["findings"]} == {frozenset(("name", "level", "text", "advice"))}


def test_stale_offset_is_found(proxy: Proxy) -> None:
    """A HEAD that tells what was, not what is."""
    old = answer("200 OK", "Upload-Offset: 0", "Upload-Length: 5000000000", "Cache-Control: no-store")
    proxy.faults.canned["HEAD"] = [old.replace(b"Content-Length: 0\r\n", b"")] * 3

    assert "HEAD then says 0" in faults(ask(through(proxy), "patch"))["cache"]


def test_several_servers_without_common_storage_are_found(proxy: Proxy) -> None:
    """Some of several requests find no upload."""
    good = answer("200 OK", "Upload-Offset: 0")
    proxy.faults.canned["HEAD"] = [good, good, answer("404 Not Found"), good, answer("404 Not Found")]

    assert "2 of 4 HEAD" in faults(ask(through(proxy), "head"))["head"]


@pytest.mark.slow
def test_locked_upload_is_found(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that locks a returning client out is named."""
    monkeypatch.setattr("tus.doctor.bodies.PATIENCE", 0.5)
    proxy.faults.stall = 1 << 16
    proxy.faults.canned["HEAD"] = [answer("200 OK", "Upload-Offset: 0")] + [answer("423 Locked")] * 9

    findings = ask(through(proxy), "busy")

    assert "423 Locked" in faults(findings)["busy"]


def test_swallowed_expect_is_noted(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """No 100 Continue is worth a note: curl would wait a second every time."""
    monkeypatch.setattr("tus.doctor.bodies.COMING", 0.3)
    proxy.faults.rewrite = without("expect")

    found = {finding.name: finding for finding in ask(through(proxy), "expect")}

    assert found["expect"].level == "note"


def test_refused_expect_is_found(proxy: Proxy) -> None:
    """417 is a fault."""
    proxy.faults.canned["PATCH"] = [answer("417 Expectation Failed")]

    assert "417" in faults(ask(through(proxy), "expect"))["expect"]


def test_refused_chunks_are_noted(proxy: Proxy) -> None:
    """411 to a body of unknown length is allowed, and told."""
    proxy.faults.canned["PATCH"] = [answer("411 Length Required")]

    found = {finding.name: finding for finding in ask(through(proxy), "chunked")}

    assert (found["chunked"].level, "411" in found["chunked"].text) == ("note", True)


def test_refusal_that_becomes_502_is_found(proxy: Proxy) -> None:
    """A proxy that loses the 409 of a server."""
    proxy.faults.canned["PATCH"] = [answer("502 Bad Gateway")]

    assert "502" in faults(ask(through(proxy), "conflict"))["conflict"]


def test_login_is_named(proxy: Proxy) -> None:
    """A server that wants credentials is told apart from one that is broken."""
    proxy.faults.refused["POST"] = answer("401 Unauthorized")

    assert "--header" in faults(ask(through(proxy)))["create"]


def test_redirect_is_named(proxy: Proxy) -> None:
    """The URL that would be right is in the text."""
    proxy.faults.refused["OPTIONS"] = answer("308 Permanent Redirect", "Location: /upload/")

    assert "/upload/" in faults(ask(through(proxy)))["server"]


def test_http_that_is_no_tus_is_a_fault(run: Any) -> None:
    """Any other web server is told in words."""
    with Proxy(("127.0.0.1", 1), Faults(refused={m: answer("200 OK") for m in ("OPTIONS", "POST")})) as proxy:
        status, out, _ = run(through(proxy))

    assert status == 1
    assert "no tus server is at this URL" in out


@contextmanager
def listener(speak: bytes | None) -> Iterator[int]:
    """A port where somebody says these bytes and hangs up, or (None) says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                held.append(sock)
                if speak is not None:
                    sock.recv(4096)
                    sock.sendall(speak)
                    sock.close()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for sock in held:
                sock.close()


@pytest.mark.parametrize(
    ("speak", "scheme", "word"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "http", "not HTTP"),
        (b"", "http", "was cut"),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "https", "really https"),
        (None, "http", "in time"),
    ],
)
def test_network_trouble_is_one_sentence(
    run: Any, monkeypatch: pytest.MonkeyPatch, speak: bytes | None, scheme: str, word: str
) -> None:
    """No traceback and exit status 2, whatever answers there."""
    monkeypatch.setattr(check, "TIMEOUT", 0.5)
    with listener(speak) as port:
        status, _, err = run(f"{scheme}://127.0.0.1:{port}/upload")

    assert (status, len(err.splitlines())) == (2, 1), err
    assert word in err


def test_no_connection_is_one_sentence(run: Any) -> None:
    """Nobody listens, or the name does not exist."""
    refused = run(f"http://127.0.0.1:{live.free_port()}/")
    unknown = run("http://no-such-host.invalid/", "--json")

    assert (refused[0], "refuses connections" in refused[2]) == (2, True)
    assert (unknown[0], "no-such-host.invalid" in json.loads(unknown[1])["error"]) == (2, True)


def test_untrusted_certificate_is_one_sentence(run: Any, upstream: Upstream, tmp_path: Path) -> None:
    """A certificate that browsers refuse ends the check."""
    with Proxy(upstream.address, tls=certificate(tmp_path)) as proxy:
        status, _, err = run(f"https://{proxy.netloc}/upload")

    assert (status, "certificate" in err) == (2, True)


@pytest.mark.slow
def test_fingerprint_is_trusted_and_no_other(run: Any, upstream: Upstream, tmp_path: Path) -> None:
    """With it, a check asks a server whose certificate nobody else trusts; another one is told, and asked nothing."""
    with Proxy(upstream.address, tls=certificate(tmp_path)) as proxy:
        url = f"https://{proxy.netloc}/upload"
        digits = sha256(ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text())).hexdigest()
        right = run("--json", "--fingerprint", digits, url)
        proxy.seen.clear()
        wrong = run("--fingerprint", digits[::-1], url)

    found = {finding["name"]: finding["level"] for finding in json.loads(right[1])["findings"]}
    assert found["create"] == "ok"
    assert (wrong[0], proxy.seen) == (2, [])
    assert f"has another certificate than --fingerprint names: {digits}" in wrong[2]


def test_fingerprint_is_refused_where_there_is_no_certificate(run: Any) -> None:
    """http:// has none, and nothing is asked."""
    status, _, err = run("--fingerprint", "0" * 64, f"http://127.0.0.1:{live.free_port()}/files")

    assert (status, err) == (2, "tus check: a fingerprint needs a URL that begins with https://\n")


def test_server_that_dies_meanwhile_is_a_fault(proxy: Proxy) -> None:
    """Trouble after the first answer is a finding, not an end."""
    proxy.faults.refused["HEAD"] = b""

    assert "location" in faults(ask(through(proxy)))


@pytest.mark.slow
def test_slow_server_ends_in_time(run: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole run is bounded, and what was not asked is told."""
    monkeypatch.setattr(check, "TIMEOUT", 0.3)
    monkeypatch.setattr(check, "LONGEST", 0.6)
    monkeypatch.setattr(check, "CLEANING", 0.3)
    proxy.faults.stall = 1
    began = time.monotonic()

    status, out, _ = run(through(proxy))

    assert (status, "not everything was asked" in out) == (1, True)
    assert time.monotonic() - began < 3


@pytest.mark.slow
def test_small_limit_is_respected(proxy: Proxy, upstream: Upstream) -> None:
    """A server that takes little gets little, and no upload is finished by it."""
    proxy.faults.answer = lambda head, method: head + b"Tus-Max-Size: 20000\r\n" if method == "OPTIONS" else head

    findings = ask(through(proxy), *PROBES)

    assert faults(findings) == {}
    assert sum(seen.body for seen in proxy.seen if seen.target.startswith("/upload/")) < 20000
