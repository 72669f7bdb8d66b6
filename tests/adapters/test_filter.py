"""What the application behind the filter gets, as it reads it: lazily, by WebOb, and after others were there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webob

from tests.adapters.test_paste import ask, uploaded
from tests.conformance.client import metadata
from tus import Hooks, TusFilter

HELLO = metadata(filename='h"e\nllo.txt', filetype="text/x-hello", title="Größe")


class Lazy:
    """Answers with the file's own content, read while the answer is consumed."""

    def __init__(self, path: str) -> None:
        self.path, self.closed = path, False

    def __iter__(self) -> Iterator[bytes]:
        yield Path(self.path).read_bytes()

    def close(self) -> None:
        assert Path(self.path).exists()
        self.closed = True


def test_file_is_removed_after_the_response_was_consumed(tmp_path: Path) -> None:
    """The application may read the file until its response is closed, and then it is gone."""
    answers: list[Lazy] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        answers.append(Lazy(environ["wsgi.input"].read().decode()))
        return answers[-1]

    answer = uploaded(TusFilter(app, tmp_file_dir=str(tmp_path), pass_body=True))

    assert (answer.status_int, answer.body) == (200, b"hello")
    assert answers[0].closed and not Path(answers[0].path).exists()


def test_file_stays_without_cleanup(tmp_path: Path) -> None:
    """An option leaves it where the application was told that it is."""
    paths: list[str] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        paths.append(environ["wsgi.input"].read().decode())
        return webob.Response()(environ, start_response)

    assert uploaded(TusFilter(app, tmp_file_dir=str(tmp_path), cleanup=False)).status_int == 204

    assert Path(paths[0]).read_bytes() == b"hello"


@pytest.mark.parametrize("hand_over", ["file", "form"])
def test_webob_finds_what_a_browser_would_have_sent(tmp_path: Path, hand_over: str) -> None:
    """A form has the file and the metadata as fields; a file can be read, sought and read again."""
    found: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = webob.Request(environ)
        if hand_over == "form":
            file = request.POST["file"]
            found.update(file=file.file.read(), name=file.filename, type=file.type, title=request.POST["title"])
        else:
            first = request.body_file.read(2)
            environ["wsgi.input"].seek(0)
            found.update(first=first, file=environ["wsgi.input"].read(), type=request.content_type)
        return webob.Response()(environ, start_response)

    filter = TusFilter(app, tmp_file_dir=str(tmp_path), hand_over=hand_over)
    created = ask(filter, "POST", "/upload", Tus_Resumable="1.0.0", Upload_Length="5", Upload_Metadata=HELLO)
    patch = {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream"}
    path = created.location.replace("http://localhost", "")
    answer = ask(filter, "PATCH", path, b"hello", Tus_Resumable="1.0.0", **patch)

    assert answer.status_int == 204
    assert (found["file"], found["type"]) == (b"hello", "text/x-hello")
    if hand_over == "form":
        assert found["title"] == "Größe" and found["name"].endswith("llo.txt")


def test_hooks_as_an_object(tmp_path: Path) -> None:
    """From Python, the hooks may be an object that knows things."""
    told: list[str] = []

    class Telling(Hooks):
        def finished(self, upload: Any) -> None:
            told.append(upload.metadata.filename)

    uploaded(TusFilter(None, tmp_file_dir=str(tmp_path), hooks=Telling()))

    assert told == ["hello.txt"]
