"""UploadView in a real Zope: every method at every place, what breaks connections, and what proxies do to URLs."""

from __future__ import annotations

import base64
from hashlib import sha1

import pytest

from tests import live, wire
from tests.zope.conftest import TYPE, Zope, basic, digest, monster, named, noise

client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")

pytestmark = [
    pytest.mark.zope,
    pytest.mark.slow,
    # tuspy leaves the file open that it measures.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

VIEW = "/f/@@upload"


def test_a_hundred_megabytes(zope: Zope, tmp_path) -> None:
    """In ten chunks, and Zope has the same bytes in the end."""
    content = noise(1_000_000) * 100
    file = tmp_path / "big.bin"
    file.write_bytes(content)

    client.TusClient(zope.origin + VIEW).uploader(
        str(file), chunk_size=10_000_000, metadata={"filename": "big.bin"}
    ).upload()

    assert zope.stored("big.bin")[:2] == [len(content), digest(content)]


def test_a_second_run_resumes(zope: Zope, tmp_path) -> None:
    """What tuspy sent before it was stopped is not sent again."""
    file = tmp_path / "stopped.bin"
    file.write_bytes(noise(3_000_000))
    tus = client.TusClient(zope.origin + VIEW)
    first = tus.uploader(str(file), chunk_size=500_000, metadata={"filename": "stopped.bin"})
    first.upload(stop_at=1_500_000)

    second = tus.uploader(str(file), chunk_size=500_000, url=first.url)
    began_at = second.offset
    second.upload()

    assert began_at == 1_500_000
    assert zope.stored("stopped.bin")[:2] == [3_000_000, digest(file.read_bytes())]


def test_an_empty_file(zope: Zope) -> None:
    """It is finished by its creation."""
    zope.create(VIEW, 0, "empty.bin")

    assert zope.stored("empty.bin")[0] == 0


@pytest.mark.parametrize("view", ["/@@upload", "/f/@@upload", "/f/upload", "/f/@@upload/"])
def test_every_method_at_every_place(zope: Zope, view: str) -> None:
    """A view on the root (there with @@, or Zope looks for an object) or on a folder; no method is taken for WebDAV."""
    collection = zope.ask("OPTIONS", view)
    url = zope.create(view, 10, "methods.bin")
    preflight = zope.ask("OPTIONS", url)
    patched = zope.patch(url, b"hello")
    head = zope.ask("HEAD", url)
    deleted = zope.ask("DELETE", url)
    gone = zope.ask("HEAD", url)

    assert (collection.status, preflight.status) == (200, 200)
    assert "creation" in collection["Tus-Extension"]
    assert (patched.status, patched["Upload-Offset"]) == (204, "5")
    assert (head.status, head["Upload-Offset"]) == (200, "5")
    assert (deleted.status, gone.status) == (204, 404)


def test_errors_keep_their_headers(zope: Zope) -> None:
    """A wrong offset is a 409 that says the right one, and not a page of Zope's."""
    url = zope.create(VIEW, 10)

    answer = zope.patch(url, b"hello", 3)

    assert (answer.status, answer["Upload-Offset"], answer["Tus-Resumable"]) == (409, "0", "1.0.0")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert b"the upload has 0 bytes" in answer.body


def test_a_wrong_checksum_is_a_460(zope: Zope) -> None:
    """Zope knows no such status, and must not make it a 500."""
    url = zope.create(VIEW, 10)
    wrong = base64.b64encode(sha1(b"something else").digest()).decode()

    answer = zope.patch(url, b"hello", **{"Upload-Checksum": f"sha1 {wrong}"})

    assert (answer.status, answer.reason) == (460, "Checksum Mismatch")
    assert zope.ask("HEAD", url)["Upload-Offset"] == "0"


def test_a_page_at_the_same_place(zope: Zope) -> None:
    """What is not for tus goes to `otherwise`."""
    answer = wire.ask(zope.address, "GET", VIEW, {"Host": "x", "Connection": "close"})

    assert (answer.status, answer.body) == (200, b"a page")


def test_another_step_is_not_found(zope: Zope) -> None:
    """There is nothing below an upload."""
    assert zope.ask("HEAD", f"{VIEW}/{'0' * 32}/more").status == 404


def test_a_finished_upload_can_be_fetched(zope: Zope) -> None:
    """GET streams the file, and its ranges, if the view keeps it."""
    url = zope.create("/f/@@kept", 100_000, "kept.bin")
    zope.patch(url, noise(100_000))

    whole = zope.ask("GET", url)
    part = zope.ask("GET", url, {"Range": "bytes=10-19"})

    assert (whole.status, whole.body) == (200, noise(100_000))
    assert (part.status, part.body) == (206, noise(100_000)[10:20])


def test_the_body_of_the_view_is_sent_when_it_is_wanted(zope: Zope) -> None:
    """pass_body: 200 with what `finished` returned; and the same to a client that lost it."""
    url = zope.create("/f/@@body", 5, "body.bin")

    answer = zope.patch(url, b"hello")
    again = zope.patch(url, b"", 5)

    assert (answer.status, answer.body) == (200, b"stored")
    assert (again.status, again.body) == (200, b"stored")
    assert zope.stored("body.bin")[2] == "try 0"


def test_a_cut_connection(zope: Zope) -> None:
    """Where the server streams, what arrived is kept; stock waitress calls Zope only when all of a body is there."""
    url = zope.create(VIEW, 1_000_000, "cut.bin")
    path = url.removeprefix(zope.origin)
    given = {"Host": "x", "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Length": "1000000", **TYPE}
    with wire.Wire(zope.address) as connection:
        connection.send(wire.head("PATCH", path, given) + noise(200_000))

    expected = 200_000 if zope.kind.streams else 0
    # Not by HEAD, which would end the request that is still taking what arrived.
    live.until(lambda: (zope.uploads / url.rpartition("/")[2]).stat().st_size == expected)
    assert zope.ask("HEAD", url)["Upload-Offset"] == str(expected)
    answer = zope.patch(url, bytes(1_000_000 - expected), expected)

    assert answer.status == 204
    assert zope.stored("cut.bin")[0] == 1_000_000


def test_behind_the_virtual_host_monster(zope: Zope) -> None:
    """Location is the public URL, however deep the folder is in Zope."""
    answer = zope.ask("POST", monster("@@upload"), {"Upload-Length": "5", "Upload-Metadata": named("virtual.bin")})

    assert answer["Location"].startswith("https://example.com/@@upload/")
    inside = monster("@@upload") + "/" + answer["Location"].rpartition("/")[2]
    assert zope.patch(inside, b"hello").status == 204
    assert zope.stored("virtual.bin")[0] == 5


def test_parts_are_named_by_their_public_urls(zope: Zope) -> None:
    """Upload-Concat has the URLs that the client was given."""
    parts = []
    for content in (b"hello ", b"world"):
        headers = {"Upload-Length": str(len(content)), "Upload-Concat": "partial"}
        parts.append(zope.ask("POST", monster("@@upload"), headers)["Location"])
        zope.patch(monster("@@upload") + "/" + parts[-1].rpartition("/")[2], content)

    headers = {"Upload-Concat": f"final;{' '.join(parts)}", "Upload-Metadata": named("joined.bin")}
    answer = zope.ask("POST", monster("@@upload"), headers)

    assert answer.status == 201, answer
    assert zope.stored("joined.bin")[:2] == [11, digest(b"hello world")]


def test_the_permission_guards_all_but_options(zope: Zope) -> None:
    """A browser asks before it sends, and has no credentials then."""
    view = "/f/@@managers"
    url = zope.create(view, 5, "guarded.bin", **basic("admin"))

    assert zope.ask("OPTIONS", view).status == 200
    assert zope.ask("OPTIONS", url).status == 200
    assert zope.ask("POST", view, {"Upload-Length": "5"}).status == 401
    assert [zope.ask(method, url).status for method in ("HEAD", "GET", "DELETE")] == [401] * 3
    assert zope.patch(url, b"hello").status == 401
    assert zope.patch(url, b"hello", **basic("admin")).status == 204


def test_an_upload_belongs_to_who_created_it(zope: Zope) -> None:
    """Another user, who may use the view as well, gets 404."""
    view = "/f/@@managers"
    url = zope.create(view, 5, "hers.bin", **basic("anna"))

    assert zope.ask("HEAD", url, basic("otto")).status == 404
    assert zope.patch(url, b"hello", **basic("otto")).status == 404
    assert zope.ask("DELETE", url, basic("otto")).status == 404
    assert zope.patch(url, b"hello", **basic("anna")).status == 204


def test_parts_of_others_cannot_be_joined(zope: Zope) -> None:
    """They are as unknown as parts that do not exist."""
    view = "/f/@@managers"
    part = zope.create(view, 5, **{"Upload-Concat": "partial"}, **basic("anna"))
    zope.patch(part, b"hello", **basic("anna"))

    answer = zope.ask("POST", view, {"Upload-Concat": f"final;{part}", **basic("otto")})
    unknown = zope.ask("POST", view, {"Upload-Concat": f"final;{part[:-4]}0000", **basic("otto")})

    assert answer.status == unknown.status
    assert 400 <= answer.status < 500
