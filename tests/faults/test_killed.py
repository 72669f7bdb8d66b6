"""kill -9: after a restart the offset is what is on disk, a resume gives the same file, nothing is half-made.

The client is a stubborn one, as real ones are: when its connection breaks it asks how far it is, and goes on.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import kinds, live, wire
from tests.conformance.client import BYTES, Client, Handed, checksum, metadata
from tests.faults.mortal import Mortal
from tests.servers import SLOW, slowly
from tus import Engine
from tus.options import Options
from tus.stores.file import FileStore

pytestmark = pytest.mark.slow

CONTENT = random.Random(4).randbytes(700_000)
BIG = 400_000  # bytes of the first piece; enough for splice
DURABLE = {"durable": "finish", "sweep_interval": "none"}
TIDY = 2 * 3600  # seconds after which a sweep takes what a crash left for its own


@pytest.fixture(scope="module", params=["ours", slowly(SLOW)])
def mortal(request: pytest.FixtureRequest) -> Iterator[Mortal]:
    """A server that can be killed. In memory, if possible: killing a process tears no disk."""
    memory = "/dev/shm"
    home = Path(tempfile.mkdtemp(prefix="tus-mortal-", dir=memory if os.access(memory, os.W_OK) else None))
    server = Mortal(home, request.param)
    yield server
    server.close()
    shutil.rmtree(home)


class Stubborn(Client):
    """Does not stop before its upload is finished."""

    def __init__(self, mortal: Mortal, name: str) -> None:
        super().__init__(mortal, name)  # type: ignore[arg-type]
        self.mortal = mortal
        self.known: list[str] = []  # what it was told of
        self.told = Counter[str]()  # what the application had got when the process died without remembering it

    def survive(self, deed: Callable[[], wire.Answer]) -> wire.Answer:
        """Do it, and again whenever the server dies of it."""
        while True:
            deaths = self.mortal.deaths
            try:
                answer = deed()
                if answer.status != 423 or self.kind.on_files:
                    return answer
                time.sleep(0.02)  # over the network nobody knows at once that a process died
            except (wire.Broken, OSError):
                self.mortal.revive(deaths)
                self.forgive()

    def forgive(self) -> None:
        """What was handed over, but not recorded, may be handed over once more."""
        forgotten = Counter(handed.upload for handed in self.handed() if not self.remembered(handed))
        self.told |= forgotten

    def remembered(self, handed: Handed) -> bool:
        ours = self.record(handed.upload or "")["tus"]
        return "result" in ours or ours["complete"] in (2, 3)

    def record(self, id: str) -> dict[str, Any]:
        """What is recorded of this upload."""
        suffix = "info" if self.kind.on_files else "record"
        return dict(json.loads((self.home / "uploads" / f"{id}.{suffix}").read_text()))

    def records(self) -> list[str]:
        """The ids of all uploads."""
        names = [name.removesuffix(".info") for name in self.files() if name.endswith(".info")]
        begun = set(names) - set(FileStore(str(self.home / "uploads")).ids()) if self.kind.on_files else set()
        assert not begun & {self.id(url) for url in self.known}
        assert {self.head(f"{self.path}/{id}").status for id in begun} <= {404}
        return [name for name in names if name not in begun]

    def make(self, start: int, end: int, *, upload: bool = False, **headers: str) -> str:
        """Create an upload of this part of the content; a creation whose answer is lost is done again."""
        given = {"Upload-Length": str(end - start), "Upload-Metadata": metadata(at=str(start))}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if upload:
            given |= {"Content-Type": BYTES}
        answer = self.survive(lambda: self.post(given, CONTENT[start:end] if upload else None))
        assert answer.status == 201, answer
        self.known.append(answer["Location"])
        return self.known[-1]

    def fill(self, url: str, start: int, end: int, *, step: int = BIG, algorithm: str = "") -> None:
        """Send it in steps; after a death, from where the server says that it is."""
        while (offset := int(self.looked(url)["Upload-Offset"])) < end - start:
            piece = CONTENT[start + offset : min(start + offset + step, end)]
            headers = {"Upload-Checksum": checksum(algorithm, piece)} if algorithm else {}
            self.survive(lambda o=offset, p=piece, h=headers: self.patch(url, o, p, h))

    def looked(self, url: str) -> wire.Answer:
        answer = self.survive(lambda: self.head(url))
        assert answer.status == 200, answer
        assert int(answer["Upload-Offset"]) <= int(answer["Upload-Length"])
        return answer


def plain(tus: Stubborn) -> None:
    tus.fill(tus.make(0, len(CONTENT)), 0, len(CONTENT))


def with_upload(tus: Stubborn) -> None:
    tus.fill(tus.make(0, 300_000, upload=True), 0, 300_000)


def checksummed(tus: Stubborn) -> None:
    tus.fill(tus.make(0, 100_000), 0, 100_000, step=60_000, algorithm="sha1")


def concatenated(tus: Stubborn) -> None:
    parts = [tus.make(0, 1000, upload=True, Upload_Concat="partial"), tus.make(1000, 5000, Upload_Concat="partial")]
    tus.fill(parts[1], 1000, 5000)
    final = {"Upload-Concat": f"final;{' '.join(parts)}", "Upload-Metadata": metadata(at="0")}
    answer = tus.survive(lambda: tus.post(final))
    assert answer.status == 201, answer
    tus.known.append(answer["Location"])
    assert tus.looked(tus.known[-1])["Upload-Offset"] == "5000"


def joined_early(tus: Stubborn) -> None:
    """The final upload exists before its parts are there."""
    parts = [tus.make(0, 1000, Upload_Concat="partial"), tus.make(1000, 5000, Upload_Concat="partial")]
    final = {"Upload-Concat": f"final;{' '.join(parts)}", "Upload-Metadata": metadata(at="0")}
    answer = tus.survive(lambda: tus.post(final))
    assert answer.status == 201, answer
    tus.fill(parts[0], 0, 1000)
    tus.fill(parts[1], 1000, 5000)
    tus.known.append(answer["Location"])
    assert tus.looked(tus.known[-1])["Upload-Offset"] == "5000"


def placed(tus: Stubborn) -> None:
    """The parts lie in their final place, and the final upload waits for the last of them."""
    edges = (0, 1000, 3000, 303_000)
    whole = f"{secrets.token_hex(16)} 1000 2000 300000"
    bounds = list(itertools.pairwise(edges))
    parts = [
        tus.make(*each, upload=n == 0, Upload_Concat="partial", Upload_Whole=whole) for n, each in enumerate(bounds)
    ]
    tus.fill(parts[1], *bounds[1], step=700, algorithm="sha1")
    final = {"Upload-Concat": f"final;{' '.join(parts)}", "Upload-Metadata": metadata(at="0")}
    answer = tus.survive(lambda: tus.post(final))
    assert answer.status == 201, answer
    tus.known.append(answer["Location"])
    while True:
        deaths = tus.mortal.deaths
        try:
            tus.fill(parts[2], *bounds[2])
        except (AssertionError, KeyError):  # it is part of the whole by now, and the answer was lost
            assert tus.mortal.deaths
        if tus.looked(tus.known[-1])["Upload-Offset"] == "303000" or deaths == tus.mortal.deaths:
            break
    for part in parts:
        tus.known.remove(part)
    assert tus.looked(tus.known[-1])["Upload-Offset"] == "303000"


def deferred(tus: Stubborn) -> None:
    answer = tus.survive(lambda: tus.post({"Upload-Defer-Length": "1", "Upload-Metadata": metadata(at="0")}))
    tus.known.append(url := answer["Location"])
    tus.survive(lambda: tus.patch(url, 0, CONTENT[:1000]))
    offset = tus.survive(lambda: tus.head(url))["Upload-Offset"]
    rest = CONTENT[int(offset) : 2000]
    answer = tus.survive(lambda: tus.patch(url, int(offset), rest, {"Upload-Length": "2000"}))
    if "Upload-Length" in tus.survive(lambda: tus.head(url)):
        tus.fill(url, 0, 2000)


def terminated(tus: Stubborn) -> None:
    url = tus.make(0, 2000)
    tus.survive(lambda: tus.patch(url, 0, CONTENT[:1000]))
    answer = tus.survive(lambda: tus.delete(url))
    assert answer.status in (204, 404, 410), answer
    tus.known.remove(url)
    assert tus.survive(lambda: tus.head(url)).status in (404, 410)


SCENARIOS = (plain, with_upload, checksummed, concatenated, joined_early, placed, deferred, terminated)


def checked(tus: Stubborn) -> None:
    """Whatever the directory holds is sound: it can be finished, and comes out as it was sent, once."""
    for id in tus.records():
        found = tus.record(id)
        url = f"{tus.path}/{id}"
        answer = tus.survive(lambda url=url: tus.head(url))
        assert answer.status == 200, (found, answer)
        if not found["IsFinal"] and "Upload-Length" in answer:
            start = int(found["MetaData"]["at"])
            tus.fill(url, start, start + int(answer["Upload-Length"]))
    counts = Counter(handed.upload for handed in tus.handed())
    for handed in tus.handed():
        found = tus.record(handed.upload or "")
        start = int(found["MetaData"]["at"])
        assert handed.file is None or handed.file == CONTENT[start : start + found["Size"]]
        assert counts[handed.upload] == 1 + tus.told[handed.upload]
    for url in tus.known:
        record = tus.record(tus.id(url))
        assert record["IsPartial"] or record["SizeIsDeferred"] or counts[tus.id(url)]


def swept(tus: Stubborn) -> None:
    """After a sweep, nothing is left that belongs to no upload."""
    uploads = tus.home / "uploads"
    store, locker = kinds.pair(tus.kind.pair, uploads)
    engine = Engine(store, locker, Options({}, environ={}))
    assert list(engine.sweep(time.time() + TIDY)) == []
    left = {path.name.partition(".")[0] for path in uploads.iterdir() if path.name[0] != "."}
    assert left <= set(tus.records()), sorted(tus.files())
    assert not list(uploads.glob("*.new"))


def lived(
    mortal: Mortal, scenario: Callable[[Stubborn], Any], *, die_before: int = 0, strike_after: float | None = None
) -> bool:
    """Run a scenario on a server that may die of it; whether it died."""
    tus = Stubborn(mortal, secrets.token_hex(6))
    live.configure(tus.home, tus.kind.options | DURABLE)
    before = mortal.deaths
    mortal.start(die_before=die_before)
    timer = threading.Timer(strike_after or 0, mortal.strike)
    try:
        if strike_after is not None:
            timer.start()
        scenario(tus)
        timer.cancel()
        mortal.stop()
        died = mortal.deaths > before
        tus.forgive()
        mortal.start()
        checked(tus)
        swept(tus)
    finally:
        timer.cancel()
        mortal.stop()
    shutil.rmtree(tus.home)
    return died


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_killed_before_some_steps(mortal: Mortal, scenario: Callable[[Stubborn], Any]) -> None:
    """A process that dies before some change on the disk loses nothing."""
    every_step(mortal, scenario, 29)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_killed_before_every_step(mortal: Mortal, scenario: Callable[[Stubborn], Any]) -> None:
    """A process that dies before any change on the disk, or in the middle of one, loses nothing."""
    every_step(mortal, scenario, 3 if scenario is placed else 1)  # it has 500, of which many are alike


def every_step(mortal: Mortal, scenario: Callable[[Stubborn], Any], stride: int) -> None:
    for step in itertools.count(1, stride):
        try:
            if not lived(mortal, scenario, die_before=step):
                break
        except BaseException as error:
            error.add_note(f"{scenario.__name__} died before step {step}")
            raise
    print(f"{scenario.__name__}: died before {(step - 1) // stride} of some {step - 1} steps")


@pytest.mark.slow
def test_killed_at_random_moments(mortal: Mortal) -> None:
    """Wherever the clock strikes."""
    at_random(mortal, 25)


@pytest.mark.slow
def test_killed_at_random_moments_300_times(mortal: Mortal) -> None:
    """Wherever the clock strikes, for a while."""
    at_random(mortal, 300)


def at_random(mortal: Mortal, times: int) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    usual: dict[str, float] = {}
    struck = 0
    try:
        for number in range(times):
            scenario = SCENARIOS[number % len(SCENARIOS)]
            if scenario.__name__ not in usual:
                start = time.perf_counter()
                lived(mortal, scenario)
                usual[scenario.__name__] = (time.perf_counter() - start) / 2  # half of it is looking what came of it
            struck += lived(mortal, scenario, strike_after=chance.uniform(0, usual[scenario.__name__]))
    except BaseException as error:
        error.add_note(f"seed {seed}, number {number}, {scenario.__name__}")
        raise
    print(f"killed at {struck} of {times} random moments")
