"""Other origins: every answer that a browser's script has to read must say that it may, errors included."""

from __future__ import annotations

import pytest

from tests import wire
from tests.conformance.client import BYTES, Client, every_method

ORIGIN = "https://app.example"
UNKNOWN = "0123456789abcdef0123456789abcdef"

METHODS = {"POST", "HEAD", "PATCH", "DELETE", "OPTIONS", "GET"}
SENT = {
    "authorization",
    "content-type",
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "upload-defer-length",
    "upload-concat",
    "upload-checksum",
    "x-http-method-override",
    "x-requested-with",
    "x-request-id",
}
READ = {
    "location",
    "upload-offset",
    "upload-length",
    "upload-metadata",
    "upload-defer-length",
    "upload-concat",
    "upload-expires",
    "tus-version",
    "tus-resumable",
    "tus-max-size",
    "tus-extension",
    "tus-checksum-algorithm",
}


def lower(names: list[str]) -> set[str]:
    return {name.lower() for name in names}


def preflight(tus: Client, url: str | None = None, origin: str = ORIGIN, headers: str = "") -> wire.Answer:
    """What a browser asks before it lets a script send PATCH."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": headers or "content-type,tus-resumable,upload-offset",
    }
    return tus.options(url, asked)


def every_answer(tus: Client, origin: str = ORIGIN) -> dict[str, wire.Answer]:
    """One answer of every kind."""
    own = {"Origin": origin}
    url = tus.create(5)
    unknown = f"{tus.path}/{UNKNOWN}"
    return {
        "options": tus.options(None, own),
        "created": tus.post(own | {"Upload-Length": "5"}),
        "created with": tus.post(own | {"Upload-Length": "5", "Content-Type": BYTES}, b"abc"),
        "bad request": tus.post(own),
        "bad metadata": tus.post(own | {"Upload-Length": "5", "Upload-Metadata": "a b c"}),
        "creation version": tus.post(own | {"Upload-Length": "5"}, version="0.2.2"),
        "head": tus.head(url, own),
        "head unknown": tus.head(unknown, own),
        "version": tus.patch(url, 0, b"x", own, version="0.2.2"),
        "type": tus.patch(url, 0, b"x", own | {"Content-Type": "text/plain"}),
        "mismatch": tus.patch(url, 3, b"x", own),
        "too large": tus.patch(url, 0, b"123456", own),
        "checksum": tus.patch(url, 0, b"x", own | {"Upload-Checksum": "crc32 AAAAAA=="}),
        "unknown": tus.patch(unknown, 0, b"x", own),
        "patch": tus.patch(url, 0, b"he", own),
        "finished": tus.patch(url, 2, b"llo", own),
        "get": tus.get(url, own),
        "get unknown": tus.get(unknown, own),
        "put": tus.ask("PUT", url, own, b"x"),
        "delete unknown": tus.ask("DELETE", unknown, own),
        "delete": tus.ask("DELETE", url, own),
    }


@pytest.mark.every_server
def test_preflight_allows_what_clients_send(tus: Client) -> None:
    """A browser learns that all the methods and headers of the protocol may be used, and may remember it."""
    for url in (None, tus.create(5), f"{tus.path}/{UNKNOWN}"):
        answer = preflight(tus, url)

        assert answer.status in (200, 204)
        assert answer["Access-Control-Allow-Origin"] in ("*", ORIGIN)
        assert set(answer.list("Access-Control-Allow-Methods")) >= METHODS
        assert lower(answer.list("Access-Control-Allow-Headers")) >= SENT
        assert int(answer["Access-Control-Max-Age"]) > 0


@every_method
def test_every_answer_may_be_read(tus: Client) -> None:
    """Successes and errors alike name the origin and every header that clients read."""
    for name, answer in every_answer(tus).items():
        assert answer.get("Access-Control-Allow-Origin") in ("*", ORIGIN), name
        assert len(answer.all("Access-Control-Allow-Origin")) == 1, name
        if name != "options":
            assert lower(answer.list("Access-Control-Expose-Headers")) >= READ, name


@every_method
def test_every_answer_varies_by_origin(tus: Client) -> None:
    """A cache must not give one origin's answer to another."""
    for name, answer in every_answer(tus).items():
        assert "origin" in lower(answer.list("Vary")), name


