"""A host that refuses an upload says so once; its client hears it each time, and can begin anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests import engines, live
from tests.conformance.client import BYTES, metadata
from tests.engines import Clock
from tests.faults.conftest import CALM, Client, everywhere
from tus.errors import Gone
from tus.http.messages import Request
from tus.stores.file import FileStore
from tus.upload import Result, State, Upload

HOOKS = "tests.faults.hosts:Strict"
POINTS = ("before_finish", "finished", "application")
NO = "422 Unprocessable Content"

Collect = Callable[..., Client]


def refused(tus: Client, point: str, size: int = 5) -> str:
    """The URL of an upload that the host refused at this point."""
    if point == "application":
        tus.plan(status=NO, body="this is no film\n", headers=[["X-Why", point]])
    url = tus.create(size, {"Upload-Metadata": metadata(refuse=point)})
    assert tus.patch(url, 0, b"x" * size).status == 422
    tus.plan()
    return url


@everywhere
@pytest.mark.parametrize("point", POINTS)
def test_every_question_gets_the_refusal(collection: Collect, point: str) -> None:
    """By HEAD, by a PATCH at any offset and by the creation, wherever the host said no; and it says it once."""
    tus = collection(hooks=HOOKS)
    url = refused(tus, point)
    handed = len(tus.handed())

    answers = [tus.patch(url, 5), tus.patch(url, 0, b"hello"), tus.patch(url, 5, b"", chunked=True)]
    head = tus.head(url)

    for answer in answers:
        assert (answer.status, answer.body, answer["X-Why"]) == (422, b"this is no film\n", point)
    assert (head.status, head["X-Why"], head.get("Upload-Offset")) == (422, point, None)
    assert {answer["Upload-Complete"] for answer in (*answers, head)} == {"?1"}
    assert len(tus.handed()) == handed == (point == "application")


@pytest.mark.parametrize("point", POINTS)
def test_refused_creation_is_heard_again_at_its_address(collection: Collect, point: str) -> None:
    """A file that came whole with its creation: the answer says why, and where to hear it again."""
    tus = collection(hooks=HOOKS)
    if point == "application":
        tus.plan(status=NO, body="this is no film\n")
    own = {"Upload-Length": "5", "Content-Type": BYTES, "Upload-Metadata": metadata(refuse=point)}

    created = tus.post(own, b"hello")
    tus.plan()
    again = tus.patch(created["Location"], 5)

    assert (created.status, created.body) == (again.status, again.body) == (422, b"this is no film\n")


@pytest.mark.parametrize("point", POINTS)
def test_refused_concatenation_is_refused_each_time(collection: Collect, point: str) -> None:
    """Asked for again with the same parts, it is the same upload, and gets the same answer."""
    tus = collection(hooks=HOOKS)
    parts = " ".join([tus.part(b"ab"), tus.part(b"cd")])
    if point == "application":
        tus.plan(status=NO, body="this is no film\n")
    joined = {"Upload-Concat": f"final;{parts}", "Upload-Metadata": metadata(refuse=point)}

    first = tus.post(joined)
    tus.plan()
    second, head = tus.post(joined), tus.head(first["Location"])

    assert (first.status, first.body) == (second.status, second.body) == (422, b"this is no film\n")
    assert head.status == 422


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_refusal_survives_a_restart(point: str) -> None:
    """Another process, and a worker that never heard of the upload, give the same answer."""
    with live.start("ours-workers", hooks=HOOKS, **CALM) as server:
        tus = Client(server, "")
        url = refused(tus, point)

        server.restart()
        answers = [tus.patch(url, 5), tus.head(url)]

    assert [answer.status for answer in answers] == [422, 422]
    assert (answers[0].body, answers[0]["X-Why"]) == (b"this is no film\n", point)


@pytest.mark.parametrize("point", POINTS)
def test_refused_upload_says_when_it_goes(collection: Collect, point: str) -> None:
    """`refused_valid_duration` after the refusal, and not after the last byte; unfinished ones stay longer."""
    tus = collection(hooks=HOOKS, refused_valid_duration="2h", upload_valid_duration="7d")
    url = refused(tus, point)

    answers = tus.head(url), tus.patch(url, 5)

    now = parsedate_to_datetime(answers[0]["Date"]).timestamp()
    for answer in answers:
        assert 7100 <= parsedate_to_datetime(answer["Upload-Expires"]).timestamp() - now <= 7201


@pytest.mark.parametrize("point", POINTS)
def test_refused_upload_can_be_removed_at_once(collection: Collect, point: str) -> None:
    """By DELETE, file and record."""
    tus = collection(hooks=HOOKS)
    url = refused(tus, point)

    assert tus.delete(url).status == 204
    assert tus.head(url).status == 404
    assert not [name for name in tus.files() if name.startswith(tus.id(url))]


def test_refused_upload_is_gone_in_time(collection: Collect) -> None:
    """With no time at all, the next question finds it gone, as an expired one is."""
    tus = collection(hooks=HOOKS, refused_valid_duration="0")
    url = refused(tus, "before_finish")

    assert live.until(lambda: (answer := tus.head(url)).status in (404, 410) and answer)
    assert tus.patch(url, 5).status in (404, 410)


def test_login_is_asked_for_and_nothing_is_refused(tus: Client) -> None:
    """A session that ended on the way costs nothing: with 401 the application is asked again, by HEAD as well."""
    tus.plan(status="401 Unauthorized", headers=[["WWW-Authenticate", "Bearer"]])
    url = tus.create(5)

    answers = [tus.patch(url, 0, b"hello"), tus.patch(url, 5), tus.head(url)]
    tus.plan()
    taken = tus.head(url)

    assert [(answer.status, answer["WWW-Authenticate"]) for answer in answers] == [(401, "Bearer")] * 3
    assert answers[2].get("Upload-Offset") is None
    assert (taken.status, taken["Upload-Offset"]) == (200, "5")
    assert tus.handed()[-1].file == b"hello"


@pytest.mark.parametrize("point", ["before_finish", "finished"])
@pytest.mark.parametrize("status", [408, 423, 425, 429, 503])
def test_hook_that_says_later_is_asked_again(collection: Collect, point: str, status: int) -> None:
    """Nothing is decided: PATCH is told so, HEAD waits, and no offer is final."""
    tus = collection(hooks=HOOKS)
    url = tus.create(5, {"Upload-Metadata": metadata(refuse=point, status=str(status))})

    answers = [tus.patch(url, 0, b"hello"), tus.patch(url, 5)]

    assert [answer.status for answer in answers] == [status, status]
    assert tus.head(url).status == 423


def test_long_refusal_is_one_line_from_the_second_time_on(tus: Client) -> None:
    """A record is read with each request, so no page of the application's becomes part of it."""
    tus.plan(status=NO, body="x" * 100_000)
    url = tus.create(5)

    tus.patch(url, 0, b"hello")
    again = tus.patch(url, 5)

    assert (again.status, again.body) == (422, b"the application refused this upload\n")


