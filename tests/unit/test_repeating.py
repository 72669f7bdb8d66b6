"""Creations with a key, which may be sent again: on every kind of store, one key of one owner gives one upload."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests import engines
from tests.engines import Clock, append, ask, content
from tus import Engine, Hooks, Metadata, Refused, Upload
from tus.checksum import Checksum
from tus.downloads import download
from tus.engine.repeating import begin_once
from tus.errors import BodyCut, ChecksumMismatch, Interrupted, KeyReused, Overrun
from tus.upload import is_random

Build = Callable[..., Engine]
SHA1 = Checksum("sha1", hashlib.sha1(b"abcdef").digest())
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


class Counting(Hooks):
    """Counts the uploads that exist, and allows so many."""

    def __init__(self, most: int = 9) -> None:
        self.most, self.born = most, 0

    def before_create(self, request: Any, upload: Upload) -> None:
        if self.born >= self.most:
            raise Refused("that is enough", status=403)

    def created(self, upload: Upload) -> None:
        self.born += 1


class Naming(Hooks):
    """Names each upload itself."""

    def before_create(self, request: Any, upload: Upload) -> Upload:
        return upload.evolve(id=f"film-{upload.id}" if upload.length == 6 else "film")


def begin(
    engine: Engine,
    length: int | None = 6,
    data: bytes | None = None,
    *,
    key: str = KEY,
    announced: int | None = -1,
    user: str | None = None,
    **more: Any,
) -> Upload:
    """One creation with a key; and with `data`, of which so much is announced."""
    announced = len(data or b"") if announced == -1 else announced
    more.setdefault("metadata", Metadata())
    with begin_once(engine, ask(user=user), key=key, length=length, announced=announced, **more) as writer:
        if data:
            writer.write(data)
        return engine.conclude(writer)


def part(engine: Engine, data: bytes) -> Upload:
    with engine.begin(ask(), length=len(data), metadata=Metadata(), partial=True, announced=len(data)) as writer:
        writer.write(data)
        return engine.conclude(writer)


def join(engine: Engine, *parts: Upload, concat: str = "final;a b", key: str = KEY) -> Upload:
    return engine.join(ask(), [one.id for one in parts], metadata=Metadata(), concat=concat, key=key)


def test_one_key_gives_one_upload(build: Build) -> None:
    """The second creation finds what the first one made, and as far as it is by now."""
    engine = build()

    first = begin(engine)
    append(engine, first.id, b"abc")
    again = begin(engine)

    assert (again.id, again.offset, len(list(engine.uploads()))) == (first.id, 3, 1)


def test_another_process_finds_the_upload(build: Build) -> None:
    """Nothing of it is in the memory of the process that made it."""
    here = build()
    elsewhere = build(store=here.store if "Memory" in type(here.store).__name__ else None)

    assert begin(elsewhere).id == begin(here).id


def test_keys_owners_and_targets_are_told_apart(build: Build) -> None:
    """The same key of somebody else, or another key, is another upload."""
    engine = build()

    ids = {
        begin(engine).id,
        begin(engine, key="another").id,
        begin(engine, user="adam").id,
        begin(engine, user="eve").id,
    }

    assert len(ids) == 4


def test_id_follows_from_a_secret(build: Build) -> None:
    """It looks like any other, and cannot be worked out from the key: another store gives another one."""
    first, second = build(), engines.build(None)

    assert is_random(begin(first).id)
    assert begin(first).id != begin(second).id


@pytest.mark.parametrize(
    "said", [{"length": 7}, {"length": None}, {"metadata": Metadata("a Yg==")}, {"concat": "partial", "partial": True}]
)
def test_other_words_with_the_same_key_are_refused(build: Build, said: dict[str, Any]) -> None:
    """What is there is not what this client wants, and stays as it is."""
    engine = build()
    first = begin(engine)

    with pytest.raises(KeyReused, match="Idempotency-Key belongs to an upload of another length"):
        begin(engine, **said)

    assert [upload.length for upload in engine.uploads()] == [first.length]


def test_body_that_comes_again_goes_on_where_the_upload_is(build: Build) -> None:
    """What is there is left out, and the rest is stored: the client need not know how far it came."""
    engine = build()
    first = begin(engine, 6, b"ab", announced=2)

    done = begin(engine, 6, b"abcdef")

    assert (done.id, done.complete, content(engine, done)) == (first.id, True, b"abcdef")


def test_body_that_comes_again_to_a_whole_upload_changes_nothing(build: Build) -> None:
    """It is read to its end, and answered as it was the first time."""
    engine = build()
    first = begin(engine, 6, b"abcdef")

    again = begin(engine, 6, b"abcdef")

    assert (again.id, again.complete, content(engine, again)) == (first.id, True, b"abcdef")


def test_shorter_body_that_comes_again_leaves_what_is_there(build: Build) -> None:
    """The upload has more by now, and none of it is lost."""
    engine = build()
    first = begin(engine, 6, b"ab")
    append(engine, first.id, b"cd", offset=2)

    again = begin(engine, 6, b"ab")

    assert (again.offset, content(engine, again)) == (4, b"abcd")


def test_longer_body_than_the_upload_is_refused(build: Build) -> None:
    """Also if everything is there; and also if only the end of the body tells its length."""
    engine = build()
    first = begin(engine, 3, b"abc")

    with pytest.raises(Overrun):
        begin(engine, 3, b"abcd")
    with pytest.raises(Overrun):
        begin(engine, 3, b"abcd", announced=None)

    assert content(engine, first) == b"abc"


def test_checksum_is_of_the_whole_body(build: Build) -> None:
    """Of what is left out, too."""
    engine = build()
    begin(engine, 6, b"ab")

    with pytest.raises(ChecksumMismatch):
        begin(engine, 6, b"xbcdef", checksum=SHA1)
    done = begin(engine, 6, b"abcdef", checksum=SHA1)

    assert content(engine, done) == b"abcdef"


def test_empty_file_is_complete_each_time(build: Build) -> None:
    """There is nothing to send, so the creation is all."""
    engine = build()

    assert (begin(engine, 0).complete, begin(engine, 0).complete) == (True, True)
    assert len(list(engine.uploads())) == 1


def test_repetition_takes_over_from_a_request_that_hangs(build: Build) -> None:
    """The client of the first one is gone, and the server does not know: the second one has not to wait for it."""
    engine = build()

    with (
        pytest.raises(Interrupted),
        begin_once(engine, ask(), key=KEY, length=6, metadata=Metadata(), announced=6) as hanging,
    ):
        hanging.write(b"ab")
        done = begin(engine, 6, b"abcdef")
        hanging.write(b"cdef")

    assert (done.complete, content(engine, done)) == (True, b"abcdef")


def test_race_of_creations_makes_one_upload(build: Build) -> None:
    """Eight at once, on two engines that share the store."""
    one = build()
    two = build(store=one.store if "Memory" in type(one.store).__name__ else None)

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda engine: begin(engine).id, [one, two] * 4))

    assert len(ids) == 1
    assert [upload.id for upload in one.uploads()] == list(ids)


def test_deleted_upload_gives_its_key_back(build: Build) -> None:
    """The next creation with the key is a new one."""
    engine = build()
    first = begin(engine, 6, b"abc")

    engine.terminate(ask(first.id))
    again = begin(engine, 7)

    assert (again.offset, again.length) == (0, 7)


def test_upload_that_comes_in_place_of_another_has_a_tag_of_its_own(build: Build) -> None:
    """A browser, or `tus get`, would take the one for the other."""
    engine, tags = build(download="true", delivers=False), []
    for data in (b"abcdef", b"ghijkl"):
        upload = begin(engine, data=data)
        said = {"if-none-match": tags[0]} if tags else {}
        answer = download(ask(upload.id, headers=said), engine)
        tags.append(answer.headers["ETag"])
        answer.body.close()  # type: ignore[union-attr]
        engine.store.delete(upload.id)
        assert answer.status == 200

    assert len(set(tags)) == 2


def test_expired_upload_gives_its_key_back(build: Build) -> None:
    """A key lives as long as its upload."""
    clock = Clock()
    engine = build(clock=clock, upload_valid_duration=60)
    append(engine, begin(engine).id, b"abc")

    engine.now = lambda: 4e9  # type: ignore[method-assign]

    assert begin(engine, 7).offset == 0


def test_hook_hears_of_one_upload(build: Build) -> None:
    """However often its creation comes; and a rule that counts uploads does not refuse a repetition."""
    hooks = Counting(most=1)
    engine = build(hooks)

    first, again = begin(engine), begin(engine)

    assert (first.id, hooks.born) == (again.id, 1)
    with pytest.raises(Refused, match="that is enough"):
        begin(engine, key="another")


class ReadOnly(Hooks):
    """Lets everybody begin uploads, and nobody write to one that is there."""

    def authorise(self, request: Any, intent: str, upload: Upload | None) -> None:
        if intent == "write":
            raise Refused("read only", status=403)


def test_taking_over_needs_the_right_to_write(build: Build) -> None:
    """To repeat a creation with bytes is to write to what another request began, unless that is whole."""
    engine = build(ReadOnly())
    with suppress(BodyCut):
        begin(engine, data=b"abc", announced=6)
    whole = begin(engine, data=b"abcdef", key="another")

    with pytest.raises(Refused, match="read only"):
        begin(engine, data=b"abcdef")

    assert begin(engine).offset == 3
    assert begin(engine, data=b"abcdef", key="another").id == whole.id


def test_host_may_name_the_upload(build: Build) -> None:
    """If the name follows from the one that it is given, a repetition finds it; another key by that name is refused."""
    engine = build(Naming())

    assert begin(engine).id == begin(engine).id
    assert begin(engine, 7).id == "film"
    with pytest.raises(Refused, match="taken"):
        begin(engine, 7, key="another")


def test_key_of_a_concatenation(build: Build) -> None:
    """The same final upload, also after its parts are gone; other parts with the same key are refused."""
    engine = build(remove_parts=True)
    parts = part(engine, b"abc"), part(engine, b"def")
    others = part(engine, b"gh"), part(engine, b"ij")

    first, again = join(engine, *parts), join(engine, *parts)

    assert (first.id, content(engine, again)) == (again.id, b"abcdef")
    with pytest.raises(KeyReused):
        join(engine, *others)
    with pytest.raises(KeyReused):
        begin(engine)
    assert join(engine, *others, key="another").id != first.id
