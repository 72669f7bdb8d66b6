"""Metadata and ids."""

from __future__ import annotations

import base64
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus import Metadata, Upload, upload
from tus.errors import BadRequest, NotFound
from tus.upload import MAX_METADATA, checked_id, is_id

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=8)


def written(pairs: dict[str, bytes], *, lone: bool) -> str:
    """The header, with or without a blank behind a key without a value."""
    texts = (f"{key} {base64.b64encode(value).decode()}" for key, value in pairs.items())
    return ",".join(text.rstrip() if lone else text for text in texts)


@given(st.dictionaries(KEYS, st.binary(max_size=12), max_size=5), st.booleans())
def test_metadata_come_back(pairs: dict[str, bytes], lone: bool) -> None:
    """The values decoded, and the header as it was."""
    raw = written(pairs, lone=lone)

    found = Metadata(raw)

    assert (dict(found), found.raw, len(found)) == (pairs, raw, len(pairs))
    assert dict(Metadata.stored(raw)) == pairs


@pytest.mark.parametrize(
    "raw",
    [
        ",",
        " ",
        "a YQ==,",
        ",a YQ==",
        "a YQ==,,b YQ==",
        "a YQ==,a YQ==",
        "a,a",
        "a YQ",
        "a YQ=",
        "a Y=Q=",
        "a YQ== YQ==",
        "a  YQ==",
        "a Y_-=",
        "a é",
        "a\x00b YQ==",
        "a\x1bb YQ==",
        "ключ YQ==",
        "a\tYQ==",
        "a YQ==\n",
    ],
)
def test_metadata_that_break_the_grammar_are_refused(raw: str) -> None:
    """Keys are neither empty nor double, and values are Base64."""
    with pytest.raises(BadRequest):
        Metadata(raw)


def test_metadata_have_a_limit() -> None:
    """A client cannot have us store a book with each upload."""
    with pytest.raises(BadRequest):
        Metadata("a " + "YWFh" * (MAX_METADATA // 4))


@given(st.text(max_size=60))
def test_file_name_cannot_hurt(name: str) -> None:
    """No directory, no control character, no name that means another place."""
    raw = "filename " + base64.b64encode(name.encode("utf-8", "replace")).decode()

    found = Metadata(raw.strip()).filename

    assert not re.search(r"[/\\\0-\x1f\x7f]", found)
    assert found not in (".", "..")
    assert len(found.encode()) <= 200


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("C:\\users\\a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("dir/", ""),
        ("..", ""),
        (" a\r\nb ", "ab"),
        ("ä €.txt", "ä €.txt"),
        ("\u202egpj.exe", "gpj.exe"),
    ],
)
def test_file_name_is_the_last_part(name: str, safe: str) -> None:
    """Whatever the client's system calls a directory."""
    assert Metadata("name " + base64.b64encode(name.encode()).decode()).filename == safe


@pytest.mark.parametrize(
    ("claimed", "found"),
    [
        ("text/plain", "text/plain"),
        ("image/svg+xml", "image/svg+xml"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/plain\r\nX: 1", ""),
        ("text", ""),
        ("text/", ""),
        ("text/html; x", ""),
        ("téxt/plain", ""),
        ("", ""),
    ],
)
def test_media_type_looks_like_one(claimed: str, found: str) -> None:
    """Or it is not used."""
    assert Metadata("filetype " + base64.b64encode(claimed.encode()).decode()).media_type == found


@pytest.mark.parametrize("id", ["a", "0123456789abcdef" * 2, "A_b-9", "a" * 128])
def test_id_passes_the_door(id: str) -> None:
    """Letters, digits, - and _."""
    assert checked_id(id) == id
    assert is_id(id)


@given(st.text(max_size=6))
def test_no_path_passes_the_door(id: str) -> None:
    """Whatever passes is one name, in every file system."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", id, re.ASCII):
        assert checked_id(id) == id
        return
    with pytest.raises(NotFound):
        checked_id(id)


def test_record_is_changed_by_making_another() -> None:
    """The old one stays what it was."""
    old = Upload("a", length=3)

    new = old.evolve(offset=3)

    assert (old.filled, new.filled) == (False, True)
    with pytest.raises(AttributeError):
        old.offset = 1  # type: ignore[misc]


def test_change_of_what_there_is_not_says_so() -> None:
    """A host that mistypes a field is told its name."""
    with pytest.raises(ValueError, match="ownr"):
        Upload("a").evolve(ownr="me")


def test_metadata_that_two_threads_look_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is remembered, so that requests share its metadata: none sees them before they are parsed."""
    metadata, begun, go = Metadata.stored("name YQ=="), threading.Event(), threading.Event()
    parse = upload._parsed

    def slow(raw: str) -> dict[str, bytes]:
        if not begun.is_set():
            begun.set()
            go.wait(5)
        return parse(raw)

    monkeypatch.setattr(upload, "_parsed", slow)
    first = threading.Thread(target=lambda: metadata.filename)
    first.start()
    begun.wait(5)
    seen = metadata.filename
    go.set()
    first.join()

    assert seen == "a"
