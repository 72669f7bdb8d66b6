"""What pages of other origins may do."""

from __future__ import annotations

from typing import Any

import pytest

from tus import Options
from tus.cors import Cors
from tus.http.messages import Request, Response

READ = "Access-Control-Expose-Headers"


def answer(origin: str | None, method: str = "POST", vary: str = "", **given: Any) -> dict[str, str]:
    headers = {} if origin is None else {"origin": origin}
    response = Response(204, {"Vary": vary} if vary else {})
    return Cors(Options(given, environ={})).apply(Request(method, headers=headers), response).headers


@pytest.mark.parametrize(
    ("allowed", "origin", "may"),
    [
        ("*", "https://a.example", True),
        ("*", "null", True),
        ("https://a.example", "https://a.example", True),
        ("https://a.example/", "https://A.example", True),
        ("https://a.example https://b.example", "https://b.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example", "https://a.example.evil.example", False),
        ("https://a.example", "https://evil-a.example", False),
        ("https://a.example", "https://aXexample", False),
        ("https://a.example", "null", False),
        ("https://*.a.example", "https://b.a.example", True),
        ("https://*.a.example", "https://c.b.a.example", True),
        ("https://*.a.example", "https://a.example", False),
        ("https://*.a.example", "https://evil.example/.a.example", False),
        ("https://*.a.example", "https://evil.example#.a.example", False),
        ("null", "null", True),
        ("", "https://a.example", False),
    ],
)
def test_origin_may_call_if_it_is_named(allowed: str, origin: str, may: bool) -> None:
    """A star stands for part of a host name, and for nothing else."""
    found = answer(origin, cors_origins=allowed)

    assert found.get("Access-Control-Allow-Origin") == ((origin if allowed != "*" else "*") if may else None)
    assert (READ in found) == may


def test_answers_vary_by_origin() -> None:
    """Also without an origin, or a cache would give one page what is meant for another."""
    for origin in (None, "https://a.example", "https://b.example"):
        assert answer(origin, cors_origins="https://a.example")["Vary"] == "Origin"
    assert answer(None, vary="Accept")["Vary"] == "Accept, Origin"


def test_preflight_is_told_what_may_be_sent() -> None:
    """Every method and header of the protocol, and those that the operator adds."""
    found = answer("https://a.example", "OPTIONS", cors_headers="X-Own")

    sent = found["Access-Control-Allow-Headers"].split(", ")
    assert {"PATCH", "HEAD", "DELETE"} <= set(found["Access-Control-Allow-Methods"].split(", "))
    assert {"Tus-Resumable", "Upload-Checksum", "X-HTTP-Method-Override", "X-Own"} <= set(sent)
    assert found["Access-Control-Max-Age"]


def test_only_a_preflight_is_told_what_may_be_sent() -> None:
    """Other answers do without."""
    assert not [name for name in answer("https://a.example") if name.startswith("Access-Control-Allow-M")]


@pytest.mark.parametrize(
    "name", ["Location", "Upload-Offset", "Upload-Expires", "Upload-Checksum", "Tus-Version", "X-Own"]
)
def test_page_can_read(name: str) -> None:
    """What a client needs is exposed, on every answer."""
    assert name in answer("https://a.example", cors_expose="X-Own")[READ].split(", ")


def test_credentials_are_for_named_origins() -> None:
    """And their names, not the star, are in the answer."""
    found = answer("https://a.example", cors_origins="https://a.example", cors_credentials=True)

    assert found["Access-Control-Allow-Credentials"] == "true"
    assert found["Access-Control-Allow-Origin"] == "https://a.example"
    assert "Access-Control-Allow-Credentials" not in answer(
        "https://b.example", cors_origins="https://a.example", cors_credentials=True
    )


def test_cors_can_be_left_to_somebody_else() -> None:
    """Two voices would contradict each other."""
    assert answer("https://a.example", cors=False) == {}
