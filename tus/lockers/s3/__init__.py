"""Leases in the bucket that has the uploads, where its conditional writes can be relied on: no other service is needed.

Each upload that is written to has one object, `.tus/lease/<id>`, which is replaced only if it still is the one that was
read. It is never removed while a request could replace it, since no engine makes a condition and a removal one step. A
process that lost something is told in an object of its own, `.tus/told/<process>`, at which it looks twice a second
while it holds something. What time it is, the storage says.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from ...errors import OptionError, StoreAway, StoreBroken, StoreFull
from ...stores.s3 import S3Store
from ...stores.s3.bucket import LOST, Bucket, CallThreads
from ...stores.s3.client import Failed
from ...upload import is_random
from ..network import Hold, NetworkLocker
from ..servers import Left, Verdict, settings
from . import entries
from .entries import Entry, Step
from .race import check_races

TTL = 20.0  # seconds; renewals cost money here
_LOOKS = 0.5  # seconds between two looks at what this process is told
_MARGIN = 2.0  # seconds; storages tell the time in whole ones, and late
_ATTEMPTS = 12  # times that one who lost a race looks again
_PAUSE = 0.005  # seconds before the second time
_KNOWN = 10_000  # uploads whose object is remembered
_TOLD = 100  # messages that are kept for a process
_OLD = 86400.0  # seconds; longer than any request is on its way
_AT_ONCE = 16  # calls


class BucketLeases:
    """The server of the leases is a bucket. What it did last is remembered, so that one call does for most deeds."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket, self._own = bucket, f"{prefix}.tus/lease/"
        self.told = f"{prefix}.tus/told/"
        self._threads = CallThreads(_AT_ONCE)
        self._begin()

    def _begin(self) -> None:
        self._guard = threading.Lock()
        self._known: OrderedDict[str, tuple[str, Entry]] = OrderedDict()
        self._ahead = 0.0  # seconds that the storage's clock is ahead of ours, which begins at any time
        self.held: set[str] = set()  # the keys of what this process holds
        self.heard: deque[str] = deque()  # what this process tells itself
        self.telling: deque[tuple[str, str]] = deque()  # processes, and what they have to be told
        self.awake = threading.Event()

    # Deeds

    def take(self, hold: Hold, ttl: float, over: str | None) -> Verdict:
        life = _microseconds(ttl + _MARGIN)
        verdict = self._change(hold.id, lambda entry, now: entries.after_take(entry, hold, now, life, over=over))
        if verdict.state == "taken":
            self.held.add(hold.key)
        return verdict

    def keep(self, hold: Hold, ttl: float) -> Verdict:
        life = _microseconds(ttl + _MARGIN)
        return self._change(hold.id, lambda entry, now: entries.after_keep(entry, hold, now, life))

    def leave(self, left: Sequence[Left], ttl: float) -> None:
        for one in left:
            self._change(one.id, lambda entry, now, key=one.key: entries.after_leave(entry, key))  # type: ignore[misc]
            self.held.discard(one.key)
            self.heard.append(f"free {one.id}")
            self.awake.set()

    def renew(self, holds: Sequence[Hold], ttl: float) -> list[bool]:
        life = _microseconds(ttl + _MARGIN)
        self.held.intersection_update([hold.key for hold in holds])  # what was lost is not left

        def done(hold: Hold) -> bool:
            verdict = self._change(
                hold.id, lambda entry, now: entries.after_renewal(entry, hold, now, life), fresh=True
            )
            return verdict.state == "taken"

        return list(self._threads.pool.map(done, holds))

    def owner(self, id: str) -> str:
        with _answered():
            entry, _, now = self._read(id)
        return entry.process if entry.key and entry.kind != "C" and entry.till > now else ""

    def alive(self, process: str) -> bool:
        """Nobody can be certain of another one."""
        return False

    def listen(self, process: str) -> BucketEar:
        return BucketEar(self, process)

    def sweep(self, before: float, exists: Callable[[str], bool]) -> None:
        """Names that are made up each time do not come back once their upload is gone; others stay."""
        with _answered():
            now = self._read("any")[2] / 1e6
            for found in self._bucket.objects(self._own):
                id = found.key[len(self._own) :]
                if found.modified < min(before, now - _OLD) and is_random(id.partition("-")[0]) and not exists(id):
                    self._bucket.delete(found.key)
            old = [one.key for one in self._bucket.objects(self.told) if one.modified < now - _OLD]
            self._bucket.delete_all(old)

    def forked(self) -> None:
        self._begin()

    def close(self) -> None:
        """The connections are the store's."""

    # Objects

    def _change(self, id: str, rule: Callable[[Entry, int], Step], *, fresh: bool = False) -> Verdict:
        """Do to the object what the rule says, while nobody else changes it."""
        with _answered():
            with self._guard:
                etag, entry = (None if fresh else self._known.pop(id, None)) or ("", None)
            if entry and (step := rule(entry, self._now())).entry and self._stored(id, step, etag):
                return step.verdict
            for attempt in range(_ATTEMPTS):
                entry, etag, now = self._read(id)
                step = rule(entry, now)
                if not step.entry or self._stored(id, step, etag):
                    return step.verdict
                time.sleep(random.uniform(0, _PAUSE * 2 ** min(attempt, 6)))
        raise StoreAway("the lease of this upload is changed all the time")

    def _stored(self, id: str, step: Step, etag: str) -> bool:
        """Whether the object was still the one that was read, and is this one now."""
        assert step.entry
        new = self.swap(self._own + id, step.entry.written(), etag)
        if not new:
            return False
        with self._guard:
            self._known[id] = new, step.entry
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        if step.tells:
            self.telling.extend(step.tells)
            self.awake.set()
        return True

    def swap(self, key: str, text: bytes, etag: str) -> str:
        """The new ETag; "" if the object is not the one with the old one any more."""
        try:
            return self._bucket.swap(key, text, etag)
        except Failed as error:
            if error.answer not in LOST:
                raise
        body, etag, _ = self.find(key)  # an answer that got lost looks like a race that was lost
        return etag if body == text else ""

    def _read(self, id: str) -> tuple[Entry, str, int]:
        """The object, its ETag, and what time it is."""
        body, etag, now = self.find(self._own + id)
        return entries.entry_of(body) if body else Entry(), etag, now

    def find(self, key: str) -> tuple[bytes, str, int]:
        try:
            answer = self._bucket.get(key)
            return answer.body, answer.etag, self._timed(answer.headers)
        except Failed as error:
            if not error.missing:
                raise
            return b"", "", self._timed(error.said)

    def _timed(self, headers: Mapping[str, str]) -> int:
        try:
            now = parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError) as error:
            raise StoreAway(f"the object storage does not say what time it is: {error!r}") from error
        self._ahead = now - time.monotonic()
        return _microseconds(now)

    def _now(self) -> int:
        """What time the storage would say."""
        return _microseconds(time.monotonic() + self._ahead)


