"""Three servers on one bucket and one Redis, to be hurt; and clients that do not give up.

python -m tests.s3.cluster 600 [SEED [s3]]    hurts one for ten minutes; s3: with leases in the bucket
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests import live, real, wire
from tests.lease_servers import LeaseServer
from tests.lockers.relay import Relay
from tests.s3 import proxy as proxies
from tests.s3.foreign import Foreigner, present
from tests.servers import CALM
from tus.stores.s3 import S3Store

MIB = 1 << 20
PART = 5 * MIB
TUS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"}
TTL = 2  # seconds that a lease lives
STARTING = 60.0  # seconds that a server may take to start again, while all is hurt
DONE = 90.0  # seconds that all uploads may take to finish, once nothing is hurt any more
LENGTHS = (0, 1000, 300_000, 3 * MIB, PART, PART + 1, 2 * PART, 11 * MIB + 7, 16 * MIB)
CALLS = "UploadPart|PutObject|GetObject|HeadObject|ListParts|ListObjects|Complete|CreateMultipart|Delete"


class Cluster:
    """An engine, a Redis and three servers, each of which has its own cable to Redis; or leases in the bucket."""

    def __init__(self, home: Path, *, leases: str = "redis") -> None:
        self.home, self.leases = home, leases
        self.engine = home / "engine"
        script = real.SCRIPTS / f"{real.USUAL}.sh"
        words = ["bash", str(script), "start", str(real.CACHE), str(self.engine)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        self.facts = dict(line.split("=", 1) for line in said.split() if "=" in line)
        real.bucket_at(self.facts["S3_ENDPOINT"], self.facts).client.ask("PUT")
        self.redis = LeaseServer("redis")
        self._context = proxies.running(self.facts["S3_ENDPOINT"])
        self.proxy = self._context.__enter__()
        self.relays, self.servers = [], []
        for _ in range(3):
            self._add()
        self.uploads = S3Store(real.bucket_at(self.facts["S3_ENDPOINT"], self.facts), "in/")

    def _add(self) -> None:
        port = int(self.redis.url.rpartition(":")[2].partition("/")[0])
        self.relays.append(relay := Relay("127.0.0.1", port))
        keys = f"access_key={self.facts['S3_KEY']}&secret={self.facts['S3_SECRET']}&region={self.facts['S3_REGION']}"
        store = f"s3://{real.BUCKET}/in?endpoint={self.proxy.endpoint}&{keys}&unknown_part=5MiB"
        locker = f"redis://127.0.0.1:{relay.port}/0?ttl={TTL}" if self.leases == "redis" else f"s3:?ttl={TTL}"
        self.servers.append(
            live.start(
                "ours", home=self.home / "servers", store=store, locker=locker, hand_over="file", cleanup=False, **CALM
            )
        )

    @property
    def engine_pid(self) -> int:
        return int(next((self.engine / "run").glob("*.pid")).read_text())

    def close(self) -> None:
        for server in self.servers:
            server.kill()
        for relay in self.relays:
            relay.close()
        self._context.__exit__(None, None, None)
        self.redis.stop()
        script = real.SCRIPTS / f"{real.USUAL}.sh"
        subprocess.run(["bash", str(script), "stop", str(self.engine)], check=True)


class Trouble:
    """Hurts a cluster, again and again, until it is told to stop; and heals what it hurt."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        self.cluster, self.dice = cluster, dice
        self.over = threading.Event()
        self.done = Counter[str]()
        self.spells: list[Spell] = []  # what kept a server from saying what the host told it
        self.failed: list[BaseException] = []
        deeds = [
            (self.calls, 0.4),
            (self.kill, 2.0),
            (self.freeze, 5.0),
            (self.engine, 8.0),
            *([(self.redis, 7.0), (self.cut, 4.0)] if cluster.leases == "redis" else []),
        ]
        self._threads = [threading.Thread(target=self._again, args=deed, daemon=True) for deed in deeds]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
        with self.cluster.proxy.guard:
            self.cluster.proxy.rules.clear()
        assert not self.failed, self.failed

    def _again(self, deed: Callable[[], None], pause: float) -> None:
        while not self.over.wait(pause * self.dice.uniform(0.4, 1.2)):
            try:
                deed()
                self.done[deed.__name__] += 1
            except BaseException as error:
                self.failed.append(error)
                return

    def calls(self) -> None:
        """Some calls to the engine fail, for a moment or for longer than anybody tries; or their answer is lost."""
        proxy, dice = self.cluster.proxy, self.dice
        with proxy.guard:
            proxy.rules[:] = [rule for rule in proxy.rules if rule.times]
        pattern = dice.choice(("UploadPart", "UploadPart", "Complete", "PutObject", CALLS, CALLS))
        skip, kind = dice.randrange(4), dice.randrange(4)
        if kind == 0:
            proxy.lose(pattern, times=dice.randrange(1, 3), skip=skip)
        elif kind == 1:
            proxy.cut(pattern, dice.choice((0, 10, 70_000)), skip=skip)
        else:
            proxy.fail(pattern, dice.choice((500, 503)), times=dice.choice((1, 2, 4, 8)), skip=skip)

    def kill(self) -> None:
        """A server dies, and comes back."""
        server = self.dice.choice(self.cluster.servers)
        with self._spell(server):
            server.kill()
        end = time.monotonic() + STARTING
        while True:
            try:
                server.start()
                return
            except RuntimeError:  # it begins by asking the engine, which is hurt as well
                if time.monotonic() > end:
                    raise

    def freeze(self) -> None:
        """A server stands still for longer than its leases live, and then goes on as if nothing had been."""
        server = self.dice.choice(self.cluster.servers)
        if server.process:
            with self._spell(server):
                self._hold(server.process.pid, TTL * self.dice.uniform(0.7, 1.7))

    def engine(self) -> None:
        self._hold(self.cluster.engine_pid, self.dice.uniform(1, 5))

    def _hold(self, pid: int, seconds: float) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self.over.wait(seconds)
            os.kill(pid, signal.SIGCONT)

    def redis(self) -> None:
        """It dies, and forgets everything."""
        self.cluster.redis.crash()
        self.over.wait(self.dice.uniform(0, 2))
        self.cluster.redis.start()

    def cut(self) -> None:
        """A server does not reach Redis any more, but the engine."""
        number = self.dice.randrange(len(self.cluster.relays))
        relay = self.cluster.relays[number]
        with self._spell(self.cluster.servers[number]):
            self.dice.choice((relay.cut, relay.stall))()
            self.over.wait(self.dice.uniform(0.2, 1.7 * TTL))
            relay.heal()

    @contextmanager
    def _spell(self, server: live.Live) -> Iterator[None]:
        began, pid = time.time_ns(), server.process.pid if server.process else 0
        yield
        self.spells.append(Spell(pid, began, time.time_ns()))


