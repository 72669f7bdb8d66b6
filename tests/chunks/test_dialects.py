"""What flow.js, resumable.js, simple-uploader.js, Dropzone and plupload say, and what each of them must hear."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from tests.chunks.conftest import MakePage, Page, form
from tus import Hooks, Refused
from tus.protocols.chunks import DIALECTS

SIZE = 1000  # bytes of a chunk
DATA = bytes(range(256)) * 10  # 2560 bytes


@dataclass(frozen=True)
class Library:
    """How a library sends one file; numbers count from 0 here, whatever it counts from."""

    name: str
    octets: bool = False  # the body is the chunk, and the parameters are in the URL
    floor: bool = True  # the last chunk may be longer than the others

    @property
    def tests(self) -> bool:
        """Whether it asks for each chunk before it sends it."""
        return self.name in ("flow", "resumable", "simple-uploader")

    def many(self, data: bytes) -> int:
        return max(len(data) // SIZE, 1) if self.floor else max(-(-len(data) // SIZE), 1)

    def piece(self, data: bytes, number: int) -> bytes:
        return data[number * SIZE :] if number == self.many(data) - 1 else data[number * SIZE :][:SIZE]

    def words(self, data: bytes, number: int, *, name: str = "my photo.jpg") -> dict[str, Any]:
        many, size = self.many(data), len(self.piece(data, number))
        if self.name == "dropzone":
            return {
                "dzuuid": str(UUID(bytes=md5(name.encode()).digest(), version=4)),
                "dzchunkindex": number,
                "dztotalfilesize": len(data) + 7,  # the page made the image smaller
                "dzchunksize": SIZE,
                "dztotalchunkcount": many,
                "dzchunkbyteoffset": number * SIZE,
            }
        if self.name == "plupload":
            return {"name": name, "chunk": number, "chunks": many if data else 0}
        words = {
            "chunkNumber": number + 1,
            "chunkSize": SIZE,
            "currentChunkSize": size,
            "totalSize": len(data),
            "identifier": f"{len(data)}-{name}",
            "filename": name,
            "relativePath": f"holiday/{name}",
            "totalChunks": many,
        }
        if self.name == "simple-uploader":
            return words
        return {self.name + word[0].upper() + word[1:]: value for word, value in words.items()}

    def send(self, page: Page, data: bytes, number: int, *, piece: bytes | None = None, **more: Any) -> Any:
        if self.tests and not page.cookies:
            self.test(page, data, number)  # nothing is sent before this was answered
        words = {**self.words(data, number), **more}
        content = self.piece(data, number) if piece is None else piece
        if self.octets:
            return page("POST", f"/chunks?{urlencode(words)}", content, "application/octet-stream")
        query = f"?{urlencode(words)}" if self.name == "resumable" else ""
        return page("POST", f"/chunks{query}", *form(words, content))

    def test(self, page: Page, data: bytes, number: int) -> Any:
        return page("GET", f"/chunks?{urlencode(self.words(data, number))}")

    def numbers(self, data: bytes) -> list[int]:
        return list(range(self.many(data)))


FLOWS = (
    Library("flow"),
    Library("flow", octets=True),
    Library("flow", floor=False),
    Library("resumable"),
    Library("resumable", octets=True),
    Library("simple-uploader"),
)
SEQUENTIAL = (Library("plupload", floor=False), Library("plupload", octets=True, floor=False))
LIBRARIES = (*FLOWS, Library("dropzone", floor=False), *SEQUENTIAL)
ANY_ORDER = LIBRARIES[:-2]
every_library = pytest.mark.parametrize("library", LIBRARIES, ids=str)
every_flow = pytest.mark.parametrize("library", FLOWS, ids=str)
any_order = pytest.mark.parametrize("library", ANY_ORDER, ids=str)


def test_every_dialect_is_tested() -> None:
    """The table has no library that no test speaks like."""
    assert {dialect.name for dialect in DIALECTS} == {library.name for library in LIBRARIES}


@every_library
@pytest.mark.parametrize("size", [1, 999, 1000, 1999, 2560])
def test_file_of_any_size_arrives(page: Page, library: Library, size: int) -> None:
    """The application gets the file once, with its name, whatever the rule for the last chunk."""
    data = DATA[:size]

    answers = [library.send(page, data, number) for number in library.numbers(data)]

    assert {answer.status_int for answer in answers} == {200}
    assert json.loads(answers[-1].body)["state"] == "finished"
    assert page.handed == [data]


@every_library
def test_empty_file_arrives(page: Page, library: Library) -> None:
    """A file without a byte comes as one chunk without a byte."""
    answer = library.send(page, b"", 0)

    assert answer.status_int == 200
    assert page.handed == [b""]


@any_order
def test_chunks_come_in_any_order(page: Page, library: Library) -> None:
    """The last one first is as good as any."""
    for number in reversed(library.numbers(DATA)):
        assert library.send(page, DATA, number).status_int == 200

    assert page.handed == [DATA]


@every_library
def test_chunk_that_comes_again_is_harmless(page: Page, library: Library) -> None:
    """A chunk whose answer was lost is sent again, and changes nothing."""
    for number in library.numbers(DATA):
        assert library.send(page, DATA, number).status_int == 200
        again = number and library.send(page, DATA, number)
        assert not again or again.status_int == 200

    assert page.handed == [DATA]


@every_library
def test_chunk_that_is_there_takes_no_more_than_it_had(page: Page, library: Library) -> None:
    """Sending a stored chunk again is no way to send for ever."""
    library.send(page, DATA, 0)

    answer = library.send(page, DATA, 0, piece=b"x" * 5000)

    assert answer.status_int in (400, 413, 415)
    assert page.handed == []


@every_flow
def test_page_that_is_reloaded_finds_what_is_there(page: Page, library: Library) -> None:
    """200 for a chunk that is stored, 204 for another; 404 would end the upload."""
    library.send(page, DATA, 1)

    assert library.test(page, DATA, 1).status_int == 200
    assert library.test(page, DATA, 0).status_int == 204


@every_flow
def test_finished_file_is_not_taken_again(page: Page, library: Library) -> None:
    """After the end every GET and POST gives the remembered result, also after a restart."""
    page.options["pass_body"] = True
    page.__post_init__()
    page.body = b'{"photo": 7}'
    for number in library.numbers(DATA):
        library.send(page, DATA, number)
    page.__post_init__()

    answers = [library.test(page, DATA, 0), library.test(page, DATA, 1), library.send(page, DATA, 0)]

    assert [(answer.status_int, answer.body) for answer in answers] == [(200, page.body)] * 3
    assert len(page.handed) == 1


@any_order
@pytest.mark.parametrize("wrong", [-1, 1])
def test_chunk_of_another_size_is_not_counted(page: Page, library: Library, wrong: int) -> None:
    """Half a chunk, or more than one, is refused, and the same chunk can be sent again."""
    piece = library.piece(DATA, 0) + b"x"

    answer = library.send(page, DATA, 0, piece=piece[: SIZE + wrong])

    assert answer.status_int in (400, 413, 415)
    for number in library.numbers(DATA):
        library.send(page, DATA, number)
    assert page.handed == [DATA]


@every_flow
@pytest.mark.parametrize(
    "word, value",
    [
        ("ChunkNumber", 0),
        ("ChunkNumber", 4),
        ("ChunkNumber", "-1"),
        ("ChunkNumber", "٣"),
        ("ChunkNumber", "1_0"),
        ("TotalChunks", 4),
        ("TotalChunks", 0),
        ("TotalChunks", 10**17),
        ("ChunkSize", 0),
        ("ChunkSize", ""),
        ("TotalSize", 10**17),
        ("TotalSize", "1e3"),
        ("Identifier", ""),
        ("Identifier", "x" * 5000),
    ],
)
def test_words_that_make_no_sense_stop_the_client(page: Page, library: Library, word: str, value: Any) -> None:
    """Numbers are checked; flow.js and its cousins know 415 as the end, and would send again after most others."""
    prefix = "" if library.name == "simple-uploader" else library.name
    name = prefix + word if prefix else word[0].lower() + word[1:]

    answer = library.send(page, DATA, 0, **{name: value})

    assert answer.status_int == 415
    assert page.files() == set()


@pytest.mark.parametrize("size", [10**13, 10**17, 10**18 - 1, 10**18, 10**400])
@pytest.mark.parametrize("number", [1, 2**20 - 1])
def test_chunk_behind_the_end_of_any_file_is_refused(page: Page, size: int, number: int) -> None:
    """Dropzone says how large its chunks are, and no file, or no file on this disk, has a place so far behind."""
    library = Library("dropzone", floor=False)

    answer = library.send(page, DATA, 1, dzchunksize=size, dzchunkindex=number, dztotalchunkcount=2**20)

    assert answer.status_int in (400, 413, 507)
    assert page.handed == []


@every_library
def test_too_large_stops_the_client(make_page: MakePage, library: Library) -> None:
    """A file beyond the limit is refused at the code that makes this client give up."""
    page = make_page(max_size=1500)

    statuses = [library.send(page, DATA, number).status_int for number in library.numbers(DATA)]

    assert next(status for status in statuses if status != 200) == (415 if library in FLOWS else 413)
    assert page.handed == []


@every_library
def test_refusal_by_a_hook_stops_the_client(make_page: MakePage, library: Library) -> None:
    """What a hook refuses is refused before a byte is stored, with the hook's words."""

    class Strict(Hooks):
        def before_create(self, request: Any, upload: Any) -> None:
            raise Refused("not today", status=403)

    page = make_page(hooks=Strict())

    answer = library.send(page, DATA, 0)

    assert answer.status_int == (415 if library in FLOWS else 403)
    assert b"not today" in answer.body
    assert page.files() == set()


