"""Records that others wrote, or that a broken disk made of ours: one bad one is set aside, and never stops the rest."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests import live
from tests.drafting import new
from tus import Metadata, Options, Upload
from tus.engine import Engine
from tus.errors import Damaged, NotFound, TusError
from tus.http.headers import http_date
from tus.lockers.file import FileLocker
from tus.stores.file import FileStore
from tus.stores.records import decoded, encoded
from tus.upload import name_of

ID = "0123456789abcdef" * 2
GOOD = json.loads(encoded(Upload(ID, length=3)))
BAD = {
    "not text": b"\xff\xfe",
    "cut off": b'{"ID":"x","Si',
    "deep": b'{"ID":' + b"[" * 100_000,
    "no size": b'{"ID":"x"}',
    "a list for ours": b'{"ID":"x","Size":1,"tus":[]}',
    "empty result": json.dumps({**GOOD, "tus": {"result": [204]}}).encode(),
    "infinite size": b'{"ID":"x","Size":Infinity}',
    "negative size": b'{"ID":"x","Size":-1}',
    "huge size": b'{"ID":"x","Size":1' + b"0" * 400 + b"}",
    "huge number": b'{"ID":"x","Size":1' + b"0" * 5000 + b"}",
    "owner of a wrong kind": json.dumps({**GOOD, "tus": {"owner": {}}}).encode(),
    "negative verified": json.dumps({**GOOD, "tus": {"unverified_from": -1}}).encode(),
    "line break in a header": json.dumps({**GOOD, "tus": {"metadata": "a YQ==\nX: y"}}).encode(),
    "parts of a wrong kind": json.dumps({**GOOD, "PartialUploads": [1, None]}).encode(),
    "chunks of a wrong kind": json.dumps({**GOOD, "tus": {"chunks": ["a", "b"]}}).encode(),
}

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
OURS = ("created", "metadata", "concat", "complete", "owner", "limit", "expires", "unverified_from", "dropped",
        "expected", "finals", "digests", "target", "chunks", "result")  # fmt: skip
TUSDS = ("ID", "Size", "SizeIsDeferred", "Offset", "MetaData", "IsPartial", "IsFinal", "PartialUploads")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    directory = str(tmp_path)
    return Engine(FileStore(directory), FileLocker(directory), Options({"tmp_file_dir": directory}))


def add(directory: Path, id: str = ID, text: bytes | None = None, data: bytes = b"abc", **ours: Any) -> None:
    """An upload with that record."""
    record = {**GOOD, "ID": id, "tus": {**GOOD["tus"], **ours}}
    (directory / id).write_bytes(data)
    (directory / f"{id}.info").write_bytes(json.dumps(record).encode() if text is None else text)


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_record_is_damaged_and_not_unknown(tmp_path: Path, text: bytes) -> None:
    """Whatever is wrong with it, nothing but this error comes out."""
    add(tmp_path, text=text)

    with pytest.raises(Damaged):
        FileStore(str(tmp_path)).load(ID)


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_file_that_is_nobodys_record_is_an_unknown_upload(tmp_path: Path, text: bytes) -> None:
    """By a name that others may use, and without the words that our records begin with."""
    add(tmp_path, "notes", text=text.replace(b'{"ID":', b'{"Id":'))

    with pytest.raises(NotFound):
        FileStore(str(tmp_path)).load("notes")


@pytest.mark.parametrize("key", ["ключ".encode().decode("latin-1"), "a\xa0b", "a\xadb"])
def test_name_of_a_field_in_utf_8_can_be_read_again(tmp_path: Path, key: str) -> None:
    """WSGI shows its bytes as Latin-1, and some of those are no printable characters."""
    store = FileStore(str(tmp_path))
    new(store, ID, length=3, metadata=Metadata(f"{key} YQ=="))

    assert dict(store.load(ID).metadata) == {key: b"a"}


def test_name_that_an_older_version_kept_as_it_was_can_be_read(tmp_path: Path) -> None:
    """A form's field in Cyrillic; it becomes a key that a header can hold."""
    add(tmp_path, metadata="ключ YQ==,filename Yg==")

    upload = FileStore(str(tmp_path)).load(ID)

    assert upload.metadata.filename == "b"
    assert [name_of(key) for key in upload.metadata] == ["ключ", "filename"]
    assert upload.metadata.raw.isascii()


def test_broken_metadata_stops_nobody_who_lists_uploads(tmp_path: Path, engine: Engine) -> None:
    """The rest of the record is good, and so is the upload."""
    add(tmp_path, metadata="a b c")

    assert [(upload.offset, upload.metadata.filename) for upload in engine.uploads()] == [(3, "")]


