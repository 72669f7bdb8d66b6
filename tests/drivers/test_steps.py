"""A conversation belongs to no thread: each of its steps may run in another one than the step before."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests import engines
from tests.chunks.conftest import form
from tus.engine import Engine
from tus.errors import Interrupted
from tus.http.messages import Request, Response
from tus.talk import Filling, Talk
from tus.upload import Result

DATA = bytes(range(256)) * 12
HALF = len(DATA) // 2
ID = re.compile(r"(?!0{20})[0-9a-f]{32}")
BYTES = "application/offset+octet-stream"
TUS = {"tus-resumable": "1.0.0"}
Run = Callable[[Callable[[], Any]], Any]
Ask = Callable[..., Response]


def here(step: Callable[[], Any]) -> Any:
    return step()


def elsewhere(step: Callable[[], Any]) -> Any:
    """Run it in a thread that does nothing else."""
    outcome: list[Any] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(step())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return outcome[0]


class Driver:
    """Has a conversation for each request, and runs each step with `run`."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self.engine, self.run = engine, run
        self.cookie = ""

    def ask(
        self,
        method: str,
        id: str = "",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        query: str = "",
        chunked: bool = False,
        cut: BaseException | None = None,
        trailers: dict[str, str] | None = None,
    ) -> Response:
        """The answer to one request, whose body comes in blocks of 700 bytes."""
        sent = {**(headers or {}), **({"cookie": self.cookie} if self.cookie else {})}
        length = None if chunked else len(body) + (1 if cut else 0)
        more = {"trailers": lambda: trailers} if trailers else {}
        request = Request(method, id, sent, length=length, chunked=chunked, query=query, **more)
        talk = self.run(lambda: Talk(request, self.engine))
        sink = self.run(talk.begin)
        if sink is not None:
            self.fill(talk, sink, body, cut, length)
        self.run(talk.deliver)
        if talk.delivery:
            self.run(lambda: talk.delivery.accept(Result(204), drop=False))
        return self.heard(talk.answer)

    def fill(self, talk: Talk, sink: Any, body: bytes, cut: BaseException | None, length: int | None) -> None:
        filling = Filling(length)
        filling.into(sink)
        blocks = [body[at : at + 700] for at in range(0, len(body), 700)] + ([b""] if length is None else [])
        for block in blocks:
            try:
                self.run(lambda block=block: filling.feed(block) if block else filling.take(block))
            except Exception as error:
                self.run(lambda error=error: talk.fail(error))
                return
        self.run(lambda: talk.end(cut))

    def heard(self, answer: Response) -> Response:
        for name, value in (*answer.headers.items(), *answer.extra):
            if name == "Set-Cookie":
                self.cookie = value.partition(";")[0]
        return answer


def made(answer: Response) -> str:
    return answer.headers["Location"].rpartition("/")[2]


def tus(ask: Ask) -> list[Response]:
    """Creation, two halves, a wrong checksum, the offset, an upload in one request, one of unknown length, a cut."""
    sha1 = "sha1 " + base64.b64encode(hashlib.sha1(DATA[HALF:]).digest()).decode()
    wrong = "sha1 " + base64.b64encode(hashlib.sha1(b"else").digest()).decode()
    patch = {**TUS, "content-type": BYTES}
    answers = [ask("POST", "", {**TUS, "upload-length": str(len(DATA))})]
    id = made(answers[0])
    answers += [
        ask("PATCH", id, {**patch, "upload-offset": "0"}, DATA[:HALF]),
        ask("PATCH", id, {**patch, "upload-offset": str(HALF), "upload-checksum": wrong}, DATA[HALF:]),
        ask("HEAD", id, TUS),
        ask("PATCH", id, {**patch, "upload-offset": str(HALF), "upload-checksum": sha1}, DATA[HALF:]),
        ask("HEAD", id, TUS),
        ask("POST", "", {**patch, "upload-length": str(len(DATA))}, DATA),
        ask("POST", "", {**patch, "upload-length": "5"}, DATA),
        ask("POST", "", {**patch, "upload-defer-length": "1"}, DATA[:HALF], chunked=True),
    ]
    id = made(answers[-1])
    more = {"upload-offset": str(HALF), "upload-length": str(len(DATA))}
    return [
        *answers,
        ask("PATCH", id, {**patch, **more}, DATA[HALF:-9], cut=ConnectionResetError("gone")),
        ask("HEAD", id, TUS),
        ask("PATCH", id, {**patch, "upload-offset": str(len(DATA) - 9)}, DATA[-9:] + b"more", chunked=True),
        ask("DELETE", id, TUS),
    ]