@every_library
def test_application_in_trouble_is_asked_again(page: Page, library: Library) -> None:
    """What it cannot take now stays, and is offered again with the last chunk."""
    page.status, page.body = "503 Busy", b"the reason"

    answers = [library.send(page, DATA, number) for number in library.numbers(DATA)]
    page.status = "200 OK"
    again = library.send(page, DATA, library.numbers(DATA)[-1])

    assert (answers[-1].status_int, answers[-1].body) == (503, b"the reason")
    assert again.status_int == 200
    assert page.handed == [DATA, DATA]


@every_library
def test_application_refuses_once_and_the_client_hears_it_each_time(page: Page, library: Library) -> None:
    """A file that the application does not want ends the upload at the code at which this client gives up."""
    page.status, page.body = "422 No", b"the reason"

    answers = [library.send(page, DATA, number) for number in library.numbers(DATA)]
    page.status = "200 OK"
    last = library.numbers(DATA)[-1]
    answers += [library.send(page, DATA, last), library.test(page, DATA, last)]

    stop = 415 if library in FLOWS else 422
    assert [(answer.status_int, answer.body) for answer in answers[-3:]] == [(stop, b"the reason")] * 3
    assert page.handed == [DATA]


def test_users_never_meet(make_page: MakePage) -> None:
    """The same name and size in two users' hands are two files."""

    class Users(Hooks):
        def user(self, request: Any) -> Any:
            return request.headers.get("x-user")

    page, library = make_page(hooks=Users()), FLOWS[0]
    library.test(page, DATA, 0)
    ours, theirs = DATA, DATA[::-1]
    for number in library.numbers(DATA):
        for user, data in (("ann", ours), ("bob", theirs)):
            body, kind = form(library.words(data, number), library.piece(data, number))
            assert page("POST", "/chunks", body, kind, X_User=user).status_int == 200

    assert page.handed == [ours, theirs]
    assert [upload.owner for upload in page.uploads] == ["ann", "bob"]


