"""Concatenation, on the grid of the final upload: the engine copies what it can."""

from __future__ import annotations

import os

import pytest

from tests.drafting import content, going_on, new
from tests.s3.conftest import MIB, PART, Reopen, calls_for
from tests.s3.proxy import Proxy, count
from tus.stores.s3 import S3Store

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def whole(store: S3Store, id: str, data: bytes) -> None:
    """A finished partial upload."""
    new(store, id, length=len(data), partial=True)
    draft, _ = going_on(store, 0, id)
    draft.write(data)
    store.finish(store.load(id).evolve(complete=True), draft)
    draft.close()


def test_parts_are_copied_by_the_engine(store: S3Store, reopen: Reopen, proxy: Proxy, engine: dict[str, str]) -> None:
    """Only what lies across a border of the grid comes here, and partial uploads may be small."""
    calls_for(engine, "UploadPartCopy")
    sizes = (11 * MIB, 3 * MIB, 9 * MIB + 1, 22 * MIB)
    data = {f"p{n}": os.urandom(size) for n, size in enumerate(sizes)}
    for id, content_of in data.items():
        whole(store, id, content_of)
    new(store, "a", length=sum(sizes))
    draft, _ = going_on(store, 0)
    proxy.calls.clear()

    for id, content_of in data.items():
        draft.join(id, len(content_of))
    store.finish(store.load("a").evolve(complete=True), draft)
    draft.close()

    calls = count(proxy.calls)
    assert calls["UploadPartCopy"] >= 2
    assert calls["UploadPartCopy"] + calls["UploadPart"] == -(-sum(sizes) // PART)
    assert content(reopen()) == b"".join(data.values())


def test_copy_that_an_engine_refuses_is_made_here(store: S3Store, reopen: Reopen, proxy: Proxy) -> None:
    """Not every engine can copy, and some copy no small objects."""
    data = os.urandom(2 * PART + 5)
    whole(store, "p", data)
    new(store, "a", length=len(data))
    draft, _ = going_on(store, 0)
    proxy.fail("UploadPartCopy", 501, times=100)

    draft.join("p", len(data))
    store.finish(store.load("a").evolve(complete=True), draft)
    draft.close()

    assert content(reopen()) == data
