"""An album as a ZIP, made while it is sent: it is never whole on disk or in memory."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import NotFound
from .albums import Item, Tree

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BLOCK = 1 << 16  # bytes; each client that does not read keeps about two


class _Gathering(io.RawIOBase):
    """Takes what zipfile writes, until it is sent."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: ReadableBuffer) -> int:
        self._blocks.append(bytes(block))
        return len(self._blocks[-1])

    def taken(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


def zipped(tree: Tree, items: Iterable[Item], above: str) -> Generator[bytes, None, None]:
    """The items, under their names below the album `above`; stored, since pictures do not get smaller."""
    gathering = _Gathering()
    with zipfile.ZipFile(gathering, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for item in items:
            with suppress(NotFound):  # gone since the album was read
                yield from _added(archive, gathering, tree, item, above)
    yield gathering.taken()


def _added(archive: zipfile.ZipFile, gathering: _Gathering, tree: Tree, item: Item, above: str) -> Iterator[bytes]:
    name = item.path[len(above) + 1 :] if above else item.path
    when = time.localtime(max(item.modified / 1e9, 315_600_000))[:6]  # ZIP begins in 1980
    entry = zipfile.ZipInfo(name.encode("utf-8", "replace").decode(), when)
    entry.external_attr = 0o644 << 16
    with tree.open(item) as source, archive.open(entry, "w", force_zip64=item.size > 1 << 31) as target:
        while block := source.read(BLOCK):
            target.write(block)
            yield gathering.taken()
