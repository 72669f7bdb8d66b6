"""Where the bytes of an upload lie, in numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tus.stores.s3 import grid
from tus.stores.s3.grid import MIB, Span, Stored


@pytest.mark.parametrize(
    "length, size",
    [
        (0, 5 * MIB),
        (5 * MIB * 9999, 5 * MIB),
        (5 * MIB * 9999 + 1, 6 * MIB),
        (5 << 40, 525 * MIB),
        (None, 64 * MIB),
    ],
)
def test_parts_are_as_large_as_they_must_be(length: int | None, size: int) -> None:
    """So that there are never more of them than every engine takes."""
    assert grid.part_size(length, 5 * MIB, 64 * MIB) == size
    assert length is None or -(-length // size) <= grid.MOST_PARTS


@pytest.mark.parametrize(
    "numbers, sizes, many",
    [
        ((1, 2, 3), (10, 10, 5), 3),
        ((1, 3), (10, 5), 1),  # a hole
        ((2, 3), (10, 5), 0),
        ((1, 2, 3), (10, 9, 5), 1),  # a part that broke off
        ((1, 2, 2, 3), (10, 3, 10, 5), 3),  # SeaweedFS lists what was replaced as well
        ((1, 2, 3, 4), (10, 10, 5, 10), 3),  # more than the upload has
    ],
)
def test_parts_count_up_to_the_first_that_is_missing(
    numbers: tuple[int, ...], sizes: tuple[int, ...], many: int
) -> None:
    """And only those of their size, in an upload of 25 bytes in parts of 10."""
    found = grid.run([Stored(n, size, f"{n}-{size}") for n, size in zip(numbers, sizes, strict=True)], 10, 25)

    assert found == ["1-10", "2-10", "3-5"][:many]


def test_longest_piece_counts_where_several_lie_on_each_other() -> None:
    """The bytes of the others are the same."""
    pieces = [Span(0, 5, "a"), Span(0, 3, "b"), Span(4, 9, "c"), Span(5, 6, "d"), Span(10, 12, "e")]

    assert grid.row(pieces, 0) == [Span(0, 5, "a"), Span(5, 9, "c", 1)]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12), st.integers(0, 60))
def test_row_is_all_that_lies_there_without_a_gap(spans: list[tuple[int, int]], start: int) -> None:
    """Each byte is in one piece, and the next one is in none."""
    pieces = [Span(first, first + size, str(n)) for n, (first, size) in enumerate(spans)]
    there = {byte for one in pieces for byte in range(one.start, one.end)}

    row = grid.row(pieces, start)

    end = row[-1].end if row else start
    assert [byte for one in row for byte in range(one.start, one.end)] == list(range(start, end))
    assert end not in there
    for one in row:
        origin = pieces[int(one.key)]
        assert (origin.start + one.at, one.end <= origin.end) == (one.start, True)


def test_name_of_a_piece_says_what_it_is() -> None:
    """Where it begins and when it came; a listing has its size."""
    name = grid.named(7 * MIB, 12, 1_000_000.25, "ab")

    assert grid.span_of(name, "k", 5) == Span(7 * MIB, 7 * MIB + 5, "k", 0, 1_000_000.25)


def test_names_of_pieces_stand_in_the_order_of_their_bytes() -> None:
    """In a listing, which is sorted."""
    starts = [0, 1, 15, 16, 5 << 40]

    assert sorted(grid.named(start, 1, 0, "a") for start in starts) == [grid.named(s, 1, 0, "a") for s in starts]


def test_part_of_a_row_is_found() -> None:
    """What lies between two offsets, and where."""
    row = [Span(0, 10, "a"), Span(10, 20, "b", 3)]

    assert grid.between(row, 4, 12) == [Span(4, 10, "a", 4), Span(10, 12, "b", 3)]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=400))
def test_row_of_pieces_stays_short_and_no_byte_is_written_often(sizes: list[int]) -> None:
    """Small ones become one as soon as there are many, and what became of them in turn."""
    row: list[Span] = []
    written = end = 0

    for size in sizes:
        many = grid.merged(row, size)
        start = row[len(row) - many].start if many else end
        end += size
        row = [*row[: len(row) - many], Span(start, end, "")]
        written += end - start

    assert row[0].start == 0 and all(one.end == two.start for one, two in zip(row, row[1:], strict=False))
    assert len(row) <= 15 * 5  # levels, of 16 times the size each
    assert written <= 5 * end
