"""Hooks: what the host forbids does not happen, and must not half happen."""

from __future__ import annotations

import pytest

from tests.conformance.client import BYTES, Client, checksum, every_manner, metadata

POLICY = {"hooks": "tests.apps:Policy"}


@pytest.fixture
def guarded(collection) -> Client:
    """A collection whose host says no to some."""
    return collection(**POLICY, cleanup=False)


def forbid(intent: str) -> dict[str, str]:
    return {"X-Forbid": intent}


def test_forbidden_creation_creates_nothing(guarded: Client) -> None:
    """The answer is the host's, with its headers; there is no upload, with bytes or without."""
    for headers, body in (({}, None), ({"Content-Type": BYTES}, b"hello")):
        answer = guarded.post({"Upload-Length": "5", **forbid("create"), **headers}, body)

        assert (answer.status, answer["WWW-Authenticate"]) == (401, "Basic")
        assert "Location" not in answer
        assert "Tus-Resumable" in answer
    assert guarded.files() == []
    assert guarded.handed() == []


@pytest.mark.parametrize("name", ["forbidden"])
def test_creation_refused_by_its_content_creates_nothing(guarded: Client, name: str) -> None:
    """The host may look at what is to be created."""
    answer = guarded.post({"Upload-Length": "5", "Upload-Metadata": metadata(filename=name)})

    assert answer.status == 403
    assert guarded.files() == []


@every_manner
def test_forbidden_patch_stores_nothing(guarded: Client) -> None:
    """No byte of it, with a checksum or without."""
    url = guarded.create(5)

    for headers in ({}, {"Upload-Checksum": checksum("sha1", b"hello")}):
        assert guarded.patch(url, 0, b"hello", {**headers, **forbid("write")}).status == 401
    assert guarded.offset(url) == 0
    assert guarded.stored(url) == 0


def test_forbidden_patch_is_refused_before_its_body(guarded: Client) -> None:
    """The client is not even invited to send."""
    if not guarded.kind.streams:
        pytest.skip(f"{guarded.kind.name} calls the application only with a whole body")
    url = guarded.create(5)

    with guarded.begin(url, 0, 5, b"", {"Expect": "100-continue", **forbid("write")}) as connection:
        answer = connection.answer()

    assert answer.status == 401
    if guarded.kind.waits:
        assert answer.interim == ()


def test_forbidden_request_disturbs_nobody(guarded: Client) -> None:
    """Who may not write, ask or remove cannot stop one who may."""
    if not (guarded.kind.streams and guarded.kind.threads):
        pytest.skip(f"{guarded.kind.name} runs no second request while one is open")
    url = guarded.create(10)
    guarded.patch(url, 0, b"he")

    with guarded.begin(url, 2, 8, b"llo") as writer:
        guarded.arrived(url, 5)
        assert guarded.patch(url, 2, b"XXXXX", forbid("write")).status == 401
        assert guarded.head(url, forbid("head")).status == 401
        assert guarded.ask("DELETE", url, forbid("terminate")).status == 401
        assert guarded.patch(url, 0, b"XXXXX").status == 409
        writer.send(b"world")
        answer = writer.answer()

    assert (answer.status, answer["Upload-Offset"]) == (204, "10")
    assert [handed.file for handed in guarded.handed()] == [b"helloworld"]


def test_forbidden_delete_removes_nothing(guarded: Client) -> None:
    """By the right to do it, or by what the upload is."""
    url = guarded.create(5, {"Upload-Metadata": metadata(filename="precious")})

    assert guarded.ask("DELETE", url, forbid("terminate")).status == 401
    assert guarded.delete(url).status == 403
    assert guarded.offset(url) == 0


def test_forbidden_download_shows_nothing(guarded: Client) -> None:
    """Neither the file nor a part of it, nor whether it has changed."""
    url = guarded.uploaded(b"hello")
    tag = guarded.get(url)["ETag"]

    for headers in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": tag}):
        answer = guarded.get(url, {**headers, **forbid("read")})
        assert answer.status == 401
        assert b"he" not in answer.body.replace(b"the", b"")


def test_forbidden_concatenation_joins_nothing(guarded: Client) -> None:
    """Parts stay parts."""
    part = guarded.part(b"ab")

    assert guarded.final(part, headers=forbid("concatenate")).status == 401
    assert guarded.handed() == []


def test_options_asks_nobody(guarded: Client) -> None:
    """A browser asks without credentials."""
    for intent in ("create", "write", "look"):
        assert guarded.options(None, forbid(intent)).status == 200


@every_manner
def test_refused_content_is_not_handed_over(guarded: Client) -> None:
    """The host may look at the whole file before it is finished; what it refuses never counts as finished."""
    url = guarded.create(4)

    answer = guarded.patch(url, 0, b"evil")

    assert answer.status == 422
    assert guarded.handed() == []
    assert guarded.head(url).status != 200
    assert guarded.get(url).status == 404
    assert guarded.patch(url, 4).status == 422


def test_refused_content_of_parts_is_not_joined(guarded: Client) -> None:
    """A part is no content yet; what is made of them is."""
    parts = guarded.part(b"ev"), guarded.part(b"il")

    answer = guarded.final(*parts)

    assert answer.status == 422
    assert guarded.handed() == []
    assert guarded.final(parts[0], parts[0]).status == 201