def test_what_is_said_once_is_not_repeated(tus: Client) -> None:
    """A cookie that came with a refusal is not given to whoever asks later."""
    tus.plan(status=NO, headers=[["Set-Cookie", "session=1"]])
    url = tus.create(5)
    tus.patch(url, 0, b"hello")

    assert tus.patch(url, 5).all("Set-Cookie") == []


STATES: dict[State, dict[str, Any]] = {
    State.RECEIVING: {"offset": 2},
    State.PENDING: {"complete": True},
    State.ACCEPTED: {"complete": True, "result": Result()},
    State.PART: {"complete": True, "partial": True, "result": Result()},
    State.REFUSED: {"complete": True, "result": Result(422, (), b"no")},
    State.DROPPED: {"complete": True, "result": Result(), "dropped": True},
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_one_name(state: State) -> None:
    """Whatever is recorded of an upload, one function says what has become of it; expiry goes before."""
    engine = engines.build(None, clock=Clock(), upload_valid_duration=60)
    upload = Upload("a", length=5, touched=engine.now(), **STATES[state])

    assert engine.state(upload) is state
    assert engine.state(upload.evolve(expires=1.0), 2.0) is (
        State.EXPIRED if state not in (State.PENDING, State.ACCEPTED) else state
    )


def test_time_counts_from_the_refusal(tmp_path: Path) -> None:
    """An upload that lay there for days, and is refused only now, is not gone before its client hears of it."""
    clock = Clock()
    engine = engines.build(None, clock=clock, upload_valid_duration="none", refused_valid_duration=60)
    with engine.begin(Request("POST"), length=0, metadata=Upload("x").metadata) as writer:
        upload = engine.conclude(writer)
    clock.now += 1e6
    engine.claim(upload.id).accept(Result(422, (), b"no"))

    clock.now += 59
    found = engine.look(Request("HEAD", upload.id))
    clock.now += 2

    assert found.state is State.REFUSED
    with pytest.raises(Gone):
        engine.look(Request("HEAD", upload.id))
    assert [swept.id for swept in engine.sweep()] == [upload.id]


def test_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """A refusal that an earlier version recorded, of a resource of the application, is one today."""
    ours = {"created": 1.0, "complete": True, "result": [415, [["Content-Type", "text/plain"]], "photos only"]}
    record = {"ID": "old", "Size": 5, "SizeIsDeferred": False, "Offset": 0, "MetaData": {}, "IsPartial": False}
    record |= {"IsFinal": False, "PartialUploads": None, "Storage": None, "tus": {**ours, "dropped": True}}
    (tmp_path / "old.info").write_text(json.dumps(record))

    upload = FileStore(str(tmp_path)).load("old")

    assert (upload.state, upload.result and upload.result.reason) == (State.REFUSED, "photos only")
