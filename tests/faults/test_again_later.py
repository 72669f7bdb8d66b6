"""What ends a request that did nothing wrong, on a server that is well: 503 with Retry-After, in every protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, VERSION
from tests.faults.conftest import Client, everywhere

SIZE, SENT = 300_000, 100_000  # bytes: announced, and sent
CONTENT = bytes(SENT)
LENGTH = {"Content-Length": str(SIZE)}
TUS1, DRAFT = {"Tus-Resumable": VERSION}, {"Upload-Draft-Interop-Version": "8"}
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def hanging(tus: Client, method: str, path: str, headers: dict[str, str], body: bytes = CONTENT) -> wire.Wire:
    """A request whose body has begun."""
    connection = wire.Wire(tus.server.address)
    connection.send(wire.head(method, path, {"Host": "127.0.0.1", **headers}) + body)
    return connection


def tus1(tus: Client) -> wire.Wire:
    return hanging(tus, "PATCH", tus.create(SIZE), {**TUS1, **LENGTH, "Content-Type": BYTES, "Upload-Offset": "0"})


def draft(tus: Client) -> wire.Wire:
    kind = {"Content-Type": "application/partial-upload", "Upload-Offset": "0", "Upload-Complete": "?1"}
    return hanging(tus, "PATCH", tus.create(SIZE), {**DRAFT, **LENGTH, **kind})


def legacy(tus: Client) -> wire.Wire:
    return hanging(tus, "PATCH", tus.create(SIZE), {**LENGTH, "Content-Type": BYTES, "Offset": "0"})


def chunks(tus: Client) -> wire.Wire:
    query = f"flowChunkNumber=1&flowChunkSize={SIZE}&flowTotalSize={SIZE}&flowIdentifier=a&flowTotalChunks=1"
    return hanging(tus, "POST", f"{tus.path}/chunks?{query}&flowFilename=a", LENGTH)


def filepond(tus: Client) -> wire.Wire:
    kind = {"Content-Type": BYTES, "Upload-Offset": "0", "Upload-Length": str(SIZE), "Upload-Name": "a"}
    id = tus.create(SIZE).rpartition("/")[2]
    return hanging(tus, "PATCH", f"{tus.path}/filepond?patch={id}", {**LENGTH, **kind})


def form(tus: Client) -> wire.Wire:
    pytest.importorskip("multipart", reason="forms need the package multipart")
    return hanging(tus, "POST", f"{tus.path}/form", {**LENGTH, **BOUNDARY}, PART + CONTENT)


def page(tus: Client) -> wire.Wire:
    pytest.importorskip("multipart", reason="forms need the package multipart")
    return hanging(tus, "POST", f"{tus.path}/form", {**LENGTH, **BOUNDARY, "Accept": "text/html"}, PART + CONTENT)


Begun = Callable[[Client], wire.Wire]
EVERY = pytest.mark.parametrize("begun", [tus1, draft, legacy, chunks, filepond, form, page])
LEASED = pytest.mark.parametrize("begun", [tus1, draft, legacy, filepond])


def arrived(tus: Client) -> None:
    """The server has taken all that was sent."""
    live.until(lambda: any(SENT - 5000 < tus.shelf.received(name) <= SIZE for name in tus.files()))


@pytest.fixture
def old(collection: Callable[..., Client]) -> Iterator[Client]:
    """A client whose server speaks tus 0.2 as well."""
    yield collection(legacy=True)


@everywhere
@LEASED
def test_a_request_that_was_overtaken_is_told_to_come_again(old: Client, begun: Begun) -> None:
    """Its client's newer one goes on; a 500 would call that an error of the server's."""
    with begun(old) as connection:
        arrived(old)
        (id,) = [name.removesuffix(".info") for name in old.files() if name.endswith(".info")]

        newer = old.head(f"{old.path}/{id}")
        answer = connection.answer()

    assert newer.status == 200
    assert (answer.status, answer["Retry-After"]) == (503, "1"), answer


@everywhere
@EVERY
def test_a_cut_body_is_told_to_come_again(old: Client, begun: Begun) -> None:
    """By an answer that reaches those who only stopped sending."""
    with begun(old) as connection:
        connection.half_close()
        answer = connection.answer()

    assert (answer.status, answer["Retry-After"]) == (503, "1"), answer


@pytest.mark.slow
@EVERY
def test_a_server_that_stops_says_come_again(begun: Begun) -> None:
    """SIGTERM: whatever runs is answered, and what came is kept."""
    with live.start("ours", durable="none", legacy=True) as server:
        tus = Client(server, "")
        with begun(tus) as connection:
            arrived(tus)

            server.stop()
            answer = connection.answer()

    assert (answer.status, answer["Retry-After"]) == (503, "1"), answer