def test_record_that_was_read_before_is_read_as_it_is_now(tmp_path: Path) -> None:
    """What is remembered of a text is no other text's, and no other upload's."""
    store, other, record = FileStore(str(tmp_path)), "fedcba9876543210" * 2, tmp_path / f"{ID}.info"
    for id in (ID, other):
        (tmp_path / id).write_bytes(b"abc")
        (tmp_path / f"{id}.info").write_text(encoded(Upload(ID, length=3)))

    lengths = [store.load(ID).length, store.load(ID).length]
    record.write_text(encoded(Upload(ID, length=4)))
    lengths.append(store.load(ID).length)

    assert lengths == [3, 3, 4]
    assert store.load(other).id == other
    assert store.load(other).length == 3


def test_numbers_that_hosts_set_are_read_again(tmp_path: Path) -> None:
    """A limit that was worked out with a fraction, and a user who has a number."""
    add(tmp_path, limit=5e6, owner=17)

    upload = FileStore(str(tmp_path)).load(ID)

    assert (upload.limit, upload.owner) == (5_000_000, 17)
    assert type(upload.limit) is int


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.dictionaries(some.sampled_from(OURS), JSON), some.dictionaries(some.sampled_from(TUSDS), JSON))
def test_any_record_is_read_or_refused(ours: dict[str, Any], tusds: dict[str, Any]) -> None:
    """And what is read can be looked at and written again."""
    text = json.dumps({"Size": 5, **tusds, "tus": ours}).encode()
    try:
        upload, _ = decoded(text, ID)
        assert decoded(encoded(upload).encode(), ID)[0].evolve(expires=None, created=0.0) == upload.evolve(
            expires=None, created=0.0
        )
        assert upload.metadata.filename is not None
    except TusError:
        pass


@pytest.mark.slow
def test_hundred_thousand_broken_records_are_read_or_refused() -> None:
    """Ours, with bytes changed, cut off or doubled."""
    full = Upload(ID, length=9, owner="adam", parts=("a", "b"), digests=(("sha-256", "00"),), limit=3, expires=9.5)
    whole = encoded(full).encode()
    dice = random.Random(11)

    for _ in range(100_000):
        text = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(text))
            text[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
        with contextlib.suppress(TusError):
            decoded(bytes(text), ID)


def make_a_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def make_a_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("suffix", ["", ".info", ".chunks", ".new", ".kept"])
@pytest.mark.parametrize("make", [make_a_pipe, make_a_directory])
def test_what_is_no_file_holds_nobody_up(
    engine: Engine, tmp_path: Path, suffix: str, make: Callable[[Path], None]
) -> None:
    """A pipe, or a directory, in place of any file: the others are listed and swept, and nobody waits."""
    other, store = ID[::-1], FileStore(str(tmp_path))
    add(tmp_path)
    add(tmp_path, other)
    make(tmp_path / f"{ID}{suffix}")

    list(engine.sweep(now=math.inf))

    assert other not in {upload.id for upload in engine.uploads()}
    with contextlib.suppress(TusError):
        store.marks(ID)
        store.load(ID)


def test_bad_record_stops_no_listing_and_no_sweep(engine: Engine, tmp_path: Path) -> None:
    """It is named, and left for a person to look at."""
    others = [f"{number:032x}" for number in range(5)]
    for id in others:
        add(tmp_path, id)
    add(tmp_path, text=BAD["deep"])
    bad: list[str] = []

    seen = sorted(upload.id for upload in engine.uploads(bad))
    swept = sorted(upload.id for upload in engine.sweep(now=4e9))

    assert (seen, swept, bad) == (others, others, [ID])
    assert (tmp_path / f"{ID}.info").exists()


def test_command_names_bad_records(tmp_path: Path) -> None:
    """`tus ls` lists the others, says which one it is, and tells scripts that something is wrong."""
    other = ID[::-1]
    add(tmp_path, other)
    add(tmp_path, text=BAD["cut off"])

    command = [sys.executable, "-m", "tus", "ls", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=live.ROOT)

    assert done.returncode == 1
    assert other in done.stdout and "1 upload," in done.stdout
    assert f"{ID}.info cannot be read" in done.stderr


# Times


@pytest.mark.parametrize("expires", [-1e9, -1, 0, 4e11, 1e300, math.inf, -math.inf, math.nan])
def test_any_time_is_a_date_or_never(engine: Engine, tmp_path: Path, expires: float) -> None:
    """A calendar ends with the year 9999; a record may name any number."""
    add(tmp_path, data=b"a", expires=expires)
    upload = FileStore(str(tmp_path)).load(ID)

    found = engine.expires(upload)

    assert found is None or http_date(found).endswith(" GMT")
    assert engine.expired(upload) is (expires <= 0)
    assert (engine.remaining(upload) is None) is (found is None)


def test_date_of_a_file_beyond_all_calendars_is_written(tmp_path: Path) -> None:
    """File systems count further than HTTP."""
    assert http_date(1e12) == http_date(math.inf) == "Fri, 31 Dec 9999 23:59:59 GMT"
    assert http_date(-5) == "Thu, 01 Jan 1970 00:00:00 GMT"
