"""The log: what happens to uploads is told, one line an event, and no client can write a line of its own."""

from __future__ import annotations

import io
import logging
import os
import re
import resource
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.site.asking import Answer, ask
from tus import Filter, Hooks, Refused
from tus.cli.login import Login
from tus.events import shown

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "logging.rst").read_text("utf-8")
TUS = {"HTTP_TUS_RESUMABLE": "1.0.0"}
PATCH = {**TUS, "CONTENT_TYPE": "application/offset+octet-stream"}
Events = Callable[[], list[dict[str, Any]]]


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """The table: for each event its levels and its fields."""
    table = DOCUMENT.split(".. events-begin")[1].split(".. events-end")[0]
    rows = re.findall(r"   \* - ``(.+?)``\n     - (.+)\n     - (.+)\n", table)
    return {event: (set(levels.split(" or ")), set(re.findall(r"``(\w+)``", fields))) for event, levels, fields in rows}


FIELDS = set().union(*(fields for _, fields in documented().values()))


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Events:
    """What was logged so far, as a formatter for JSON sees it."""
    caplog.set_level(logging.DEBUG, "tus")

    def told() -> list[dict[str, Any]]:
        records = [vars(record) for record in caplog.records if hasattr(record, "event")]
        return [{k: v for k, v in r.items() if k in FIELDS | {"event", "levelname"}} for r in records]

    return told


