"""What the view did counts when Zope has committed it: conflicts, failures, and plone.protect."""

from __future__ import annotations

import pytest

from tests.zope.conftest import TYPE, Zope, basic, digest, named, noise

pytestmark = [pytest.mark.zope, pytest.mark.slow]

VIEW = "/f/@@upload"


def test_conflicts_are_repeated_without_the_body(zope: Zope) -> None:
    """After two ConflictErrors on the last PATCH: 204, one object, not a byte twice, and the file gone."""
    content = noise(300_000)
    url = zope.create(VIEW, len(content), "conflicts-2-patch.bin")
    zope.patch(url, content[:100_000])

    answer = zope.patch(url, content[100_000:], 100_000)

    assert (answer.status, answer["Upload-Offset"]) == (204, "300000")
    assert zope.stored("conflicts-2-patch.bin") == [len(content), digest(content), "try 2"]
    assert not zope.kept(url)


def test_conflicts_in_a_creation(zope: Zope) -> None:
    """creation-with-upload makes one upload, however often Zope repeats the request."""
    before = len(list(zope.uploads.glob("*.info")))
    headers = {"Upload-Length": "5", "Upload-Metadata": named("conflicts-1-post.bin"), **TYPE}

    answer = zope.ask("POST", VIEW, headers, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (201, "5")
    assert zope.stored("conflicts-1-post.bin")[0] == 5
    assert len(list(zope.uploads.glob("*.info"))) == before + 1


def test_too_many_conflicts_keep_the_upload(zope6: Zope) -> None:
    """When Zope gives up, the upload is there, and the next empty PATCH delivers it."""
    url = zope6.create(VIEW, 5, "conflicts-5-times.bin")

    answer = zope6.patch(url, b"hello")

    assert answer.status >= 500
    assert zope6.kept(url)
    assert zope6.stored("conflicts-5-times.bin") is None


def test_a_failure_keeps_the_upload(zope: Zope) -> None:
    """The view raises, the transaction is aborted, and the next empty PATCH delivers the upload again."""
    name = f"fails-once-{zope.kind.server}{zope.kind.version}.bin"
    url = zope.create(VIEW, 5, name)

    first = zope.patch(url, b"hello")
    kept = zope.kept(url)
    second = zope.patch(url, b"", 5)

    assert (first.status, kept) == (500, True)
    assert second.status == 204
    assert zope.stored(name)[0] == 5
    assert not zope.kept(url)


def test_a_silent_abort_is_no_success(zope: Zope) -> None:
    """A doomed transaction looks like success to Zope; the client must hear that it is none."""
    url = zope.create(VIEW, 5, "doomed.bin")

    answer = zope.patch(url, b"hello")
    head = zope.ask("HEAD", url)

    assert (answer.status, answer["Upload-Offset"], answer["Retry-After"]) == (503, "5", "1")
    assert head.status == 423  # anything else would make a client begin anew
    assert zope.stored("doomed.bin") is None
    assert zope.kept(url)


@pytest.mark.parametrize("view", [VIEW, "/f/fileUpload"])
def test_plone_protect_lets_tus_through(zope: Zope, view: str) -> None:
    """A POST of an authenticated user that stores something and has no token: Tus-Resumable proves as much."""
    name = f"protected-{len(view)}.bin"
    headers = {"Upload-Length": "5", "Upload-Metadata": named(name), **TYPE, **basic("anna")}

    answer = zope.ask("POST", view, headers, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (201, "5")
    assert zope.stored(name)[0] == 5


def test_what_plone_protect_rolls_back_is_not_lost(zope: Zope) -> None:
    """A view that exempts nothing: plone.protect rolls back and says 200; the client hears 503, and can go on."""
    name = "rolled-back.bin"
    headers = {"Upload-Length": "5", "Upload-Metadata": named(name), **TYPE, **basic("anna")}

    answer = zope.ask("POST", "/f/@@bare", headers, b"hello")
    stored = zope.stored(name)
    url = answer["Location"]
    second = zope.patch(url, b"", 5, **basic("anna"))

    assert (answer.status, stored) == (503, None)
    assert second.status == 204  # plone.protect looks at GET and POST only
    assert zope.stored(name)[0] == 5
