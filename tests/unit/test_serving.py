"""Ranges and conditional requests, by RFC 9110, exhaustively on a small file."""

from __future__ import annotations

import io
import itertools
from email.utils import formatdate

import pytest

from tus.http.messages import Response
from tus.http.ranges import FileSlice, file_response

DATA = b"abcdef"
TAG = '"tag"'
TIME = 1_600_000_000.75
BEFORE, SAME, AFTER = (formatdate(int(TIME) + shift, usegmt=True) for shift in (-1, 0, 1))


def get(headers: dict[str, str], data: bytes = DATA, method: str = "GET") -> tuple[Response, io.BytesIO]:
    file = io.BytesIO(data)
    extra = {"Content-Type": "text/plain", "X-Extra": "1"}
    answer = file_response(headers, file, size=len(data), modified=TIME, tag=TAG, extra=extra, method=method)
    return answer, file


def body(answer: Response) -> bytes:
    if isinstance(answer.body, FileSlice):
        data = b"".join(answer.body)
        answer.body.close()
        return data
    assert answer.body == b""
    return b""


def test_whole_file_is_the_default() -> None:
    """With what a client needs to come back."""
    answer, file = get({})

    assert (answer.status, body(answer)) == (200, DATA)
    assert answer.headers == {
        "ETag": TAG,
        "Last-Modified": SAME,
        "Accept-Ranges": "bytes",
        "Content-Length": "6",
        "Content-Type": "text/plain",
        "X-Extra": "1",
    }
    assert file.closed


@pytest.mark.parametrize("size", range(4))
def test_every_range_is_what_slicing_says(size: int) -> None:
    """Every first and last byte, of files from none to three bytes."""
    data = DATA[:size]
    for first, last in itertools.product([None, *range(5)], repeat=2):
        text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
        if first is None and last is None or (first is not None and last is not None and last < first):
            expected = (200, data)  # no range by the grammar, and so ignored
        elif first is None:
            assert last is not None
            expected = (206, data[-last:]) if last and data else (416, b"")
        else:
            expected = (206, data[first : None if last is None else last + 1]) if first < size else (416, b"")

        answer, file = get({"range": text}, data)

        assert (answer.status, body(answer)) == expected, text
        assert file.closed


def test_range_says_where_it_lies() -> None:
    """And how long the whole is."""
    for text, where in {"0-0": "0-0", "2-": "2-5", "-2": "4-5", "1-99": "1-5", "-99": "0-5"}.items():
        answer, _ = get({"range": f"bytes={text}"})

        assert answer.headers["Content-Range"] == f"bytes {where}/6"
        assert answer.headers["Content-Length"] == str(len(body(answer)))


def test_unsatisfiable_range_says_how_long_the_whole_is() -> None:
    """So that the client can ask for less."""
    answer, _ = get({"range": "bytes=6-"})

    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */6")


@pytest.mark.parametrize(
    "text",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=0-1,3-4", "lines=1-2", "bytes=٣-", "bytes=1-2x"],
)
def test_what_is_no_single_range_gets_the_whole(text: str) -> None:
    """RFC 9110, 14.2: a server may ignore it, and must where it does not understand it."""
    answer, _ = get({"range": text})

    assert (answer.status, body(answer)) == (200, DATA)


def test_range_is_for_get_alone() -> None:
    """RFC 9110, 14.2: for any other method it is ignored."""
    answer, file = get({"range": "bytes=0-1"}, method="HEAD")

    assert (answer.status, answer.headers["Content-Length"], body(answer)) == (200, "6", b"")
    assert file.closed


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-match": TAG}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": f'"x", {TAG}'}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": f"W/{TAG}"}, 412),
        ({"if-match": ""}, 412),
        ({"if-none-match": TAG}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": f"W/{TAG}"}, 304),
        ({"if-none-match": f'"x",W/{TAG}'}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": "tag"}, 200),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": SAME}, 304),
        ({"if-modified-since": AFTER}, 304),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": SAME}, 200),
        ({"if-unmodified-since": AFTER}, 200),
        ({"if-unmodified-since": "Mon, 99 Foo 2020 00:00:00 GMT"}, 200),
        # RFC 9110, 13.2.2: a tag decides before a date does, and what guards a change before what saves a transfer.
        ({"if-match": TAG, "if-unmodified-since": BEFORE}, 200),
        ({"if-match": '"x"', "if-unmodified-since": AFTER}, 412),
        ({"if-none-match": '"x"', "if-modified-since": AFTER}, 200),
        ({"if-none-match": TAG, "if-modified-since": BEFORE}, 304),
        ({"if-match": TAG, "if-none-match": TAG}, 304),
        ({"if-match": '"x"', "if-none-match": TAG}, 412),
        ({"if-unmodified-since": BEFORE, "if-none-match": TAG}, 412),
        ({"if-none-match": TAG, "range": "bytes=0-1"}, 304),
        ({"if-match": '"x"', "range": "bytes=9-"}, 412),
    ],
)
def test_condition_decides(headers: dict[str, str], status: int) -> None:
    """In the order of RFC 9110, and nothing is read if it does not hold."""
    answer, file = get(headers)

    assert (answer.status, body(answer)) == (status, DATA if status == 200 else b"")
    assert file.closed
    if status != 200:
        assert answer.headers["ETag"] == TAG
        assert not [name for name in answer.headers if name.startswith("Content-")]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (TAG, 206),
        ('"x"', 200),
        (f"W/{TAG}", 200),
        (SAME, 206),
        (BEFORE, 200),
        (AFTER, 200),
        ("yesterday", 200),
        ("", 200),
    ],
)
def test_range_holds_if_the_file_is_the_same(value: str, status: int) -> None:
    """If-Range: else the client gets the whole, and not a part of something else."""
    answer, _ = get({"if-range": value, "range": "bytes=0-1"})

    assert (answer.status, body(answer)) == (status, DATA[:2] if status == 206 else DATA)


def test_large_file_comes_in_blocks() -> None:
    """And is closed by whoever sent it."""
    data = bytes(600_000)
    answer, file = get({}, data)
    assert isinstance(answer.body, FileSlice)

    blocks = list(answer.body)

    assert (len(blocks), b"".join(blocks)) == (3, data)
    assert not file.closed
    answer.body.close()
    assert file.closed
