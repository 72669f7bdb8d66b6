"""What is in the storage of one upload, as it was found; and the record, which also says where that is."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import NamedTuple

from ...errors import Damaged
from ...upload import Upload
from ..records import decoded, encoded
from . import grid
from .grid import Span

GONE = b""  # what stands in place of the record of an upload that is deleted in this moment
_MOST = 1900  # characters that the metadata of an object may have; AWS allows 2048 with the names
_WIDEST = 256  # characters that one of them may have in Swift


class Place(NamedTuple):
    """Where an upload lies. It is fixed when the upload begins, so that requests which know nothing of each other write
    to the same place."""

    part: int  # bytes
    nonce: str  # of this upload, and of no other that may have its id before or after it
    upload_id: str = ""  # of the multipart upload; "" if one part is enough
    whole: bool = False  # it is finished: one object has all of it
    touched: float = 0.0  # when it began, or was finished
    filled: bool = False  # every byte is in a part, and somebody puts the parts together
    key: str = ""  # what the data is called, if not as the upload


class Keys(NamedTuple):
    """The names of the objects of one upload."""

    own: str  # what the data is called, if nothing else is said
    info: str
    tail: str  # what the names of its pieces begin with
    new: str  # there while somebody makes the upload

    @classmethod
    def of(cls, prefix: str, id: str) -> Keys:
        own = f"{prefix}.tus/"
        return cls(f"{prefix}{id}", f"{own}info/{id}", f"{own}tail/{id}/", f"{own}new/{id}")


@dataclass
class Holding:
    """An upload as it was found."""

    upload: Upload
    place: Place
    etag: str = ""  # of the object that holds the record; "" if the object with the data has it
    etags: list[str] = field(default_factory=list)  # of the parts that count
    sealed: bool = False  # those parts are one readable object
    pieces: list[Span] = field(default_factory=list)  # behind the parts, and without a gap
    litter: list[str] = field(default_factory=list)  # every piece there is

    @property
    def single(self) -> bool:
        """Whether all of it fits into one part."""
        length = self.upload.length
        return length is not None and length <= self.place.part

    @property
    def parts_end(self) -> int:
        return grid.end_of(len(self.etags), self.place.part, self.upload.length)

    @property
    def end(self) -> int:
        """How many bytes are there without a gap."""
        if self.place.whole or self.place.filled:
            return self.upload.length or 0
        return max([self.parts_end, *(one.end for one in self.pieces)])


def written(upload: Upload, place: Place) -> bytes:
    """The record, as tusd has it, with the place."""
    text = encoded(upload)
    if upload.stored_at:
        _, _, bucket, key = upload.stored_at.split("/", 3)
        storage = {"Type": "s3store", "Bucket": bucket, "Key": key}
        text = text.replace('"Storage":null', f'"Storage":{json.dumps(storage)}', 1)
    return f'{text[:-1]},"s3":{json.dumps(place, separators=(",", ":"))}}}'.encode()


def recorded(text: bytes, id: str) -> tuple[Upload, Place]:
    upload, _ = decoded(text, id)
    try:
        part, nonce, upload_id, whole, touched, filled, key = json.loads(text)["s3"]
        return upload, Place(
            int(part), str(nonce), str(upload_id), whole is True, float(touched), filled is True, str(key)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"the record of this upload cannot be read: {error!r}") from None


_HEADER = "x-amz-meta-tus"


def attached(text: bytes) -> dict[str, str] | None:
    """The record as metadata of an object, if it fits there."""
    value = base64.b64encode(text).decode()
    if len(value) > _MOST:
        return None
    return {f"{_HEADER}{at // _WIDEST}": value[at : at + _WIDEST] for at in range(0, len(value), _WIDEST)}


def detached(headers: Mapping[str, str]) -> bytes | None:
    """The record that the metadata of an object hold, if they do."""
    values = takewhile(bool, (headers.get(f"{_HEADER}{number}") for number in count()))
    return base64.b64decode("".join(map(str, values))) or None
