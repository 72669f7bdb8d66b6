"""Removing uploads, while other requests change them."""

from __future__ import annotations

from contextlib import suppress

from ...errors import Changed, NotFound
from ...upload import is_random
from .bucket import LOST
from .client import Failed
from .state import GONE, Holding
from .uploads import Uploads


def remove_data(uploads: Uploads, id: str) -> None:
    """Remove the data, and leave the record."""
    while True:
        state = uploads.find(id)
        if state.upload.dropped and state.place.whole and state.etag:
            break
        gone = state.place._replace(whole=True, upload_id="", touched=uploads.clock())
        with suppress(Changed):
            uploads.save(state, state.upload.evolve(dropped=True), place=gone)
            break
    uploads.bucket.delete(uploads.key_of(state))
    uploads.clear(state)


def remove_upload(uploads: Uploads, id: str) -> None:
    """Remove the data, and then the record: until that is gone, no other upload can have the name. No engine deletes in
    a step that excludes a conditional write, so that the record is overwritten first: those who change it at the same
    time hear of that. What overwrites it stays for a day, where no other upload can have the name: a request that was
    cut off may store the data once more, and that would be an upload again."""
    nonce = ""
    while True:
        try:
            state = uploads.record(id)
        except NotFound:
            return
        if nonce not in ("", state.place.nonce):  # another upload by this name
            return
        nonce = state.place.nonce
        if _deleted(uploads, state):
            return


def _deleted(uploads: Uploads, state: Holding) -> bool:
    """Whether the record was still the one that was found, so that it is gone now."""
    bucket, keys = uploads.bucket, uploads.keys(state.upload.id)
    state.litter = [one.key for one in bucket.objects(keys.tail) if state.place.nonce in one.key]
    bucket.delete(uploads.key_of(state))
    uploads.clear(state)
    if not state.etag:
        return True
    try:
        bucket.swap(keys.info, GONE, state.etag)
    except Failed as error:
        if error.answer not in LOST:
            raise
        return False
    if state.upload.recurs or not is_random(state.upload.id):
        bucket.delete(keys.info)
    return True
