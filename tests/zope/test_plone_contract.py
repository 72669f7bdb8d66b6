"""A view that was written for the original library, with the calls of Plone's, works as it is."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime

import pytest

from tests import wire
from tests.zope.conftest import TYPE, Zope, digest, named, noise

client = pytest.importorskip("tusclient.client", reason="tuspy is not installed (pip install tuspy)")

pytestmark = [
    pytest.mark.zope,
    pytest.mark.slow,
    # tuspy leaves the file open that it measures.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

VIEW = "/f/fileUpload"


@pytest.mark.parametrize("view", [VIEW, "/f/@@fileUpload"])
def test_a_file_arrives_in_chunks(zope: Zope, tmp_path, view: str) -> None:
    """tuspy uploads with checksums; the view finds the name, and the path or the file, where it looks for them."""
    content, name = noise(3_000_000), f"chunks-{'@' in view}.bin"
    file = tmp_path / name
    file.write_bytes(content)

    uploader = client.TusClient(zope.origin + view).uploader(
        str(file), chunk_size=700_000, upload_checksum=True, metadata={"filename": name}
    )
    uploader.upload()

    assert zope.stored(name)[:2] == [len(content), digest(content)]
    assert not zope.kept(uploader.url)
    assert uploader.url.startswith(zope.origin + view)


def test_the_name_may_be_in_any_script(zope: Zope) -> None:
    """The header FILENAME has the text itself."""
    url = zope.create(VIEW, 5, "größe 日本.txt")

    answer = zope.patch(url, b"hello")

    assert answer.status == 204
    assert zope.stored("größe 日本.txt")[:2] == [5, digest(b"hello")]


def test_the_name_may_be_a_header(zope: Zope) -> None:
    """A client that has no metadata may send FILENAME, as Plone's own did; no path is left in it."""
    url = zope.create(VIEW, 5)

    zope.patch(url, b"hello", FILENAME="../../by-header.txt")

    assert zope.stored("by-header.txt")[0] == 5


def test_what_the_view_returns_does_not_break_the_answer(zope: Zope) -> None:
    """The view returns JSON after the last PATCH; tus wants 204, which has no body."""
    url = zope.create(VIEW, 5, "json.txt")

    answer = zope.patch(url, b"hello")

    assert (answer.status, answer.body, answer["Upload-Offset"]) == (204, b"", "5")
    assert "Content-Type" not in answer


@pytest.mark.parametrize("name", ["cleaned.txt", "conflicts-1-cleaned.txt"])
def test_a_view_may_clean_up_before_it_reads(zope: Zope, name: str) -> None:
    """As the README of 2013 showed it; the file goes when all is committed, and so is there for a repeated request."""
    url = zope.create("/f/@@cleans-first", 5, name)

    answer = zope.patch(url, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert zope.stored(name)[:2] == [5, digest(b"hello")]
    assert not zope.kept(url)


def test_a_refusal_of_the_view_reaches_the_client(zope: Zope) -> None:
    """When the view sets 403 and does not take the file, it stays, and every further request asks the view again."""
    url = zope.create(VIEW, 5, "virus.exe")

    first = zope.patch(url, b"hello")
    again = zope.patch(url, b"", 5)

    assert first.status == again.status == 403
    assert b"cannot add" in first.body
    assert zope.kept(url)


def test_a_form_is_left_to_the_view(zope: Zope) -> None:
    """The same view takes multipart/form-data as before."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="form.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
    )

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Host": "x", "Content-Length": str(len(body))}
    answer = wire.ask(zope.address, "POST", VIEW, {**headers, "Connection": "close"}, body)

    assert json.loads(answer.body)["size"] == 5


def test_a_small_file_in_one_request(zope: Zope) -> None:
    """creation-with-upload finishes in the POST."""
    headers = {"Upload-Length": "5", "Upload-Metadata": named("one-request.txt"), **TYPE}

    answer = zope.ask("POST", VIEW, headers, b"hello")

    assert (answer.status, answer["Upload-Offset"], answer.body) == (201, "5", b"")
    assert zope.stored("one-request.txt")[0] == 5


def test_resuming_asks_how_far(zope: Zope) -> None:
    """HEAD tells the offset, with the status 200 that it has elsewhere."""
    url = zope.create(VIEW, 10, "resumed.txt")
    zope.patch(url, b"hello")

    head = zope.ask("HEAD", url)
    last = zope.patch(url, b"world", 5)

    assert (head.status, head["Upload-Offset"], head["Upload-Length"]) == (200, "5", "10")
    assert last.status == 204
    assert zope.stored("resumed.txt")[0] == 10


def test_settings_come_from_the_environment(zope6: Zope) -> None:
    """TUS_UPLOAD_VALID_DURATION = 3600: the upload expires within the hour, and not after the seven days by default."""
    answer = zope6.ask("POST", VIEW, {"Upload-Length": "5"})

    expires = parsedate_to_datetime(answer["Upload-Expires"]) - parsedate_to_datetime(answer["Date"])
    assert 3500 < expires.total_seconds() <= 3601