def concatenation(ask: Ask) -> list[Response]:
    """Two parts and the whole; and a checksum that comes behind the body."""
    patch = {**TUS, "content-type": BYTES, "upload-concat": "partial"}
    sha1 = "sha1 " + base64.b64encode(hashlib.sha1(DATA).digest()).decode()
    first = ask("POST", "", {**patch, "upload-length": str(len(DATA))}, DATA)
    trailing = {**patch, "upload-length": str(len(DATA)), "trailer": "Upload-Checksum"}
    second = ask("POST", "", trailing, DATA, chunked=True, trailers={"upload-checksum": sha1})
    whole = ask("POST", "", {**TUS, "upload-concat": f"final;{made(first)} {made(second)}"})
    return [first, second, whole, ask("HEAD", made(whole), TUS)]


def draft(ask: Ask) -> list[Response]:
    """A creation that is cut, its offset, and the rest; and one without a length."""
    version = {"upload-draft-interop-version": "8"}
    part = {**version, "content-type": "application/partial-upload"}
    begun = ask("POST", "", {**version, "upload-complete": "?0", "upload-length": str(len(DATA))}, DATA[:HALF])
    id = made(begun)
    return [
        begun,
        ask("PATCH", id, {**part, "upload-complete": "?0", "upload-offset": str(HALF)}, DATA[HALF : HALF + 9]),
        ask("HEAD", id, version),
        ask("PATCH", id, {**part, "upload-complete": "?1", "upload-offset": str(HALF + 9)}, DATA[HALF + 9 :]),
        ask("POST", "", {**version, "upload-complete": "?1"}, DATA, chunked=True),
    ]


def chunks(ask: Ask) -> list[Response]:
    """flow.js: two chunks, the second one first, as forms and as plain bodies."""
    answers = []
    for name, octets in (("a", True), ("b", False)):
        words = {
            "flowChunkSize": HALF,
            "flowTotalSize": len(DATA),
            "flowTotalChunks": 2,
            "flowIdentifier": name,
            "flowFilename": name,
        }
        for number in (2, 1):
            said = {**words, "flowChunkNumber": number, "flowCurrentChunkSize": HALF}
            piece = DATA[HALF * (number - 1) : HALF * number]
            answers.append(ask("GET", "chunks", query=urlencode(said)))
            body, kind = (piece, "application/octet-stream") if octets else form(said, piece)
            query = urlencode(said) if octets else ""
            answers.append(ask("POST", "chunks", {"content-type": kind}, body, query=query))
    return answers


def filepond(ask: Ask) -> list[Response]:
    """A file in two chunks, its offset in between, and one in a form."""
    body, kind = form({"filepond": "{}"})
    begun = ask("POST", "filepond", {"content-type": kind, "upload-length": str(len(DATA))}, body)
    query = f"patch={bytes(begun.body).decode()}"
    sent = {"content-type": BYTES, "upload-length": str(len(DATA)), "upload-name": "a.bin"}
    whole, kind = form({"filepond": "{}"}, DATA, name="filepond", filename="b.bin")
    return [
        begun,
        ask("PATCH", "filepond", {**sent, "upload-offset": "0"}, DATA[:HALF], query=query),
        ask("HEAD", "filepond", query=query),
        ask("PATCH", "filepond", {**sent, "upload-offset": str(HALF)}, DATA[HALF:], query=query),
        ask("POST", "filepond", {"content-type": kind}, whole),
    ]


def plain_form(ask: Ask) -> list[Response]:
    """A form with a file, and one that is cut."""
    body, kind = form({"album": "7"}, DATA, filename="a.png")
    return [
        ask("POST", "form", {"content-type": kind}, body),
        ask("POST", "form", {"content-type": kind}, body[:HALF], cut=ConnectionResetError("gone")),
    ]