class Spell(NamedTuple):
    """A time in which a server was dead, stood still or was cut off; nanoseconds since the epoch."""

    pid: int
    began: int
    ended: int


class Lost(Exception):
    """What must not happen."""


class Client:
    """Sends one file after the other; each request goes to any server."""

    def __init__(self, cluster: Cluster, seed: int, over: threading.Event) -> None:
        self.cluster, self.dice, self.over = cluster, random.Random(seed), over
        self.files: dict[str, str] = {}  # what was finished, and its hash
        self.told_at: dict[str, int] = {}  # when we were told that it is finished
        self.stories: dict[str, list[str]] = {}  # what was asked and answered
        self.seen = Counter[str]()
        self.history: list[str] = []
        self.failed: BaseException | None = None
        self.until = 0.0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.upload(self.dice.randbytes(self.dice.choice(LENGTHS) + self.dice.randrange(3)))
        except BaseException as error:
            self.failed = error

    def upload(self, data: bytes) -> None:
        self.told, self.history = 0, []
        late = self.dice.random() < 0.3  # says only at the end how long it is
        first = data[: self.dice.randrange(2 * MIB)] if self.dice.random() < 0.5 else b""
        length = {"Upload-Defer-Length": "1"} if late else {"Upload-Length": str(len(data))}
        path = self.create(length, first)
        id = path.rpartition("/")[2]
        offset: int | None = None
        while True:
            if offset is None:
                offset = self.head(path)
            if offset is None:
                continue
            if offset == len(data) and not late:
                break
            size = self.dice.choice((100_000, MIB, 3 * MIB, PART, 8 * MIB, len(data)))
            block = data[offset : offset + size]
            more = {"Upload-Length": str(len(data))} if late and offset + len(block) == len(data) else {}
            offset = self.patch(path, offset, block, more)
            late = late and not (more and offset is not None)
            if late and more:
                late = not self.has_length(path)
        self.told_at[id] = time.time_ns()
        self.files[id], self.stories[id] = hashlib.sha256(data).hexdigest(), self.history[-40:]

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b"", *, cut: int = -1
    ) -> wire.Answer | None:
        """None, if the answer did not come, or was that it cannot be done now."""
        if self.until and time.monotonic() > self.until:
            raise Lost(f"it never ends: {path}: {self.history[-12:]}; {bucket_of(self.cluster, path)}")
        server = self.dice.choice(self.cluster.servers)
        sized = {"Content-Length": str(len(body))} if method != "HEAD" else {}
        try:
            with wire.Wire(server.address, timeout=15) as connection:
                head = wire.head(method, path, {**TUS, **headers, **sized})
                if cut >= 0:
                    connection.send(head + body[:cut])
                    self.dice.choice((connection.reset, connection.close))()
                    raise wire.Broken("by us")
                connection.offer(head + body)
                answer = connection.answer(bodiless=method == "HEAD")
        except (OSError, wire.Broken) as error:
            self.note(method, f"{type(error).__name__}")
            time.sleep(0.05)
            return None
        self.note(
            method, f"{answer.status}", f"{headers.get('Upload-Offset')} +{len(body)} -> {answer.get('Upload-Offset')}"
        )
        if answer.status in (409, 423, 460) or answer.status >= 500:
            time.sleep(0.1)
            return None
        if answer.status >= 300:
            raise Lost(f"{method} {path}: {answer}; {self.history[-12:]}")
        return answer

    def note(self, method: str, what: str, detail: str = "") -> None:
        self.seen[f"{method} {what}"] += 1
        self.history.append(f"{method} {what} {detail}")

    def create(self, length: dict[str, str], first: bytes) -> str:
        more = {"Content-Type": "application/offset+octet-stream"} if first else {}
        while not (answer := self.ask("POST", "/upload", length | more, first)):
            """Nobody knows of what may have been made."""
        self.hear(answer)
        return "/upload" + answer["Location"].partition("/upload")[2]

    def head(self, path: str) -> int | None:
        answer = self.ask("HEAD", path, {})
        return self.hear(answer) if answer else None

    def has_length(self, path: str) -> bool:
        while not (answer := self.ask("HEAD", path, {})):
            """Again."""
        self.hear(answer)
        return "Upload-Length" in answer

    def patch(self, path: str, offset: int, block: bytes, more: dict[str, str]) -> int | None:
        kind = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        cut = self.dice.randrange(len(block) + 1) if self.dice.random() < 0.15 else -1
        answer = self.ask("PATCH", path, kind | more, block, cut=cut)
        if not answer:
            return None
        return self.hear(answer, at_least=offset + len(block))

    def hear(self, answer: wire.Answer, *, at_least: int = 0) -> int | None:
        """The offset that we are told; it never falls."""
        if "Upload-Offset" not in answer:
            self.told = max(self.told, at_least)
            return None
        offset = int(answer["Upload-Offset"])
        if offset < max(self.told, at_least):
            raise Lost(f"offset {offset}, after {self.told} and {at_least}: {self.history[-20:]}")
        self.told = offset
        return offset


