"""In what the engines differ that the tests run on: the table of docs/s3.rst.

    python bench/dialects.py [ENGINE…]

Eight requests that may not all succeed are sent at the same time; the last byte of each body is held back until all of
them wait, so that an engine shows itself that looks at a condition first and stores later.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import real  # noqa: E402
from tus.stores.s3.bucket import Bucket  # noqa: E402
from tus.stores.s3.client import Blocks, Failed, Unavailable  # noqa: E402

ROUNDS, SIDE_BY_SIDE = 25, 8
PART = 5 << 20


class Held(Blocks):
    """A body whose last byte waits for the others."""

    def __init__(self, data: bytes, barrier: threading.Barrier) -> None:
        super().__init__([data])
        self._data, self._barrier = data, barrier

    def __iter__(self) -> Iterator[bytes]:
        yield self._data[:-1]
        self._barrier.wait(30)
        yield self._data[-1:]

    def sha256(self) -> str:
        return Blocks([self._data]).sha256()


def said(deed: Callable[[], Any]) -> str:
    """ "yes", or what the engine says."""
    try:
        deed()
        return "yes"
    except Failed as error:
        return str(error.answer)
    except Unavailable:
        return "breaks off"


def race(bucket: Bucket, headers: Callable[[str], dict[str, str]]) -> str:
    """How many rounds had exactly one winner."""
    right = 0
    for _ in range(ROUNDS):
        key, barrier = f"race/{secrets.token_hex(8)}", threading.Barrier(SIDE_BY_SIDE)
        how = headers(key)

        def put(data: bytes, key: str = key, barrier: Any = barrier, how: Any = how) -> str:
            return said(lambda: bucket.client.ask("PUT", key, headers=how, body=Held(data, barrier), attempts=1))

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            answers = list(pool.map(put, (secrets.token_bytes(1000) for _ in range(SIDE_BY_SIDE))))
        right += answers.count("yes") == 1
    return f"{right} of {ROUNDS}" if right else max(set(answers), key=answers.count)


def replaced(bucket: Bucket, quotes: str) -> Callable[[str], dict[str, str]]:
    return lambda key: {"if-match": quotes + bucket.put(key, b"old") + quotes}


def wrong(bucket: Bucket, name: str, value: str) -> str:
    """Whether a body is stored that is not the one which was announced."""

    def put() -> None:
        client, body = bucket.client, Blocks([b"what is sent"])
        proof = {"": value} if name == "sha256" else {"": body.sha256(), name: value}
        how = {**proof, "content-length": str(body.size)}
        client._whole(*client._once("PUT", f"wrong/{secrets.token_hex(8)}", "", how, body))

    return said(put).replace("yes", "stored")


def parts(bucket: Bucket) -> tuple[str, str]:
    key = f"parts/{secrets.token_hex(8)}"
    upload = bucket.begin(key)
    bucket.complete(key, upload, [bucket.part(key, upload, 1, [bytes(PART)])])
    listed = said(lambda: bucket.parts(key, upload))
    return listed, said(lambda: bucket.part(key, upload, 1, [bytes(PART)]))


def unlisted(bucket: Bucket) -> str:
    """Whether parts can be put together while another one is left out."""
    key = f"parts/{secrets.token_hex(8)}"
    upload = bucket.begin(key)
    first = bucket.part(key, upload, 1, [bytes(PART)])
    bucket.part(key, upload, 2, [b"x"])
    return said(lambda: bucket.complete(key, upload, [first]))


def deleted(bucket: Bucket) -> str:
    bucket.put("deleted", b"x")
    return said(lambda: bucket.delete("deleted", match="0" * 32)).replace("yes", "deletes")


def metadata(bucket: Bucket) -> str:
    return said(lambda: bucket.put("metadata", b"x", headers={"x-amz-meta-a": "a" * 1900}))


def answers(bucket: Bucket) -> dict[str, str]:
    listed, late = parts(bucket)
    return {
        "PUT If-None-Match: one wins": race(bucket, lambda key: {"if-none-match": "*"}),
        "PUT If-Match: one wins": race(bucket, replaced(bucket, '"')),
        "... with an ETag without quotes": race(bucket, replaced(bucket, "")),
        "DELETE If-Match of another ETag": deleted(bucket),
        "body with another SHA-256": wrong(bucket, "sha256", "0" * 64),
        "body with another CRC32": wrong(bucket, "x-amz-checksum-crc32", "AAAAAA=="),
        "Complete without one of the parts": unlisted(bucket),
        "ListParts after Complete": listed,
        "UploadPart after Complete": late,
        "metadata of 1,900 characters": metadata(bucket),
    }


def table(found: dict[str, dict[str, str]]) -> str:
    """As it stands in the documentation."""
    rows = [
        ["\\", *found],
        *([question, *(found[name][question] for name in found)] for question in next(iter(found.values()))),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = " ".join("=" * width for width in widths)
    return "\n".join((rule, lines[0], rule, *lines[1:], rule))


def main() -> None:
    names = sys.argv[1:] or [name for name in real.ENGINES if not real.missing(name)]
    print(table({name: answers(real.bucket(name)) for name in names}))


if __name__ == "__main__":
    main()