def test_answer_of_the_application_may_be_read(tus: Client) -> None:
    """When the application's refusal reaches the client, a script can read that too."""
    tus.plan(status="422 Unprocessable Content", body="no")

    answer = tus.post({"Origin": ORIGIN, "Upload-Length": "5", "Content-Type": BYTES}, b"hello")

    assert answer.status == 422
    assert answer["Access-Control-Allow-Origin"] in ("*", ORIGIN)


def test_named_origins_only(collection) -> None:
    """Where origins are named, another one is not let in, and a named one is told its own name."""
    tus = collection(cors_origins=f"{ORIGIN} https://*.site.example")

    for origin in (ORIGIN, "https://a.site.example"):
        answer = preflight(tus, origin=origin)
        assert answer["Access-Control-Allow-Origin"] == origin
        assert "origin" in lower(answer.list("Vary"))
    for origin in (
        "https://evil.example",
        "http://app.example",
        ORIGIN + ".evil.example",
        "https://evil.example/.site.example",
        "https://a.site.example.evil.example",
        "null",
    ):
        for answer in (preflight(tus, origin=origin), tus.post({"Origin": origin, "Upload-Length": "5"})):
            assert "Access-Control-Allow-Origin" not in answer, origin
            assert "origin" in lower(answer.list("Vary"))


def test_credentials_are_an_option(collection) -> None:
    """Cookies are allowed only when asked for, and then never together with `*`."""
    without = preflight(collection())
    with_them = preflight(collection(cors_credentials=True, cors_origins=ORIGIN))

    assert "Access-Control-Allow-Credentials" not in without
    assert with_them["Access-Control-Allow-Credentials"] == "true"
    assert with_them["Access-Control-Allow-Origin"] == ORIGIN
    assert "*" not in with_them.list("Access-Control-Allow-Headers")
    assert "*" not in with_them.list("Access-Control-Allow-Methods")


def test_further_headers_are_an_option(collection) -> None:
    """A host may let more headers in and out."""
    tus = collection(cors_headers="X-Csrf X-Tenant", cors_expose="X-Result")

    assert lower(preflight(tus).list("Access-Control-Allow-Headers")) >= SENT | {"x-csrf", "x-tenant"}
    answer = tus.post({"Origin": ORIGIN, "Upload-Length": "5"})
    assert lower(answer.list("Access-Control-Expose-Headers")) >= READ | {"x-result"}


def test_origins_can_be_switched_off(collection) -> None:
    """Where something in front does it, nothing is said twice."""
    tus = collection(cors=False)

    for answer in (preflight(tus), tus.post({"Origin": ORIGIN, "Upload-Length": "5"})):
        assert not [name for name, _ in answer.fields if name.lower().startswith("access-control-")]


def test_nobody_else_is_bothered(tus: Client) -> None:
    """Clients that are no browsers get no list of headers to expose."""
    answer = tus.post({"Upload-Length": "5"})

    assert answer.status == 201
    assert "Access-Control-Expose-Headers" not in answer


@every_method
def test_no_answer_is_sniffed(tus: Client) -> None:
    """No browser may guess a type for anything that we say."""
    for name, answer in every_answer(tus).items():
        assert answer.all("X-Content-Type-Options") == ["nosniff"], name


def test_hostile_origin_makes_no_header(tus: Client) -> None:
    """What is written into Origin does not come back as something else."""
    answer = tus.post({"Origin": "https://a.example, X-Evil: 1", "Upload-Length": "5"})

    assert "X-Evil" not in answer
