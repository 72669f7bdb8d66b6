"""Structured fields, compared with another implementation, and with what the letter says."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from tus.errors import InvalidDigest
from tus.http import digests, fields
from tus.http.headers import filename

http_sf = pytest.importorskip("http_sf", reason="http-sf, the other implementation, is not installed")

# The characters that mean something, more often than others.
TEXT = some.text(
    some.one_of(some.sampled_from('?01,;=:"\\()@% .-+*aA/\t'), some.characters(max_codepoint=255)), max_size=24
)
ITEMS = some.one_of(
    TEXT,
    some.integers().map(str),
    some.sampled_from(["?1", "?0", "1.5", '"a"', ":YQ==:", "a/b", "@1", '%"a%c3%bc"']),
    some.tuples(some.sampled_from(["?1", "12", "-3", "tok"]), TEXT).map(lambda pair: f"{pair[0]};a={pair[1]}"),
)


def item(text: str) -> Any:
    """What the other implementation makes of it; None if nothing."""
    try:
        return http_sf.parse(text.encode("latin-1"), tltype="item")[0]
    except Exception:
        return None


@given(ITEMS)
@example("5;x=1")
@example("5 ;x=1")
@example("5; x")
@example("-0")
@example("1" * 15)
@example("1" * 16)
@example("5, 5")
def test_integers_are_what_others_read(text: str) -> None:
    """The same numbers, and the same nonsense."""
    value = item(text)

    wanted = value if type(value) is int and value >= 0 else None
    assert fields.whole_number(text) == wanted


@given(ITEMS)
@example("?1;a;b=?0")
@example(" ?1 ")
def test_booleans_are_what_others_read(text: str) -> None:
    """The same words, and the same nonsense."""
    value = item(text)

    assert fields.boolean(text) == (value if type(value) is bool else None)


MEMBERS = some.tuples(some.sampled_from(["a", "sha-256", "*x", "A", "1"]), ITEMS)
DICTIONARIES = some.one_of(
    TEXT,
    some.lists(MEMBERS.map("=".join), max_size=4).flatmap(
        lambda m: some.sampled_from([", ", ",", "\t,", ",,"]).map(lambda c: c.join(m))
    ),
)


@given(DICTIONARIES)
@example("a=1, a=2")
@example("a=(1 2);x, b")
@example("a, ")
def test_dictionaries_have_the_keys_that_others_read(text: str) -> None:
    """All of it, or nothing."""
    try:
        wanted = set(http_sf.parse(text.encode("latin-1"), tltype="dictionary"))
    except Exception:
        wanted = set()

    assert set(fields.dictionary(text)) == wanted


@pytest.mark.parametrize(
    "text", [None, "", " ", "+5", "1_0", "\u0663", "5.0", "0x5", "five", "5\n", "5\x00", "5;", "5;A"]
)
def test_no_integers(text: str | None) -> None:
    """What Python would take for a number, and the letter would not."""
    assert fields.whole_number(text) is None


@pytest.mark.parametrize("text", [None, "", "true", "1", "?2", "?", "?10", "TRUE", '"?1"', "?1,"])
def test_no_booleans(text: str | None) -> None:
    """Only two words are booleans."""
    assert fields.boolean(text) is None


@given(some.binary(max_size=70))
def test_byte_sequences_come_back(value: bytes) -> None:
    """Written, and read again."""
    assert fields.octets(fields.sequence(value)) == value


@pytest.mark.parametrize("text", ["", ":", "YQ==", ":YQ==", ":Y Q:", ":Y:", "1"])
def test_no_byte_sequences(text: str) -> None:
    """Anything else has no bytes."""
    assert fields.octets(text) is None


@given(some.dictionaries(some.sampled_from(["max-size", "max-age", "min-size"]), some.integers(0, 10**19)))
def test_limits_are_read_by_others(members: dict[str, int]) -> None:
    """And none is too large for the grammar."""
    written = fields.listed(members)

    read = http_sf.parse(written.encode(), tltype="dictionary") if written else {}
    assert {key: value[0] for key, value in read.items()} == {k: min(v, 10**15 - 1) for k, v in members.items()}


def test_digest_is_read_by_others() -> None:
    """The field that we write holds the bytes."""
    pairs = (("sha256", "00ff" * 16), ("sha1", "ab" * 20))

    read = http_sf.parse(digests.field_value(pairs).encode(), tltype="dictionary")

    assert {key: value[0] for key, value in read.items()} == {"sha-256": b"\x00\xff" * 16, "sha": b"\xab" * 20}


@given(DICTIONARIES)
def test_any_digest_field_is_read_or_refused(text: str) -> None:
    """No header is an unexpected error."""
    with suppress(InvalidDigest):
        digests.given("Content-Digest", text)
    digests.wanted(text)


@pytest.mark.parametrize(
    "value, name",
    [
        ("", ""),
        ("inline", ""),
        ("inline; filename=a.jpg", "a.jpg"),
        ('attachment; filename="a b.jpg"', "a b.jpg"),
        ('inline; filename="a\\"b.jpg"', 'a"b.jpg'),
        ("inline; filename=\"x\"; filename*=UTF-8''gr%C3%BCn.jpg", "grün.jpg"),
        ("inline; filename*=utf-8'de'gr%C3%BCn.jpg; filename=x", "grün.jpg"),
        ("inline; filename*=iso-8859-1''gr%FCn.jpg", "grün.jpg"),
        ('inline; filename="gr\xc3\xbcn.jpg"', "grün.jpg"),
        ("inline; filename*=UTF-8''%ff", "\ufffd"),
        ("inline; notfilename=a", ""),
        ("filename=a", ""),
    ],
)
def test_file_names(value: str, name: str) -> None:
    """However a client writes it."""
    assert filename(value) == name


@given(TEXT)
def test_any_disposition_has_a_name_or_none(text: str) -> None:
    """No header is an unexpected error."""
    filename(f"inline; filename={text}")
