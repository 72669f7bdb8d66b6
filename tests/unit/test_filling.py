"""How much of a body is read next, and what becomes of it: one rule for every way to read."""

from __future__ import annotations

from typing import Any

import pytest

from tus.talk import Filling


class Cup:
    """A sink that wants so many bytes; None: any number."""

    splices = False
    lease = None

    def __init__(self, size: int | None) -> None:
        self.size, self.content = size, b""

    @property
    def wanted(self) -> int | None:
        return None if self.size is None else max(self.size - len(self.content), 0)

    def write(self, block: Any) -> None:
        self.content += bytes(block)


def filling(sink: Cup, length: int | None) -> Filling:
    made = Filling(length)
    made.into(sink)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(("room", "most", "wants"), [(10, 4, 4), (10, 20, 10), (None, 20, 20), (0, 20, 0)])
def test_no_more_is_read_than_the_sink_wants(room: int | None, most: int, wants: int) -> None:
    """What belongs to the next request stays with the server."""
    assert filling(Cup(room), 10).wants(most) == wants


def test_body_of_known_length_is_over_with_its_last_byte() -> None:
    """No read follows that would wait for ever."""
    cup = Cup(None)
    body = filling(cup, 4)

    body.take(b"abcd")

    assert (body.over, body.wants(10), cup.content) == (True, 0, b"abcd")


def test_body_of_unknown_length_has_to_end_where_the_sink_is_full() -> None:
    """One byte more is asked for; the end of the body is what should come."""
    body = filling(Cup(4), None)
    body.take(b"abcd")

    asked = body.wants(10)
    body.take(b"")

    assert (asked, body.over, body.wants(10)) == (1, True, 0)


def test_sink_is_shown_what_goes_beyond_its_end_once() -> None:
    """It says what is wrong with that; the rest of the body is not read."""
    cup = Cup(4)
    body = filling(cup, None)
    body.take(b"abcd")

    body.take(b"e")

    assert (cup.content, body.wants(10), body.over) == (b"abcde", 0, False)


@pytest.mark.parametrize("length", [10, None])
def test_block_of_any_size_comes_in_pieces(length: int | None) -> None:
    """What a server received before anybody asked is stored up to the last byte that there is room for."""
    cup = Cup(6)

    filling(cup, length).feed(b"0123456789")

    assert cup.content == (b"012345" if length else b"0123456")


def test_cut_ends_it() -> None:
    """The reason is kept, and nothing is read any more."""
    body, error = filling(Cup(10), 10), ConnectionResetError("gone")

    body.stop(error)

    assert (body.cut, body.over, body.wants(10)) == (error, True, 0)
