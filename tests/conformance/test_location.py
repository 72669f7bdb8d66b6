"""Location: the address of an upload as the client sees it, and as nobody in between would like it."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from tests import wire
from tests.conformance.client import Client

LENGTH = {"Upload-Length": "5"}


def location(tus: Client, headers: dict[str, str] | None = None) -> str:
    answer = tus.post(LENGTH | (headers or {}))
    assert answer.status == 201, answer
    return answer["Location"]


def is_path(tus: Client, value: str) -> bool:
    return value.startswith(tus.path + "/") and tus.offset(value) == 0


@pytest.mark.every_server
def test_location_is_absolute_where_no_proxy_shows(tus: Client) -> None:
    """The address has the host that the client used, and the place where the application is mounted."""
    value = location(tus)

    assert value.startswith(f"http://127.0.0.1:{tus.server.port}{tus.path}/")
    assert tus.offset(value) == 0


def test_location_has_the_host_of_the_request(tus: Client) -> None:
    """A name instead of a number, an odd port, or none."""
    for host in ("localhost", "files.localhost:8443", "[::1]:8080"):
        assert location(tus, {"Host": host}).startswith(f"http://{host}{tus.path}/")


def test_location_is_a_path_for_a_public_name_asked_for_from_here(tus: Client) -> None:
    """Nobody calls a public name from the server's own machine but a proxy that says nothing of itself."""
    assert is_path(tus, location(tus, {"Host": "files.example"}))


@pytest.mark.parametrize(
    "sign",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Prefix": "/evil"},
        {"Forwarded": "for=192.0.2.1;proto=https;host=evil.example"},
        {"Via": "1.1 proxy"},
    ],
)
def test_location_is_a_path_where_a_proxy_shows(tus: Client, sign: dict[str, str]) -> None:
    """Nobody in the way is believed unasked; a path is right whatever the client sees."""
    assert is_path(tus, location(tus, sign))


def test_location_is_a_path_for_http_1_0(tus: Client) -> None:
    """That is how old proxies ask."""
    answer = wire.ask(
        tus.server.address,
        "POST",
        tus.path,
        {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0", "Content-Length": "0", **LENGTH},
        version="HTTP/1.0",
    )

    assert answer.status == 201
    assert is_path(tus, answer["Location"])


def test_trusted_proxy_is_believed(collection) -> None:
    """A proxy that the host named says how clients reach us, in either dialect."""
    tus = collection(trusted_proxies="127.0.0.1")

    for sign in (
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "files.example"},
        {"Forwarded": "for=192.0.2.1;proto=https;host=files.example"},
        {"Forwarded": 'For="[2001:db8::1]:4711";Proto=HTTPS; Host="files.example"'},
    ):
        assert location(tus, sign).startswith(f"https://files.example{tus.path}/"), sign


def test_trusted_proxy_may_add_a_prefix(collection) -> None:
    """A proxy that cuts off the beginning of the path says which."""
    tus = collection(trusted_proxies="127.0.0.0/8")
    sign = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "files.example",
        "X-Forwarded-Prefix": "/app",
    }

    assert location(tus, sign).startswith(f"https://files.example/app{tus.path}/")


