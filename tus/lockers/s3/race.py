"""Whether an engine's conditional writes can be relied on: several write at once, and only one may come through.

The last byte of each body is held back until all others wait as well: an engine that looks at the condition when a
request begins, and stores the object when it ends, shows itself there. A race can prove that an engine is wrong, and
never that it is right.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from ...errors import OptionError, StoreBroken
from ...stores.s3.bucket import Bucket
from ...stores.s3.client import Blocks, Failed

_RACERS, _ROUNDS = 8, 8
_WAIT = 2.0  # seconds for the other racers
_VALID = 7 * 86400.0  # seconds for which a race that was run is remembered, in the bucket
_UNSUPPORTED = 501
_INSTEAD = "use redis: or postgresql:, or no locker that machines share"


class _HeldBlocks(Blocks):
    """A body whose last byte waits for the others."""

    def __init__(self, data: bytes, start: threading.Barrier) -> None:
        super().__init__([data])
        self._data, self._start, whole = data, start, Blocks([data])
        self._proofs = whole.sha256(), whole.crc32()

    def __iter__(self) -> Iterator[bytes]:
        yield self._data[:-1]
        with suppress(threading.BrokenBarrierError):
            self._start.wait(_WAIT)
        yield self._data[-1:]

    def sha256(self) -> str:
        return self._proofs[0]

    def crc32(self) -> str:
        return self._proofs[1]


def check_races(bucket: Bucket, prefix: str) -> None:
    """Let several race for the same object, unless that was done lately; raises OptionError if more than one wins."""
    note = f"{prefix}.tus/raced"
    try:
        if _is_known(bucket, note):
            return
        key = f"{prefix}.tus/race-{secrets.token_hex(8)}"
        try:
            _run(bucket, key)
        finally:
            bucket.delete(key)
        bucket.put(note, json.dumps([bucket.client.endpoint, time.time()]).encode())
    except StoreBroken as error:
        if isinstance(error, Failed) and error.answer == _UNSUPPORTED:
            raise _unfit("it has no conditional writes") from error
        raise OptionError(f"option locker: s3: cannot try its conditional writes: {error}") from error


def _is_known(bucket: Bucket, note: str) -> bool:
    with suppress(Failed, ValueError, TypeError):
        endpoint, at = json.loads(bucket.get(note).body)
        return bool(endpoint == bucket.client.endpoint and time.time() - at < _VALID)
    return False


def _run(bucket: Bucket, key: str) -> None:
    for _ in range(_ROUNDS):
        bucket.delete(key)
        etag = _race(bucket, key, {"if-none-match": "*"})
        _race(bucket, key, {"if-match": _form(bucket, key, etag)})


def _form(bucket: Bucket, key: str, etag: str) -> str:
    """The ETag as this engine compares it: Ceph 16 takes the quotes for a part of it."""
    for form in (f'"{etag}"', etag):
        with suppress(Failed):
            etag = bucket.client.ask("PUT", key, headers={"if-match": form}, body=Blocks([b"again"])).etag
            return form.replace(form.strip('"'), etag)
    raise _unfit("it does not recognise its own ETags")


def _race(bucket: Bucket, key: str, condition: dict[str, str]) -> str:
    """The ETag of the only one that came through."""
    start, bodies = threading.Barrier(_RACERS), [secrets.token_bytes(64) for _ in range(_RACERS)]

    def run(body: bytes) -> str:
        with suppress(StoreBroken):
            client = bucket.client.apart()
            return client.ask("PUT", key, headers=condition, body=_HeldBlocks(body, start), attempts=1).etag
        return ""

    with ThreadPoolExecutor(_RACERS) as pool:
        won = [(etag, body) for etag, body in zip(pool.map(run, bodies), bodies, strict=True) if etag]
    if len(won) != 1 or bucket.get(key).body != won[0][1]:
        raise _unfit(f"{len(won)} of {_RACERS} conditional writes came through where one can")
    return won[0][0]


def _unfit(why: str) -> OptionError:
    return OptionError(f"option locker: s3: this object storage cannot keep leases, since {why}; {_INSTEAD}")
