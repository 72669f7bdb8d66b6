"""Names that somebody chose: one upload has each, also among those that begin at the same time."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime

from .bucket import LOST, Bucket
from .client import Failed
from .state import GONE, Keys

_KEPT = 20.0  # seconds that a name is kept for one who begins an upload and does not come back
_ABANDONED = 300.0  # seconds after which nobody comes back to end a deletion
_REFRESH = 5  # times that somebody who lost a race looks again


class Name:
    """A name while an upload by it is made: an object that only one can store."""

    def __init__(self, bucket: Bucket, keys: Keys) -> None:
        self._bucket, self._keys, self._etag = bucket, keys, ""

    def reserve(self) -> None:
        """Raises FileExistsError if it is taken, or is being taken."""
        text = json.dumps([secrets.token_hex(8), time.time() + _KEPT]).encode()
        self._etag = self._reserved(text)
        if self._recorded() or self._bucket.find(self._keys.own):
            self.release()
            raise FileExistsError(self._keys.own)

    def _recorded(self) -> bool:
        """Whether there is a record by this name. What a deletion left that broke off is removed."""
        found = self._bucket.find(self._keys.info)
        if not found or int(found.headers["content-length"]) != len(GONE):
            return bool(found)
        changed, now = (parsedate_to_datetime(found.headers[name]) for name in ("last-modified", "date"))
        if (now - changed).total_seconds() < _ABANDONED:  # somebody is at it
            return True
        self._bucket.delete(self._keys.info)
        return False

    def _reserved(self, text: bytes) -> str:
        key = self._keys.new
        for _ in range(_REFRESH):
            try:
                return self._bucket.swap(key, text, "")
            except Failed as error:
                if error.answer not in LOST:
                    raise
            with suppress(Failed):
                answer = self._bucket.get(key)
                if answer.body == text:  # it was ours, and only the answer was lost
                    return answer.etag
                if json.loads(answer.body)[1] > time.time():
                    break
                return self._bucket.swap(key, text, answer.etag)
        raise FileExistsError(key)

    def release(self) -> None:
        """May be called twice."""
        etag, self._etag = self._etag, ""
        if etag:
            with suppress(Failed):
                self._bucket.delete(self._keys.new, match=etag)