def hurt(
    seconds: float, home: Path, *, clients: int = 8, foreign: int = 1, seed: int = 0, leases: str = "redis"
) -> dict[str, Any]:
    """Do all this; says what happened, and raises AssertionError if it is not what must be. `foreign`: how many there
    are of each client that others wrote."""
    cluster = Cluster(home, leases=leases)
    trouble = Trouble(cluster, random.Random(seed))
    try:
        crowd: list[Client | Foreigner] = [
            Client(cluster, seed * 1000 + number, trouble.over) for number in range(clients)
        ]
        for number, (name, command) in itertools.product(range(foreign), present().items()):
            crowd.append(Foreigner(cluster, name, command, seed * 1000 + 500 + number, trouble.over))
        trouble.start()
        for client in crowd:
            client.thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not any(client.failed for client in crowd):
            time.sleep(0.1)
        trouble.stop()
        for client in crowd:
            client.until = time.monotonic() + DONE
        for client in crowd:
            client.thread.join()
        broken = [repr(client.failed) for client in crowd if client.failed]
        assert not broken, "\n".join(broken)
        return judged(cluster, crowd, trouble.spells) | {"trouble": dict(trouble.done)}
    finally:
        trouble.over.set()
        cluster.close()


def judged(cluster: Cluster, crowd: list[Client | Foreigner], spells: list[Spell]) -> dict[str, Any]:
    """An upload is handed over again only if the process that did it died, stood still or was cut off before the answer
    was in the record; and never after the client was told that it is finished."""
    files = dict(itertools.chain.from_iterable(client.files.items() for client in crowd))
    handed = defaultdict(list)
    for path in sorted((cluster.home / "servers" / "handed").glob("*.json")):
        record = json.loads(path.read_text())
        handed[record["upload"]].append((path.stem, hashlib.sha256(base64.b64decode(record["body"])).hexdigest()))
    wrong = [id for id, digest in files.items() if digest_of(cluster, id) != digest]
    mixed = [id for id, digest in files.items() if any(found != digest for _, found in handed[id])]
    assert not wrong, f"not what was sent: {wrong}"
    assert not mixed, f"handed over, and not what was sent: {mixed}"
    stories = dict(itertools.chain.from_iterable(client.stories.items() for client in crowd))
    missing = {id: (cluster.uploads.load(id), stories[id]) for id in files if not handed[id]}
    assert not missing, f"never handed over: {missing}; {spells}"
    twice = {id: [name for name, _ in handed[id]] for id in files if len(handed[id]) > 1}
    unexplained = {id: names for id, names in twice.items() if not all(map(excused(spells), names, names[1:]))}
    assert not unexplained, f"handed over twice, while nobody hurt who did it first: {unexplained}; {spells}"
    told = dict(itertools.chain.from_iterable(client.told_at.items() for client in crowd))
    again = {id: names for id, names in twice.items() if any(int(name.partition("-")[0]) > told[id] for name in names)}
    assert not again, f"handed over after the client was told that it is finished: {again}"
    seen = sum((client.seen for client in crowd), Counter[str]())
    return {"files": len(files), "twice": len(twice), "seen": dict(sorted(seen.items()))}


