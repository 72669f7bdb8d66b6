"""The few words in which tests talk to a store, without an engine or a locker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tus import Upload
from tus.errors import Interrupted
from tus.stores import Draft, Store


class Turns:
    """A fence: its turns exclude each other and do not nest; and one that was lost has none."""

    def __init__(self, token: int = 1) -> None:
        self.token = token
        self.lost = False
        self.taken = 0
        self._inside = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        assert self._inside.acquire(timeout=5), "turns do not nest"
        try:
            if self.lost:
                raise Interrupted("a newer request took over")
            self.taken += 1
            yield
        finally:
            self._inside.release()


def begin(store: Store, id: str = "a", token: int = 1) -> Draft:
    return store.create(Upload(id), fence=Turns(token))


def new(store: Store, id: str = "a", data: bytes = b"", **record: Any) -> Upload:
    """A saved upload with that data."""
    draft = begin(store, id)
    draft.write(data)
    draft.commit()
    store.save(Upload(id, **record))
    draft.close()
    return store.load(id)


def going_on(store: Store, offset: int, id: str = "a", *, exact: bool = False, token: int = 2) -> tuple[Draft, Turns]:
    """A draft of the next request, and its fence."""
    fence = Turns(token)
    with fence.turn():
        return store.append(id, offset, fence=fence, exact=exact), fence


def add(store: Store, offset: int, data: bytes, id: str = "a") -> None:
    """One request that adds to an upload."""
    draft, _ = going_on(store, offset, id)
    draft.write(data)
    draft.commit()
    draft.close()


def content(store: Store, id: str = "a", start: int = 0) -> bytes:
    with store.open(id, start) as file:
        return file.read()
