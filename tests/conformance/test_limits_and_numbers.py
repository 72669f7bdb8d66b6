"""Numbers that clients write, errors that they read. Nothing but ASCII digits is a number."""

from __future__ import annotations

import pytest

from tests.conformance.client import BYTES, Client, every_method

LARGEST = 2**63 - 1
NO_NUMBERS = [
    "",
    "-1",
    "+5",
    "-0",
    "1_0",
    "5 5",
    "5,5",
    "5;",
    "0x5",
    "5.0",
    "5e0",
    "five",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{FULLWIDTH DIGIT FIVE}",
    "\N{SUPERSCRIPT TWO}",
    "NaN",
    "Infinity",
    "5\x0b",
    str(LARGEST + 1),
    str(2**64),
    "9" * 400,
]


def on_the_wire(value: str) -> str:
    """As a client would send it: UTF-8, in a header that carries bytes."""
    return value.encode().decode("latin-1")


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_length_is_a_number(tus: Client, value: str) -> None:
    """A length that is none is 400, and nothing is created."""
    answer = tus.post({"Upload-Length": on_the_wire(value)})

    assert answer.status == 400
    assert tus.files() == []


@every_method
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_offset_is_a_number(tus: Client, value: str) -> None:
    """An offset that is none is 400, and nothing is stored."""
    url = tus.create(5)

    answer = tus.patch(url, None, b"hello", {"Upload-Offset": on_the_wire(value)})

    assert answer.status == 400
    assert tus.offset(url) == 0


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_late_length_is_a_number(tus: Client, value: str) -> None:
    """The length that comes with a PATCH is held to the same."""
    url = tus.create()

    assert tus.patch(url, 0, b"", {"Upload-Length": on_the_wire(value)}).status == 400
    assert tus.head(url)["Upload-Defer-Length"] == "1"


def test_largest_length_is_taken(tus: Client) -> None:
    """What a file can hold can be asked for, and comes back digit for digit."""
    url = tus.create(LARGEST)

    assert tus.head(url)["Upload-Length"] == str(LARGEST)
    assert tus.patch(url, 0, b"hello").status == 204


def test_largest_offset_is_a_mismatch(tus: Client) -> None:
    """A number that is merely wrong is 409."""
    url = tus.create(5)

    assert tus.patch(url, LARGEST, b"hello").status == 409


def test_announced_length_costs_no_space(tus: Client) -> None:
    """Announcing much takes nothing."""
    url = tus.create(10**15)

    assert tus.stored(url) == 0


@every_method
def test_errors_are_one_line_of_text(collection) -> None:
    """A person reads what is wrong, in one plain line; no page, no trace."""
    tus = collection(max_size=10)
    url = tus.create(5)

    for answer in (
        tus.post({}),
        tus.post({"Upload-Length": "11"}),
        tus.post({"Upload-Length": "5", "Upload-Metadata": "a b c"}),
        tus.post({"Upload-Length": "5"}, version="0.2.2"),
        tus.patch(url, 3, b"x"),
        tus.patch(url, 0, b"123456"),
        tus.patch(url, 0, b"x", {"Content-Type": "text/plain"}),
        tus.patch(url, 0, b"x", {"Upload-Checksum": "crc32 AAAAAA=="}),
        tus.get(f"{tus.path}/{'0' * 32}"),
        tus.delete(f"{tus.path}/{'0' * 32}"),
        tus.ask("PUT", url, {}, b"x"),
    ):
        assert 400 <= answer.status < 500
        assert answer["Content-Type"].startswith("text/plain")
        text = answer.body.decode()
        assert text.strip() and "\n" not in text.rstrip("\n"), answer
        assert "Traceback" not in text


def test_errors_do_not_echo_markup(tus: Client) -> None:
    """What a client wrote may stand in the message, but not as something that could act."""
    answer = tus.post({"Upload-Length": "<script>alert(1)</script>"})

    assert answer.status == 400
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "PROPFIND", "MKCOL", "BREW"])
def test_unknown_methods_are_405(tus: Client, method: str) -> None:
    """What the protocol has not is refused with a list of what it has, and changes nothing."""
    url = tus.create(5)

    answer = tus.ask(method, url, {"Content-Type": BYTES, "Upload-Offset": "0"}, b"hello")

    assert answer.status == 405
    assert {"HEAD", "PATCH", "DELETE"} <= set(answer.list("Allow"))
    assert tus.offset(url) == 0


def test_maximum_of_zero_takes_empty_files_only(collection) -> None:
    """Zero is a limit, and not the absence of one."""
    tus = collection(max_size=0)

    assert tus.post({"Upload-Length": "1"}).status == 413
    assert tus.post({"Upload-Length": "0"}).status == 201


def test_chunked_body_is_taken_or_refused_with_411(tus: Client) -> None:
    """Where the server cannot tell the end of a body we say so; elsewhere the bytes are stored."""
    url = tus.create(5)

    answer = tus.patch(url, 0, b"hello", chunked=True)

    assert answer.status in (204, 411)
    assert tus.offset(url) == (5 if answer.status == 204 else 0)
    assert [handed.file for handed in tus.handed()] == ([b"hello"] if answer.status == 204 else [])


def test_answers_are_not_cached(tus: Client) -> None:
    """No cache in between keeps the answer to a question about the present."""
    assert "no-store" in tus.head(tus.create(5)).list("Cache-Control")
