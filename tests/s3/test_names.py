"""`key={owner}/{date}/{id}-{name}`: what finished files are called in the bucket."""

from __future__ import annotations

import json
import os

import pytest

from tests.drafting import Turns, content, going_on
from tests.s3.conftest import MIB, PART, Reopen
from tests.s3.proxy import Proxy
from tests.s3.test_opening import opened
from tus import Metadata, OptionError, Upload
from tus.errors import NotFound
from tus.stores.s3 import S3Store
from tus.stores.s3.pattern import Pattern
from tus.stores.s3.tidying import Tidying

ID = "0123456789abcdef" * 2
DAY = "2026-11-30"
USUAL = "{owner}/{date}/{id}-{name}"


def upload(name: str = "", owner: str | None = None, id: str = ID, **more: object) -> Upload:
    metadata = Metadata.of({"filename": name.encode()} if name else {})
    return Upload(id, metadata=metadata, owner=owner, created=1_796_000_000.0).evolve(**more)


@pytest.mark.parametrize(
    "pattern, told, key",
    [
        ("{id}", upload(), ID),
        (USUAL, upload("a.pdf", "ann"), f"ann/{DAY}/{ID}-a.pdf"),
        (USUAL, upload(), f"nobody/{DAY}/{ID}-file"),
        (USUAL, upload("Größe 漢字.pdf", "ann@example.com"), f"ann_example.com/{DAY}/{ID}-Größe_漢字.pdf"),
        (USUAL, upload("../../x", "../../etc"), f"_._.._etc/{DAY}/{ID}-x"),
        (USUAL, upload("a/b\\c\r\n<&>\u202e.js", "."), f"_/{DAY}/{ID}-c___.js"),
        ("{id}/{name}", upload(".htaccess"), f"{ID}/_htaccess"),
        ("in/{name}-{id}", upload("a"), f"in/a-{ID}"),
        ("{owner}{id}", upload(owner="o" * 300), "o" * 64 + ID),
    ],
)
def test_key_is_made_of_what_is_known(pattern: str, told: Upload, key: str) -> None:
    """And nothing that a client says leads out of its place."""
    assert Pattern(pattern).key(told) == key


@pytest.mark.parametrize("name", ["n" * 200 + ".jpeg", "漢" * 90 + ".jpeg"])
def test_long_name_is_cut_to_what_an_engine_takes(name: str) -> None:
    """With its ending, since that tells what is in the file."""
    key = Pattern("{owner}-{date}-{id}-{name}").key(upload(name, "o" * 64, "i" * 128))

    assert 200 < len(key.encode()) <= 255
    assert key.endswith(".jpeg" if len(key.rpartition("-")[2]) > 20 else key[-1])


@pytest.mark.parametrize(
    "pattern, said",
    [
        ("{owner}/{name}", "{id} has to be in it"),
        ("AKIAIOSFODNN7EXAMPLE", "{id} has to be in it"),
        ("{user}/{id}", "there is no field {user}; there are {id}, {owner}, {date}, {name}"),
        ("{}/{id}", "there is no field {}"),
        ("{id}/{id}", "{id} may be there once"),
        ("{id}/{name", "outside of {fields}"),
        ("{id}/a b", "outside of {fields}"),
        ("/{id}", "between two slashes has to be something"),
        ("{id}/", "between two slashes has to be something"),
        ("a//{id}", "between two slashes has to be something"),
        ("../{id}", "may not begin with a dot"),
        (".tus/{id}", "may not begin with a dot"),
        ("x" * 128 + "{id}", "256 bytes"),
        ("/".join(["x" * 200] * 5) + "/{id}", "S3 allows 1024"),
    ],
)
def test_wrong_pattern_is_refused_at_the_start(pattern: str, said: str) -> None:
    """Before the first upload, and before anything is asked."""
    with pytest.raises(OptionError, match="option store: key=") as raised:
        opened(f"s3://bucket?endpoint=http://127.0.0.1:1&key={pattern}")

    assert said in str(raised.value)


def test_ids_are_found_in_keys_of_ours_only() -> None:
    """What another program has in the bucket matches nothing."""
    pattern = Pattern(USUAL)

    assert list(pattern.ids(pattern.key(upload("a" * 9, "ann")))) == [ID]
    assert list(Pattern("{name}{id}{owner}").ids(f"fff{ID}a")) == ["ff" + ID[:-2], "f" + ID[:-1], ID]
    assert not [*pattern.ids(f"ann/{ID}-a"), *pattern.ids("ann/2026/report-1"), *Pattern().ids(f"logs/{ID}")]


@pytest.fixture
def named(reopen: Reopen) -> S3Store:
    return reopen(pattern=Pattern(USUAL))


