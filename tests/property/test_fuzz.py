"""Random requests through the filter: never an exception, never a 5xx unless the body was cut, never a file elsewhere.

The body comes whole or byte by byte, as announced, shorter, or chunked.
"""

from __future__ import annotations

import base64
import io
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tus import TusFilter

# What a server lets through: printable latin-1, without blanks at the ends.
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=("Cc",)), max_size=40).map(
    str.strip
)
NUMBERS = st.one_of(
    st.integers(0, 12).map(str),
    st.sampled_from(
        ["-1", "+1", "1_0", "٣".encode().decode("latin-1"), "0" * 30, "9" * 19, str(2**63), "1.0", "", "0x1"]
    ),
)
WORDS = st.binary(max_size=12).map(lambda data: base64.b64encode(data).decode())
METADATA = st.lists(st.tuples(st.sampled_from(["filename", "filetype", "a", "ä", ""]), WORDS), max_size=4).map(
    lambda pairs: ",".join(" ".join(pair) for pair in pairs)
)
NAMES = ["", "/0", "/1", "/2"]  # the collection, and the uploads that were created before
PATHS = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(
        ["/0/", "//0", "/0.info", "/0.lease", "/../../x", "/..", "/.", "/a%00", "/0/../1", "x", "/\0", "/\n"]
    ),
    TEXT.map("/".__add__),
)
URLS = st.one_of(
    PATHS.map("/upload".__add__),
    PATHS.map("http://localhost/upload".__add__),
    TEXT,
    st.sampled_from(["http://[", "http://elsewhere/upload/0", "//localhost/upload/0", "file:///etc/passwd"]),
)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "HTTP_TUS_RESUMABLE": st.sampled_from(["1.0.0", "1.0.0", "1.0.0", "0.2.2", ""]),
    "HTTP_UPLOAD_LENGTH": NUMBERS,
    "HTTP_UPLOAD_OFFSET": NUMBERS,
    "HTTP_UPLOAD_DEFER_LENGTH": st.sampled_from(["1", "1", "0", "true"]),
    "HTTP_UPLOAD_METADATA": METADATA,
    "HTTP_UPLOAD_CONCAT": st.one_of(
        st.just("partial"), st.lists(URLS, max_size=3).map(lambda urls: "final;" + " ".join(urls)), st.just("final")
    ),
    "HTTP_UPLOAD_CHECKSUM": st.builds("{} {}".format, st.sampled_from(["sha1", "crc32", "md6", ""]), WORDS),
    "HTTP_X_HTTP_METHOD_OVERRIDE": st.sampled_from(["PATCH", "DELETE", "head", "POST", "GET", "TRACE", "x"]),
    "CONTENT_TYPE": st.sampled_from(
        ["application/offset+octet-stream", "application/offset+octet-stream", "multipart/form-data", "text/plain"]
    ),
    "HTTP_ORIGIN": st.sampled_from(["null", "https://a.example", "*"]),
    "HTTP_HOST": st.one_of(st.sampled_from(["localhost", "a.example:80", "[::1]", "a b", "é"]), TEXT),
    "HTTP_FORWARDED": st.sampled_from(["host=a;proto=https", 'host="', ";;;", "proto=javascript;host=x"]),
    "HTTP_X_FORWARDED_HOST": TEXT,
    "HTTP_X_FORWARDED_PROTO": TEXT,
    "HTTP_X_FORWARDED_PREFIX": st.one_of(TEXT, st.sampled_from(["/a", "/a/", "//evil", "/../.."])),
    "HTTP_RANGE": st.sampled_from(["bytes=0-1", "bytes=-1", "bytes=5-", "bytes=9-1", "bytes=", "x"]),
    "HTTP_IF_NONE_MATCH": st.one_of(st.just("*"), TEXT),
    "HTTP_IF_MODIFIED_SINCE": st.one_of(st.just("Sat, 01 Jan 2050 00:00:00 GMT"), TEXT),
    "HTTP_IF_RANGE": TEXT,
    "HTTP_TRAILER": st.just("Upload-Checksum"),
}
HEADERS = st.fixed_dictionaries(
    {"HTTP_TUS_RESUMABLE": VALUES["HTTP_TUS_RESUMABLE"]},
    optional={
        name: st.one_of(values, values, values, TEXT) for name, values in VALUES.items() if name != "HTTP_TUS_RESUMABLE"
    },
)
METHODS = st.one_of(
    st.sampled_from(["POST", "PATCH", "HEAD", "GET", "DELETE", "OPTIONS"]),
    st.sampled_from(["PUT", "TRACE", "", "patch", "CONNECT", "é"]),
)


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    framing: str  # whole, cut, chunked, wrong
    bytewise: bool
    proper: bool  # with what a good client would send, so that some get anywhere


ASKED = st.builds(
    Asked,
    METHODS,
    PATHS,
    HEADERS,
    st.binary(max_size=12),
    st.sampled_from(["whole", "whole", "cut", "chunked", "wrong"]),
    st.booleans(),
    st.booleans(),
)