class BucketEar:
    """Looks at what this process is told, while it holds something; and tells others."""

    def __init__(self, server: BucketLeases, process: str) -> None:
        self._server, self._process = server, process
        self._seen, self._look = 0, 0.0

    def hear(self, seconds: float) -> list[str]:
        server = self._server
        server.awake.wait(seconds)
        server.awake.clear()
        with _answered():
            while server.telling:
                self._tell(*server.telling[0])
                server.telling.popleft()
            found = [server.heard.popleft() for _ in range(len(server.heard))]
            if server.held and time.monotonic() >= self._look:
                self._look = time.monotonic() + _LOOKS
                found += self._told()
        return found

    def _told(self) -> Iterator[str]:
        for number, message in _messages(self._server.find(self._server.told + self._process)[0]):
            if number > self._seen:
                self._seen = number
                yield message

    def _tell(self, process: str, message: str) -> None:
        """If it does not work, the other process finds out when it looks at what it holds."""
        if process == self._process:  # it has done that by itself
            return
        key = self._server.told + process
        for _ in range(_ATTEMPTS):
            text, etag, _ = self._server.find(key)
            said = _messages(text)
            said.append((said[-1][0] + 1 if said else 1, message))
            if self._server.swap(key, json.dumps(said[-_TOLD:]).encode(), etag):
                return

    def close(self) -> None:
        """Nothing is open."""


def _messages(text: bytes) -> list[tuple[int, str]]:
    return [(number, message) for number, message in json.loads(text or b"[]")]


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except (StoreBroken, StoreFull) as error:
        if isinstance(error, StoreAway):
            raise
        raise StoreAway("the object storage does not answer about a lease") from error


def s3_locker(url: str, store: object) -> NetworkLocker:
    """`s3:`, in the bucket of the store; also `?ttl=20&patience=5`."""
    if not isinstance(store, S3Store):
        raise OptionError("option locker: s3: keeps leases beside the uploads, so that it needs store = s3://…")
    place, given = settings(url)
    if place != "s3:" or "prefix" in given:
        raise OptionError(f"option locker: {url!r} should be s3:, or s3:?ttl=20&patience=5")
    check_races(store.uploads.bucket, store.uploads.prefix)
    return NetworkLocker(BucketLeases(store.uploads.bucket, store.uploads.prefix), **{"ttl": TTL, **given})
