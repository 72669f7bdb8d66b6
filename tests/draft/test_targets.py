"""`draft_targets`: any resource of the host application takes resumable uploads, and sees one ordinary request."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import live, wire
from tests.draft.client import TUS, TYPE, VERSIONS, Client, Wire, limits
from tests.draft.host import TARGETS
from tests.draft.phone import Phone

JPEG = {"Content-Type": "image/jpeg"}
PHOTO = bytes(range(256)) * 4096  # 1 MiB


def own(kind: str) -> Callable[[int, dict[str, Any]], list[str]]:
    return lambda port, settings: [sys.executable, "-m", "tests.draft.host", kind, str(port), json.dumps(settings)]


def gunicorn(port: int, settings: dict[str, Any]) -> list[str]:
    words = ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8", "--graceful-timeout", "1"]
    return [sys.executable, "-m", "gunicorn", "--no-control-socket", *words, "tests.draft.host:application()"]


KINDS = {
    "ours": live.Kind("ours", own("ours"), ("tus.server",)),
    "gunicorn": live.Kind("gunicorn", gunicorn, ("gunicorn",)),
    "waitress": live.Kind("waitress", own("waitress"), ("waitress",), streams=False),
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[tuple[str, bool], live.Live]]:
    """The photo stores that run, by server and by whether they send interim responses."""
    running: dict[tuple[str, bool], live.Live] = {}
    yield running
    for server in running.values():
        server.close()


@pytest.fixture
def host(request: pytest.FixtureRequest, hosts: dict[tuple[str, bool], live.Live]) -> live.Live:
    """A photo store behind the filter."""
    name, interim = getattr(request, "param", ("ours", True))
    if not all(map(live._found, KINDS[name].needs)):
        pytest.skip(f"{name} is not installed")
    if (name, interim) not in hosts:
        home = Path(tempfile.mkdtemp(prefix="tus-photos-"))
        options = {"draft_targets": TARGETS, "interim_responses": interim, "sweep_interval": "none", "durable": "none"}
        live.configure(home, options)
        server = live.Live(KINDS[name], home, live.free_port(), {}, temporary=True, environ={})
        server.start()
        hosts[name, interim] = server
    for path in [hosts[name, interim].home / "log", hosts[name, interim].home / "mended"]:
        path.unlink(missing_ok=True)
    for photo in (hosts[name, interim].home / "photos").glob("*"):
        photo.unlink()
    return hosts[name, interim]


every_host = pytest.mark.parametrize(
    "host",
    [
        ("ours", True),
        pytest.param(("ours", False), marks=pytest.mark.slow),
        pytest.param(("gunicorn", True), marks=pytest.mark.slow),
        pytest.param(("waitress", True), marks=pytest.mark.slow),
    ],
    indirect=True,
    ids=lambda param: f"{param[0]}{'' if param[1] else '-silent'}",
)


@pytest.fixture
def client(host: live.Live) -> Client:
    return Client(host, "")


def seen(host: live.Live) -> list[dict[str, Any]]:
    """What the application was asked, without the question whether the server is up."""
    try:
        lines = (host.home / "log").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def photos(host: live.Live) -> dict[str, bytes]:
    return {photo.name: photo.read_bytes() for photo in (host.home / "photos").iterdir()}


@every_host
def test_one_request_is_what_it_would_have_been(host: live.Live, client: Client) -> None:
    """The application's own answer, with the word that this is all."""
    answer = client.create(PHOTO, complete=True, headers=JPEG, url="/photos")

    assert (answer.status, answer["Location"]) == (201, "/photos/1.jpeg")
    assert json.loads(answer.body) == {"name": "1.jpeg", "size": len(PHOTO)}
    assert client.done(answer)
    assert photos(host) == {"1.jpeg": PHOTO}


@every_host
def test_parts_become_the_very_request(host: live.Live, client: Client) -> None:
    """Method, path, query and headers are those of the first request; nothing is left of ours."""
    first = {
        **JPEG,
        "Authorization": "Bearer secret",
        "Cookie": "a=b",
        "X-Odd": "yes",
        "If-None-Match": "*",
        "Content-Encoding": "identity",
        "User-Agent": "first",
    }
    created = client.create(PHOTO[:1000], headers=first, method="PUT", url="/photos/a-1.jpg?size=big&x=%20")

    answer = client.append(created["Location"], 1000, PHOTO[1000:], complete=True, headers={"User-Agent": "second"})

    assert (answer.status, answer["Location"]) == (201, "/photos/a-1.jpg")
    assert photos(host) == {"a-1.jpg": PHOTO}
    (request,) = [line for line in seen(host) if line["PATH_INFO"] == "/photos/a-1.jpg"]
    assert (request["REQUEST_METHOD"], request["QUERY_STRING"]) == ("PUT", "size=big&x=%20")
    assert (request["CONTENT_TYPE"], request["CONTENT_LENGTH"]) == ("image/jpeg", str(len(PHOTO)))
    for name, value in first.items():
        if name != "Content-Type":
            assert request["HTTP_" + name.upper().replace("-", "_")] == value
    assert not [key for key in request["keys"] if key.startswith(("HTTP_UPLOAD_", "HTTP_TUS_", "tus.in"))]
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_CONTENT_LENGTH", "RAW_URI"} & set(request["keys"])