def test_proxy_elsewhere_is_not_believed(collection) -> None:
    """Only the peer of the connection can be a trusted proxy."""
    tus = collection(trusted_proxies="192.0.2.0/24")

    value = location(tus, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"})

    assert is_path(tus, value)


@pytest.mark.parametrize(
    "sign",
    [
        {"X-Forwarded-Host": "evil.example/x", "X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": 'a"><script>', "X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "a b", "X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "user@evil.example", "X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "files.example", "X-Forwarded-Proto": "javascript"},
        {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "files.example",
            "X-Forwarded-Prefix": "//evil.example",
        },
        {"Forwarded": "host=;proto="},
        {"Forwarded": 'proto="https'},
    ],
)
def test_nonsense_of_a_trusted_proxy_makes_no_address(collection, sign: dict[str, str]) -> None:
    """Headers that a proxy merely passed on cannot lead the client elsewhere, or out of the header."""
    tus = collection(trusted_proxies="127.0.0.1")

    value = location(tus, sign)

    assert not any(word in value for word in ("evil", "script", "javascript", " ", '"', "<"))
    assert tus.offset(value) == 0


@pytest.mark.parametrize("host", ['a"><script>', "evil.example/x", "a b", "u@evil.example", "a\\b"])
def test_hostile_host_makes_no_address(tus: Client, host: str) -> None:
    """What no host name can be does not get into an address."""
    answer = tus.post(LENGTH | {"Host": host})

    assert answer.status in (201, 400)
    if answer.status == 201:
        assert is_path(tus, answer["Location"])


def test_location_option_path(collection) -> None:
    """A host may always want paths."""
    tus = collection(location="path")

    assert is_path(tus, location(tus))


def test_location_option_url(collection) -> None:
    """Or always addresses, with whatever the request says."""
    tus = collection(location="url")

    value = location(tus, {"Via": "1.1 proxy"})

    assert value.startswith(f"http://127.0.0.1:{tus.server.port}{tus.path}/")


def test_public_url_is_always_right(collection) -> None:
    """What the operator wrote down beats what the request says."""
    tus = collection(public_url="https://files.example/base/upload")

    for sign in ({}, {"Via": "1.1 proxy"}, {"Host": "other.example"}):
        assert location(tus, sign).startswith("https://files.example/base/upload/")


def test_root_collection_works_without_a_mount_point(server) -> None:
    """Mounted at the root of the server the address is as short as it can be."""
    tus = Client(server, "")
    tus.path = "/upload"

    value = location(tus)

    assert value.startswith(f"http://127.0.0.1:{server.port}/upload/")
    assert tus.offset(value) == 0


def test_odd_mount_point_is_quoted(server) -> None:
    """A place with blanks and letters beyond ASCII is written as URLs are, and leads back."""
    tus = Client(server, server.collection("naïve place & co "))

    value = location(tus)

    assert value.isascii() and " " not in value
    assert unquote(tus.target(value)).startswith(unquote(tus.path) + "/")
    assert tus.offset(value) == 0
    part = tus.part(b"ab")
    assert tus.final(part, tus.target(part)).status == 201


@pytest.mark.parametrize("upload_path", ["/", "/a/b/c", "/with.dots_and-more~"])
def test_collection_may_be_anywhere(collection, upload_path: str) -> None:
    """At the root of the application, or deep inside."""
    tus = collection(upload_path=upload_path)
    tus.path = tus.path.removesuffix("/upload") + upload_path.rstrip("/")
    answer = tus.ask("POST", tus.path or "/", LENGTH)

    assert answer.status == 201
    assert tus.target(answer["Location"]) == f"{tus.path}/{tus.id(answer['Location'])}"
    assert tus.patch(answer["Location"], 0, b"hello").status == 204
    assert [handed.file for handed in tus.handed()] == [b"hello"]


def test_query_does_not_matter(tus: Client) -> None:
    """What a host appends to addresses, a token for example, is none of ours."""
    url = tus.ask("POST", f"{tus.path}?token=1", LENGTH)["Location"]

    assert "token" not in url
    assert tus.patch(f"{url}?token=1", 0, b"hello").status == 204
    assert tus.offset(f"{url}?token=2") == 5


def test_parts_behind_a_proxy_are_known_by_their_public_address(collection) -> None:
    """A client that makes its list from the addresses it sees, or was given, is understood."""
    tus = collection(public_url="https://files.example/base/upload")
    url = tus.post({"Upload-Length": "0", "Upload-Concat": "partial"})["Location"]

    for name in (url, f"/base/upload/{tus.id(url)}"):
        assert tus.final(name).status == 201, name


def test_parts_behind_a_trusted_proxy_are_known(collection) -> None:
    """The host and the prefix that the proxy names belong to us as well."""
    tus = collection(trusted_proxies="127.0.0.1")
    sign = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "files.example",
        "X-Forwarded-Prefix": "/app",
    }
    url = tus.post(sign | {"Upload-Length": "0", "Upload-Concat": "partial"})["Location"]

    assert tus.final(url, headers=sign).status == 201
