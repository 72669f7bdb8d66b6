"""X-HTTP-Method-Override: for clients that cannot send PATCH or DELETE. It must never widen what POST may."""

from __future__ import annotations

import pytest

from tests.conformance.client import BYTES, Client, every_body

OVERRIDE = "X-HTTP-Method-Override"


@pytest.mark.every_server
@every_body
def test_post_can_be_a_patch(tus: Client) -> None:
    """A POST on an upload that says PATCH is a PATCH, with all that belongs to it."""
    url = tus.create(5)
    own = {OVERRIDE: "PATCH", "Content-Type": BYTES, "Upload-Offset": "0"}

    answer = tus.ask("POST", url, own, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")
    assert [handed.file for handed in tus.handed()] == [b"hello"]


@pytest.mark.every_server
def test_post_can_be_a_delete(tus: Client) -> None:
    """A POST that says DELETE removes the upload."""
    url = tus.create(5)

    assert tus.ask("POST", url, {OVERRIDE: "DELETE"}).status == 204
    assert tus.head(url).status == 404


@pytest.mark.every_server
def test_post_can_be_a_head(tus: Client) -> None:
    """A POST that says HEAD is answered like one, without a body, and the connection stays usable."""
    url = tus.create(5)

    answer = tus.ask("POST", url, {OVERRIDE: "HEAD"})

    assert (answer.status, answer["Upload-Offset"], answer["Upload-Length"]) == (200, "0", "5")
    assert answer.body == b""


@pytest.mark.parametrize("method", ["patch", "Patch"])
def test_override_may_be_written_in_any_case(tus: Client, method: str) -> None:
    """Clients write the method as they like."""
    url = tus.create(5)

    answer = tus.ask("POST", url, {OVERRIDE: method, "Content-Type": BYTES, "Upload-Offset": "0"}, b"hello")

    assert (answer.status, answer["Upload-Offset"]) == (204, "5")


def test_override_is_the_method_before_the_url_is_looked_at(tus: Client) -> None:
    """A POST on the collection that says HEAD or PATCH creates nothing, whatever else it says."""
    for method in ("HEAD", "PATCH", "DELETE"):
        own = {OVERRIDE: method, "Upload-Length": "5", "Content-Type": BYTES, "Upload-Offset": "0"}
        answer = tus.ask("POST", None, own, b"hello")

        assert 400 <= answer.status < 500, answer
        assert "Location" not in answer
    assert tus.files() == []


def test_override_to_post_is_a_post(tus: Client) -> None:
    """Saying the same twice changes nothing."""
    answer = tus.post({OVERRIDE: "POST", "Upload-Length": "5"})

    assert answer.status == 201
    assert tus.offset(answer["Location"]) == 0


def test_override_counts_on_post_only(tus: Client) -> None:
    """A request that claims to be safe stays safe: GET, HEAD and OPTIONS are what they are."""
    url = tus.create(5)

    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        answer = tus.ask(method, url, {OVERRIDE: "DELETE"}, override=False)
        assert answer.status != 204 or method == "OPTIONS"
    assert tus.offset(url) == 0


def test_override_does_not_change_a_patch(tus: Client) -> None:
    """A real PATCH that says DELETE is a PATCH."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"ab", {OVERRIDE: "DELETE"}, override=False)

    assert (answer.status, answer["Upload-Offset"]) == (204, "2")
    assert tus.offset(url) == 2


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "BREW", "PATCH DELETE", "PATCH, DELETE"])
def test_override_to_anything_else_is_refused(tus: Client, method: str) -> None:
    """An unknown or a dangerous word makes no upload and changes none."""
    url = tus.create(5)
    before = tus.files()

    for target in (None, url):
        answer = tus.ask(
            "POST",
            target,
            {OVERRIDE: method, "Upload-Length": "5", "Content-Type": BYTES, "Upload-Offset": "0"},
            b"hello",
        )
        assert 400 <= answer.status < 500 or answer.status == 501, answer
    assert tus.files() == before
    assert tus.offset(url) == 0
    assert tus.handed() == []


def test_overridden_patch_needs_what_a_patch_needs(tus: Client) -> None:
    """The override opens no side door: type, offset and version are checked as ever."""
    url = tus.create(5)
    own = {OVERRIDE: "PATCH", "Content-Type": BYTES, "Upload-Offset": "0"}

    assert tus.ask("POST", url, own | {"Content-Type": "text/plain"}, b"hello").status == 415
    assert tus.ask("POST", url, own | {"Upload-Offset": "1"}, b"hello").status == 409
    assert tus.ask("POST", url, own, b"hello", version="0.2.2").status == 412
    assert tus.ask("POST", url, own, b"hello", version=None).status == 412
    assert tus.offset(url) == 0


def test_post_on_an_upload_without_override_is_405(tus: Client) -> None:
    """An upload's own URL takes no POST, and the answer says what it takes."""
    url = tus.create(5)

    answer = tus.ask("POST", url, {"Upload-Length": "5"})

    assert answer.status == 405
    assert {"PATCH", "HEAD"} <= set(answer.list("Allow"))
    assert "Location" not in answer
