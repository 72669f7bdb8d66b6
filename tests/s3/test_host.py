"""What the application and the people who run it get of uploads in a bucket."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import webob

from tests import real
from tests.adapters.test_paste import ask
from tests.cli.test_commands import command
from tests.conformance.client import metadata
from tests.s3.conftest import MIB
from tus import Hooks, OptionError, TusFilter

pytestmark = pytest.mark.engines
NAMED = metadata(filename="Größe.txt", filetype="text/plain")
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@pytest.fixture
def url(engine: dict[str, str], prefix: str) -> str:
    """The store, as an operator writes it."""
    keys = f"access_key={engine['S3_KEY']}&secret={engine['S3_SECRET']}&region={engine['S3_REGION']}"
    return f"s3://{real.BUCKET}/{prefix.strip('/')}?endpoint={engine['S3_ENDPOINT']}&{keys}"


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """What the application got."""
    return []


@pytest.fixture
def made(url: str, told: list[dict[str, Any]]) -> Callable[..., TusFilter]:
    """A filter over that store."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        told.append({"body": environ["wsgi.input"].read(), "upload": environ["tus.upload"]})
        return webob.Response("taken")(environ, start_response)

    def filter(*, more: str = "", **options: Any) -> TusFilter:
        return TusFilter(app, store=url + more, locker="memory:", sweep_interval="none", **options)

    return filter


def uploaded(app: App, data: bytes, said: str = NAMED) -> str:
    """The path of a finished upload."""
    size = str(len(data))
    created = ask(app, "POST", "/upload", Tus_Resumable="1.0.0", Upload_Length=size, Upload_Metadata=said)
    path = urlsplit(created.location).path
    patch = {"Upload_Offset": "0", "Content_Type": "application/offset+octet-stream", "Tus_Resumable": "1.0.0"}
    assert ask(app, "PATCH", path, data, **patch).status_int == 204
    return path


def fetched(url: str, **headers: str) -> tuple[bytes, Any]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read(), answer.headers


@pytest.mark.parametrize("size", [0, 5, 6 * MIB])
@pytest.mark.parametrize("more", ["", "&key={owner}/{id}-{name}"])
def test_application_gets_a_url_that_anybody_can_fetch(
    made: Callable[..., TusFilter], told: list[dict[str, Any]], engine: dict[str, str], size: int, more: str
) -> None:
    """And where the file is, for a worker that has keys of its own. It stays after the answer, unless that is wished
    otherwise."""
    app, data = made(hand_over="url", more=more), os.urandom(size)

    path = uploaded(app, data)

    ((given, upload),) = [(one["body"].decode(), one["upload"]) for one in told]
    assert fetched(given)[0] == data
    assert parse_qs(urlsplit(given).query)["X-Amz-Expires"] == ["3600"]
    bucket, key = upload.stored_at.removeprefix("s3://").split("/", 1)
    assert real.bucket_at(engine["S3_ENDPOINT"], engine, bucket).get(key).body == data
    assert ask(app, "GET", path).body == data
    if more:
        assert key.endswith(f"nobody/{path.rpartition('/')[2]}-Größe.txt")


def test_file_goes_after_the_url_was_handed_over_if_that_is_wished(
    made: Callable[..., TusFilter], told: list[dict[str, Any]]
) -> None:
    """By an application that fetches it before it answers."""
    app = made(hand_over="url", cleanup=True)

    uploaded(app, b"hello")

    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(told[0]["body"].decode())


def test_hook_learns_where_the_file_is(url: str) -> None:
    """It may be all that the host wants to know."""
    heard: list[str] = []

    class Listening(Hooks):
        def finished(self, upload: Any) -> None:
            heard.append(upload.stored_at)

    app = TusFilter(lambda *_: [], store=url, locker="memory:", hand_over="none", hooks=Listening())

    path = uploaded(app, b"hello")

    assert heard == [f"s3://{urlsplit(url).netloc}{urlsplit(url).path}/{path.rpartition('/')[2]}"]