def test_sessions_never_meet(make_page: MakePage) -> None:
    """A host without users tells sessions apart by the hook `namespace`."""

    class Sessions(Hooks):
        def namespace(self, request: Any) -> Any:
            return request.headers.get("x-session")

    page, library = make_page(hooks=Sessions()), FLOWS[0]
    body, kind = form(library.words(DATA, 1), library.piece(DATA, 1))
    page("POST", "/chunks", body, kind, X_Session="1")

    path = f"/chunks?{urlencode(library.words(DATA, 1))}"
    assert page("GET", path, X_Session="1").status_int == 200
    assert page("GET", path, X_Session="2").status_int == 204


def test_id_cannot_be_worked_out(make_page: MakePage, tmp_path: Path) -> None:
    """Two installations give the same words two ids: who knows a file's name and size does not know its URL."""
    library, page = FLOWS[0], make_page()
    one = json.loads(library.send(page, DATA, 0).body)["id"]
    page.directory = tmp_path / "other"
    page.__post_init__()

    other = json.loads(library.send(page, DATA, 0).body)["id"]

    assert one != other


def test_hook_sees_and_replaces_each_chunk(make_page: MakePage) -> None:
    """A callback gets every chunk before it is stored, with its number, and may change it."""
    seen = []

    class Upper(Hooks):
        def chunk(self, upload: Any, number: int, data: bytes) -> bytes | None:
            seen.append(number)
            return data.upper() if number else None

    page, library, data = make_page(hooks=Upper()), FLOWS[0], b"a" * 2500

    for number in library.numbers(data):
        library.send(page, data, number)

    assert page.handed == [b"a" * 1000 + b"A" * 1500]
    assert seen == [0, 1]


