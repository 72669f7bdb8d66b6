"""FilePond 4, with and without chunks, word for word as its source has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chunks.conftest import MakePage, Page, form
from tus import Hooks

DATA = bytes(range(250)) * 16  # 4000 bytes
CHUNK = 1000
BYTES = "application/offset+octet-stream"


@pytest.fixture
def page(make_page: MakePage) -> Page:
    """Finished files stay, as FilePond shows them again."""
    return make_page(cleanup=False)


def begin(page: Page, size: int, **metadata: Any) -> str:
    """The id of a new upload in chunks."""
    body, kind = form({"filepond": json.dumps(metadata)})
    answer = page("POST", "/filepond", body, kind, Upload_Length=str(size))
    assert (answer.status_int, answer.content_type) == (200, "text/plain")
    return str(answer.text)


def patch(page: Page, id: str, offset: int, data: bytes, *, size: int = len(DATA), name: str = "größe.bin") -> Any:
    wire = name.encode().decode("latin-1")
    sent = {"Upload_Offset": str(offset), "Upload_Length": str(size), "Upload_Name": wire}
    return page("PATCH", f"/filepond?patch={id}", data, BYTES, **sent)


def offset(page: Page, id: str) -> int:
    answer = page("HEAD", f"/filepond?patch={id}")
    assert answer.status_int == 200
    return int(answer.headers["Upload-Offset"])


def test_file_in_chunks(page: Page) -> None:
    """POST, PATCHes, and the empty one with which FilePond ends a file that is an exact multiple."""
    id = begin(page, len(DATA), album=7)

    for at in range(0, len(DATA) + 1, CHUNK):
        assert patch(page, id, at, DATA[at : at + CHUNK]).status_int == 200

    assert page.handed == [DATA]
    assert page.uploads[0].metadata.filename == "größe.bin"
    assert page.uploads[0].metadata.text("album") == "7"


def test_chunk_that_comes_again(page: Page) -> None:
    """An answer was lost: the same chunk at its old offset is accepted, and changes nothing."""
    id = begin(page, len(DATA))
    patch(page, id, 0, DATA[:CHUNK])
    patch(page, id, CHUNK, DATA[CHUNK : 2 * CHUNK])

    answers = [patch(page, id, at, DATA[at : at + CHUNK]) for at in (0, CHUNK)]

    assert [answer.status_int for answer in answers] == [200, 200]
    assert offset(page, id) == 2 * CHUNK


def test_gap_is_refused(page: Page) -> None:
    """A chunk that lies behind the end would leave a hole."""
    id = begin(page, len(DATA))

    answer = patch(page, id, CHUNK, DATA[CHUNK : 2 * CHUNK])

    assert answer.status_int == 409
    assert offset(page, id) == 0


def test_empty_file(page: Page) -> None:
    """With chunkForce a file without a byte is one empty PATCH."""
    id = begin(page, 0)

    assert patch(page, id, 0, b"", size=0).status_int == 200
    assert page.handed == [b""]


def test_whole_file_in_a_form(page: Page) -> None:
    """Without chunks the field comes twice: JSON first, and then the file."""
    body, kind = form({"filepond": '{"album": "x"}'}, DATA, name="filepond", filename="a.bin")

    answer = page("POST", "/filepond", body, kind)

    assert answer.status_int == 200
    assert page.handed == [DATA]
    assert answer.text == page.uploads[0].id
    assert dict(page.uploads[0].metadata)["album"] == b"x"


def test_revert(page: Page) -> None:
    """The user takes the file back: DELETE with the id as the body."""
    id = begin(page, len(DATA))

    assert page("DELETE", "/filepond", id.encode(), "text/plain").status_int == 200
    assert page("HEAD", f"/filepond?patch={id}").status_int == 404
    assert {name for name in page.files() if name.startswith(id)} == set()


@pytest.mark.parametrize("word", ["restore", "load"])
def test_finished_file_is_shown_again(page: Page, word: str) -> None:
    """With its name, and as nothing that a browser would run."""
    body, kind = form({"filepond": "{}"}, DATA, name="filepond", filename="evil.html")
    id = page("POST", "/filepond", body, kind).text

    answer = page("GET", f"/filepond?{word}={id}")

    assert answer.body == DATA
    assert answer.headers["Content-Disposition"] == 'attachment; filename="evil.html"'
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/filepond?restore={}", "/filepond?load={}", "/{}"], ids=["restore", "load", "tus"])
def test_file_that_the_application_has_not_taken_is_not_shown(make_page: MakePage, path: str) -> None:
    """While it decides, and after it refused, there is no file here for anybody, whatever the protocol."""

    class Deciding(Hooks):
        def created(self, upload: Any) -> None:
            ids.append(upload.id)

        def finished(self, upload: Any) -> None:
            seen.append(page("GET", path.format(upload.id)).status_int)

    ids: list[str] = []
    seen: list[int] = []
    page = make_page(hooks=Deciding(), cleanup=False)
    page.status = "422 No"

    refused = page("POST", "/filepond", *form({"filepond": "{}"}, DATA, name="filepond", filename="a.txt"))
    later = page("GET", path.format(ids[0])).status_int

    assert refused.status_int == 422
    assert (seen, later) == ([404], 404)


def test_downloads_that_are_switched_off_are_so_for_filepond(make_page: MakePage) -> None:
    """The option `download` holds for every protocol."""
    page = make_page(cleanup=False, download=False)
    id = page("POST", "/filepond", *form({"filepond": "{}"}, DATA, name="filepond", filename="a.txt")).text

    assert page("GET", f"/filepond?load={id}").status_int == 404


@pytest.mark.parametrize("word", ['{"\\ud800": "x"}', '{"x": "\\udfff"}', '{"filename": "\\ud800"}', '{"\\u0000": 1}'])
def test_json_that_is_no_text_is_delivered_all_the_same(make_page: MakePage, word: str) -> None:
    """Only JSON can say half a character; the application gets the file with whatever is left of it."""
    page = make_page(hand_over="form", cleanup=False)
    page.filter._hand_over._app = lambda environ, start: (start("200 OK", []), [environ["wsgi.input"].read()])[1]

    id = page("POST", "/filepond", *form({"filepond": word}, DATA, name="filepond", filename="a.txt")).text

    assert page("HEAD", f"/{id}", Tus_Resumable="1.0.0").headers["Upload-Offset"] == str(len(DATA))


def test_unfinished_file_is_not_shown(page: Page) -> None:
    """Half a file is no file."""
    id = begin(page, len(DATA))
    patch(page, id, 0, DATA[:CHUNK])

    assert page("GET", f"/filepond?restore={id}").status_int == 404


def test_nothing_is_fetched(page: Page) -> None:
    """`fetch` would let anybody make this server call any other one."""
    assert page("GET", "/filepond?fetch=http://169.254.169.254/").status_int == 403


def test_strange_ids_are_unknown(page: Page) -> None:
    """No path comes out of an id."""
    for id in ("..%2F..%2Fetc%2Fpasswd", "", "%00", "a" * 200):
        assert page("HEAD", f"/filepond?patch={id}").status_int == 404
        assert page("GET", f"/filepond?load={id}").status_int == 404
    assert page("DELETE", "/filepond", b"../../etc/passwd").status_int == 404


def test_upload_belongs_to_its_user(make_page: MakePage) -> None:
    """Somebody else can neither go on with it, nor see it, nor take it back."""

    class Users(Hooks):
        def user(self, request: Any) -> Any:
            return request.headers.get("x-user")

    page = make_page(hooks=Users())
    body, kind = form({"filepond": "{}"})
    id = page("POST", "/filepond", body, kind, Upload_Length="5", X_User="ann").text

    assert page("HEAD", f"/filepond?patch={id}", X_User="bob").status_int == 404
    assert page("DELETE", "/filepond", id.encode(), X_User="bob").status_int == 404
    assert page("HEAD", f"/filepond?patch={id}", X_User="ann").status_int == 200


def test_load_gives_no_script(page: Page) -> None:
    """A page that allows its own host's scripts cannot run what FilePond loads."""
    body, kind = form({"filepond": json.dumps({"type": "text/javascript"})}, DATA)
    id = page("POST", "/filepond", body, kind).text

    answer = page("GET", f"/filepond?load={id}")

    assert (answer.status_int, answer.body) == (200, DATA)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
