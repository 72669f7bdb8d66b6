"""What the store asks of a container of Azure, in the words of `Bucket`.

Parts are blocks of a blob that are not committed. The name of a block says to which upload it belongs, which part it is
and when it came, so that it is an ETag as well. Azure forgets blocks after a week that nobody committed, and has no
request that forgets them before.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .. import Block
from ..s3.bucket import Bucket, Found, Listed, Running
from ..s3.client import Blocks, Failed, Far, S3Reply

_META, _OURS = "x-ms-meta-", "x-amz-meta-"
LISTING: tuple[tuple[str, object], ...] = (("restype", "container"), ("comp", "list"))
_BLOB = {"x-ms-blob-type": "BlockBlob"}


class BlockName(NamedTuple):
    """What the name of a block says. All names that a blob has are of one length."""

    upload_id: str
    number: int
    moment: int  # milliseconds; of two blocks with one number, the later one counts
    nonce: str

    @classmethod
    def read(cls, name: str) -> BlockName | None:
        """None, if it is not ours."""
        try:
            upload_id, number, moment, nonce = base64.b64decode(name).decode().split("-")
            return cls(upload_id, int(number), int(moment, 16), nonce)
        except ValueError:
            return None

    def __str__(self) -> str:
        text = f"{self.upload_id}-{self.number:05}-{self.moment:011x}-{self.nonce}"
        return base64.b64encode(text.encode()).decode()


class Container(Bucket):
    """A client, and the words of Azure."""

    # Blobs

    def put(
        self,
        key: str,
        *blocks: Block | Far,
        headers: Mapping[str, str] | None = None,
        match: str = "",
        new: bool = False,
    ) -> str:
        given = {name.replace(_OURS, _META): value for name, value in (headers or {}).items()}
        condition = {"if-none-match": "*"} if new else {"if-match": f'"{match}"'} if match else {}
        return self.client.ask("PUT", key, headers={**_BLOB, **given, **condition}, body=Blocks(blocks)).etag

    def find(self, key: str) -> S3Reply | None:
        found = super().find(key)
        if not found:
            return None
        return found._replace(headers={name.replace(_META, _OURS): value for name, value in found.headers.items()})

    def delete(self, key: str, *, match: str = "") -> None:
        try:
            super().delete(key, match=match)
        except Failed as error:
            if not error.missing:
                raise

    def delete_all(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(key)

    def objects(self, prefix: str, *, flat: bool = True) -> Iterator[Found]:
        pairs: list[tuple[str, object]] = [*LISTING, ("prefix", prefix)]
        if not flat:
            pairs.append(("delimiter", "/"))
        marker = ""
        while True:
            answer = self.client.ask("GET", "", [*pairs, *([("marker", marker)] if marker else [])]).xml()
            for found in answer.iterfind("Blobs/Blob"):
                modified = parsedate_to_datetime(found.findtext("Properties/Last-Modified", ""))
                size = int(found.findtext("Properties/Content-Length", "0"))
                yield Found(found.findtext("Name", ""), size, modified.timestamp())
            marker = answer.findtext("NextMarker", "")
            if not marker:
                return

    def now(self) -> float:
        return self._date([*LISTING, ("maxresults", "1")])

    # Blobs in parts

    def begin(self, key: str, headers: Mapping[str, str] | None = None) -> str:
        return secrets.token_hex(8)

    def part(self, key: str, upload_id: str, number: int, blocks: Iterable[Block | Far]) -> str:
        name = str(BlockName(upload_id, number, int(time.time() * 1000), secrets.token_hex(4)))
        self.client.ask("PUT", key, [("comp", "block"), ("blockid", name)], body=Blocks(list(blocks)))
        return name

    def copy_part(self, key: str, upload_id: str, number: int, source: str, start: int, end: int) -> str:
        """Azure copies only what a signed URL gives to everybody."""
        return self.part(key, upload_id, number, [self.get(source, start, end).body])

    def parts(self, key: str, upload_id: str) -> list[Listed]:
        """Blocks that were committed are no parts any more; an upload of which there are none yet has none."""
        try:
            answer = self.client.ask("GET", key, [("comp", "blocklist"), ("blocklisttype", "all")]).xml()
        except Failed as error:
            if not error.missing:
                raise
            return []
        if any(name.upload_id == upload_id for name, _ in _blocks(answer, "CommittedBlocks")):
            raise Failed("the parts were put together", 404, "NoSuchUpload")
        return sorted(
            Listed(name.number, size, str(name), name.moment / 1000)
            for name, size in _blocks(answer, "UncommittedBlocks")
            if name.upload_id == upload_id
        )

    def complete(self, key: str, upload_id: str, etags: Iterable[str]) -> None:
        names = "".join(f"<Latest>{escape(etag)}</Latest>" for etag in etags)
        text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{names}</BlockList>'.encode()
        self.client.ask("PUT", key, [("comp", "blocklist")], body=Blocks([text]))

    def abort(self, key: str, upload_id: str) -> None:
        """Azure forgets them by itself."""

    def running(self, prefix: str) -> Iterator[Running]:
        return iter(())


def _blocks(answer: ElementTree.Element, kind: str) -> Iterator[tuple[BlockName, int]]:
    for found in answer.iterfind(f"{kind}/Block"):
        if name := BlockName.read(found.findtext("Name", "")):
            yield name, int(found.findtext("Size", "0"))
