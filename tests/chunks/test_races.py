"""Several chunks at once, on real sockets: the last two in the same moment, stalled ones, cut ones, and processes that
are killed at any step.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests import kinds, live, wire
from tests.chunks.conftest import form
from tests.faults.mortal import Mortal
from tests.servers import SLOW, Running, check_files, slowly
from tests.shelves import Shelf, shelf

SIZE = 50_000  # bytes of a chunk
DATA = random.Random(6).randbytes(310_000)  # six chunks, the last one longer than the others
MANY = 6
CALM = {"durable": "none", "sweep_interval": "none"}


@dataclass
class Flow:
    """flow.js, as far as the wire shows it."""

    server: Any
    name: str
    data: bytes = DATA
    identifier: str = "photo"

    @property
    def path(self) -> str:
        return f"{self.server.path(self.name)}/chunks"

    @property
    def home(self) -> Path:
        return Path(self.server.home) / self.name

    def words(self, number: int) -> dict[str, Any]:
        return {
            "flowChunkNumber": number + 1,
            "flowChunkSize": SIZE,
            "flowTotalSize": len(self.data),
            "flowTotalChunks": MANY,
            "flowIdentifier": self.identifier,
            "flowFilename": "photo.jpg",
            "uploadKey": "key-of-this-page",
        }

    def piece(self, number: int) -> bytes:
        return self.data[number * SIZE :] if number == MANY - 1 else self.data[number * SIZE :][:SIZE]

    def request(self, number: int) -> bytes:
        body, kind = form(self.words(number), self.piece(number))
        headers = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        return wire.head("POST", self.path, headers) + body

    def send(self, number: int) -> wire.Answer:
        with wire.Wire(self.server.address) as connection:
            connection.send(self.request(number))
            return connection.answer()

    def test(self, number: int) -> wire.Answer:
        target = f"{self.path}?{urlencode(self.words(number))}"
        return wire.ask(self.server.address, "GET", target, {"Host": "localhost", "Connection": "close"})

    def handed(self) -> list[bytes]:
        """Each file that the application got."""
        records = sorted((self.home / "handed").glob("*.json"))
        where = "file" if self.server.kind.on_files else "body"
        return [base64.b64decode(json.loads(record.read_text())[where]) for record in records]

    @property
    def shelf(self) -> Shelf:
        return shelf(self.home / "uploads", self.server.kind.pair)

    def records(self) -> list[str]:
        """The ids of the uploads that there are."""
        return [name.removesuffix(".info") for name in self.shelf.names() if name.endswith(".info")]


@pytest.fixture(params=["ours", "ours-workers", slowly(SLOW)])
def flow(request: pytest.FixtureRequest, running: Running) -> Flow:
    """A fresh collection, with threads in one process and with three processes; and on the slow store."""
    server = running.get(request.param)
    check_files(request, server.kind.name, server.kind.on_files)
    return Flow(server, server.collection(**CALM))


def at_once(deeds: list[Callable[[], Any]]) -> list[Any]:
    """What they return, begun in the same moment."""
    gate, results = threading.Barrier(len(deeds)), [None] * len(deeds)

    def run(index: int) -> None:
        gate.wait(5)
        results[index] = deeds[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(deeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def together(flow: Flow, numbers: list[int]) -> list[wire.Answer]:
    """The answers to chunks of which all but the last byte had arrived before the first one could end."""
    connections = [wire.Wire(flow.server.address) for _ in numbers]
    for connection, number in zip(connections, numbers, strict=True):
        connection.send(flow.request(number)[:-1])

    def end(connection: wire.Wire, number: int) -> wire.Answer:
        connection.send(flow.request(number)[-1:])
        return connection.answer()

    answers = at_once([partial(end, *pair) for pair in zip(connections, numbers, strict=True)])
    for connection in connections:
        connection.close()
    return answers


@pytest.mark.parametrize("round", range(3))
def test_first_chunks_race(flow: Flow, round: int) -> None:
    """Six chunks of a file that nobody knows yet make one upload."""
    flow.identifier += str(round)

    answers = at_once([lambda n=n: flow.send(n) for n in range(MANY)])

    assert [answer.status for answer in answers] == [200] * MANY
    assert flow.handed() == [DATA]


@pytest.mark.parametrize("round", range(5))
def test_last_two_chunks_race(flow: Flow, round: int) -> None:
    """The file is finished once, and both requests get its result."""
    flow.identifier += str(round)
    for number in range(MANY - 2):
        flow.send(number)

    answers = together(flow, [MANY - 2, MANY - 1])

    assert [answer.status for answer in answers] == [200, 200]
    assert flow.handed() == [DATA]
    assert json.loads(flow.test(0).body)["state"] == "finished"


def test_same_chunk_five_times_at_once(flow: Flow) -> None:
    """Duplicates are harmless, the last one of all too: the newest is stored, and the others may come again."""
    for number in range(MANY - 1):
        flow.send(number)

    answers = together(flow, [MANY - 1] * 5)

    assert {answer.status for answer in answers} <= {200, 503}
    assert flow.send(MANY - 1).status == 200
    assert flow.handed() == [DATA]


def test_half_a_chunk_is_not_counted(flow: Flow) -> None:
    """A connection that is cut leaves no chunk, whatever bytes it left."""
    with wire.Wire(flow.server.address) as connection:
        connection.send(flow.request(1)[: SIZE // 2])
        live.until(flow.records)
        connection.reset()

    assert flow.test(1).status == 204
    for number in range(MANY):
        assert flow.send(number).status == 200
    assert flow.handed() == [DATA]


def test_stalled_chunk_writes_nothing_after_the_end(flow: Flow) -> None:
    """A zombie that carries other bytes wakes up while the file is handed over: they go nowhere, and it hears so."""
    flow.name = flow.server.collection(cleanup=False, **CALM)
    evil = Flow(flow.server, flow.name, b"\0" * len(DATA), flow.identifier)
    request = evil.request(2)
    with wire.Wire(flow.server.address) as zombie:
        zombie.send(request[: len(request) // 2])
        live.until(flow.records)
        (flow.home / "plan.json").write_text(json.dumps({"waits": True}))  # the application holds the file
        page = threading.Thread(target=at_once, args=([lambda n=n: flow.send(n) for n in range(MANY)],))
        page.start()
        live.until(lambda: list((flow.home / "handed").glob("*.json")))

        zombie.send(request[len(request) // 2 :])
        (flow.home / "go").touch()
        page.join()
        answer = zombie.answer()

    (id,) = [id for id in flow.records() if "-" not in id]
    assert flow.shelf.content(id) == DATA
    assert answer.status == 503
    assert evil.send(2).status == 415
    assert flow.handed() == [DATA]


def test_stalled_chunk_holds_nobody_up(flow: Flow) -> None:
    """A dead connection in the middle of a chunk; the page sends the chunk again, and the file is finished."""
    dead = wire.Wire(flow.server.address)
    dead.send(flow.request(3)[: SIZE // 2])
    (id,) = live.until(flow.records)
    # As soon as it has a lease on the chunk: a request that begins later would be the newer one.
    live.until(lambda: [path for path in (flow.home / "uploads").iterdir() if path.name.startswith(f"{id}-")])

    for number in range(MANY):
        assert flow.send(number).status == 200

    assert flow.handed() == [DATA]
    dead.close()


@pytest.mark.on_files("what has arrived and waits for more is not told")
def test_progress_while_a_form_is_running(flow: Flow) -> None:
    """Received, total and state are asked for, by key, while the request runs, from any process."""
    body, kind = form({"album": "7"}, DATA, filename="photo.jpg")
    root, key = flow.server.path(flow.name), "k" * 20
    headers = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}

    def progress() -> dict[str, Any]:
        target = f"{root}/progress?uploadKey={key}"
        answer = wire.ask(flow.server.address, "GET", target, {"Host": "localhost", "Connection": "close"})
        return dict(json.loads(answer.body))

    assert progress()["state"] == "unknown"
    seen = []
    with wire.Wire(flow.server.address) as connection:
        connection.send(wire.head("POST", f"{root}/form?uploadKey={key}", headers))
        for at in range(0, len(body), 100_000):
            connection.send(body[at : at + 100_000])
            least = min(at + 100_000, len(body)) - 1000
            if at + 100_000 < len(body):
                live.until(lambda least=least: progress()["received"] >= least)
                seen.append(progress())
        answer = connection.answer()

    assert answer.status == 200
    assert [(said["state"], said["total"]) for said in seen] == [("uploading", len(DATA))] * 3
    assert [said["received"] // 90_000 for said in seen] == [1, 2, 3]
    assert (progress()["state"], progress()["received"]) == ("finished", len(DATA))


def test_description_while_a_form_is_running(flow: Flow) -> None:
    """It reaches the application with the file."""
    body, kind = form({"album": "7"}, DATA)
    path = f"{flow.server.path(flow.name)}/form?uploadKey=kkkkkkkkkkkk"
    headers = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}

    with wire.Wire(flow.server.address) as connection:
        connection.send(wire.head("POST", path, headers) + body[:200_000])
        live.until(flow.records)
        words = b"description=hello"
        told = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(words))}
        described = wire.ask(
            flow.server.address, "POST", path, {"Host": "localhost", "Connection": "close", **told}, words
        )
        connection.send(body[200_000:])
        answer = connection.answer()

    assert described.status == 200
    assert json.loads(answer.body)["description"] == "hello"


def test_form_that_is_cut_says_so(flow: Flow) -> None:
    """Whoever polls learns that nothing more will come."""
    body, kind = form({}, DATA)
    root = flow.server.path(flow.name)
    headers = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(body))}
    connection = wire.Wire(flow.server.address)
    connection.send(wire.head("POST", f"{root}/form?uploadKey=kkkkkkkkkkkk", headers) + body[:200_000])
    live.until(flow.records)

    connection.reset()

    def state() -> str:
        target = f"{root}/progress?uploadKey=kkkkkkkkkkkk"
        answer = wire.ask(flow.server.address, "GET", target, {"Host": "localhost", "Connection": "close"})
        return str(json.loads(answer.body)["state"])

    live.until(lambda: state() == "failed")
    assert flow.handed() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["waitress", "gunicorn-gthread", "gunicorn-sync"])
def test_other_servers(kind: str) -> None:
    """Chunks in forms and in raw bodies, large enough for every fast road, and a plain form."""
    if not live.available(kind):
        pytest.skip(f"{' and '.join(live.KINDS[kind].needs)} cannot be imported")
    with live.start(kind, **CALM) as server:
        flow = Flow(server, "")
        raw = {**flow.words(0), "flowChunkSize": 300_000, "flowTotalChunks": 1, "flowIdentifier": "raw"}
        form_body, form_kind = form({}, DATA)
        told = {"Host": "localhost", "Connection": "close"}

        answers = [flow.send(number) for number in range(MANY)]
        sent = {**told, "Content-Length": str(len(DATA)), "Content-Type": "application/octet-stream"}
        answers.append(wire.ask(server.address, "POST", f"{flow.path}?{urlencode(raw)}", sent, DATA))
        sent = {**told, "Content-Length": str(len(form_body)), "Content-Type": form_kind}
        answers.append(wire.ask(server.address, "POST", "/upload/form", sent, form_body))

        assert [answer.status for answer in answers] == [200] * (MANY + 2)
        assert flow.handed() == [DATA] * 3


@pytest.fixture(scope="module", params=["ours", SLOW])
def mortal(request: pytest.FixtureRequest) -> Iterator[Mortal]:
    """A server that can be killed; in memory, if possible."""
    memory = "/dev/shm"
    home = Path(tempfile.mkdtemp(prefix="tus-mortal-", dir=memory if os.access(memory, os.W_OK) else None))
    server = Mortal(home, request.param)
    yield server
    server.close()
    shutil.rmtree(home)


def survive(mortal: Mortal, deed: Callable[[], wire.Answer]) -> wire.Answer:
    """Do it, and again whenever the server dies of it, or is busy with what a dead one left."""
    while True:
        deaths = mortal.deaths
        try:
            answer = deed()
        except (wire.Broken, OSError):
            mortal.revive(deaths)
            continue
        if answer.status != 503 and (answer.status != 423 or mortal.kind.on_files):
            return answer


def die_at(mortal: Mortal, step: int) -> int:
    """One file, three chunks at a time, on a server that dies at that step; how often it died."""
    name = f"step{step}-{random.randrange(10**9)}"
    live.configure(mortal.home / name, mortal.kind.options | {"durable": "finish", "sweep_interval": "none"})
    flow = Flow(mortal, name)
    mortal.start(die_before=step)
    before = mortal.deaths

    numbers = random.Random(step).sample(range(MANY), MANY)
    for three in (numbers[:3], numbers[3:]):
        answers = at_once([lambda n=n: survive(mortal, lambda: flow.send(n)) for n in three])
        assert [answer.status for answer in answers] == [200, 200, 200]
    # A page that was reloaded asks, and believes what it hears.
    assert [survive(mortal, lambda n=n: flow.test(n)).status for n in range(MANY)] == [200] * MANY
    mortal.stop()
    deaths = mortal.deaths - before

    handed = flow.handed()
    assert set(handed) == {DATA}
    assert len(handed) <= 1 + deaths  # the application may have got it just before the death that forgot it
    store = kinds.pair(mortal.kind.pair, flow.home / "uploads")[0]
    assert [store.load(id).result is not None for id in store.ids()] == [True]
    left = {path.suffix for path in (flow.home / "uploads").iterdir() if not path.name.startswith(".")}
    assert left <= {".info", ".lease"} or not mortal.kind.on_files
    shutil.rmtree(mortal.home / name)
    return deaths


@pytest.mark.slow
def test_killed_at_any_step(mortal: Mortal) -> None:
    """A few deaths, spread over the life of an upload: the file arrives whole, and the page hears so."""
    deaths = sum(die_at(mortal, step) for step in range(5, 125, 15))

    assert deaths >= 4


@pytest.mark.slow
def test_killed_a_hundred_times(mortal: Mortal) -> None:
    """At every step there is; on the slow store, where each death costs the time of a lease, at every third."""
    step = deaths = 0
    while deaths < (100 if mortal.kind.on_files else 35):
        step += 1 if mortal.kind.on_files else 3
        deaths += die_at(mortal, 1 + step % 120)
