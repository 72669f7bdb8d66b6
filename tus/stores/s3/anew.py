"""Laying out an upload anew: with other parts, which are copies of the first ones of those that it has."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from . import grid
from .state import Holding

if TYPE_CHECKING:
    from .uploads import Uploads


def laid_out(uploads: Uploads, state: Holding, offset: int, token: int, *, begins: bool) -> Holding:
    """The bytes up to there, once more; nobody knows of them yet. `begins`: their multipart upload is begun."""
    row = uploads.row(state) if offset else []
    old = state.place
    many = offset // old.part if row else 0
    place = old._replace(upload_id="", whole=False, filled=False, nonce=secrets.token_hex(8))
    new = Holding(state.upload, place)
    if begins:
        uploads.begin(new)
    new.etag = state.etag
    key, source = uploads.key_of(state), row[0].key if row else ""
    if not new.place.upload_id:
        many = 0

    def copied(number: int) -> str:
        start = (number - 1) * old.part
        return uploads.bucket.copy_part(key, new.place.upload_id, number, source, start, start + old.part)

    new.etags = list(uploads.pool.map(copied, range(1, many + 1)))
    rest = uploads.blocks(grid.between(row, many * old.part, offset))
    if any(map(len, rest)):
        new.pieces = [uploads.put_piece(new, many * old.part, token, *rest)]
    return new
