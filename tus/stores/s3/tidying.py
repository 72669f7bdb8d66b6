"""Removing what a crash left in a bucket."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress

from ...errors import NotFound
from ...upload import is_random
from .bucket import Found, Running
from .client import Failed
from .state import GONE, Place
from .uploads import Uploads

YOUNG = 86400.0  # seconds; what is younger may belong to a body that still arrives, somewhere


class Tidying:
    """One round. What counts is the time of the storage, since clocks jump."""

    def __init__(self, uploads: Uploads, before: float, making: Collection[str], *, young: float = YOUNG) -> None:
        self._uploads, self._making = uploads, making  # the nonces of what is being made in this process
        self._before = min(before, uploads.bucket.now() - young)
        self._places: dict[str, Place | None] = {}
        self._own = f"{uploads.prefix}.tus/"

    def __call__(self) -> None:
        bucket = self._uploads.bucket
        left = [one.key for one in bucket.objects(f"{self._own}new/") if one.modified < self._before]
        bucket.delete_all([*left, *self._gone(), *self._pieces()])
        for running in bucket.running(self._uploads.prefix):
            if self._is_left(running):
                with suppress(Failed):
                    bucket.abort(running.key, running.upload_id)

    def _gone(self) -> Iterator[str]:
        """What stands in place of a record that was removed, and data that came after that."""
        for one in self._uploads.bucket.objects(f"{self._own}info/"):
            if one.size == len(GONE) and one.modified < self._before:
                if is_random(id := one.key.rpartition("/")[2]):  # another may have any other name just now
                    yield self._uploads.keys(id).own
                yield one.key

    def _pieces(self) -> Iterator[str]:
        """The pieces of uploads that are gone or finished."""
        tail = f"{self._own}tail/"
        found: dict[tuple[str, str], list[Found]] = defaultdict(list)
        for one in self._uploads.bucket.objects(tail):
            id, _, name = one.key[len(tail) :].partition("/")
            found[id, name.partition("-")[0].lstrip("x")].append(one)
        for (id, nonce), pieces in found.items():
            if nonce in self._making or max(one.modified for one in pieces) >= self._before:
                continue
            place = self._place(id)
            if not place or place.nonce != nonce or place.whole:
                yield from (one.key for one in pieces)

    def _is_left(self, running: Running) -> bool:
        """Whether nothing will come of these parts."""
        if running.initiated >= self._before:
            return False
        ids = list(self._uploads.pattern.ids(running.key[len(self._uploads.prefix) :]))
        if not ids or any(place.upload_id == running.upload_id for place in map(self._place, ids) if place):
            return False  # it is of another program, or in use
        parts = self._uploads.bucket.parts(running.key, running.upload_id)
        return all(part.modified < self._before for part in parts)

    def _place(self, id: str) -> Place | None:
        """Where the upload by this name lies, if there is one."""
        if id not in self._places:
            self._places[id] = None
            with suppress(NotFound):
                self._places[id] = self._uploads.record(id).place
        return self._places[id]
