"""Servers that end a cut chunked body as they end a whole one: nothing may complete by it. And servers in general.

The bodies are fed by hand, as the servers named here were seen to do it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tus import TusFilter

Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Answer]

CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


class Hiding:
    """granian, uvicorn under a2wsgi and hypercorn: b"" at the end, whichever end that is."""

    def __init__(self, body: bytes) -> None:
        self._file = io.BytesIO(body)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


class Raising(Hiding):
    """What came, and then any exception: servers raise what they like."""

    error: Exception = OSError("cut")

    def read(self, size: int) -> bytes:
        data = super().read(size)
        if not data:
            raise self.error
        return data


@pytest.fixture
def seen() -> list[bytes]:
    """What the application was handed."""
    return []


@pytest.fixture
def options() -> dict[str, Any]:
    """Options of the filter."""
    return {}


@pytest.fixture
def ask(tmp_path: Path, seen: list[bytes], options: dict[str, Any]) -> Ask:
    """One request, as a server would make it."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [])
        return [b"done"]

    tus = TusFilter(app, tmp_file_dir=str(tmp_path), hand_over="file", sweep_interval="none", **options)

    def ask(method: str, path: str, body: Any, **environ: Any) -> Answer:
        started: list[Any] = []
        own = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "x",
            "HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "8",
            "wsgi.input": body,
        }
        parts = tus({**own, **environ}, lambda status, headers: started.append((int(status[:3]), dict(headers))))
        return (*started[0], b"".join(parts))

    return ask


def path(answer: Answer) -> str:
    return "/upload/" + answer[1]["Location"].rpartition("/")[2]


def test_hidden_end_completes_nothing(ask: Ask, seen: list[bytes]) -> None:
    """The bytes are kept and the answer is ?0, so that an empty PATCH has to end it."""
    created = ask("POST", "/upload", Hiding(b"hello"), HTTP_UPLOAD_COMPLETE="?1", **CHUNKED)
    append = {"CONTENT_TYPE": "application/partial-upload", "HTTP_UPLOAD_OFFSET": "5", "HTTP_UPLOAD_COMPLETE": "?1"}

    before = list(seen)
    ended = ask("PATCH", path(created), Hiding(b""), CONTENT_LENGTH="0", **append)

    assert (created[0], created[1]["Upload-Complete"], created[1]["Upload-Offset"]) == (201, "?0", "5")
    assert before == []
    assert (ended[1]["Upload-Complete"], seen) == ("?1", [b"hello"])


def test_hidden_end_of_an_append_completes_nothing(ask: Ask, seen: list[bytes]) -> None:
    """The same behind a PATCH."""
    created = ask("POST", "/upload", Hiding(b""), HTTP_UPLOAD_COMPLETE="?0", CONTENT_LENGTH="0")
    append = {"CONTENT_TYPE": "application/partial-upload", "HTTP_UPLOAD_OFFSET": "0", "HTTP_UPLOAD_COMPLETE": "?1"}

    answer = ask("PATCH", path(created), Hiding(b"hello"), **append, **CHUNKED)

    assert (answer[0], answer[1]["Upload-Complete"], answer[1]["Upload-Offset"], seen) == (204, "?0", "5", [])


def test_hidden_end_with_a_length(ask: Ask, seen: list[bytes]) -> None:
    """Where the length is known, it tells a cut body from a whole one."""
    more = {"HTTP_UPLOAD_COMPLETE": "?1", "HTTP_UPLOAD_LENGTH": "5", **CHUNKED}

    cut = ask("POST", "/upload", Hiding(b"hell"), **more)
    whole = ask("POST", "/upload", Hiding(b"hello"), **more)

    assert (cut[0], cut[1]["Upload-Complete"]) == (400, "?0")
    assert (whole[1]["Upload-Complete"], seen) == ("?1", [b"hello"])


def test_end_that_cannot_be_found(ask: Ask) -> None:
    """A server that does not undo the chunks, or does not say so, is no place for them."""
    answer = ask("POST", "/upload", Hiding(b"5\r\nhello"), HTTP_UPLOAD_COMPLETE="?1", HTTP_TRANSFER_ENCODING="chunked")

    assert (answer[0], answer[1]["Upload-Complete"]) == (411, "?0")


@pytest.mark.parametrize("error", [OSError("cut"), ValueError("cut"), RuntimeError("cut")], ids=repr)
def test_cut_that_is_told_by_any_exception(ask: Ask, seen: list[bytes], error: Exception) -> None:
    """What came is kept, and it is not complete."""
    body = Raising(b"hello")
    body.error = error

    answer = ask("POST", "/upload", body, HTTP_UPLOAD_COMPLETE="?1", CONTENT_LENGTH="10")

    assert (answer[0], answer[1]["Upload-Complete"], answer[1]["Upload-Offset"], seen) == (503, "?0", "5", [])
    assert "Location" in answer[1]


def test_short_read_is_a_cut(ask: Ask, seen: list[bytes]) -> None:
    """Content-Length says what should have come."""
    answer = ask("POST", "/upload", Hiding(b"hello"), HTTP_UPLOAD_COMPLETE="?1", CONTENT_LENGTH="10")

    assert (answer[0], answer[1]["Upload-Complete"], seen) == (503, "?0", [])


def test_collected_bodies_are_announced(ask: Ask) -> None:
    """A server that calls the application when the body lies in memory is told by its input."""
    streaming = ask("OPTIONS", "/upload", Hiding(b""))
    collecting = ask("OPTIONS", "/upload", io.BytesIO())

    assert "max-append-size" not in streaming[1]["Upload-Limit"]
    assert "max-append-size=16777216" in collecting[1]["Upload-Limit"]


def test_record_of_a_target_survives_tusd(tmp_path: Path) -> None:
    """What only we know is under our own key of the record."""
    tus = TusFilter(lambda environ, start: [], tmp_file_dir=str(tmp_path), draft_targets="/photos")
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/photos",
        "QUERY_STRING": "a=b",
        "CONTENT_LENGTH": "1",
        "HTTP_UPLOAD_COMPLETE": "?0",
        "HTTP_X_ODD": "1",
        "wsgi.input": io.BytesIO(b"x"),
    }

    tus(environ, lambda status, headers: None)

    (record,) = (json.loads(file.read_text()) for file in tmp_path.glob("*.info"))
    assert record["tus"]["target"][:3] == ["POST", "/photos", "a=b"]
    assert ["x-odd", "1"] in record["tus"]["target"][3]
    assert "target" not in record


@pytest.mark.parametrize("options", [{"chunk_size": "90MB"}])
def test_chunk_size_is_told_and_binds_nobody(ask: Ask) -> None:
    """What a proxy takes in one request is told in every answer with limits, before what a server collects."""
    told = ask("OPTIONS", "/upload", io.BytesIO())
    created = ask("POST", "/upload", io.BytesIO(b"hello"), HTTP_UPLOAD_COMPLETE="?0", CONTENT_LENGTH="5")
    asked = ask("HEAD", path(created), io.BytesIO())

    assert created[0] == 201
    assert all("max-append-size=90000000" in answer[1]["Upload-Limit"] for answer in (told, created, asked))


@pytest.mark.parametrize("options", [{"chunk_size": "2"}])
def test_longer_request_than_the_chunk_size_is_taken(ask: Ask) -> None:
    """It is advice: a request that got here was not too long."""
    created = ask("POST", "/upload", io.BytesIO(b"hello"), HTTP_UPLOAD_COMPLETE="?1", CONTENT_LENGTH="5")

    assert created[0] == 200