def test_upload_lies_below_the_upload_path(client: Client) -> None:
    """One place for all uploads, whatever they are for."""
    answer = client.create(b"x", headers=JPEG, url="/photos")

    assert urlsplit(answer["Location"]).path.startswith("/upload/")


@pytest.mark.parametrize("version", VERSIONS)
def test_lost_answer_is_replayed(host: live.Live, client: Client, version: int) -> None:
    """The application is asked once, however often the client asks for its answer."""
    client = client.speaking(version)
    url = client.create(PHOTO[:10], headers=JPEG, url="/photos")["Location"]

    answers = [client.append(url, 10, PHOTO[10:20], complete=True)]
    answers += [client.append(url, 20, b"", complete=True) for _ in range(2)]

    assert {(answer.status, answer["Location"], answer.body) for answer in answers} == {
        (201, "/photos/1.jpeg", answers[0].body)
    }
    assert all(map(client.done, answers))
    assert client.offset(url) == (20, True)
    assert len(photos(host)) == 1


def test_passwords_are_forgotten(host: live.Live, client: Client) -> None:
    """What the first request held is kept only until the application has seen it."""
    url = client.create(b"x", headers={**JPEG, "Authorization": "Bearer secret"}, url="/photos")["Location"]
    record = host.home / "uploads" / f"{url.rpartition('/')[2]}.info"

    before = record.read_text()
    client.append(url, 1, b"", complete=True)

    assert ("secret" in before, "secret" in record.read_text()) == (True, False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Upload-Draft-Interop-Version": "8"},
        {"Upload-Draft-Interop-Version": "8", "Upload-Complete": "true"},
        {"Upload-Draft-Interop-Version": "2", "Upload-Complete": "?1"},
        {"Upload-Draft-Interop-Version": "8", "Upload-Incomplete": "?0"},
        {**TUS, "Upload-Complete": "?1"},
    ],
)
def test_request_without_the_offer_is_untouched(host: live.Live, client: Client, headers: dict[str, str]) -> None:
    """No valid field, or a version before the first: the application sees it as it came, our fields included."""
    answer = client.speaking(None).ask("POST", "/photos", {**JPEG, **headers}, b"photo")

    assert (answer.status, answer["Location"]) == (201, "/photos/1.jpeg")
    assert "Upload-Complete" not in answer
    (request,) = [line for line in seen(host) if line["PATH_INFO"] == "/photos"]
    assert {"HTTP_" + name.upper().replace("-", "_") for name in headers} <= set(request["keys"])


def test_resource_that_is_no_target_is_untouched(host: live.Live, client: Client) -> None:
    """A phone adds its fields to every upload, wherever it goes."""
    answer = client.create(b"hello", complete=True, url="/plain")

    assert (answer.status, answer.body, "Upload-Complete" in answer) == (200, b"hello", False)
    assert [line for line in seen(host) if line["PATH_INFO"] == "/plain"][0]["HTTP_UPLOAD_COMPLETE"] == "?1"


def test_method_that_is_no_target_is_untouched(host: live.Live, client: Client) -> None:
    """`POST:/broken` is about POST alone."""
    (host.home / "mended").touch()

    assert "Upload-Complete" not in client.create(b"hello", complete=True, method="PUT", url="/broken")


def test_form_is_a_representation_like_any_other(host: live.Live, client: Client) -> None:
    """Stored as it came, and parsed by the application, which gets the boundary."""
    (host.home / "mended").touch()
    form = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    url = client.create(form[:20], headers=headers, url="/broken")["Location"]
    answer = client.append(url, 20, form[20:], complete=True)

    assert answer.body == form
    assert seen(host)[-1]["CONTENT_TYPE"] == "multipart/form-data; boundary=b"


def test_refusal_by_the_target(host: live.Live, client: Client) -> None:
    """Its answer is the last word, whatever it is."""
    url = client.create(b"x", headers={"Content-Type": "text/plain"}, url="/photos")["Location"]

    answers = [client.append(url, 1, b"", complete=True) for _ in range(2)]

    assert [(answer.status, answer.body, client.done(answer)) for answer in answers] == [
        (415, b"photos only\n", True),
        (415, b"photos only\n", True),
    ]
    assert photos(host) == {}


def test_target_that_fails_is_asked_again(host: live.Live, client: Client) -> None:
    """No answer came out of it, so the upload is not complete, and an empty PATCH asks once more."""
    url = client.create(b"hello", url="/broken")["Location"]

    failed = client.append(url, 5, b"", complete=True)
    between = client.offset(url)
    (host.home / "mended").touch()
    answer = client.append(url, 5, b"", complete=True)

    assert (failed.status, between) == (500, (5, False))
    assert (answer.status, answer.body, client.done(answer)) == (200, b"hello", True)


