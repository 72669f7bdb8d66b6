"""What Plone's own upload view needs of plone.namedfile: that view opens the path of an upload as text."""

from __future__ import annotations

import os
from typing import Any

from plone.namedfile.interfaces import IStorage, NotStorable
from zope.interface import implementer


@implementer(IStorage)
class TextFileStorable:
    """A file that is open as text becomes a blob as one that is open in binary mode does: it is moved."""

    def store(self, data: Any, blob: Any) -> None:
        if not isinstance(data.name, str | bytes):
            raise NotStorable("could not store data: a file without a path")
        blob.consumeFile(os.fsdecode(data.name))
