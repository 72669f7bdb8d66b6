"""The filter in Zope's own pipeline: three hand-overs, transactions, and the VirtualHostMonster."""

from __future__ import annotations

import pytest

from tests import wire
from tests.zope.conftest import TYPE, WAYS, Zope, basic, digest, monster, named, noise

client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")

pytestmark = [
    pytest.mark.zope,
    pytest.mark.slow,
    # tuspy leaves the file open that it measures.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("way", WAYS)
def test_zope_gets_the_file(zope: Zope, tmp_path, way: str) -> None:
    """As its path, as itself, or as a form; the name arrives in any script."""
    content, name = noise(3_000_000), f"größe-{way}.bin"
    file = tmp_path / "file.bin"
    file.write_bytes(content)
    metadata = {"filename": name, "filetype": "image/png", "title": "größe"}

    uploader = client.TusClient(zope.origin + f"/f/@@take-{way}").uploader(
        str(file), chunk_size=1_000_000, metadata=metadata
    )
    uploader.upload()

    title = {"path": "try 0", "file": "image/png", "form": "größe"}[way]
    assert zope.stored(name) == [len(content), digest(content), title]
    assert not zope.kept(uploader.url)


@pytest.mark.parametrize("way", WAYS)
def test_zope_can_read_it_again(zope: Zope, way: str) -> None:
    """What reaches Zope is seekable, so a ConflictError is repeated, also on gunicorn."""
    url = zope.create(f"/f/@@take-{way}", 5, f"conflicts-1-{way}.bin")

    answer = zope.patch(url, b"hello")

    assert answer.status == 204
    assert zope.stored(f"conflicts-1-{way}.bin")[:2] == [5, digest(b"hello")]


@pytest.mark.parametrize("way", WAYS)
def test_a_failing_zope_keeps_the_upload(zope: Zope, way: str) -> None:
    """An error of the application is the server's to report; the next empty PATCH delivers the upload again."""
    name = f"fails-once-{way}-{zope.kind.server}{zope.kind.version}.bin"
    url = zope.create(f"/f/@@take-{way}", 5, name)

    first = zope.patch(url, b"hello")
    second = zope.patch(url, b"", 5)

    assert (first.status, second.status) == (500, 204)
    assert zope.stored(name)[0] == 5


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_of_zope_reaches_the_client(zope: Zope, way: str) -> None:
    """An exception with a status passes `httpexceptions`, and gets the offset."""
    url = zope.create(f"/f/@@take-{way}", 5, f"refused-{way}.bin")

    answer = zope.patch(url, b"hello")
    head = zope.ask("HEAD", url)

    assert (answer.status, answer["Upload-Offset"], answer["Tus-Resumable"]) == (400, "5", "1.0.0")
    assert head.status == 400  # whenever it asks
    assert zope.kept(url)


def test_what_zope_rolls_back_is_not_handed_over(zope: Zope) -> None:
    """Zope says 200, and has nothing: the upload stays, and the client hears 503."""
    url = zope.create("/f/@@take-path", 5, "doomed.bin")

    answer = zope.patch(url, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (503, "5")
    assert zope.kept(url)


def test_plone_protect_lets_the_hand_over_through(zope: Zope) -> None:
    """The hand-over is a POST of an authenticated user without a token."""
    name = "handed-over-protected.bin"
    url = zope.create("/f/@@take-path", 5, name)

    answer = zope.patch(url, b"hello", **basic("anna"))

    assert answer.status == 204
    assert zope.stored(name)[0] == 5


@pytest.mark.parametrize("host", ["example.com:443", "example.com"])
def test_behind_the_virtual_host_monster(zope: Zope, host: str) -> None:
    """`upload_path` is found where the folder has become the root, and Location is the public URL."""
    view = monster("@@take-path", host)

    answer = zope.ask("POST", view, {"Upload-Length": "5", "Upload-Metadata": named(f"monster-{host[-1]}.bin")})
    id = answer["Location"].rpartition("/")[2]
    patched = zope.patch(f"{view}/{id}", b"hello")

    assert answer["Location"] == f"https://example.com/@@take-path/{id}"
    assert patched.status == 204
    assert zope.stored(f"monster-{host[-1]}.bin")[0] == 5


def test_what_is_not_for_tus_goes_to_zope(zope: Zope) -> None:
    """A form at the same place is Zope's."""
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="plain-form.txt"\r\n\r\nhello\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Host": "x", "Content-Length": str(len(body))}
    answer = wire.ask(zope.address, "POST", "/f/@@take-form", {**headers, "Connection": "close"}, body)

    assert answer.body == b"stored"
    assert zope.stored("plain-form.txt")[0] == 5


def test_a_creation_with_everything(zope: Zope) -> None:
    """A POST that finishes the upload gets 201, and Zope gets the file."""
    headers = {"Upload-Length": "5", "Upload-Metadata": named("at-once.bin"), **TYPE}

    answer = zope.ask("POST", "/f/@@take-file", headers, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (201, "5")
    assert zope.stored("at-once.bin")[0] == 5