def test_hook_cannot_change_a_size(make_page: MakePage) -> None:
    """Every chunk has its place, so a hook that makes it longer is an error of the host, and nothing is stored."""

    class Longer(Hooks):
        def chunk(self, upload: Any, number: int, data: bytes) -> bytes:
            return data + b"x"

    page, library = make_page(hooks=Longer()), FLOWS[0]

    assert library.send(page, DATA, 0).status_int == 500
    assert library.test(page, DATA, 0).status_int == 204


def test_fields_of_the_page_become_metadata(page: Page) -> None:
    """What a page adds to the library's own parameters is kept with the upload."""
    library = FLOWS[0]
    for number in library.numbers(DATA):
        library.send(page, DATA, number, album="Größe")

    metadata = page.uploads[0].metadata

    assert metadata.text("album") == "Größe"
    assert metadata.filename == "my photo.jpg"
    assert metadata.text("relativePath") == "holiday/my photo.jpg"
    assert not [name for name in metadata if name.startswith("flow")]


def test_form_without_chunk_parameters_is_a_whole_file(page: Page) -> None:
    """Dropzone sends small files so, plupload without chunk_size, and Uppy all: the answer is JSON with a URL."""
    answer = page("POST", "/chunks", *form({"album": "1"}, DATA, filename="small.png"))

    assert answer.status_int == 200
    assert "/upload/" in json.loads(answer.body)["url"]
    assert page.handed == [DATA]
    assert page.uploads[0].metadata.filename == "small.png"


def test_resumable_sends_base64(page: Page) -> None:
    """With chunkFormat base64 the file is a field that holds a data URL."""
    library, data = Library("resumable"), DATA[:2000]
    library.test(page, data, 0)
    for number in library.numbers(data):
        text = base64.b64encode(library.piece(data, number)).decode()
        words = {**library.words(data, number), "file": f"data:image/png;base64,{text}"}
        assert page("POST", "/chunks", *form(words)).status_int == 200

    assert page.handed == [data]


def test_simple_uploader_asks_once(page: Page) -> None:
    """With `uploaded` in the target's query, one GET lists every chunk that is there."""
    library = Library("simple-uploader")
    library.send(page, DATA, 1)

    answer = page("GET", f"/chunks?uploaded=1&{urlencode(library.words(DATA, 0))}")

    assert answer.status_int == 200
    assert json.loads(answer.body)["uploaded"] == [2]


def test_flow_tests_by_head(page: Page) -> None:
    """Browsers drop the parameters of flow.js's HEAD: the chunk has to be sent."""
    assert page("HEAD", "/chunks").status_int == 204


def test_plupload_skips_a_chunk(page: Page) -> None:
    """After stop and start it goes on behind a chunk that never arrived; the gap is told, not filled with zeros."""
    library = SEQUENTIAL[0]
    library.send(page, DATA, 0)

    answer = library.send(page, DATA, 2)

    assert answer.status_int == 409
    assert b"chunk 1" in answer.body
    assert page.handed == []


def test_plupload_sends_another_file_by_the_same_name(page: Page) -> None:
    """Telephones call every photo image.jpg; chunk 0 begins a new file, finished or not."""
    library, other = SEQUENTIAL[0], DATA[::-1]
    for data in (DATA, other):
        for number in library.numbers(data):
            library.send(page, data, number)
    library.send(page, DATA, 0)
    library.send(page, DATA, 1)

    for number in library.numbers(other):
        assert library.send(page, other, number).status_int == 200

    assert page.handed == [DATA, other, other]


def test_upload_in_chunks_is_nobody_elses(page: Page) -> None:
    """A tus client that learned the id can look and remove, and not write."""
    library = FLOWS[0]
    id = json.loads(library.send(page, DATA, 1).body)["id"]
    tus = {"Tus_Resumable": "1.0.0"}

    head = page("HEAD", f"/{id}", **tus)
    patch = page("PATCH", f"/{id}", b"x", "application/offset+octet-stream", Upload_Offset="1560", **tus)
    delete = page("DELETE", f"/{id}", **tus)

    assert (head.status_int, head.headers["Upload-Offset"]) == (200, "1560")
    assert patch.status_int == 403
    assert delete.status_int == 204
    assert {name for name in page.files() if id in name} == set()


