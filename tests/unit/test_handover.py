"""The form in which an application gets a file, against plain bytes."""

from __future__ import annotations

import base64
import io
import random
import time
from email.parser import BytesParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus import Metadata, Upload
from tus.adapters.handover import FormBody

DATA = bytes(range(256)) * 3


def metadata(**values: str) -> Metadata:
    return Metadata(
        ",".join(f"{key} {base64.b64encode(value.encode()).decode()}".strip() for key, value in values.items())
    )


def form(data: bytes = DATA, **values: str) -> FormBody:
    upload = Upload("id", length=len(data), offset=len(data), metadata=metadata(**values))
    return FormBody(upload, io.BytesIO(data))


def whole(form: FormBody) -> bytes:
    form.seek(0)
    return form.read()


def test_form_is_what_a_browser_sends() -> None:
    """Metadata are fields, and the file keeps its name and its type."""
    made = form(filename="ä.txt", filetype="text/plain", title='a "title"', **{'odd"key': "x"})

    message = BytesParser().parsebytes(f"Content-Type: {made.content_type}\r\n\r\n".encode() + whole(made))

    parts: Any = message.get_payload()
    names = [part.get_param("name", header="content-disposition") for part in parts]
    assert names == ["title", "odd%22key", "file"]
    assert parts[0].get_payload() == 'a "title"'
    assert parts[2].get_content_type() == "text/plain"
    assert b'filename="\xc3\xa4.txt"' in whole(made)
    assert whole(made).count(DATA) == 1


def test_size_is_told_before_a_byte_is_read() -> None:
    """The application gets it as Content-Length."""
    for data in (b"", b"a", DATA):
        made = form(data, filename="a")

        assert made.size == len(whole(made))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(-1, 400)),
            st.tuples(st.just("readline"), st.integers(-1, 400)),
            st.tuples(st.just("seek"), st.integers(0, 1200)),
            st.tuples(st.just("move"), st.integers(-300, 300)),
            st.tuples(st.just("end"), st.integers(-300, 0)),
            st.tuples(st.just("readinto"), st.integers(0, 400)),
        ),
        max_size=12,
    )
)
def test_form_reads_as_bytes_do(steps: list[tuple[str, int]]) -> None:
    """Whatever is read and sought, in whatever order."""
    made = form(filename="a", title="b")
    plain = io.BytesIO(whole(made))
    made.seek(0)

    for verb, number in steps:
        if verb == "readinto":
            ours, theirs = bytearray(number), bytearray(number)
            assert made.readinto(ours) == plain.readinto(theirs)
            assert ours == theirs
        elif verb in ("read", "readline"):
            assert getattr(made, verb)(number) == getattr(plain, verb)(number)
        else:
            whence = {"seek": io.SEEK_SET, "move": io.SEEK_CUR, "end": io.SEEK_END}[verb]
            if verb == "move":
                number = max(number, -plain.tell())
            assert made.seek(number, whence) == plain.seek(number, whence)
        assert made.tell() == plain.tell()


def test_lines_are_read_fast() -> None:
    """The form parser of the standard library, which WebOb uses, reads line by line."""
    data = random.Random(1).randbytes(1 << 20)
    made = form(data, filename="a")

    start = time.monotonic()
    lines = list(iter(lambda: made.readline(1 << 16), b""))

    assert time.monotonic() - start < 0.5
    assert b"".join(lines) == whole(made)


def test_closing_the_form_closes_the_file() -> None:
    """Whoever was given it last."""
    file = io.BytesIO(DATA)
    made = FormBody(Upload("id", offset=len(DATA)), file)

    made.close()

    assert file.closed and made.closed


@pytest.mark.parametrize("name", ['a"b', "a\r\nb", "a%b", "ä"])
def test_names_cannot_break_out(name: str) -> None:
    """A quote or a line end in a name is written as browsers write it."""
    head = whole(form(b"", filename=name)).split(b"\r\n\r\n")[0]

    assert head.count(b"\r\n") == 2
    assert head.count(b'"') == 4
