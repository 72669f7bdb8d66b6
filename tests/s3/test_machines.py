"""Two machines with one bucket and one server of leases, whose cables are cut in the middle of requests: silently, so
that nobody is told by a reset connection."""

from __future__ import annotations

import base64
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import lease_servers, live, real, wire
from tests.s3 import machines
from tests.s3 import proxy as proxies
from tests.s3.conftest import MIB, PART
from tests.s3.machines import Cable, Machine
from tests.s3.proxy import Proxy
from tests.servers import CALM
from tests.wire import Answer, Wire

pytestmark = [pytest.mark.engines, pytest.mark.slow]
KINDS = ("ours", "asgi-uvloop")  # the server of each machine
LEASES = ("redis", "postgresql", "s3")
TTL = 3  # seconds that a lease lives
SOON = 60.0  # seconds; far longer than anything takes, on a busy machine
TUS = {"Host": "127.0.0.1", "Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


class Site(NamedTuple):
    """Two machines, their servers, and what their applications were handed."""

    machines: list[Machine]
    servers: list[live.Live]
    proxies: list[Proxy]  # of each machine, at the far end of its cable to the storage
    leases: str

    def cable(self, number: int, name: str) -> Cable:
        return self.machines[number].cables[name]

    def ask(self, number: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        length = {"Content-Length": str(len(body))} if method != "HEAD" else {}
        with Wire(self.servers[number].address, timeout=SOON) as line:
            line.send(wire.head(method, path, TUS | headers | length) + body)
            return line.answer(bodiless=method == "HEAD")

    def create(self, number: int, size: int) -> str:
        answer = self.ask(number, "POST", "/upload", {"Upload-Length": str(size)})
        assert answer.status == 201, answer
        return "/upload" + answer["Location"].partition("/upload")[2]

    def patch(self, number: int, path: str, offset: int, body: bytes) -> Answer:
        return self.ask(number, "PATCH", path, {"Upload-Offset": str(offset), **BYTES}, body)

    def offset(self, number: int, path: str) -> int:
        """What a client is told that asks until it is told."""
        answer = live.until(lambda: self._told(number, path), within=SOON)
        return int(answer["Upload-Offset"])

    def _told(self, number: int, path: str) -> Answer | None:
        answer = self.ask(number, "HEAD", path, {})
        assert answer.status in (200, 423), answer  # a client begins anew at anything else
        return answer if answer.status == 200 else None

    def begin(self, number: int, path: str, offset: int, announced: int) -> Wire:
        """A PATCH whose body the server asks for, so that it has the lease."""
        line = Wire(self.servers[number].address, timeout=SOON)
        head = {"Upload-Offset": str(offset), "Content-Length": str(announced), "Expect": "100-continue", **BYTES}
        head["Connection"] = "close"
        line.send(wire.head("PATCH", path, TUS | head))
        assert line._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        return line

    def upload(self, number: int, path: str, offset: int, data: bytes) -> None:
        """Send what is missing, in several requests."""
        while offset < len(data):
            answer = self.patch(number, path, offset, data[offset : offset + 2 * MIB])
            assert answer.status == 204, answer
            offset = int(answer["Upload-Offset"])

    def insist(self, number: int, path: str, data: bytes) -> None:
        """Ask and send until all is there, as a client does that others keep interrupting."""
        while (offset := self.offset(number, path)) < len(data):
            with suppress(OSError, wire.Broken):  # it was taken over
                self.patch(number, path, offset, data[offset:])

    def handed(self, path: str) -> list[bytes]:
        """What either application was handed of this upload."""
        files = [file for server in self.servers for file in (server.home / "handed").glob("*.json")]
        records = [json.loads(file.read_text()) for file in files]
        return [base64.b64decode(one["body"]) for one in records if one["upload"] == path.rpartition("/")[2]]


@pytest.fixture(params=LEASES)
def leases(request: pytest.FixtureRequest) -> str:
    """Where the leases are."""
    real.needed(real.USUAL)
    if request.param != "s3":
        lease_servers.available(request.param)
    machines.needed()
    if not all(map(live.available, KINDS)):
        pytest.skip("uvicorn is not installed")
    return str(request.param)


@pytest.fixture
def site(leases: str, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """What both machines share is at the far ends of their cables."""
    facts, url = real.engine(), lease_servers.shared(leases).url if leases != "s3" else ""
    with ExitStack() as stack:
        own = [stack.enter_context(proxies.running(facts["S3_ENDPOINT"])) for _ in KINDS]
        services = [{"s3": proxy.server_address[1]} | ({"leases": port_of(url)} if url else {}) for proxy in own]
        site = Site(stack.enter_context(machines.running(*services)), [], own, leases)
        for number, (kind, machine) in enumerate(zip(KINDS, site.machines, strict=True)):
            options = {
                "store": stored(facts, machine.cables["s3"], prefix),
                "locker": f"{leased(url, machine.cables['leases']) if url else 's3:'}?ttl={TTL}",
                "hand_over": "file",
                "cleanup": False,
            }
            site.servers.append(server := machine.start(kind, tmp_path / f"{number}", **options, **CALM))
            stack.callback(server.kill)
        yield site


def port_of(url: str) -> int:
    return int(urlsplit(url).port or 0)


def stored(facts: dict[str, str], cable: Cable, prefix: str) -> str:
    keys = f"access_key={facts['S3_KEY']}&secret={facts['S3_SECRET']}&region={facts['S3_REGION']}"
    return f"s3://{real.BUCKET}/{prefix.strip('/')}?endpoint=http://{cable.host}:{cable.port}&{keys}"


def leased(url: str, cable: Cable) -> str:
    """The same server, as a machine reaches it."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{user}{cable.host}:{cable.port}"))


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def is_over(line: Wire) -> bool:
    """Once the server has ended it, whatever it said before."""
    with line:
        return line.rest() is not None


# Who has the upload


def test_upload_is_taken_over_from_another_machine_within_50_ms(site: Site) -> None:
    """The newest request waits for no time-out: it is told the offset as soon as one that takes over from nobody, but
    for 50 ms; and the older one is ended, without a byte from its client."""
    path = site.create(0, 64 * MIB)

    def taken_over() -> float:
        old = site.begin(0, path, 0, 1000)
        took = timed(lambda: site.offset(1, path))
        assert is_over(old)
        return took

    def extra() -> tuple[float, float]:
        pairs = [(taken_over(), timed(lambda: site.offset(1, path))) for _ in range(7)]
        took, usual = (statistics.median(times) for times in zip(*pairs, strict=True))
        return took - usual, max(0.05, 4 * usual)  # a busy machine needs longer for some calls more

    assert any(took < limit for took, limit in (extra() for _ in range(5)))


def timed(deed: Callable[[], object]) -> float:
    began = time.monotonic()
    deed()
    return time.monotonic() - began


def test_what_both_machines_finish_is_handed_over_once(site: Site) -> None:
    """The last PATCH comes to both of them at the same time, and questions besides."""
    for size in (10_000, 10_000, 10_000, PART + 7, 2 * PART):
        data, path = content(size), site.create(0, size)
        site.upload(0, path, 0, data[:-1000])

        with ThreadPoolExecutor(4) as crowd:
            list(crowd.map(lambda number, path=path, data=data: site.insist(number, path, data), (0, 1, 0, 1)))

        assert [site.offset(number, path) for number in (0, 1)] == [size, size]
        assert site.handed(path) == [data]


CUTS = [("redis", Cable.cut), ("redis", Cable.deafen), ("redis", Cable.unplug), ("postgresql", Cable.cut)]
each_cut = pytest.mark.parametrize("leases, cut", CUTS, indirect=["leases"])


# A machine that does not reach the leases any more


@each_cut
def test_machine_that_cannot_be_told_writes_no_more_once_its_time_is_over(
    site: Site, cut: Callable[[Cable], None]
) -> None:
    """The other machine goes on at once, though the first one hears nothing; that ends its request by its own clock,
    and nothing counts of what its client goes on sending. Both serve the upload when the cable is whole again."""
    data, cable = content(3 * PART + 7), site.cable(0, "leases")
    path = site.create(0, len(data))
    site.patch(0, path, 0, data[:MIB])
    old = site.begin(0, path, MIB, 4 * MIB)
    old.send(data[MIB : 2 * MIB])

    cut(cable)
    took = timed(lambda: site.offset(1, path))
    offset = site.offset(1, path)
    told = int(site.patch(1, path, offset, data[offset : offset + MIB])["Upload-Offset"])
    send_on(old)
    ended = is_over(old)
    kept = site.offset(1, path)
    cable.plug()
    again = site.offset(0, path)
    site.upload(0, path, again, data[:-1])
    site.upload(1, path, len(data) - 1, data)

    assert (ended, took < TTL) == (True, True)
    assert MIB <= offset < told == kept == again
    assert site.handed(path) == [data]


def send_on(line: Wire) -> None:
    """What would spoil the file, if it counted."""
    with suppress(OSError):
        line.send(b"x" * MIB)


# A machine that does not reach the storage any more


@pytest.mark.parametrize("leases, cut", [*CUTS, ("s3", Cable.cut)], indirect=["leases"])
def test_part_that_arrives_when_the_upload_is_finished_changes_nothing(
    site: Site, cut: Callable[[Cable], None]
) -> None:
    """It was on its way when the cable was cut, and the client went on at the other machine; the kernel sends it again
    once it can."""
    data, cable = content(3 * PART + 7), site.cable(0, "s3")
    path = site.create(0, len(data))
    old = site.begin(0, path, 0, len(data))
    old.send(data[: PART - 1])

    cut(cable)
    old.offer(data[PART - 1 : 2 * PART])
    site.insist(1, path, data)
    early = site.proxies[0].calls.count("UploadPart")
    cable.plug()
    late = live.until(lambda: "UploadPart" in site.proxies[0].calls or has_given_up(site), within=SOON)
    over = is_over(old)

    assert (early, bool(late), over) == (0, True, True)
    assert [site.offset(number, path) for number in (0, 1)] == [len(data)] * 2
    assert site.ask(0, "GET", path, {}).body == site.ask(1, "GET", path, {}).body == data
    assert site.handed(path) == [data]


def has_given_up(site: Site) -> bool:
    """Whether the first machine has tried often enough to store something."""
    return "cannot be reached" in site.servers[0].output


@pytest.mark.parametrize("leases", ["redis"], indirect=True)
@pytest.mark.parametrize("size", [1000, PART + 7])
def test_upload_that_was_removed_does_not_come_back(site: Site, size: int) -> None:
    """All of it was on its way to the storage from a machine that was cut off from everything; the client sent it to
    the other one again, and then had it removed."""
    data, cables = content(size), site.machines[0].cables.values()
    path = site.create(0, size)
    old = site.begin(0, path, 0, size)
    old.send(data[:-1])

    for cable in cables:
        cable.cut()
    old.offer(data[-1:])
    site.insist(1, path, data)
    removed = site.ask(1, "DELETE", path, {})
    for cable in cables:
        cable.heal()
    assert live.until(lambda: {"UploadPart", "PutObject"} & {*site.proxies[0].calls} or has_given_up(site), within=SOON)
    over = is_over(old)

    assert (removed.status, over) == (204, True)
    assert [site.ask(number, "HEAD", path, {}).status for number in (0, 1)] == [404, 404]
    assert site.handed(path) == [data]