def taking(environ: Any, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return [b""]


def refusing(environ: Any, start_response: Any) -> list[bytes]:
    start_response("422 Unprocessable Content", [("Content-Length", "0")])
    return [b""]


def create(app: Any, length: int = 5, name: str = "a film.mp4", **environ: Any) -> Answer:
    metadata = f"filename {b64encode(name.encode()).decode()},secret {b64encode(b'hidden').decode()}"
    fields = {"HTTP_UPLOAD_LENGTH": str(length), "HTTP_UPLOAD_METADATA": metadata, **TUS, **environ}
    return ask(app, "/upload", "POST", **fields)


def path(created: Answer) -> str:
    return "/upload/" + created.headers["Location"].rpartition("/")[2]


def patch(app: Any, url: str, body: bytes = b"hello", offset: int = 0, **environ: Any) -> Answer:
    return ask(app, url, "PATCH", body, **{**PATCH, "HTTP_UPLOAD_OFFSET": str(offset), **environ})


def test_life_of_an_upload_is_told(tmp_path: Path, events: Events) -> None:
    """Created, finished and handed over, each with the name, the size, the peer and the owner."""
    app = Filter(taking, tmp_file_dir=str(tmp_path))
    anna = {"REMOTE_USER": "anna", "REMOTE_ADDR": "192.0.2.7"}

    url = path(create(app, **anna))
    patch(app, url, **anna)

    created, finished, handed = events()
    id = url.rpartition("/")[2]
    same = {"upload": id, "file": "a film.mp4", "size": 5, "peer": "192.0.2.7", "owner": "anna", "levelname": "INFO"}
    assert created == {"event": "created", **same}
    assert handed == {"event": "handed over", "status": 204, **same}
    assert finished.pop("seconds") > 0 and finished.pop("speed") > 0
    assert finished == {"event": "finished", **same}


def test_line_is_for_people_and_programs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The message has every field by its name; metadata besides the name stay out of it."""
    caplog.set_level(logging.INFO, "tus")
    app = Filter(None, tmp_file_dir=str(tmp_path))

    id = path(create(app)).rpartition("/")[2]

    assert caplog.messages == [f'created upload={id} file="a film.mp4" size=5 peer=127.0.0.1']
    assert "hidden" not in caplog.text


def test_refusals_are_told(tmp_path: Path, events: Events) -> None:
    """By an option, by a hook before and after the bytes, and by the application, with the reason."""

    class Strict(Hooks):
        def before_finish(self, upload: Any, file: Any) -> None:
            raise Refused("not a film", status=422)

    small = Filter(None, tmp_file_dir=str(tmp_path / "a"), max_size=3)
    strict = Filter(None, tmp_file_dir=str(tmp_path / "b"), hooks=Strict())
    host = Filter(refusing, tmp_file_dir=str(tmp_path / "c"))

    create(small)
    patch(strict, path(create(strict)))
    patch(host, path(create(host)))

    told = [event for event in events() if event["event"] == "refused"]
    assert [(event["status"], event["levelname"]) for event in told] == [(413, "INFO"), (422, "INFO"), (422, "INFO")]
    assert "3 that an upload may have" in told[0]["reason"] and told[1]["reason"] == "not a film"
    assert told[1]["file"] == "a film.mp4" and told[2]["upload"]


def test_everyday_refusals_are_for_the_curious(tmp_path: Path, events: Events) -> None:
    """A wrong offset and an unknown id are met every day, so INFO does not show them."""
    app = Filter(None, tmp_file_dir=str(tmp_path))

    patch(app, path(create(app)), offset=3)
    ask(app, "/upload/nothing", "HEAD", **TUS)

    assert [(e["status"], e["levelname"]) for e in events()[1:]] == [(409, "DEBUG"), (404, "DEBUG")]


def test_cut_is_told_with_its_offset(tmp_path: Path, events: Events) -> None:
    """Of a PATCH, and of a creation, whose upload the request itself does not name."""
    app = Filter(None, tmp_file_dir=str(tmp_path))
    url = path(create(app))

    patch(app, url, b"he", CONTENT_LENGTH="5")
    ask(
        app, "/upload", "POST", b"hel", **{**PATCH, "CONTENT_LENGTH": "5", "HTTP_UPLOAD_LENGTH": "5"}
    )  # fmt: skip

    cuts = [event for event in events() if event["event"] == "cut"]
    assert [(event["offset"], event["method"]) for event in cuts] == [(2, "PATCH"), (3, "POST")]
    assert cuts[0]["upload"] == url.rpartition("/")[2] and cuts[1]["upload"] != cuts[0]["upload"]


def test_removal_and_expiry_are_told(tmp_path: Path, events: Events) -> None:
    """With what was there."""
    app = Filter(None, tmp_file_dir=str(tmp_path))
    gone, old = path(create(app)), path(create(app))

    ask(app, gone, "DELETE", **TUS)
    list(app.engine.sweep(now=1e11))

    assert [(e["event"], e["upload"], e["offset"], e["size"]) for e in events()[2:]] == [
        ("removed", gone.rpartition("/")[2], 0, 5),
        ("expired", old.rpartition("/")[2], 0, 5),
    ]


class Overtaken:
    """A body during which the same client comes back on another connection."""

    def __init__(self, body: bytes, comes_back: Callable[[], Any]) -> None:
        self._body, self._comes_back = io.BytesIO(body), comes_back

    def read(self, size: int = -1) -> bytes:
        if self._body.tell():
            self._comes_back()
        return self._body.read(1)


class Careless(Hooks):
    """Loses a byte of each chunk."""

    def chunk(self, upload: Any, number: int, data: bytes) -> bytes:
        return data[:-1]


def live_and_die(directory: Path) -> None:
    app = Filter(taking, tmp_file_dir=str(directory))
    patch(app, path(create(app, REMOTE_USER="anna")), REMOTE_USER="anna")
    app = Filter(None, tmp_file_dir=str(directory))
    ask(app, path(create(app)), "DELETE", **TUS)
    create(app)
    list(app.engine.sweep(now=1e11))


def be_refused(directory: Path) -> None:
    create(Filter(None, tmp_file_dir=str(directory), max_size=3))


def be_cut(directory: Path) -> None:
    app = Filter(None, tmp_file_dir=str(directory))
    patch(app, path(create(app)), b"he", CONTENT_LENGTH="5")


def be_taken_over(directory: Path) -> None:
    app = Filter(None, tmp_file_dir=str(directory))
    url = path(create(app))
    body = Overtaken(b"hello", lambda: ask(app, url, "HEAD", **TUS))
    patch(app, url, **{"wsgi.input": body, "CONTENT_LENGTH": "5"})


def fail(directory: Path) -> None:
    app = Filter(None, tmp_file_dir=str(directory), hooks=Careless())
    named = "flowFilename=a&flowIdentifier=a&flowTotalSize=5&flowChunkSize=5&flowTotalChunks=1&flowChunkNumber=1"
    ask(app, f"/upload/chunks?{named}", "POST", b"hello", CONTENT_TYPE="application/octet-stream")


def meet_a_bad_record(directory: Path) -> None:
    app = Filter(None, tmp_file_dir=str(directory))
    (directory / f"{path(create(app))[8:]}.info").write_text("[" * 100_000)
    list(app.engine.uploads())


def fill_the_disk(directory: Path) -> None:
    """No file of this process may grow, not even a record; the runner's own are in memory, or grow later."""
    app = Filter(None, tmp_file_dir=str(directory))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        ask(app, "/upload", "POST", HTTP_UPLOAD_LENGTH="5", **TUS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def guess_a_password(directory: Path) -> None:
    app = Login(Filter(None, tmp_file_dir=str(directory)), password="right", users={})
    create(app, HTTP_AUTHORIZATION="Basic " + b64encode(b"anna:wrong").decode())


CAUSES: dict[str, Callable[[Path], None]] = {
    "created": live_and_die,
    "finished": live_and_die,
    "handed over": live_and_die,
    "removed": live_and_die,
    "expired": live_and_die,
    "refused": be_refused,
    "cut": be_cut,
    "taken over": be_taken_over,
    "failed": fail,
    "bad record": meet_a_bad_record,
    "disk full": fill_the_disk,
    "turned away": guess_a_password,
}


@pytest.mark.parametrize("event", documented())
def test_documented_event_is_told(tmp_path: Path, events: Events, event: str) -> None:
    """With a level that the table has, and with no field that the table does not have."""
    levels, fields = documented()[event]

    CAUSES[event](tmp_path)

    told = [found for found in events() if found["event"] == event]
    assert told
    for found in told:
        assert found["levelname"] in levels
        assert set(found) - {"event", "levelname"} <= fields
        assert {"upload", "reason"} & set(found)


def test_nothing_is_told_that_is_not_documented() -> None:
    """The table has a row for each event of the code."""
    code = (ROOT / "tus" / "events.py").read_text("utf-8")

    names = set(re.findall(r'_tell\(logging.\w+, "([a-z ]+)"', code)) | set(
        re.findall(r'logging.\w+, "([a-z ]+)"$', code, re.M)
    )

    assert names and names <= set(documented())


NAMES = {
    "line": "a\n2026-01-01 00:00:00  finished  forged",
    "terminal": "a\x1b[2J\x07\x9b31m",
    "direction": "a\u202egpj.exe\u2066",
    "separators": "a\u2028b\u2029c\x85d\x0bz",
    "quotes": 'a" size=1 owner="root',
    "backslash": "a\\n",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_no_client_can_forge_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Whatever a name, a user or a path holds, it stays within its own field of one line."""
    caplog.set_level(logging.DEBUG, "tus")
    app = Filter(None, tmp_file_dir=str(tmp_path))

    create(app, name=name, REMOTE_USER=name)
    ask(app, "/upload/x", "HEAD", REMOTE_USER=name, PATH_INFO="/upload/" + name.encode().decode("latin-1"), **TUS)

    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert line.isprintable()
        assert re.fullmatch(r'\w+( \w+=([\w.:-]+|"([^"\\]|\\.)*"))+', line, re.ASCII) or not line.isascii()
        assert " size=1" not in re.sub(r'"([^"\\]|\\.)*"', "", line)


def test_shown_text_is_read_as_it_was_written() -> None:
    """Names of all scripts stay as they are; only what is not printable is escaped."""
    assert shown("Übung 1 日本.mp4") == "Übung 1 日本.mp4"
    assert shown("a\nb\u202e\ud800") == "a\\nb\\u202e\\ud800"


def test_file_that_makes_room_for_another_is_told(tmp_path: Path, events: Events) -> None:
    """Chunks by the name of an upload whose time was over begin a new one, and the old one does not just vanish."""
    app = Filter(None, tmp_file_dir=str(tmp_path))
    named = "flowFilename=a&flowIdentifier=a&flowTotalSize=10&flowChunkSize=5&flowTotalChunks=2&flowChunkNumber=1"
    url = f"/upload/chunks?uploadKey={'5' * 32}&{named}"
    ask(app, url, "POST", b"hello", CONTENT_TYPE="application/octet-stream")
    for file in tmp_path.iterdir():
        os.utime(file, (0, 0))

    ask(app, url, "POST", b"hello", CONTENT_TYPE="application/octet-stream")

    first, *others = events()
    assert [event["event"] for event in others] == ["expired", "created"]
    assert others[0]["upload"] == first["upload"] and others[0]["offset"] == 5


def test_peer_is_the_one_of_this_request(tmp_path: Path, events: Events) -> None:
    """A thread that served somebody else before does not remember them."""
    app = Filter(None, tmp_file_dir=str(tmp_path))

    url = path(create(app, REMOTE_ADDR="192.0.2.1"))
    patch(app, url, REMOTE_ADDR="192.0.2.2")
    ask(app, url, "DELETE", REMOTE_ADDR="192.0.2.3", **TUS)

    assert [e["peer"][-1] for e in events()] == ["1", "2", "3"]
