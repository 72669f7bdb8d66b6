"""Header text to values and back."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus.errors import BadRequest
from tus.http import headers


@given(st.integers(0, headers.MAX_NUMBER))
def test_number_comes_back(number: int) -> None:
    """Every length that a file can have is read as what it says."""
    assert headers.natural({"upload-length": str(number)}, "upload-length") == number


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+5", "1_0", " 5", "5 ", "5\n", "٣", "1.0", "1e3", "0x1", "None", str(2**63), "1" * 20, "²"],
)
def test_anything_else_is_no_number(text: str) -> None:
    """Not even what Python's int() would take."""
    with pytest.raises(BadRequest):
        headers.natural({"upload-length": text}, "upload-length")


def test_absent_number_is_none() -> None:
    """Absent is another thing than wrong."""
    assert headers.natural({}, "upload-length") is None


def test_deferred_length_is_1_or_nothing() -> None:
    """tus 1.0: the only value is 1."""
    assert headers.deferred({"upload-defer-length": "1"})
    assert not headers.deferred({})


@pytest.mark.parametrize("text", ["", "0", "01", "true", "1 ", "2"])
def test_other_deferred_length_is_refused(text: str) -> None:
    """And not taken for a no."""
    with pytest.raises(BadRequest):
        headers.deferred({"upload-defer-length": text})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("partial", ("partial", ())),
        ("final;/a", ("final", ("/a",))),
        ("final;/a /b /a", ("final", ("/a", "/b", "/a"))),
        ("final; /a  /b ", ("final", ("/a", "/b"))),
    ],
)
def test_concatenation_is_read(text: str, value: tuple[str, tuple[str, ...]]) -> None:
    """A part, or a list of parts in their order."""
    assert headers.concat({"upload-concat": text}) == value
    assert headers.concat({}) == ("", ())


@pytest.mark.parametrize("text", ["", "Partial", "partial;", "final", "final;", "final; ", "final /a", "other"])
def test_other_concatenation_is_refused(text: str) -> None:
    """A list without a part is none."""
    with pytest.raises(BadRequest):
        headers.concat({"upload-concat": text})


@given(st.integers(0, 253402300799))
def test_date_comes_back(second: int) -> None:
    """To the second, in the one format that RFC 9110 lets a server send."""
    text = headers.http_date(second + 0.9)

    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", text)
    assert parsedate_to_datetime(text).timestamp() == second


@pytest.mark.slow
@given(st.text(min_size=1, max_size=30))
def test_file_name_comes_back(name: str) -> None:
    """Whatever it is called, in a header that any server can send."""
    text = headers.disposition("attachment", name)

    assert re.fullmatch(r'attachment; filename="[ -!#-\[\]-~]*"(; filename\*=UTF-8\'\'[!-~]+)?', text)
    encoded = text.partition("filename*=UTF-8''")[2]
    plain = text.partition('filename="')[2].partition('"')[0]
    assert (unquote(encoded) if encoded else plain) == name.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "inline"),
        ("a b.txt", 'inline; filename="a b.txt"'),
        ('a"b\\.txt', "inline; filename=\"a_b_.txt\"; filename*=UTF-8''a%22b%5C.txt"),
        ("100%.txt", "inline; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("naïve.txt", "inline; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
    ],
)
def test_disposition_is_what_browsers_understand(name: str, text: str) -> None:
    """A plain name where it will do, and the whole one beside it where it will not."""
    assert headers.disposition("inline", name) == text