class Input(io.RawIOBase):
    """A body that comes byte by byte, if it has to."""

    def __init__(self, body: bytes, bytewise: bool) -> None:
        self.rest, self.bytewise = body, bytewise

    def read(self, size: int = -1) -> bytes:
        size = len(self.rest) if size < 0 else size
        block = self.rest[: min(size, 1) if self.bytewise else size]
        self.rest = self.rest[len(block) :]
        return block


def host(environ: Any, start_response: Any) -> Iterable[bytes]:
    """An application that takes whatever it is given."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) if environ.get("tus.upload") else 0)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Host", "1")])
    return [b"host"]


class Client:
    """Sends requests to a filter, and remembers where uploads were created."""

    def __init__(self, directory: str, **options: Any) -> None:
        self.uploads: list[str] = []
        self.app = TusFilter(host, tmp_file_dir=directory, durable="none", sweep_interval="none", **options)

    def named(self, text: str) -> str:
        """The text, with the uploads that it speaks of by number."""
        return re.sub(r"/([0-2])", lambda m: "/" + (self.uploads[int(m[1]) :] or ["0" * 32])[0], text)

    def __call__(self, asked: Asked) -> int:
        headers = {name: self.named(value) if "CONCAT" in name else value for name, value in asked.headers.items()}
        if asked.proper:
            headers["HTTP_TUS_RESUMABLE"] = "1.0.0"
            headers["CONTENT_TYPE"] = "application/offset+octet-stream"
            headers.setdefault("HTTP_UPLOAD_OFFSET" if asked.method == "PATCH" else "HTTP_UPLOAD_LENGTH", "0")
        environ = {
            "REQUEST_METHOD": asked.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.named("/upload" + asked.path),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": Input(asked.body, asked.bytewise),
            **headers,
        }
        if asked.framing == "chunked":
            environ["HTTP_TRANSFER_ENCODING"], environ["wsgi.input_terminated"] = "chunked", True
        elif asked.framing == "wrong":
            environ["CONTENT_LENGTH"] = "-1" if asked.bytewise else "a"
        else:
            environ["CONTENT_LENGTH"] = str(len(asked.body) + (asked.framing == "cut"))
        return self.answered(environ, asked)

    def answered(self, environ: dict[str, Any], asked: Asked) -> int:
        """The status of an answer that a server can send."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        parts = self.app(environ, lambda status, headers, *_: started.append((status, headers)))
        body = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        ((status, headers),) = started
        assert re.fullmatch(r"[1-5]\d\d [\x20-\x7e]+", status)
        for name, value in headers:
            assert re.fullmatch(r"[A-Za-z0-9-]+", name), name
            assert re.fullmatch(r"[\x20-\x7e\x80-\xff]*", value), (name, value)
        found = dict(headers)
        assert "Tus-Resumable" in found or "X-Host" in found
        if asked.method == "HEAD" or status[:3] in ("204", "304"):
            assert body == b"" or "X-Host" in found
        elif "Content-Length" in found:
            assert int(found["Content-Length"]) == len(body)
        if "Location" in found:
            self.uploads.append(found["Location"].rpartition("/")[2])
        return int(status[:3])


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    st.lists(ASKED, min_size=1, max_size=8),
    st.sampled_from([{}, {"hand_over": "form", "pass_body": True}, {"hand_over": "file", "trusted_proxies": "*"}]),
)
def test_random_requests_are_answered(requests: list[Asked], options: dict[str, Any]) -> None:
    """Each gets an answer that a server can send, no 5xx but for a body that was cut, and no file lies elsewhere."""
    with tempfile.TemporaryDirectory(prefix="tus-fuzz-") as parent:
        client = Client(f"{parent}/uploads", **options)
        for asked in requests:
            status = client(asked)
            assert status < 500 or asked.framing == "cut", asked

        assert [path.name for path in Path(parent).iterdir()] == ["uploads"]
        for path in Path(parent, "uploads").iterdir():
            assert re.fullmatch(r"[0-9a-f]{32}(\.info|\.lease)?", path.name), path.name


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.lists(st.binary(max_size=6), max_size=6), st.booleans(), st.booleans())
def test_pieces_make_the_whole(pieces: list[bytes], bytewise: bool, chunked: bool) -> None:
    """However the bytes of an upload are split into requests, and however each of them comes, the file is the same."""
    data = b"".join(pieces)
    with tempfile.TemporaryDirectory(prefix="tus-fuzz-") as directory:
        client = Client(directory, cleanup=False)
        framing = "chunked" if chunked else "whole"
        created = Asked("POST", "", {"HTTP_UPLOAD_LENGTH": str(len(data))}, b"", "whole", False, True)
        statuses, offset = [client(created)], 0
        for piece in pieces:
            headers = {"HTTP_UPLOAD_OFFSET": str(offset)}
            statuses.append(client(Asked("PATCH", "/0", headers, piece, framing, bytewise, True)))
            offset += len(piece)

        assert statuses == [201] + [204] * len(pieces)
        assert Path(directory, client.uploads[0]).read_bytes() == data