def excused(spells: list[Spell]) -> Callable[[str, str], bool]:
    """Whether something kept the server that was first from saying so, before the other one had the upload, too. Their
    names say when that was, and in which process."""

    def found(first: str, again: str) -> bool:
        (began, pid, _), ended = map(int, first.split("-")), int(again.partition("-")[0])
        margin = int(TTL * 1e9)  # its claim may be over already when it tells the host
        return any(one.pid == pid and one.began < ended and one.ended > began - margin for one in spells)

    return found


def bucket_of(cluster: Cluster, path: str) -> dict[str, bytes]:
    """What the bucket says of an upload, for the one who has to find out what went wrong."""
    bucket, id = cluster.uploads.uploads.bucket, path.rpartition("/")[2]
    own = [found for found in bucket.objects("in/") if id in found.key]
    return {f"{found.key}, {found.size} bytes": bucket.get(found.key).body[:999] for found in own if found.size}


def digest_of(cluster: Cluster, id: str) -> str:
    with cluster.uploads.open(id) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="tus-chaos-"))
    words = dict(enumerate(sys.argv))
    seconds, seed, leases = float(words[1]), int(words.get(2, 0)), words.get(3, "redis")
    print(json.dumps(hurt(seconds, home, seed=seed, leases=leases), indent=1))
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
