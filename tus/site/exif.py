"""What a photo says of itself: how the camera was held, and when. Only these fields are read, in place.

A decoder's own reader reads every field, and a small file can have thousands that each claim all of it.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

_MOST = 1 << 16  # bytes of EXIF, as in a JPEG
_FIELDS = 500  # in one directory; cameras write some 40

_ORIENTATION, _MORE, _TAKEN = 0x0112, 0x8769, 0x9003


class Said(NamedTuple):
    """What EXIF says."""

    orientation: int = 1  # 1 is upright; from 5 on, width and height change places
    taken: datetime | None = None


def read(block: bytes) -> Said:
    """What is said, or nothing where the block is broken."""
    block = bytes(block[:_MOST]).removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    said = Said()
    with suppress(struct.error):
        if order:
            fields = _directory(block, order, *struct.unpack_from(order + "I", block, 4))
            said = Said(struct.unpack_from(order + "H", fields.get(_ORIENTATION, b"\0\0"))[0] or 1)
            more = _directory(block, order, *struct.unpack(order + "I", fields.get(_MORE, b"")))
            at = struct.unpack(order + "I", more.get(_TAKEN, b""))[0]
            said = said._replace(taken=_date(block[at : at + 20]))
    return said if said.orientation in range(1, 9) else said._replace(orientation=1)


def _directory(block: bytes, order: str, at: int) -> dict[int, bytes]:
    """The fields of a directory: what each holds, or where that lies."""
    (many,) = struct.unpack_from(order + "H", block, at)
    entries = (struct.unpack_from(order + "HHI4s", block, at + 2 + 12 * i) for i in range(min(many, _FIELDS)))
    return {tag: value for tag, _, _, value in entries}


def _date(text: bytes) -> datetime | None:
    with suppress(ValueError):
        return datetime.strptime(text.decode("ascii").strip("\0 "), "%Y:%m:%d %H:%M:%S")
    return None
