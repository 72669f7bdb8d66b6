"""What a review found: sweepers that outlive their engine, names that pile up, sweeps that speak for the host."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tus import Hooks, Metadata, OptionError, Refused, TusFilter
from tus.adapters import wsgi
from tus.cors import Cors
from tus.errors import BadRequest
from tus.http.messages import Request, Response
from tus.options import Options
from tus.tus import Application


def opened(directory: Path, **options: Any) -> Any:
    return Application(Options({"tmp_file_dir": str(directory), **options}, environ={}), delivers=False).engine


def stored(engine: Any, content: bytes = b"hello", **words: Any) -> str:
    with engine.begin(
        Request("POST"), length=len(content), metadata=Metadata(), announced=len(content), **words
    ) as writer:
        writer.write(content)
        return str(engine.conclude(writer).id)


def test_sweep_from_outside_speaks_for_no_host(tmp_path: Path) -> None:
    """An operator's sweep leaves what waits for the application as it is."""
    host = Application(Options({"tmp_file_dir": str(tmp_path)}, environ={})).engine
    id = stored(host)

    assert list(opened(tmp_path).sweep()) == []

    with_it = host.claim(id)
    assert with_it.upload.pending
    with_it.release()


def test_sweeper_ends_with_its_engine(tmp_path: Path) -> None:
    """An application that nobody has any more leaves no thread."""
    before = set(threading.enumerate())
    application = Application(Options({"tmp_file_dir": str(tmp_path)}, environ={}))
    application.sweeper.start()
    (sweeper,) = set(threading.enumerate()) - before
    assert sweeper.is_alive()

    del application
    gc.collect()

    live.until(lambda: not sweeper.is_alive())


def test_names_of_headers_do_not_pile_up() -> None:
    """However many names clients think up, few are remembered."""
    for number in range(2000):
        wsgi.EnvironHeaders({}).get(f"x-odd-{number}")

    assert len(wsgi._keys) <= wsgi._MANY


def test_answer_names_one_origin_only() -> None:
    """An application that speaks of origins itself does not make a second voice, which browsers refuse."""
    request = Request("PATCH", headers={"origin": "https://app.example"})
    response = Response(204, extra=(("Access-Control-Allow-Origin", "https://app.example"), ("X-App", "yes")))

    answer = Cors(Options({}, environ={})).apply(request, response)

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.extra == (("X-App", "yes"),)


def test_concatenation_is_answered_again_without_its_parts(tmp_path: Path) -> None:
    """A lost answer can be asked for again, also when the parts were removed."""
    engine = opened(tmp_path, remove_parts=True)
    part = stored(engine, partial=True)

    first = engine.join(Request("POST"), [part], metadata=Metadata(), concat=f"final;/{part}")
    again = engine.join(Request("POST"), [part], metadata=Metadata(), concat=f"final;/{part}")

    assert first.id == again.id and again.complete


def test_concatenation_has_a_limit(tmp_path: Path) -> None:
    """One small request does not make a huge file of a part named thousands of times."""
    engine = opened(tmp_path)
    part = stored(engine, partial=True)

    with pytest.raises(BadRequest, match="1001 parts"):
        engine.join(Request("POST"), [part] * 1001, metadata=Metadata(), concat="final;…")


def test_concatenation_never_answers_with_another_upload(tmp_path: Path) -> None:
    """A host that names a final as something else refuses it."""

    class Same(Hooks):
        def before_create(self, request: Request, upload: Any) -> Any:
            return upload.evolve(id="same") if upload.final else upload

    engine = Application(Options({"tmp_file_dir": str(tmp_path), "hooks": Same()}, environ={}), delivers=False).engine
    one, two = stored(engine, partial=True), stored(engine, partial=True)
    engine.join(Request("POST"), [one], metadata=Metadata(), concat="final;1")

    with pytest.raises(Refused, match="taken"):
        engine.join(Request("POST"), [two], metadata=Metadata(), concat="final;2")


def test_large_answer_is_not_kept(tmp_path: Path) -> None:
    """With pass_body the client gets the whole answer; the record keeps none that is large."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * (1 << 20)]

    webob = pytest.importorskip("webob")
    filter = TusFilter(app, tmp_file_dir=str(tmp_path), pass_body=True)
    own = {"Tus-Resumable": "1.0.0", "Upload-Length": "0"}
    created = webob.Request.blank("/upload", method="POST", headers=own).get_response(filter)

    assert created.status_int == 201
    assert all(file.stat().st_size < 1 << 17 for file in tmp_path.glob("*.info"))


def test_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """A file where the directory should be is an error that names the option."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OptionError, match="tmp_file_dir"):
        opened(tmp_path / "file" / "sub")
