"""The decoder of chunked bodies, fed in every way that a network can think of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus.server.chunks import FIELD_LINE, LINE, TRAILER, BadBody, ChunkDecoder


def encode(parts: list[bytes], trailers: bytes = b"") -> bytes:
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part]
    return b"".join([*chunks, b"0\r\n", trailers, b"\r\n"])


def decode(pieces: list[bytes], limit: int = 1 << 20) -> tuple[bytes, ChunkDecoder]:
    chunks, data = ChunkDecoder(), b""
    for piece in pieces:
        chunks.feed(piece)
        while taken := chunks.take(limit):
            data += taken
    return data, chunks


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(1, 9), min_size=1), st.integers(1, 60))
def test_any_fragmentation_gives_the_same_body(parts: list[bytes], cuts: list[int], limit: int) -> None:
    """However a chunked body is cut into pieces, its data, trailers and what comes behind it are the same."""
    raw = encode(parts, b"Upload-Checksum: sha1 abc=\r\n") + b"GET / HTTP/1.1\r\n"
    pieces, at = [], 0
    while at < len(raw):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(raw[at : at + size])
        at += size

    data, chunks = decode(pieces, limit)

    assert data == b"".join(parts)
    assert chunks.complete
    assert chunks.trailers == {"upload-checksum": "sha1 abc="}
    assert chunks.leftover == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1_0\r\n",
        b"\r\n",
        b"11111111111111111\r\n",
        b"1\na\n",
        b"1\r\naX\r\n",
        b"1\r\na\rX",
        b"1;=\r\na\r\n",
        b"1;a=\r\na\r\n",
        b"0\r\nno field\r\n\r\n",
        b"0\r\n folded: yes\r\n\r\n",
        b"0\r\na: \0\r\n\r\n",
        b"1" * LINE,
        b"0\r\na: " + b"a" * FIELD_LINE,
        b"0\r\n" + b"a:b\r\n" * TRAILER,
    ],
)
def test_malformed_framing_is_refused(raw: bytes) -> None:
    """What is not exactly a chunk, or is endless, is an error and never data."""
    with pytest.raises(BadBody):
        decode([raw + b"0\r\n\r\n" if len(raw) < 30 else raw])


def test_data_before_bad_framing_is_given_first() -> None:
    """The error comes after every byte that stood before it."""
    chunks = ChunkDecoder()
    chunks.feed(b"5\r\nhello\r\nzzz\r\n")

    assert chunks.take(100) == b"hello"
    with pytest.raises(BadBody):
        chunks.take(100)
