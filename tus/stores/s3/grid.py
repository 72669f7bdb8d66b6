"""How an upload lies in the storage: pure functions of its numbers.

Part n holds the bytes from (n - 1) * size on, whoever sent them: so a part that is missing shows, a part beyond it does
no harm, and two requests that send the same file store the same parts. What does not fill a part lies in pieces, which
are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MIB = 1 << 20
LEAST = 5 * MIB  # bytes of a part that is not the last one
MOST_PARTS = 9999  # SeaweedFS sorts its list of parts by text, and puts 10000 between 999 and 1000
MANY = 16  # pieces of about one size, which become one
_WIDTH = 13  # hexadecimal digits of an offset


class Stored(NamedTuple):
    """A part in a listing."""

    number: int
    size: int
    etag: str


class Span(NamedTuple):
    """Bytes from `start` to `end`, which lie from `at` on in the object `key`."""

    start: int
    end: int
    key: str
    at: int = 0
    touched: float = 0.0


def part_size(length: int | None, usual: int, unknown: int) -> int:
    """Bytes of a part, for an upload of this length."""
    if length is None:
        return unknown
    needed = -(-length // MOST_PARTS)
    return usual if needed <= usual else -(-needed // MIB) * MIB


def most(size: int) -> int:
    """How many bytes an upload in such parts can have."""
    return size * MOST_PARTS


def size_of(number: int, size: int, length: int | None) -> int:
    """How many bytes that part has once it is whole."""
    return size if length is None else max(min(size, length - (number - 1) * size), 0)


def run(parts: Iterable[Stored], size: int, length: int | None) -> list[str]:
    """The ETags of the parts that count: those from the first one on, without a gap, each of its size."""
    there = {part.number: part.etag for part in parts if part.size == size_of(part.number, size, length)}
    etags: list[str] = []
    while (etag := there.get(len(etags) + 1)) and size_of(len(etags) + 1, size, length):
        etags.append(etag)
    return etags


def end_of(many: int, size: int, length: int | None) -> int:
    """Where so many parts end."""
    return many * size if length is None else min(many * size, length)


def row(pieces: Iterable[Span], start: int) -> list[Span]:
    """The unbroken row of pieces from there on; where several lie on each other, the one that reaches farthest."""
    found: list[Span] = []
    left = sorted(pieces)
    at = 0
    while True:
        best: Span | None = None
        while at < len(left) and left[at].start <= start:
            if left[at].end > start and (best is None or left[at].end > best.end):
                best = left[at]
            at += 1
        if best is None:
            return found
        found.append(best._replace(start=start, at=best.at + start - best.start))
        start = best.end


def merged(pieces: Sequence[Span], size: int) -> int:
    """How many of these pieces, from the last one back, a new one of that size takes into itself: small ones, as soon
    as there are many, and what grows of that in turn. So no byte is written often, and no row is long."""
    taken = 0
    while True:
        left, level = pieces[: len(pieces) - taken], _level(size)
        many = next((n for n, one in enumerate(reversed(left)) if _level(one.end - one.start) > level), len(left))
        if many < MANY - 1:
            return taken
        taken += many
        size += sum(one.end - one.start for one in left[len(left) - many :])


def _level(size: int) -> int:
    return (size.bit_length() - 1) // 4  # of what is up to 16 times as large


def named(start: int, token: int, touched: float, nonce: str) -> str:
    """The name of a piece: where it begins, who wrote it and when."""
    return f"{start:0{_WIDTH}x}-{token:x}-{int(touched * 1000):x}-{nonce}"


def span_of(name: str, key: str, size: int) -> Span:
    """What the name of a piece says."""
    start, _, touched, _ = name.split("-")
    return Span(int(start, 16), int(start, 16) + size, key, 0, int(touched, 16) / 1000)


def between(pieces: Iterable[Span], start: int, end: int) -> list[Span]:
    """What of a row lies there."""
    found = []
    for one in pieces:
        first, last = max(one.start, start), min(one.end, end)
        if first < last:
            found.append(one._replace(start=first, end=last, at=one.at + first - one.start))
    return found