def made(store: S3Store, data: bytes, *, at_once: bool = False) -> Upload:
    """A finished upload, by its creation alone or by two requests."""
    told = upload("Größe.pdf", "ann", length=len(data))
    draft = store.create(told, fence=Turns(1))
    if not at_once:
        store.save(told)
        draft.close()
        draft, _ = going_on(store, 0, ID)
    draft.write(data)
    store.finish(told.evolve(complete=True, offset=len(data)), draft)
    draft.close()
    return store.load(ID)


@pytest.mark.engines
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("size", [0, 1000, PART, 2 * PART + 7])
def test_file_is_found_by_its_id_alone(named: S3Store, reopen: Reopen, at_once: bool, size: int) -> None:
    """By any process, whatever pattern that has; and the bucket has the file under its name."""
    data = os.urandom(size)

    found = made(named, data, at_once=at_once)

    key = f"{named.uploads.prefix}ann/{DAY}/{ID}-Größe.pdf"
    for store in (reopen(), reopen(pattern=Pattern("{id}"))):
        assert (store.load(ID).complete, content(store, ID)) == (True, data)
        assert list(store.ids()) == [ID]
    assert found.stored_at == f"s3://tus/{key}"
    assert named.uploads.bucket.get(key).body == data if size else named.uploads.bucket.find(key)
    record = named.uploads.bucket.get(f"{named.uploads.prefix}.tus/info/{ID}").body
    assert json.loads(record)["Storage"] == {"Type": "s3store", "Bucket": "tus", "Key": key}


@pytest.mark.engines
@pytest.mark.parametrize("size", [1000, 2 * PART + 7])
def test_removed_upload_leaves_nothing_under_its_name(named: S3Store, size: int) -> None:
    """Neither the file nor a record of it."""
    made(named, os.urandom(size))

    named.delete(ID)

    left = [one for one in named.uploads.bucket.objects(named.uploads.prefix) if "secret" not in one.key]
    assert [one.key for one in left if one.size] == []
    with pytest.raises(NotFound):
        named.load(ID)


@pytest.mark.engines
def test_name_costs_no_call_more_for_two_requests(named: S3Store, proxy: Proxy) -> None:
    """And one, if the bytes come with the creation: only the record leads from the id to the file."""
    told, data = upload("a.txt", "ann", length=MIB), os.urandom(MIB)
    draft = named.create(told, fence=Turns(1))
    named.save(told)
    draft.close()
    first, proxy.calls[:] = list(proxy.calls), []

    draft = named.create(told.evolve(id="f" * 32), fence=Turns(1))
    draft.write(data)
    named.finish(told.evolve(id="f" * 32, complete=True), draft)
    draft.close()

    assert first == ["PutObject"]
    assert proxy.calls == ["PutObject"] * 2


@pytest.mark.engines
@pytest.mark.parametrize("pattern", ["{id}", USUAL])
def test_crash_after_the_file_is_whole_leaves_a_record_of_it(reopen: Reopen, proxy: Proxy, pattern: str) -> None:
    """An object that no record leads to would stay for ever."""
    store = reopen(pattern=Pattern(pattern))
    told = upload("a", length=2 * PART)
    draft = store.create(told, fence=Turns(1))
    draft.write(os.urandom(2 * PART))
    proxy.fail("PutObject .*/info/", 403, times=9, skip=1)

    with pytest.raises(Exception, match="refuse|record"):
        store.finish(told.evolve(complete=True), draft)

    found = reopen().load(ID)
    assert (found.offset, found.complete) == (2 * PART, False)


@pytest.mark.engines
def test_tidying_leaves_parts_of_others_alone(named: S3Store, prefix: str) -> None:
    """Of other programs, and of uploads that wait for their clients for longer than a day."""
    bucket = named.uploads.bucket
    told = upload("a", "ann", length=2 * PART)
    draft = named.create(told, fence=Turns(1))
    named.save(told)
    draft.close()
    left = named.uploads.pattern.key(told.evolve(id="e" * 32))
    for key in (f"{prefix}report", f"{prefix}logs/{'d' * 32}", f"{prefix}{left}"):
        bucket.begin(key)

    Tidying(named.uploads, 2e10, (), young=-100)()

    assert sorted(one.key.removeprefix(prefix) for one in bucket.running(prefix)) == sorted(
        ["report", f"logs/{'d' * 32}", named.uploads.pattern.key(told)]
    )
    assert named.load(ID).offset == 0


def test_key_takes_no_name_that_another_upload_has(reopen: Reopen) -> None:
    """A host names its uploads, and a small one that is finished has no record beside its data."""
    store = reopen()
    first = store.create(Upload("report", length=3), fence=Turns())
    first.write(b"abc")
    first.commit()
    store.finish(Upload("report", length=3, offset=3, complete=True), first)
    first.close()

    with pytest.raises(FileExistsError):
        store.create(Upload("report", length=3, keyed="0123456789abcdef"), fence=Turns())

    assert content(reopen(), "report") == b"abc"
