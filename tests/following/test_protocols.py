"""A GET follows an upload in whatever words it comes: the IETF's protocol, numbered chunks, FilePond, a form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests import live
from tests.chunks.conftest import form
from tests.chunks.test_dialects import Library
from tests.conformance.client import BYTES, Client
from tests.draft.client import VERSIONS
from tests.draft.client import Client as DraftClient
from tests.following.test_live import CONTENT, HALF, Reader
from tests.servers import CALM
from tus.upload import is_random

Steps = Iterator[int]  # sends the beginning, and says how many bytes that is; and then the rest


@pytest.fixture
def tus(server: live.Live) -> Client:
    """A client for a fresh collection whose uploads can be read while they arrive, and are kept."""
    return Client(server, server.collection(**CALM | {"download": "live", "cleanup": False}))


class Browser:
    """A page of one visitor."""

    def __init__(self, tus: Client) -> None:
        self._tus, self.cookies = tus, list[str]()

    def __call__(self, method: str, path: str, body: bytes = b"", kind: str = "", **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        fields |= {"Content-Type": kind} if kind else {}
        fields |= {"Cookie": "; ".join(self.cookies)} if self.cookies else {}
        answer = self._tus.ask(method, self._tus.path + path, fields, body or None, version=None)
        self.cookies += [value.partition(";")[0] for name, value in answer.fields if name.lower() == "set-cookie"]
        assert answer.status < 400, answer
        return answer


def draft(version: int | None) -> Callable[[Client], Steps]:
    def steps(tus: Client) -> Steps:
        client = DraftClient(tus.server, tus.home.name, version)
        url = client.created(CONTENT[:HALF])
        yield HALF
        assert client.done(client.append(url, HALF, CONTENT[HALF:], complete=True))

    return steps


def chunks(library: Library) -> Callable[[Client], Steps]:
    def steps(tus: Client) -> Steps:
        page: Any = Browser(tus)
        first, *others = library.numbers(CONTENT)
        library.send(page, CONTENT, first)
        yield len(library.piece(CONTENT, first))
        for number in others:
            library.send(page, CONTENT, number)

    return steps


def filepond(tus: Client) -> Steps:
    page = Browser(tus)
    id = page("POST", "/filepond", *form({"filepond": "{}"}), Upload_Length=str(len(CONTENT))).body.decode()

    def patch(offset: int, data: bytes) -> None:
        sent = {"Upload_Offset": str(offset), "Upload_Length": str(len(CONTENT)), "Upload_Name": "film"}
        page("PATCH", f"/filepond?patch={id}", data, BYTES, **sent)

    patch(0, CONTENT[:HALF])
    yield HALF
    patch(HALF, CONTENT[HALF:])


def plain_form(tus: Client) -> Steps:
    body, kind = form({}, CONTENT, filename="film.bin")
    middle = body.index(CONTENT) + HALF
    fields = {"Content-Type": kind, "Content-Length": str(len(body))}
    with tus.open("POST", f"{tus.path}/form", fields, body[:middle], version=None) as connection:
        yield HALF - 1000  # what may be the beginning of the end is held back
        connection.send(body[middle:])
        assert connection.answer().status == 200


def url_of_all(tus: Client) -> str:
    """The address of the only upload, once it is there."""

    def ids() -> list[str]:
        return [
            id for id in (name.removesuffix(".info") for name in tus.files() if name.endswith(".info")) if is_random(id)
        ]

    (id,) = live.until(ids)
    return f"{tus.path}/{id}"


@pytest.mark.parametrize(
    "steps",
    [
        *(pytest.param(draft(version), id=f"draft-{version}") for version in VERSIONS),
        pytest.param(chunks(Library("flow", octets=True)), id="flow"),
        pytest.param(chunks(Library("dropzone", floor=False)), id="dropzone"),
        pytest.param(filepond, id="filepond"),
        pytest.param(plain_form, id="form", marks=pytest.mark.on_files("shows a request when it is over")),
    ],
)
def test_reader_follows_in_any_words(tus: Client, steps: Callable[[Client], Steps]) -> None:
    """It has the beginning before the rest is sent, and ends when the upload does."""
    sending = steps(tus)
    size = next(sending)

    with Reader(tus, url_of_all(tus)) as reader:
        first = bytes(reader.has(size))
        with suppress(StopIteration):
            next(sending)
        whole = reader.whole()

    assert reader.status == 200
    assert (CONTENT.startswith(first), len(first) >= size, whole == CONTENT) == (True, True, True)
