"""Whatever a client makes up: never an error of ours, never a file outside the store, and nothing that stays locked."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chunks.conftest import BOUNDARY, MakePage, Page, form
from tus.protocols.chunks import DIALECTS

NASTY = ("", "0", "1", "2", "-1", "99999999999999999999", "٣", "1e9", "../../etc/passwd", "\0", "a" * 300, "C:\\x",
         "..", "%2e%2e%2f", "\ud800", "\r\nX-Evil: 1", "<script>", "1048577", "9223372036854775807")  # fmt: skip
NAMES = sorted(
    {word for d in DIALECTS for word in (d.number, d.many, d.identifier, d.size, d.total, d.filename, d.path) if word}
    | {"uploadKey", "next", "id", "patch", "load", "restore", "fetch", "uploaded", "file", "filepond", "description"}
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PLACES = ("/chunks", "/filepond", "/form", "/progress")

values = st.one_of(st.sampled_from(NASTY), st.text(max_size=20), st.integers(-5, 5000).map(str))
words = st.dictionaries(st.sampled_from(NAMES), values, max_size=10)
sensible = st.fixed_dictionaries(
    {
        "flowChunkNumber": st.integers(0, 4).map(str),
        "flowTotalChunks": st.integers(0, 4).map(str),
        "flowChunkSize": st.integers(0, 12).map(str),
        "flowTotalSize": st.integers(0, 40).map(str),
        "flowIdentifier": st.sampled_from(("a", "../a", "é")),
    }
)
many = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def page(make_page: MakePage, tmp_path: Path) -> Page:
    (tmp_path / "canary").write_text("alive")
    return make_page(max_size=1000)


def sane(page: Page, answer: Any) -> None:
    """No error of ours; no file anywhere else; no header that the client wrote."""
    assert answer.status_int < 500 or answer.status_int == 503
    assert "X-Evil" not in answer.headers
    assert set(os.listdir(page.directory.parent)) == {"canary", "uploads"}
    assert all(len(name.partition(".")[0].partition("-")[0]) in (0, 32) for name in os.listdir(page.directory))


def escaped(said: dict[str, str]) -> str:
    return urlencode({name: value.encode("utf-8", "surrogatepass") for name, value in said.items()})


@pytest.mark.slow
@many
@given(st.sampled_from(METHODS), st.sampled_from(PLACES), st.one_of(words, sensible), st.binary(max_size=40))
def test_parameters_in_the_url(page: Page, method: str, place: str, said: dict[str, str], body: bytes) -> None:
    """Any method, anywhere, with any parameters."""
    sane(page, page(method, f"{place}?{escaped(said)}", body, "application/octet-stream"))


@pytest.mark.slow
@many
@given(st.sampled_from(PLACES), st.one_of(words, sensible), st.binary(max_size=40), st.sampled_from(NASTY))
def test_parameters_in_a_form(page: Page, place: str, said: dict[str, str], content: bytes, name: str) -> None:
    """Any fields, and a file by any name."""
    fields = {key: value.encode("utf-8", "replace").decode() for key, value in said.items()}
    filename = quote(name.encode("utf-8", "replace"), safe="./\\ <>")
    sane(page, page("POST", place, *form(fields, content, filename=filename)))


@pytest.mark.slow
@many
@given(st.sampled_from(PLACES[:3]), st.binary(max_size=300), st.booleans())
def test_broken_forms(page: Page, place: str, noise: bytes, framed: bool) -> None:
    """Anything under the name of a form."""
    body = b"--" + BOUNDARY.encode() + b"\r\n" + noise if framed else noise
    sane(page, page("POST", place, body, f"multipart/form-data; boundary={BOUNDARY}"))


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a"]
)
@pytest.mark.parametrize("place", PLACES[:3])
def test_forms_without_a_boundary(page: Page, place: str, kind: str) -> None:
    """A form that cannot be one."""
    sane(page, page("POST", place, b"--a\r\n", kind))


def test_damaged_forms(page: Page) -> None:
    """A good form with bytes missing, doubled and changed, at every place of three."""
    good, kind = form({"flowChunkNumber": 1, "flowTotalChunks": 1, "flowChunkSize": 9, "flowTotalSize": 9,
                       "flowIdentifier": "x"}, b"123456789")  # fmt: skip
    dice = random.Random(1)
    for at in range(0, len(good), 3):
        for damaged in (
            good[:at],
            good[:at] + good[at + 1 :],
            good[:at] + bytes([dice.randrange(256)]) + good[at + 1 :],
        ):
            sane(page, page("POST", "/chunks", damaged, kind))


def test_enormous_numbers_cost_nothing(page: Page) -> None:
    """A sparse file may have any size, and a client may claim one; the limit and the disk do not believe it."""
    said = {"flowChunkNumber": 2**19, "flowTotalChunks": 2**20, "flowChunkSize": 2**42, "flowTotalSize": 2**62,
            "flowIdentifier": "x"}  # fmt: skip
    page.options["max_size"] = None
    page.__post_init__()

    answer = page("POST", f"/chunks?{urlencode(said)}", b"x" * 10, "application/octet-stream")

    assert answer.status_int in (400, 415)
    assert sum(file.stat().st_blocks for file in page.directory.iterdir()) * 512 < 100_000


def test_many_fields_are_refused(page: Page) -> None:
    """What lies in memory has limits."""
    assert page("POST", "/form", *form({f"f{n}": "x" for n in range(200)}, b"x")).status_int == 400
    assert page("POST", "/form", *form({"long": "x" * 100_000}, b"x")).status_int == 400
    assert page.files() == set()
