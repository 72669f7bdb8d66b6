"""Our parser of a request's head beside waitress's: the same values, and nothing let through that waitress refuses."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

from tus.server.request import ParsedRequest

adjustments = Adjustments(listen="127.0.0.1:0")
COMPARED = (
    *("command", "path", "query", "request_uri", "url_scheme", "version", "headers", "content_length", "chunked"),
    *("connection_close", "expect_continue", "completed", "empty", "headers_finished"),
)
# What we refuse and waitress lets through; test_raw_requests.py has what else is refused, and why.
STRICTER = {
    "Host is invalid",
    "More than one Host",
    "A control character",
    "The request target is neither a path nor a URL of this server",
    "this server speaks HTTP/1.1",
    "Start line is invalid",
}


def parsed(kind: type, raw: bytes) -> dict[str, Any]:
    """All that a parser knows after a head."""
    request = kind(adjustments)
    request.received(raw)
    known = {name: getattr(request, name, None) for name in (*COMPARED, "error")}
    known["error"] = known["error"] and (known["error"].code, known["error"].body)
    known["remain"] = getattr(request.body_rcv, "remain", None)
    return known


part = st.text(alphabet=st.sampled_from('abcXYZ019/-_.~%41?#:;@&=+$,![]{}|^`"<>\\ \t\r\n\0\x7f\x80é'), max_size=12)
name = st.sampled_from(
    ["Host", "content-length", "Content-Length", "Expect", "Connection", "X_Y", "X-Y", "x-y", "Bad Name", "", "A:"]
)
value = st.one_of(part, st.sampled_from(["5", "0", "-1", " 12 ", "5, 5", "100-continue", "close", "Keep-Alive", "٣"]))


@given(
    st.sampled_from(["GET", "PATCH", "get", "M-SEARCH", "", "G\0T"]),
    part,
    st.sampled_from([" HTTP/1.1", " HTTP/1.0", " HTTP/2.0", "", " http/1.1", "  HTTP/1.1"]),
    st.lists(st.tuples(name, st.sampled_from([":", ": ", " :", ":\t"]), value), max_size=4),
    st.sampled_from(["\r\n", "\n"]),
)
@example("GET", "//host/path?x#y", " HTTP/1.1", [], "\r\n")
@example("GET", "/%C3%A9?%20", " HTTP/1.1", [("Host", ": ", "a")], "\r\n")
@example("PATCH", "/a", " HTTP/1.1", [("Content-Length", ": ", "5"), ("content-length", ": ", "5")], "\r\n")
@example("PATCH", "/a", " HTTP/1.1", [("Content-Length", ":", "")], "\r\n")
@example("GET", "/a", " HTTP/1.1", [("X-Y", ": ", "a\r\n folded")], "\r\n")
@example("GET", "/a?b?c", " HTTP/1.1", [], "\r\n")
@example("GET", "/a?", " HTTP/1.1", [], "\r\n")
@example("GET", " ", "", [], "\r\n")
def test_it_gives_what_waitress_gives_or_refuses(
    method: str, path: str, version: str, fields: list[Any], newline: str
) -> None:
    """Every value is the same, for what is ordinary and for what is strange, and nothing wrong is let through."""
    hosts = [field for field in fields if field[0] == "Host"]
    assume(len(hosts) < 2)
    lines = [f"{method} /{path}{version}", *("".join(field) for field in fields), *([] if hosts else ["Host: a"])]
    raw = newline.join([*lines, "", ""]).encode("latin-1", "replace")

    ours = parsed(ParsedRequest, raw)

    theirs = parsed(HTTPRequestParser, raw)
    if ours["error"] and (ours["error"][1] in STRICTER or theirs["error"]):
        # What we refuse is over with its head; waitress may wait for a body that was announced.
        assert (ours["completed"], theirs["completed"]) == (True, not theirs["remain"])
    else:
        assert ours == theirs


@pytest.mark.slow
def test_no_head_takes_long() -> None:
    """A quarter of a megabyte of anything is read in a moment."""
    for filler in (b" ", b"\t", b":", b"a", b"a:", b"/", b"?", b"%", b"\r", b"a: b\r\n", b"a:\r\n"):
        for start in (b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\na:"):
            raw = start + filler * (200_000 // len(filler)) + b"\0\r\n\r\n"
            started = time.process_time()
            parsed(ParsedRequest, raw)
            assert time.process_time() - started < 1


@pytest.mark.slow
@pytest.mark.parametrize("line", [b"\r\n a", b"\r\n\t", b"\r\na: b", b"\r\na:"], ids=repr)
def test_no_right_head_takes_long(line: bytes) -> None:
    """Nor a quarter of a megabyte of short lines, folded or of one name, in which nothing is wrong."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: y" + line * (200_000 // len(line)) + b"\r\n\r\n"
    started = time.process_time()

    known = parsed(ParsedRequest, raw)

    assert known["completed"] and not known["error"]
    assert time.process_time() - started < 1


def test_a_folded_coding_is_refused() -> None:
    """Where others read the second line as another field, they would see no chunks."""
    known = parsed(ParsedRequest, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n")

    assert known["completed"] and known["error"][0] == 400


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("fields", ["Host: a\r\nHost: b", "Host: a\r\nX:\r\nhost:", "Host: a\r\nHost: a\r\nX:\r\n z"])
def test_two_hosts_are_refused(fields: str, version: str) -> None:
    """Whether they say the same or not, in one line or in more."""
    known = parsed(ParsedRequest, f"GET / HTTP/{version}\r\n{fields}\r\n\r\n".encode())

    assert known["completed"] and known["error"] == (400, "More than one Host")


@pytest.mark.parametrize(
    "coding",
    ["chunked, chunked", "chunked\r\nTransfer-Encoding: chunked", "gzip, chunked", "chunked, gzip", "identity", "", ","]
    + [",chunked", "chunked,", "chunked\r\n ,", "\r\n chunked", "chunked;a=b", "xchunked", "chunked\x0b"],
)
def test_only_chunked_alone_is_a_transfer_encoding(coding: str) -> None:
    """Every other value ends the request, before its body could be misread and before 100 is said."""
    raw = f"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: {coding}\r\n\r\n"
    known = parsed(ParsedRequest, raw.encode())

    assert known["completed"] and known["error"][0] in (400, 501)
    assert not known["expect_continue"]


@pytest.mark.parametrize("field", ["Transfer-Encoding: chunked", "transfer-encoding:\t CHUNKED \t"])
def test_chunked_is_read_in_any_spelling(field: str) -> None:
    """White space around it and its case mean nothing."""
    known = parsed(ParsedRequest, f"GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n".encode())

    assert known["chunked"] and known["error"] is None and not known["connection_close"]