@pytest.mark.parametrize(
    "kind, shown, type",
    [("text/plain", "inline", "text/plain"), ("text/html", "attachment", "application/octet-stream")],
)
def test_download_goes_to_the_storage_if_that_is_wished(
    made: Callable[..., TusFilter], kind: str, shown: str, type: str
) -> None:
    """With ranges, under the name of the file, and with a type that no browser runs."""
    app = made(redirect_downloads=True, cleanup=False, link_valid_duration="90s")
    path = uploaded(app, b"0123456789", metadata(filename="Größe.txt", filetype=kind))

    answer = ask(app, "GET", path)

    assert (answer.status_int, answer.headers["Cache-Control"], answer.body) == (302, "no-store", b"")
    assert parse_qs(urlsplit(answer.location).query)["X-Amz-Expires"] == ["90"]
    body, headers = fetched(answer.location)
    assert (body, headers["Content-Type"]) == (b"0123456789", type)
    assert headers["Content-Disposition"].startswith(shown) and "Gr%C3%B6%C3%9Fe.txt" in headers["Content-Disposition"]
    assert fetched(answer.location, Range="bytes=2-4")[0] == b"234"


def test_nobody_is_sent_to_what_must_not_be_read(made: Callable[..., TusFilter]) -> None:
    """Neither to what is not finished, nor where downloads are off."""
    app = made(redirect_downloads=True, cleanup=False)
    made_of = ask(app, "POST", "/upload", Tus_Resumable="1.0.0", Upload_Length="5").location
    path = uploaded(app, b"hello")

    assert 400 <= ask(app, "GET", urlsplit(made_of).path).status_int < 500
    assert ask(made(redirect_downloads=True, download=False), "GET", path).status_int >= 400


@pytest.mark.parametrize(
    "options, said",
    [
        ({"hand_over": "url"}, "option hand_over: nobody else can fetch from a FileStore"),
        ({"redirect_downloads": True}, "option redirect_downloads: nobody else can fetch from a FileStore"),
        ({"link_valid_duration": "8d"}, "option link_valid_duration: has to be from 1s to 7d"),
        ({"link_valid_duration": "none"}, "option link_valid_duration: has to be from 1s to 7d"),
    ],
)
def test_what_a_store_cannot_do_is_said_at_the_start(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    """With the option, and what to choose instead."""
    with pytest.raises(OptionError, match=said):
        TusFilter(lambda *_: [], tmp_file_dir=str(tmp_path), **options)


def test_path_is_refused_at_the_start(made: Callable[..., TusFilter]) -> None:
    """Where no file has one."""
    with pytest.raises(OptionError, match="option hand_over: a S3Store has no path .* choose url, file, form or none"):
        made(hand_over="path")


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "&key={owner}/{date}/{id}-{name}"])
def test_commands_work_on_a_bucket(made: Callable[..., TusFilter], url: str, more: str) -> None:
    """As on a directory: list, show and sweep."""
    app, store = made(cleanup=False, more=more), ("--store", url + more, "--locker", "memory:")
    whole = uploaded(app, b"hello").rpartition("/")[2]
    half = ask(app, "POST", "/upload", Tus_Resumable="1.0.0", Upload_Length="5").location.rpartition("/")[2]

    listed = [json.loads(line) for line in command("ls", *store, "--json").stdout.splitlines()]
    shown = command("show", whole, *store).stdout
    link = command("show", whole, *store, "--url").stdout.strip()
    swept = command("sweep", *store, "--upload-valid-duration", "0s").stdout
    left = command("ls", *store, "--json").stdout

    assert {(one["id"], one["offset"], one["state"]) for one in listed} == {
        (whole, 5, "finished"),
        (half, 0, "unfinished"),
    }
    assert [one["stored_at"] in shown for one in listed if one["id"] == whole] == [True]
    assert "state        finished\n" in shown and "Größe.txt" in shown
    assert fetched(link)[0] == b"hello"
    assert half in swept and whole not in swept
    assert [json.loads(line)["id"] for line in left.splitlines()] == [whole]
