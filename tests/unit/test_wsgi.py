"""Where uploads are for the client, whom to believe, and which URLs are ours."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tus import Options
from tus.adapters.wsgi import facts, outgoing
from tus.errors import BadRequest
from tus.http.address import Address, below, trusts
from tus.http.messages import Response
from tus.http.ranges import FileSlice

ID = "0123456789abcdef" * 2


def place(environ: dict[str, Any] | None = None, **given: Any) -> Address:
    """As a client on the same machine sees it, unless the environ says something else."""
    real = {
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost:8080",
        "wsgi.url_scheme": "http",
        **(environ or {}),
    }
    options = Options(given, environ={})
    return Address(options, facts, real, options.upload_path)


def location(environ: dict[str, Any] | None = None, **given: Any) -> str:
    found = place(environ, **given).location(ID)
    assert found.endswith(f"/{ID}")
    return found.removesuffix(f"/{ID}")


FAR = {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "files.example"}
PROXY = {"REMOTE_ADDR": "10.0.0.1", "HTTP_HOST": "inner:8080"}
SAID = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "files.example"}


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, "http://localhost:8080/upload"),
        (FAR, "http://files.example/upload"),
        ({**FAR, "wsgi.url_scheme": "https"}, "https://files.example/upload"),
        ({**FAR, "HTTP_HOST": "[2001:db8::1]:8080"}, "http://[2001:db8::1]:8080/upload"),
        # Anything that hints at a proxy makes an absolute URL a guess.
        ({"HTTP_HOST": "files.example"}, "/upload"),
        ({**FAR, "SERVER_PROTOCOL": "HTTP/1.0"}, "/upload"),
        ({**FAR, "HTTP_X_FORWARDED_FOR": "192.0.2.8"}, "/upload"),
        ({**FAR, "HTTP_VIA": "1.1 proxy"}, "/upload"),
        ({**FAR, "HTTP_FORWARDED": "for=192.0.2.8"}, "/upload"),
        ({**FAR, "HTTP_X_REAL_IP": "192.0.2.8"}, "/upload"),
        # A page of another scheme or host is a sign, too.
        ({**FAR, "HTTP_ORIGIN": "https://files.example"}, "/upload"),
        ({**FAR, "HTTP_ORIGIN": "http://files.example"}, "http://files.example/upload"),
        # What is no host is not repeated.
        ({**FAR, "HTTP_HOST": "evil example"}, "/upload"),
        ({**FAR, "HTTP_HOST": "evil.example/path"}, "/upload"),
        ({**FAR, "HTTP_HOST": "user@evil.example"}, "/upload"),
        ({**FAR, "HTTP_HOST": ""}, "/upload"),
        # Below a mount point.
        ({"SCRIPT_NAME": "/site"}, "http://localhost:8080/site/upload"),
        ({"SCRIPT_NAME": "/ä b".encode().decode("latin-1")}, "http://localhost:8080/%C3%A4%20b/upload"),
    ],
)
def test_auto_is_absolute_where_that_is_certain(environ: dict[str, Any], found: str) -> None:
    """And else a path, which is always right."""
    assert location(environ) == found


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({**PROXY, **SAID}, "https://files.example/upload"),
        ({**PROXY, **SAID, "HTTP_X_FORWARDED_PREFIX": "/site/"}, "https://files.example/site/upload"),
        (
            {**PROXY, "HTTP_FORWARDED": 'for=x;proto=https;host="files.example:8443"'},
            "https://files.example:8443/upload",
        ),
        ({**PROXY, "HTTP_FORWARDED": "Proto=HTTPS; Host=files.example"}, "https://files.example/upload"),
        ({**PROXY, "HTTP_FORWARDED": "host=a.example;proto=https", **SAID}, "https://a.example/upload"),
        # Only the host is said: the scheme is still a guess.
        ({**PROXY, "HTTP_X_FORWARDED_HOST": "files.example"}, "/upload"),
        # What makes no sense is not passed on.
        ({**PROXY, **SAID, "HTTP_X_FORWARDED_PROTO": "javascript"}, "/upload"),
        ({**PROXY, **SAID, "HTTP_X_FORWARDED_HOST": "a b"}, "/upload"),
        ({**PROXY, **SAID, "HTTP_X_FORWARDED_PREFIX": "//evil.example"}, "https://files.example/upload"),
        ({**PROXY, **SAID, "HTTP_X_FORWARDED_PREFIX": "/a b"}, "https://files.example/upload"),
        # Somebody else who says the same is not believed, and gives no certainty.
        ({**FAR, **SAID}, "/upload"),
        ({**FAR, **SAID, "HTTP_X_FORWARDED_PREFIX": "/site"}, "/upload"),
    ],
)
def test_only_trusted_proxies_are_believed(environ: dict[str, Any], found: str) -> None:
    """What they say of scheme, host and prefix is what the client sees."""
    assert location(environ, trusted_proxies="10.0.0.0/8") == found


def test_server_that_keeps_forwarded_headers_apart_is_understood() -> None:
    """Our own server hides them from the application, and shows them to the filter."""
    environ = {**PROXY, "tus.forwarded": {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "a.example"}}

    assert location(environ, trusted_proxies="10.0.0.1") == "https://a.example/upload"
    assert location(environ) == "/upload"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"location": "path"}, "/upload"),
        ({"location": "url"}, "http://files.example/upload"),
        ({"location": "path", "public_url": "https://a.example/b"}, "/b"),
        ({"location": "url", "public_url": "https://a.example/b"}, "https://a.example/b"),
        ({"public_url": "https://a.example/b"}, "https://a.example/b"),
        ({"upload_path": "/"}, "http://files.example"),
    ],
)
def test_option_decides(given: dict[str, Any], found: str) -> None:
    """The operator knows better than any guess."""
    assert location(FAR, **given) == found


def test_url_is_a_guess_where_it_is_asked_for() -> None:
    """`location = url` means that the operator vouches for what the server sees."""
    assert location({**FAR, "HTTP_VIA": "1.1 proxy"}, location="url") == "http://files.example/upload"


@pytest.mark.parametrize(
    ("trusted", "address", "believed"),
    [
        ((), "127.0.0.1", False),
        (("*",), "anything", True),
        (("127.0.0.1",), "127.0.0.1", True),
        (("127.0.0.1",), "127.0.0.2", False),
        (("10.0.0.0/8",), "10.9.8.7", True),
        (("10.1.2.3/8",), "10.9.8.7", True),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("10.0.0.0/8",), "2001:db8::1", False),
        (("10.0.0.0/8",), "::ffff:10.9.8.7", True),
        (("10.0.0.0/8",), "::ffff:11.9.8.7", False),
        (("10.0.0.0/8",), "", False),
        (("unix",), "", True),
        (("unix",), "127.0.0.1", False),
        (("unix", "127.0.0.1"), "127.0.0.1", True),
        (("10.0.0.0/8",), "10.0.0.1.evil.example", False),
    ],
)
def test_trust_is_in_addresses(trusted: tuple[str, ...], address: str, believed: bool) -> None:
    """Also where a server shows an IPv4 address as IPv6 does."""
    assert trusts(trusted, address) is believed


@pytest.mark.parametrize(
    ("path", "root", "id"),
    [
        ("/upload", "/upload", ""),
        ("/upload/", "/upload", ""),
        ("/upload/a", "/upload", "a"),
        ("/upload/a/", "/upload", "a"),
        ("/upload/a/b", "/upload", "a/b"),
        ("/upload-other", "/upload", None),
        ("/uploadx/a", "/upload", None),
        ("/", "/upload", None),
        ("", "/upload", None),
        ("/Upload", "/upload", None),
        ("/", "/", ""),
        ("", "/", ""),
        ("/a", "/", "a"),
    ],
)
def test_what_is_below_the_collection(path: str, root: str, id: str | None) -> None:
    """And a neighbour whose name begins alike is not."""
    assert below(path, root) == id


OURS = [f"/upload/{ID}", f"http://localhost:8080/upload/{ID}", f"//localhost:8080/upload/{ID}"]
OTHERS = [
    "",
    ID,
    f"/other/{ID}",
    f"/upload/x/{ID}",
    f"/upload/../upload/{ID}",
    f"/upload/{ID}/",
    f"/upload/{ID}?a",
    f"/upload/{ID}#a",
    f"/upload/{ID}.info",
    "/upload/..",
    "/upload/%2e%2e",
    f"http://elsewhere.example/upload/{ID}",
    f"http://localhost:8080@evil.example/upload/{ID}",
    f"ftp://localhost:8080/upload/{ID}",
    f"javascript:/upload/{ID}",
    "http://[/upload/a",
    "/upload/\x00",
    "\udcff",
]


@pytest.mark.parametrize("url", OURS)
def test_url_of_an_upload_leads_to_its_id(url: str) -> None:
    """Absolute or not."""
    assert place().identify(url) == ID


@pytest.mark.parametrize("url", OTHERS)
def test_other_url_is_refused(url: str) -> None:
    """Nothing is fetched, and nothing is guessed."""
    with pytest.raises(BadRequest):
        place().identify(url)


@pytest.mark.parametrize(
    ("environ", "given"),
    [
        ({"SCRIPT_NAME": "/site"}, {}),
        ({"SCRIPT_NAME": "/ä b".encode().decode("latin-1")}, {}),
        ({**PROXY, **SAID, "HTTP_X_FORWARDED_PREFIX": "/site"}, {"trusted_proxies": "10.0.0.1"}),
        (FAR, {"public_url": "https://a.example/b"}),
        (FAR, {"public_url": "https://a.example/b", "location": "path"}),
        (FAR, {"upload_path": "/"}),
        (FAR, {"upload_path": "/a/b~c"}),
    ],
)
def test_location_leads_back(environ: dict[str, Any], given: dict[str, Any]) -> None:
    """What a client was given is what it may name."""
    where = place(environ, **given)

    assert where.identify(where.location(ID)) == ID


def test_part_of_a_file_is_not_left_to_the_server() -> None:
    """Its file wrapper would send the file to its end, whatever Content-Length says."""
    file = io.BytesIO(b"abcdef")
    environ = {"REQUEST_METHOD": "GET", "wsgi.file_wrapper": lambda file, size: [file.read()]}
    response = Response(206, {"Content-Length": "2"}, FileSlice(file, 0, 2))

    parts = outgoing(response, environ, lambda status, headers: None)

    assert b"".join(parts) == b"ab"