def legacy(ask: Ask) -> list[Response]:
    """tus 0.2: creation and two halves."""
    begun = ask("POST", "", {"final-length": str(len(DATA))})
    patch = {"content-type": BYTES}
    return [
        begun,
        ask("PATCH", made(begun), {**patch, "offset": "0"}, DATA[:HALF]),
        ask("HEAD", made(begun)),
        ask("PATCH", made(begun), {**patch, "offset": str(HALF)}, DATA[HALF:]),
    ]


PROTOCOLS = {play.__name__: play for play in (tus, concatenation, draft, chunks, filepond, plain_form, legacy)}


def engine(kind: str, directory: Path) -> Engine:
    """One whose answers are the same each time."""
    directory.mkdir()
    numbers = itertools.count(1)
    return engines.build(
        directory,
        kind=kind,
        clock=engines.Clock(),
        name=lambda: f"{next(numbers):032x}",
        legacy=True,
        upload_valid_duration="none",
        cleanup=False,
    )


def outcome(engine: Engine, answers: list[Response]) -> list[Any]:
    """What the clients heard, and what is stored then; without the ids that are different each time."""
    heard = [(answer.status, {**answer.headers, "Set-Cookie": ""}, answer.body) for answer in answers]
    uploads = [engine.store.load(id) for id in engine.store.ids()]
    kept = sorted((upload.offset, upload.complete, engines.content(engine, upload)) for upload in uploads)
    return [ID.sub("", repr(told)) for told in (*heard, *kept)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", engines.KINDS)
def test_each_step_may_run_in_another_thread(kind: str, protocol: str, tmp_path: Path) -> None:
    """Clients hear the same, and the same is stored, as if one thread had done it all."""
    together, apart = engine(kind, tmp_path / "together"), engine(kind, tmp_path / "apart")
    play = PROTOCOLS[protocol]

    expected = outcome(together, play(Driver(together, here).ask))
    found = outcome(apart, play(Driver(apart, elsewhere).ask))

    assert found == expected
    assert any(told.startswith(("(200,", "(201,", "(204,")) for told in expected)


@pytest.mark.parametrize("kind", engines.KINDS)
def test_nothing_is_held_while_a_conversation_waits(kind: str, tmp_path: Path) -> None:
    """In the middle of a body another thread takes the upload over at once; the one that waited is told, and ends."""
    engine_ = engine(kind, tmp_path / "uploads")
    id = engines.create(engine_, len(DATA)).id
    lost = threading.Event()
    patch = {**TUS, "content-type": BYTES, "upload-offset": "0"}
    waiting = Talk(Request("PATCH", id, patch, length=len(DATA)), engine_)
    sink = elsewhere(waiting.begin)
    sink.lease.on_lost(lost.set)
    elsewhere(lambda: sink.write(DATA[:700]))
    elsewhere(sink.commit)  # type: ignore[attr-defined]

    head = Driver(engine_, elsewhere).ask("HEAD", id, TUS)

    assert (head.status, head.headers["Upload-Offset"]) == (200, "700")
    assert lost.wait(5)
    with pytest.raises(Interrupted) as raised:
        elsewhere(lambda: sink.write(DATA[700:]))
    elsewhere(lambda: waiting.fail(raised.value))
    assert waiting.answer.status == 503


@pytest.mark.parametrize("kind", engines.KINDS)
def test_conversation_that_is_given_up_lets_go(kind: str, tmp_path: Path) -> None:
    """A driver that closes it in another thread leaves what came, and no lease."""
    engine_ = engine(kind, tmp_path / "uploads")
    id = engines.create(engine_, len(DATA)).id
    patch = {**TUS, "content-type": BYTES, "upload-offset": "0"}
    talk = Talk(Request("PATCH", id, patch, length=len(DATA)), engine_)
    sink = elsewhere(talk.begin)
    elsewhere(lambda: sink.write(DATA[:700]))

    elsewhere(talk.close)

    assert not engine_.locker.writing(id)
    assert engine_.store.load(id).offset == 700
