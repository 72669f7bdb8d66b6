"""tus 0.2 with the option `legacy`, over the same engine."""

from __future__ import annotations

import pytest

from tests.chunks.conftest import MakePage, Page

BYTES = "application/offset+octet-stream"


@pytest.fixture
def page(make_page: MakePage) -> Page:
    return make_page(legacy=True)


@pytest.mark.parametrize("word", ["Final_Length", "Entity_Length"])
def test_upload_in_two_pieces(page: Page, word: str) -> None:
    """POST, PATCH answered 200, HEAD with Offset, PATCH; and the application has the file."""
    created = page("POST", "", **{word: "10"}, Filename="größe.bin".encode().decode("latin-1"))
    path = created.headers["Location"].removeprefix("/upload")
    assert created.status_int == 201

    first = page("PATCH", path, b"01234", BYTES, Offset="0")
    head = page("HEAD", path)
    second = page("PATCH", path, b"56789", BYTES, Offset="5")

    assert (first.status_int, first.headers["Offset"]) == (200, "5")
    assert (head.status_int, head.headers["Offset"]) == (200, "5")
    assert (second.status_int, page.handed) == (200, [b"0123456789"])
    assert page.uploads[0].metadata.filename == "größe.bin"


def test_stale_patch_is_refused(page: Page) -> None:
    """The old server appended it again."""
    path = page("POST", "", Final_Length="10").headers["Location"].removeprefix("/upload")
    page("PATCH", path, b"01234", BYTES, Offset="0")

    answer = page("PATCH", path, b"01234", BYTES, Offset="0")

    assert (answer.status_int, answer.headers["Offset"]) == (409, "5")


def test_answer_of_the_application_is_replayed(make_page: MakePage) -> None:
    """An empty PATCH at the end hears what the application said."""
    page = make_page(legacy=True, pass_body=True)
    page.body = b"stored as 7"
    path = page("POST", "", Final_Length="5").headers["Location"].removeprefix("/upload")

    answers = [page("PATCH", path, b"01234", BYTES, Offset="0"), page("PATCH", path, b"", BYTES, Offset="5")]

    assert [(answer.status_int, answer.body) for answer in answers] == [(200, b"stored as 7")] * 2
    assert len(page.handed) == 1


def test_clients_of_today_are_not_disturbed(page: Page) -> None:
    """tus 1.0 beside it, as if there were no other."""
    tus = {"Tus_Resumable": "1.0.0"}
    path = page("POST", "", Upload_Length="5", **tus).headers["Location"].removeprefix("/upload")

    assert page("PATCH", path, b"01234", BYTES, Upload_Offset="0", **tus).status_int == 204


def test_off_by_default(make_page: MakePage) -> None:
    """Without the option it is a request without a version."""
    assert make_page()("POST", "", Final_Length="5").status_int == 412
