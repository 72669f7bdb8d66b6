"""The README and the pages that follow it say what is true: their examples run, and the table of options is the code's.

An example is taken from its page as it stands; nothing but the directory is put in its place.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import documents
from tests.test_types import complaints
from tus import Metadata, TusFilter

ROOT = documents.ROOT
PAGES = [documents.page(name) for name in ("README", "ways", "application", "hooks")]
CREATION = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}


def examples(language: str) -> list[str]:
    """The code blocks in that language, page by page."""
    return [block.code for page in PAGES for block in documents.blocks(page, language)]


def example(word: str, *, language: str = "python") -> str:
    """The first example in which the word occurs."""
    return next(block for block in examples(language) if word in block)


def host(environ: Any, start_response: Any) -> list[bytes]:
    """An application that has nothing to do with uploads."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"host"]


def run(code: str, directory: Path) -> dict[str, Any]:
    """The names that the example leaves behind."""
    namespace: dict[str, Any] = {}
    exec(code.replace("/var/uploads", str(directory)), namespace)
    return namespace


def create(app: Any, **headers: str) -> Any:
    """The answer to the creation of an upload."""
    webob = pytest.importorskip("webob")
    return webob.Request.blank("/upload", method="POST", headers={**CREATION, **headers}).get_response(app)


def test_filter_example_takes_uploads(tmp_path: Path) -> None:
    """The three lines for the filter are all that is needed."""
    app = run(example("import TusFilter"), tmp_path)["app"]

    assert create(app).status_int == 201


@pytest.mark.parametrize("name", ["naïve фильм.mkv", "../../etc/passwd", ".mkv", "", "/", "x" * 300 + ".mkv", "\0\n"])
def test_application_example_keeps_the_visitors_name(tmp_path: Path, name: str) -> None:
    """Two visitors have the same name for a film; both are kept under it, where the application wants them."""
    films = tmp_path / "films"
    films.mkdir()
    code = example("def app(").replace("/srv/films", str(films))
    app = TusFilter(run(code, tmp_path)["app"], tmp_file_dir=str(tmp_path / "uploads"))
    said = {"Upload-Length": "0", "Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}".strip()}

    answers = [create(app, **said) for _ in range(2)]

    assert [answer.status_int for answer in answers] == [201, 201]
    kept = [path.name for path in films.iterdir()]
    assert len(kept) == 2
    safe = Metadata(said["Upload-Metadata"]).filename
    assert {path.partition("-")[2] for path in kept} == {safe}
    assert safe == name or name != "naïve фильм.mkv"


def test_name_of_the_file_is_text(tmp_path: Path) -> None:
    """The record has it as it is; the header has its bytes as WSGI shows them, in Pyramid as everywhere."""
    webob = pytest.importorskip("webob")
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        request = webob.Request(environ)
        seen.append((request.environ["tus.upload"].metadata.filename, request.headers["FILENAME"]))
        start_response("204 No Content", [])
        return [b""]

    said = f"filename {base64.b64encode('naïve.txt'.encode()).decode()}"
    create(TusFilter(app, tmp_file_dir=str(tmp_path)), **{"Upload-Length": "0", "Upload-Metadata": said})

    ((name, header),) = seen
    assert name == header.encode("latin-1").decode() == "naïve.txt"


def test_filter_example_leaves_the_rest_alone(tmp_path: Path) -> None:
    """Whatever is not below upload_path reaches the application."""
    webob = pytest.importorskip("webob")
    app = run(example("import TusFilter"), tmp_path)["app"]

    assert webob.Request.blank("/").get_response(app).text.startswith("Hello world!")


def test_paste_example_is_a_filter(tmp_path: Path) -> None:
    """The section for the ini can be loaded as it stands."""
    deploy = pytest.importorskip("paste.deploy")
    ini = tmp_path / "site.ini"
    ini.write_text(example("[filter:tus]", language="ini").replace("/var/uploads", str(tmp_path / "uploads")))

    app = deploy.loadfilter(f"config:{ini}", name="tus")(host)

    assert create(app).status_int == 201


def test_view_example_takes_uploads(tmp_path: Path) -> None:
    """The view for Pyramid answers a WebOb request."""
    webob = pytest.importorskip("webob")
    view = run(example("WebobAdapter"), tmp_path)["upload"]

    answer = view(webob.Request.blank("/upload", method="POST", headers=CREATION))

    assert answer.status_int == 201


def test_hooks_example_refuses(tmp_path: Path) -> None:
    """Nobody is logged in, so nothing is created."""
    app = run(example("class Films"), tmp_path)["app"]

    assert create(app).status_int == 401
    assert not list(tmp_path.glob("*.info"))


@pytest.mark.slow
def test_examples_have_right_types(tmp_path: Path) -> None:
    """mypy --strict has nothing to say of any program, as it stands."""
    pytest.importorskip("mypy", reason="mypy is not installed")

    said = [complaints(program, tmp_path) for program in examples("python")]

    assert len(said) >= 5
    assert [line for lines in said for line in lines.splitlines() if "error" in line] == []


def test_table_of_options_is_current() -> None:
    """`make readme` would change nothing, neither here nor in the keywords for type checkers."""
    script = [sys.executable, str(ROOT / "scripts" / "readme"), "--check"]

    done = subprocess.run(script, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
