"""Every hook is called when it should be, may refuse, and may fail, without harm to the upload."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests import live, wire
from tests.conformance.client import BYTES, metadata
from tests.faults.conftest import CALM, Client

FORMS = ("tests.faults.hosts:Attentive", "tests.faults.hosts:attentive")


class Host(Client):
    """A client, and the other end of the hooks."""

    def heard(self, *what: str) -> list[list[object]]:
        try:
            lines = (self.home / "heard").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [found for line in lines if (found := json.loads(line)) and (not what or found[0] in what)]

    def says(self, *, refuse: str = "", fail: str = "") -> None:
        (self.home / "refuse").write_text(refuse)
        (self.home / "fail").write_text(fail)


@pytest.fixture(scope="module", params=FORMS)
def hosting(request: pytest.FixtureRequest) -> Iterator[live.Live]:
    """A server whose hooks are given as the name of a class, or of an object."""
    with live.start("ours", hooks=request.param, **CALM) as server:
        yield server


@pytest.fixture
def host(hosting: live.Live) -> Iterator[Host]:
    host = Host(hosting, "")
    host.says()
    (host.home / "heard").unlink(missing_ok=True)
    yield host
    host.hang_up()


def test_all_are_called_in_order(host: Host) -> None:
    """From the creation to the end, each once, and the request is authorised first."""
    url = host.create(5)
    host.patch(url, 0, b"hello")
    id = host.id(url)

    assert host.heard() == [
        ["authorise", None, None, "create"],
        ["before_create", id, 0],
        ["created", id, 0],
        ["authorise", id, 0, "write"],
        ["before_finish", id, 5, "hello"],
        ["finished", id, 5],
    ]


def test_termination_is_heard(host: Host) -> None:
    """Before and after."""
    url = host.create(5)
    host.delete(url)

    assert [what for what, *_ in host.heard()][-3:] == ["authorise", "before_terminate", "terminated"]


@pytest.mark.parametrize(
    ("method", "intent"), [("HEAD", "head"), ("PATCH", "write"), ("GET", "read"), ("DELETE", "terminate")]
)
def test_every_request_is_authorised_with_its_intent(host: Host, method: str, intent: str) -> None:
    """And refused before a byte of its body is read, whatever it wants."""
    url = host.create(5)
    host.says(refuse="authorise")

    headers = {"Content-Type": BYTES, "Upload-Offset": "0", "Content-Length": "5", "Expect": "100-continue"}
    with host.open(method, url, headers if method == "PATCH" else {}) as connection:
        answer = connection.answer(bodiless=method == "HEAD")

    assert (answer.status, answer["X-Reason"], answer.interim) == (451, "authorise", ())
    assert host.heard("authorise")[-1][3] == intent
    assert host.stored(url) == 0


def test_unknown_uploads_are_authorised_too(host: Host) -> None:
    """Who may not ask does not learn whether there is anything."""
    host.says(refuse="authorise")

    assert host.head(f"{host.path}/{'0' * 32}").status == 451


@pytest.mark.parametrize("what", ["authorise", "before_create", "created"])
@pytest.mark.parametrize("way", ["refuse", "fail"])
@pytest.mark.parametrize("body", [None, b"hello"])
def test_creation_refused(host: Host, what: str, way: str, body: bytes | None) -> None:
    """Nothing is created, and nothing is left."""
    before = host.files()
    host.says(**{way: what})

    answer = host.post({"Upload-Length": "5"} | ({"Content-Type": BYTES} if body else {}), body)

    assert answer.status == (451 if way == "refuse" else 500)
    assert host.files() == before


def test_creation_as_the_host_wants_it(host: Host) -> None:
    """It chooses the id, the owner, the limit, the metadata and the end."""
    answer = host.post({"Upload-Length": "5", "Upload-Metadata": metadata(wish="special"), "X-User": "me"})
    assert answer["Location"].endswith("/chosen")
    taken = host.post({"Upload-Length": "5", "Upload-Metadata": metadata(wish="special")})
    found = host.head(answer["Location"], {"X-User": "root"})
    hidden = host.head(answer["Location"], {"X-User": "me"})
    too_large = host.post({"Upload-Length": "101", "Upload-Metadata": metadata(wish="special")})

    assert (taken.status, hidden.status, too_large.status) == (409, 404, 413)
    assert found["Upload-Metadata"] == "title c3BlY2lhbA=="
    assert found["Upload-Expires"].endswith("2096 07:06:40 GMT")
    assert host.ask("DELETE", answer["Location"], {"X-User": "root"}).status == 204


@pytest.mark.parametrize("what", ["before_finish", "finished"])
def test_finish_refused(host: Host, what: str) -> None:
    """The application hears nothing, each question gets the hook's answer, and the hook is not asked again."""
    before = len(host.handed())
    url = host.create(5)
    host.says(refuse=what)

    first = host.patch(url, 0, b"hello")
    host.says()
    answers = [first, host.head(url), host.patch(url, 5), host.patch(url, 2, b"llo")]

    assert {(answer.status, answer["X-Reason"]) for answer in answers} == {(451, what)}
    assert {answer.body for answer in answers} == {f"the host refuses: {what}\n".encode(), b""}
    assert len(host.handed()) == before
    assert [heard[2] for heard in host.heard(what)] == [5]


@pytest.mark.parametrize("what", ["before_finish", "finished"])
def test_finish_failed(host: Host, what: str) -> None:
    """The bytes stay, the application hears nothing, HEAD is 423, and a retry reaches the host again."""
    before = len(host.handed())
    url = host.create(5)
    host.says(fail=what)

    refused = host.patch(url, 0, b"hello")
    asked = host.head(url)
    again = host.patch(url, 5)
    assert len(host.handed()) == before
    host.says()
    taken = host.patch(url, 5)

    assert refused.status == again.status == 500
    assert asked.status == 423
    assert (taken.status, taken["X-Heard"]) == (204, "finished")
    assert len(host.handed()) == before + 1
    assert [heard[2] for heard in host.heard(what)] == [5] * 4


@pytest.mark.parametrize("way", ["refuse", "fail"])
def test_termination_refused(host: Host, way: str) -> None:
    """The upload stays."""
    url = host.create(5)
    host.says(**{way: "before_terminate"})

    assert host.delete(url).status == (451 if way == "refuse" else 500)
    assert host.offset(url) == 0


def test_progress_is_told_at_most_once_a_second(host: Host) -> None:
    """Many small blocks are one piece of news."""
    url = host.create(100_000)
    with host.begin(url, 0, 100_000, b"") as connection:
        for at in range(0, 99_000, 1000):
            connection.send(b"x" * 1000)
            host.arrived(url, at + 1000)

    assert len(host.heard("progressed")) <= 1


@pytest.mark.slow
def test_progress_can_stop_a_request(host: Host) -> None:
    """Raising in `progressed` ends it, and what was stored stays."""
    url = host.create(100_000)
    host.says(refuse="progressed")
    with host.begin(url, 0, 100_000, b"") as connection:
        sent = 0

        def refused() -> wire.Answer | None:
            nonlocal sent
            if host.heard("progressed"):
                return connection.answer()
            connection.offer(b"x")
            sent += 1
            return None

        answer = live.until(refused)

    assert (answer.status, answer["X-Reason"]) == (451, "progressed")
    assert 0 < int(answer["Upload-Offset"]) == host.stored(url) <= sent
