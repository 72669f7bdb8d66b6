"""The version handshake. A request in a version that we don't speak must change nothing."""

from __future__ import annotations

import pytest

from tests.conformance.client import BYTES, Client, every_manner, every_method

WRONG = ["0.2.2", "1.0.1", "1.0", "2.0.0", "1.0.0, 0.2.2", "nonsense", ""]
UNKNOWN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("version", [None, *WRONG])
def test_creation_in_another_version_is_412_and_creates_nothing(tus: Client, version: str | None) -> None:
    """The client hears which versions we speak, and no upload comes into being."""
    answer = tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"hello", version=version)

    assert answer.status == 412
    assert answer.list("Tus-Version") == ["1.0.0"]
    assert "Location" not in answer
    assert tus.files() == []
    assert tus.handed() == []


@every_manner
@pytest.mark.parametrize("version", [None, *WRONG[:3]])
def test_patch_in_another_version_is_412_and_stores_nothing(tus: Client, version: str | None) -> None:
    """No byte of such a request reaches the upload."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello", version=version)

    assert answer.status == 412
    assert answer.list("Tus-Version") == ["1.0.0"]
    assert tus.offset(url) == 0
    assert tus.handed() == []


@every_method
@pytest.mark.parametrize("version", WRONG[:3])
def test_delete_in_another_version_is_412_and_removes_nothing(tus: Client, version: str) -> None:
    """The upload is still there."""
    url = tus.create(5)

    answer = tus.delete(url, version=version)

    assert answer.status == 412
    assert answer.list("Tus-Version") == ["1.0.0"]
    assert tus.offset(url) == 0


@every_method
@pytest.mark.parametrize("version", WRONG)
def test_head_in_a_wrong_version_is_412(tus: Client, version: str) -> None:
    """HEAD may leave its version out, but what it says must be right."""
    answer = tus.head(tus.create(5), version=version)

    assert answer.status == 412
    assert answer.list("Tus-Version") == ["1.0.0"]
    assert "Upload-Offset" not in answer


def test_get_in_a_wrong_version_is_412_and_needs_none(collection) -> None:
    """A browser that fetches the file knows no versions; a client that names a wrong one is told."""
    tus = collection(cleanup=False)
    url = tus.uploaded(b"hello")

    assert tus.get(url).status == 200
    answer = tus.get(url, version="0.2.2")

    assert answer.status == 412
    assert answer.list("Tus-Version") == ["1.0.0"]


@pytest.mark.parametrize("options", [{}, {"download": False}], ids=["download", "no-download"])
def test_get_that_speaks_tus_is_answered_as_head_while_there_is_no_file(collection, options: dict[str, bool]) -> None:
    """Caches ask by GET what a client asked by HEAD, and must not keep the answer."""
    tus = collection(**options)
    url = tus.create(5)
    tus.patch(url, 0, b"hel")

    answer = tus.get(url, version="1.0.0")

    assert (answer.status, answer.body) == (200, b"")
    assert (answer["Upload-Offset"], answer["Upload-Length"], answer["Cache-Control"]) == ("3", "5", "no-store")


def test_other_methods_without_version_are_412(tus: Client) -> None:
    """Whatever else is asked of an upload has to name its version first."""
    url = tus.create(5)

    assert tus.ask("PUT", url, {}, b"hello", version=None).status == 412
    assert tus.offset(url) == 0


def test_version_comes_before_everything_else(tus: Client) -> None:
    """A wrong version is 412, also where the type is wrong, the offset is missing, or the upload unknown."""
    url = tus.create(5)

    assert tus.ask("PATCH", url, {"Content-Type": "text/plain"}, b"x", version="0.2.2").status == 412
    assert tus.patch(f"{tus.path}/{UNKNOWN}", 0, b"x", version="0.2.2").status == 412
    assert tus.delete(f"{tus.path}/{UNKNOWN}", version="0.2.2").status == 412


@every_method
def test_every_answer_carries_the_version(collection) -> None:
    """Success or error, Tus-Resumable is there, once, and holds one version."""
    tus = collection(max_size=10)
    url = tus.create(5)
    unknown = f"{tus.path}/{UNKNOWN}"

    answers = {
        "options": tus.options(),
        "created": tus.post({"Upload-Length": "5"}),
        "too large": tus.post({"Upload-Length": "11"}),
        "bad request": tus.post({}),
        "head": tus.head(url),
        "head unknown": tus.head(unknown),
        "head version": tus.head(url, version="0.2.2"),
        "patch version": tus.patch(url, 0, b"x", version=None),
        "patch type": tus.patch(url, 0, b"x", {"Content-Type": "text/plain"}),
        "patch mismatch": tus.patch(url, 3, b"x"),
        "patch too long": tus.patch(url, 0, b"123456"),
        "patch checksum": tus.patch(url, 0, b"x", {"Upload-Checksum": "crc32 AAAAAA=="}),
        "patch unknown": tus.patch(unknown, 0, b"x"),
        "patch": tus.patch(url, 0, b"hello"),
        "get unknown": tus.get(unknown),
        "put": tus.ask("PUT", url, {}, b"x"),
        "delete": tus.delete(url),
        "delete unknown": tus.delete(unknown),
    }

    assert {name: answer.all("Tus-Resumable") for name, answer in answers.items()} == dict.fromkeys(answers, ["1.0.0"])
