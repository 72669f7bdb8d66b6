"""What an S3 store asks of a bucket, in the few calls that every engine understands."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .. import Block
from .client import Blocks, Failed, Far, Incoming, S3Client, S3Reply, Unavailable

_DELETED_AT_ONCE = 1000
_UNSUPPORTED = 501
LOST = frozenset((400, 403, 404, 409, 412, 500))  # what an engine says to one of several who did the same at once


class Found(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    modified: float


class Listed(NamedTuple):
    number: int
    size: int
    etag: str
    modified: float


class Running(NamedTuple):
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: float


class Bucket:
    """A client, and the words of S3."""

    def __init__(self, client: S3Client) -> None:
        self.client = client
        self._bare = False  # whether this engine compares the quotes of an ETag as well, as Ceph 16 does

    # Objects

    def put(
        self,
        key: str,
        *blocks: Block | Far,
        headers: Mapping[str, str] | None = None,
        match: str = "",
        new: bool = False,
    ) -> str:
        """Store an object, and return its ETag. With `match` only in place of the one with that ETag; with `new` only
        if there is none. Raises Failed with 412 otherwise."""
        headers = dict(headers or {})
        if new:
            headers["if-none-match"] = "*"
        body = Blocks(blocks)
        if not match:
            return self.client.ask("PUT", key, headers=headers, body=body).etag
        try:
            form = match if self._bare else f'"{match}"'
            return self.client.ask("PUT", key, headers={**headers, "if-match": form}, body=body).etag
        except Failed as error:
            if error.answer != 412 or self._bare:
                raise
        etag = self.client.ask("PUT", key, headers={**headers, "if-match": match}, body=body).etag
        self._bare = True
        return etag

    def get(self, key: str, start: int = 0, end: int | None = None) -> S3Reply:
        """The bytes of an object from `start` up to `end`, of which there is at least one."""
        return self.client.ask("GET", key, headers=_range(start, end))

    def stream(self, key: str, start: int, end: int) -> Incoming:
        return self.client.stream(key, headers=_range(start, end))

    def find(self, key: str) -> S3Reply | None:
        """What is known of an object, if there is one."""
        try:
            return self.client.ask("HEAD", key)
        except Failed as error:
            if not error.missing:
                raise
            return None

    def swap(self, key: str, data: bytes, match: str) -> str:
        """Store an object in place of the one with this ETag; without one, only if there is none by that name. Raises
        Failed if that is not so; but OpenStack Swift has no conditions."""
        try:
            return self.put(key, data, match=match, new=not match)
        except Failed as error:
            if error.answer != _UNSUPPORTED:
                raise
            return self.put(key, data)

    def delete(self, key: str, *, match: str = "") -> None:
        self.client.ask("DELETE", key, headers={"if-match": f'"{match}"'} if match else {})

    def delete_all(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for at in range(0, len(keys), _DELETED_AT_ONCE):
            names = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys[at : at + _DELETED_AT_ONCE])
            text = f"<Delete><Quiet>true</Quiet>{names}</Delete>".encode()
            digest = base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()).decode()
            self.client.ask("POST", "", [("delete", "")], headers={"content-md5": digest}, body=Blocks([text]))

    def objects(self, prefix: str, *, flat: bool = True) -> Iterator[Found]:
        """Every object whose key begins so; not `flat`: none with a further slash."""
        pairs: list[tuple[str, object]] = [("list-type", "2"), ("prefix", prefix)]
        if not flat:
            pairs.append(("delimiter", "/"))
        more: list[tuple[str, object]] = []
        while True:
            answer = self.client.ask("GET", "", [*pairs, *more]).xml()
            for found in answer.iterfind("{*}Contents"):
                yield Found(_text(found, "Key"), int(_text(found, "Size")), _time(_text(found, "LastModified")))
            if _text(answer, "IsTruncated") != "true":
                return
            more = [("continuation-token", _text(answer, "NextContinuationToken"))]

    def now(self) -> float:
        """What time it is there."""
        return self._date([("list-type", "2"), ("max-keys", "1")])

    def _date(self, pairs: list[tuple[str, object]]) -> float:
        return parsedate_to_datetime(self.client.ask("GET", "", pairs).headers["date"]).timestamp()

    # Objects in parts

    def begin(self, key: str, headers: Mapping[str, str] | None = None) -> str:
        answer = self.client.ask("POST", key, [("uploads", "")], headers=headers)
        return _text(answer.xml(), "UploadId")

    def part(self, key: str, upload_id: str, number: int, blocks: Iterable[Block | Far]) -> str:
        pairs = [("partNumber", number), ("uploadId", upload_id)]
        return self.client.ask("PUT", key, pairs, body=Blocks(list(blocks))).headers["etag"]

    def copy_part(self, key: str, upload_id: str, number: int, source: str, start: int, end: int) -> str:
        """A part that is bytes of an object, which the engine copies by itself."""
        pairs = [("partNumber", number), ("uploadId", upload_id)]
        headers = {
            "x-amz-copy-source": quote(f"/{self.client.bucket}/{source}", safe="/-_.~"),
            "x-amz-copy-source-range": f"bytes={start}-{end - 1}",
        }
        found = _checked(self.client.ask("PUT", key, pairs, headers=headers).xml(), "a copy")
        return _text(found, "ETag")

    def parts(self, key: str, upload_id: str) -> list[Listed]:
        """What was stored; engines differ in order, in the size of a page, and may list a number twice."""
        found: set[Listed] = set()
        marker = ""
        while True:
            pairs = [("uploadId", upload_id), *([("part-number-marker", marker)] if marker else [])]
            answer = self.client.ask("GET", key, pairs).xml()
            before = len(found)
            for part in answer.iterfind("{*}Part"):
                number, size = int(_text(part, "PartNumber")), int(_text(part, "Size"))
                found.add(Listed(number, size, _text(part, "ETag"), _time(_text(part, "LastModified"))))
            marker = _text(answer, "NextPartNumberMarker")
            if _text(answer, "IsTruncated") != "true" or not marker or len(found) == before:
                return sorted(found)

    def complete(self, key: str, upload_id: str, etags: Iterable[str]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        text = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        _checked(self.client.ask("POST", key, [("uploadId", upload_id)], body=Blocks([text])).xml(), "the completion")

    def abort(self, key: str, upload_id: str) -> None:
        self.client.ask("DELETE", key, [("uploadId", upload_id)])

    def running(self, prefix: str) -> Iterator[Running]:
        more: list[tuple[str, object]] = []
        while True:
            answer = self.client.ask("GET", "", [("uploads", ""), ("prefix", prefix), *more]).xml()
            for one in answer.iterfind("{*}Upload"):
                yield Running(_text(one, "Key"), _text(one, "UploadId"), _time(_text(one, "Initiated")))
            if _text(answer, "IsTruncated") != "true":
                return
            more = [
                ("key-marker", _text(answer, "NextKeyMarker")),
                ("upload-id-marker", _text(answer, "NextUploadIdMarker")),
            ]


class CallThreads:
    """CallThreads for calls that go out side by side; a process that was forked makes its own."""

    def __init__(self, many: int) -> None:
        self._many, self._pid = many, 0
        self._pool: ThreadPoolExecutor

    @property
    def pool(self) -> ThreadPoolExecutor:
        if self._pid != os.getpid():
            self._pool, self._pid = ThreadPoolExecutor(self._many, "tus-s3"), os.getpid()
        return self._pool


def _range(start: int, end: int | None) -> dict[str, str]:
    if end is None and not start:
        return {}
    return {"range": f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"}


def _text(found: ElementTree.Element, name: str) -> str:
    return found.findtext(f"{{*}}{name}") or found.findtext(name) or ""


def _checked(answer: ElementTree.Element, what: str) -> ElementTree.Element:
    """What came with 200, although it may be an error."""
    if answer.tag.rpartition("}")[2] == "Error":
        code = _text(answer, "Code")
        raise Failed(f"the object storage refuses {what}", 500 if code == "InternalError" else 409, code)
    return answer


def _time(text: str) -> float:
    try:
        stamp, _, fraction = text.rstrip("Z").partition(".")
        return datetime.fromisoformat(f"{stamp}+00:00").timestamp() + float(f"0.{fraction or 0}")
    except ValueError:
        raise Unavailable(f"the object storage gives a time that is none: {text!r}") from None