@pytest.mark.parametrize("handed", ["taken", "kept"])
def test_same_file_again_another_day(make_page: MakePage, handed: str, monkeypatch: Any) -> None:
    """A file that was handed over is forgotten after an hour; one that is kept here is here."""
    page, library = make_page(cleanup=handed == "taken"), FLOWS[0]
    for number in library.numbers(DATA):
        library.send(page, DATA, number)
    now = page.filter.engine.now()
    monkeypatch.setattr(page.filter.engine, "now", lambda: now + 4000)

    for number in library.numbers(DATA):
        assert library.send(page, DATA, number).status_int == 200

    assert page.handed == [DATA] * (2 if handed == "taken" else 1)


def test_uploaders_can_be_switched_off(make_page: MakePage) -> None:
    """What the option does not name is the application's, as everything that is no upload."""
    page = make_page(uploaders="form")

    assert page("GET", f"/chunks?{urlencode(FLOWS[0].words(DATA, 0))}").status_int != 204
    assert page("POST", "/chunks", *form({"album": "1"}, DATA)).status_int == 412
    assert page("POST", "/form", *form({"album": "1"}, DATA)).status_int == 200


def test_page_that_asks_finishes_what_a_crash_left(make_page: MakePage) -> None:
    """Every chunk is there, and nobody finished the file: a page that hears 200 for all of them sends nothing more."""

    class Moody(Hooks):
        refuses = True

        def before_finish(self, upload: Any, file: Any) -> None:
            if self.refuses:
                raise Refused("not now", status=503)

    hooks, library = Moody(), FLOWS[0]
    page = make_page(hooks=hooks)
    answers = [library.send(page, DATA, number).status_int for number in library.numbers(DATA)]
    assert (answers, page.handed) == ([200, 503], [])

    hooks.refuses = False
    answer = library.test(page, DATA, 0)

    assert (answer.status_int, page.handed) == (200, [DATA])


def test_host_looks_at_the_whole_file(make_page: MakePage) -> None:
    """However many chunks it came in, and wherever they are kept until it is finished."""

    class Looking(Hooks):
        seen = b""

        def before_finish(self, upload: Any, file: Any) -> None:
            self.seen = file.read()

    hooks, library = Looking(), FLOWS[0]
    page = make_page(hooks=hooks)

    for number in library.numbers(DATA):
        library.send(page, DATA, number)

    assert (hooks.seen, page.handed) == (DATA, [DATA])


def test_both_rules_at_once_are_refused(page: Page) -> None:
    """A file that began as two chunks does not become three."""
    Library("flow").send(page, DATA, 0)

    assert Library("flow", floor=False).send(page, DATA, 1).status_int == 400


def test_upload_is_hidden_from_other_owners(make_page: MakePage) -> None:
    """Also where the host lets names of all users meet."""

    class Users(Hooks):
        def user(self, request: Any) -> Any:
            return request.headers.get("x-user")

        def namespace(self, request: Any) -> Any:
            return "everybody"

    page, library = make_page(hooks=Users()), FLOWS[0]
    body, kind = form(library.words(DATA, 0), library.piece(DATA, 0))
    page("POST", "/chunks", body, kind, X_User="ann")

    path = f"/chunks?{urlencode(library.words(DATA, 0))}"
    assert page("GET", path, X_User="ann").status_int == 200
    assert page("GET", path, X_User="bob").status_int == 204
    assert page("POST", "/chunks", body, kind, X_User="bob").status_int == 415


@every_library
def test_durable_chunks(make_page: MakePage, library: Library) -> None:
    """A hook hears of each chunk that counts, however often the disk is waited for."""
    seen = []

    class Watching(Hooks):
        def progressed(self, upload: Any) -> None:
            seen.append(upload.offset)

    page = make_page(hooks=Watching(), durable="always")

    for number in library.numbers(DATA):
        library.send(page, DATA, number)

    assert page.handed == [DATA]
    assert seen == [sum(len(library.piece(DATA, n)) for n in range(end + 1)) for end in library.numbers(DATA)]


def test_place_above_the_limit(make_page: MakePage) -> None:
    """Where only the last chunk tells how long a file is, each one is measured by where it begins."""
    page, library = make_page(max_size=2500), Library("dropzone", floor=False)

    assert library.send(page, DATA, 2).status_int == 413
    assert library.send(page, DATA, 0).status_int == 200
