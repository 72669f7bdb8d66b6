"""A host that refuses: hooks for a server that the browser meets, as in the README."""

from __future__ import annotations

from typing import BinaryIO

from tus import Hooks, Refused
from tus.upload import Upload


class Pictures(Hooks):
    def before_finish(self, upload: Upload, file: BinaryIO) -> None:
        if file.read(4) != b"\x89PNG":
            raise Refused("this is no PNG picture", status=422)