def test_process_that_dies_between_last_byte_and_answer(host: live.Live, client: Client) -> None:
    """The record survives, and the empty PATCH reaches the application with the very request."""
    url = client.create(b"hello", headers={"X-Odd": "yes"}, url="/broken?a=b")["Location"]
    client.append(url, 5, b"", complete=True)

    host.restart()
    (host.home / "mended").touch()
    between = client.offset(url)
    answer = client.append(url, 5, b"", complete=True)

    assert (between, answer.body) == ((5, False), b"hello")
    assert (seen(host)[-1]["HTTP_X_ODD"], seen(host)[-1]["QUERY_STRING"]) == ("yes", "a=b")


def test_limits_of_a_target_without_options(client: Client) -> None:
    """The application knows no OPTIONS, so the answer is ours."""
    answer = client.ask("OPTIONS", "/photos")

    assert (answer.status, answer["Accept-Patch"]) == (200, TYPE)
    assert limits(answer)["max-age"] > 0


def test_limits_are_added_to_the_answer_of_the_target(client: Client) -> None:
    """What the application says to OPTIONS, to other origins above all, stays its own."""
    preflight = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST"}

    known = client.ask("OPTIONS", "/preflight", preflight)
    unknown = client.ask("OPTIONS", "/photos", preflight)

    assert known.all("Access-Control-Allow-Origin") == ["https://mine.example"]
    assert "Upload-Limit" in known
    assert (unknown.status, "Access-Control-Allow-Origin" in unknown) == (404, False)


def test_tus_finishes_what_was_meant_for_a_target(host: live.Live, client: Client) -> None:
    """The target sees its own request all the same."""
    url = client.create(b"hel", headers={**JPEG, "Upload-Length": "5"}, url="/photos")["Location"]
    headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "3"}

    answer = client.tus("PATCH", url, headers, b"lo")

    assert answer.status == 204
    assert photos(host) == {"1.jpeg": b"hello"}


@pytest.mark.parametrize("version", [3, 5, 6, 10])
@pytest.mark.parametrize(
    "host", [("ours", True), pytest.param(("gunicorn", True), marks=pytest.mark.slow)], indirect=True, ids=str
)
@pytest.mark.parametrize("method, target", [("POST", "/photos"), ("PUT", "/photos/1.jpeg")])
def test_phone_resumes(host: live.Live, version: int, method: str, target: str) -> None:
    """?1, 104, the network breaks; HEAD, PATCH, it breaks again; HEAD, PATCH, and the photo is there."""
    phone = Phone(host.address, version)

    assert phone.upload(method, target, PHOTO, cut_after=300_000, headers=JPEG) is None
    assert phone.location
    live.until(lambda: stored(host, phone.location) == 300_000)
    assert phone.resume(PHOTO, cut_after=200_000) is None
    live.until(lambda: stored(host, phone.location) == 500_000)
    answer = phone.resume(PHOTO)

    assert answer and (answer.status, answer["Location"]) == (201, "/photos/1.jpeg")
    assert phone.asked == [method, "HEAD", "PATCH", "HEAD", "PATCH"]
    assert photos(host) == {"1.jpeg": PHOTO}


def stored(host: live.Live, url: str | None) -> int:
    assert url
    return (host.home / "uploads" / url.rpartition("/")[2]).stat().st_size


@pytest.mark.parametrize("host", [("ours", False)], indirect=True, ids=["silent"])
def test_phone_without_a_104_uploads_all_the_same(host: live.Live) -> None:
    """It cannot resume, since it never learns where; but nothing else is lost."""
    phone = Phone(host.address, 8)

    answer = phone.upload("POST", "/photos", PHOTO, headers=JPEG)

    assert (answer and answer.status, phone.location) == (201, None)
    assert photos(host) == {"1.jpeg": PHOTO}


def test_phone_whose_104_is_of_another_version(host: live.Live) -> None:
    """A version that we don't speak gets none, and an ordinary request."""
    phone = Phone(host.address, 99)

    answer = phone.upload("POST", "/photos", PHOTO, headers=JPEG)

    assert (answer and answer.status, phone.location) == (201, None)


def test_keep_alive_after_an_interim_response(host: live.Live) -> None:
    """The connection goes on with the next request."""
    fields = {"Host": "x", "Upload-Draft-Interop-Version": "8", "Upload-Complete": "?1", "Content-Length": "1", **JPEG}
    with Wire(host.address) as connection:
        for number in ("1", "2"):
            connection.send(wire.head("POST", "/photos", fields) + b"x")
            answer = connection.answer()

            assert (answer.interim, answer.status, answer["Location"]) == ((104,), 201, f"/photos/{number}.jpeg")
