"""Expiration: unfinished uploads go after a while, and must say when."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from tests import live
from tests.conformance.client import BYTES, Client, every_manner

MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
IMF = rf"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d ({MONTHS}) \d{{4}} \d\d:\d\d:\d\d GMT"


def seconds_left(value: str) -> float:
    """How far the date is away; fails if it is not written as HTTP dates are."""
    assert re.fullmatch(IMF, value), value
    return parsedate_to_datetime(value).timestamp() - time.time()


def test_creation_tells_when_the_upload_expires(collection) -> None:
    """The date is there from the start, in the one format that HTTP has, as far away as the option says."""
    tus = collection(upload_valid_duration=3600)

    for answer in (
        tus.post({"Upload-Length": "5"}),
        tus.post({"Upload-Defer-Length": "1"}),
        tus.post({"Upload-Length": "5", "Content-Type": BYTES}, b"abc"),
    ):
        assert answer.status == 201
        assert 3590 < seconds_left(answer["Upload-Expires"]) <= 3601


@every_manner
def test_every_patch_of_an_unfinished_upload_tells_when_it_expires(collection) -> None:
    """Each PATCH that leaves something to do has the date; the one that finishes need not."""
    tus = collection(upload_valid_duration=3600)
    url = tus.create(5)

    for offset, piece in ((0, b"ab"), (2, b""), (2, b"c")):
        assert 3590 < seconds_left(tus.patch(url, offset, piece)["Upload-Expires"]) <= 3601
    assert "Upload-Expires" not in tus.patch(url, 3, b"de")


def test_head_tells_when_the_upload_expires(collection) -> None:
    """Whoever resumes can see how much time is left."""
    tus = collection(upload_valid_duration=3600)

    assert 3590 < seconds_left(tus.head(tus.create(5))["Upload-Expires"]) <= 3601


def test_uploads_that_never_expire_have_no_date(collection) -> None:
    """Where uploads are kept for ever, no date is given and the extension is not announced."""
    tus = collection(upload_valid_duration="none")
    answer = tus.post({"Upload-Length": "5"})

    assert "Upload-Expires" not in answer
    assert "Upload-Expires" not in tus.patch(answer["Location"], 0, b"ab")
    assert "Upload-Expires" not in tus.head(answer["Location"])
    assert "expiration" not in tus.options().list("Tus-Extension")


@pytest.mark.slow
def test_expired_upload_is_gone(collection) -> None:
    """After its date an unfinished upload answers 410, takes no byte, and is not resumed by any method."""
    tus = collection(upload_valid_duration=1)
    url = tus.create(5)
    expires = seconds_left(tus.patch(url, 0, b"ab")["Upload-Expires"])
    assert expires <= 1.0

    answer = live.until(lambda: (a := tus.head(url)).status != 200 and a)

    assert answer.status in (404, 410)
    assert "Upload-Offset" not in answer
    refused = tus.patch(url, 2, b"cde")
    assert refused.status in (404, 410)
    assert "Upload-Offset" not in refused
    assert tus.get(url).status in (404, 410)
    assert tus.delete(url).status in (204, 404, 410)
    assert tus.handed() == []


@pytest.mark.slow
def test_expired_upload_is_410_while_it_is_remembered(collection) -> None:
    """Nothing has swept the record away yet, so the answer can say that there was an upload."""
    tus = collection(upload_valid_duration=1, sweep_interval="none")
    url = tus.create(5)

    answer = live.until(lambda: (a := tus.head(url)).status != 200 and a)

    assert answer.status == 410
    assert tus.patch(url, 0, b"hello").status == 410


@pytest.mark.slow
def test_expired_part_is_no_part(collection) -> None:
    """What is gone cannot be joined, before or after it was complete."""
    tus = collection(upload_valid_duration=1)
    part = tus.create(2, {"Upload-Concat": "partial"})
    live.until(lambda: tus.head(part).status != 200)

    assert tus.final(part).status == 400
    assert tus.handed() == []


@pytest.mark.slow
def test_writing_postpones_the_end(collection) -> None:
    """The time counts from the last byte: an upload that goes on slowly does not expire."""
    tus = collection(upload_valid_duration=2)
    url = tus.create(3)
    started = time.monotonic()

    live.until(lambda: time.monotonic() - started > 1.2)
    first = tus.patch(url, 0, b"a")
    live.until(lambda: time.monotonic() - started > 2.4)
    second = tus.patch(url, 1, b"b")

    assert (first.status, second.status) == (204, 204)


@pytest.mark.slow
def test_finished_upload_does_not_expire(collection) -> None:
    """What is complete stays."""
    tus = collection(upload_valid_duration=1, cleanup=False)
    url = tus.uploaded(b"hello")
    other = tus.create(5)

    live.until(lambda: tus.head(other).status != 200)

    head = tus.head(url)
    assert (head.status, head["Upload-Offset"]) == (200, "5")
    assert tus.get(url).body == b"hello"


@pytest.mark.slow
def test_sweeping_removes_the_bytes(collection) -> None:
    """A process that sweeps frees the space of expired uploads without being asked about them."""
    tus = collection(upload_valid_duration=1, sweep_interval=1)
    url = tus.create(5)
    tus.patch(url, 0, b"ab")
    assert tus.stored(url) == 2

    def swept() -> bool:
        tus.create(5)  # traffic, for a server that sweeps on its way
        return tus.id(url) not in tus.files()

    live.until(swept, within=10)
    assert tus.head(url).status in (404, 410)


@pytest.mark.slow
def test_an_upload_being_written_does_not_expire(collection) -> None:
    """A connection that still delivers bytes keeps its upload alive past the date it was given."""
    tus: Client = collection(upload_valid_duration=1)
    if not tus.kind.streams:
        pytest.skip(f"{tus.kind.name} hands no part of a body on")
    url = tus.create(4)
    started = time.monotonic()

    with tus.begin(url, 0, 4, b"a") as connection:
        for turn, byte in enumerate((b"b", b"c", b"d"), 1):
            live.until(lambda turn=turn: time.monotonic() - started > turn * 0.6)
            connection.send(byte)
        answer = connection.answer()

    assert answer.status == 204
    assert [handed.file for handed in tus.handed()] == [b"abcd"]
