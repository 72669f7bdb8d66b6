"""Where a client sees us, from facts alone: no environ, no server."""

from __future__ import annotations

from typing import Any

import pytest

from tus import Options
from tus.http.address import Address, Facts, is_known, is_local, is_same, proxied

ID = "0123456789abcdef" * 2
LOCAL = Facts("/site/upload", {"host": "localhost:8080"}, peer="127.0.0.1")
FAR = Facts("/site/upload", {"host": "files.example"}, "https", "192.0.2.7", "2")
TOLD = {"host": "inner", "x-forwarded-proto": "https", "x-forwarded-host": "a.example", "x-forwarded-prefix": "/p"}


def address(facts: Facts, **given: Any) -> Address:
    return Address(Options(given, environ={}), lambda native, path: native, facts, "")


@pytest.mark.parametrize(
    ("facts", "given", "origin", "collection"),
    [
        (LOCAL, {}, "http://localhost:8080", "http://localhost:8080/site/upload"),
        (FAR, {}, "https://files.example", "https://files.example/site/upload"),
        (FAR, {"location": "path"}, "https://files.example", "/site/upload"),
        (FAR._replace(version="1.0"), {}, "", "/site/upload"),
        (
            FAR._replace(version="1.0"),
            {"location": "url"},
            "https://files.example",
            "https://files.example/site/upload",
        ),
        (FAR._replace(headers=TOLD), {}, "", "/site/upload"),
        (FAR._replace(headers=TOLD), {"trusted_proxies": "*"}, "https://a.example", "https://a.example/p/site/upload"),
        (FAR, {"public_url": "https://b.example/up"}, "https://b.example", "https://b.example/up"),
        (FAR, {"public_url": "https://b.example/up", "location": "path"}, "https://b.example", "/up"),
        (FAR._replace(path=""), {}, "https://files.example", "https://files.example"),
    ],
)
def test_address_follows_from_facts_and_options(
    facts: Facts, given: dict[str, Any], origin: str, collection: str
) -> None:
    """The origin of our pages, and the collection there; `location` decides about the second one only."""
    found = address(facts, **given)

    assert (found.origin(), found.collection()) == (origin, collection)
    assert found.identify(found.location(ID)) == ID


@pytest.mark.parametrize(
    ("facts", "shows"),
    [
        (LOCAL, False),
        (FAR, False),
        (FAR._replace(version="1.0"), True),
        (FAR._replace(peer="::1"), True),
        (FAR._replace(peer=""), True),
        *(
            (FAR._replace(headers={"host": "files.example", name: ""}), True)
            for name in ("via", "forwarded", "x-real-ip")
        ),
    ],
)
def test_proxy_shows_itself(facts: Facts, shows: bool) -> None:
    """By a header, by an old version, or by a public name that is asked for from here."""
    assert proxied(facts) is shows


@pytest.mark.parametrize(
    ("host", "local", "known"),
    [
        ("localhost", True, True),
        ("a.localhost.:80", True, True),
        ("[::1]:8080", True, True),
        ("192.0.2.7:8080", False, True),
        ("[2001:db8::1]", False, True),
        ("Box.example:80", False, True),
        ("evil.example", False, False),
        ("localhost.evil.example", False, False),
        ("a@localhost", False, False),
        ("[::g]", False, False),
        ("", False, False),
    ],
)
def test_host_is_this_machine_or_a_known_one(host: str, local: bool, known: bool) -> None:
    """No site can have its own name count as ours."""
    assert (is_local(host), is_known(host, {"box.example", None})) == (local, known)


@pytest.mark.parametrize(
    ("host", "origin", "same"),
    [
        ("files.example", "http://files.example", True),
        ("Files.example:443", "https://files.example", True),
        ("files.example:80", "https://files.example", False),
        ("other.example", "https://files.example", False),
        ("files.example", "null", False),
    ],
)
def test_page_came_from_this_host(host: str, origin: str, same: bool) -> None:
    """The usual port may be said or not."""
    assert is_same(host, origin) is same
