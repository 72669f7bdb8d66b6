"""Uploads into a gallery: whether they are taken, where they are kept, and into which album they go."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import Refused
from ..hooks import Hooks
from ..http.messages import Request
from ..upload import Upload, harmless
from .albums import TYPES, Tree, is_shown, shortened
from .pages import Environ


def stored_path(environ: Environ, upload: Upload) -> str:
    """Where the upload lies. Were the filter to hand over the content itself, that could name any file."""
    path: str = environ["wsgi.input"].read(4096).decode("utf-8", "surrogateescape")
    with suppress(OSError, ValueError):
        if os.path.basename(path) == upload.id and os.lstat(path).st_size == upload.offset:
            return path
    raise Refused("the gallery needs hand_over = path", status=500)


class Gate(Hooks):
    """Refuses what is neither a photo nor a video, or for an album that is not there, before a byte of it is sent."""

    def __init__(self, tree: Tree | None = None) -> None:
        self._tree = tree

    def before_create(self, request: Request, upload: Upload) -> Upload | None:
        if upload.partial:
            return None
        if not takes(upload.metadata.filename):
            raise Refused("only photos and videos are taken", status=415)
        if self._tree and not self._tree.is_album(destination(upload)[0]):
            raise Refused("there is no such album", status=404)
        return None


def takes(name: str) -> bool:
    """Whether the gallery shows files by such a name."""
    return is_shown(name) and os.path.splitext(name)[1].lower() in TYPES


def destination(upload: Upload) -> tuple[str, list[str]]:
    """The album that an upload is for, and the folders in it that the upload was in."""
    folders = upload.metadata.text("relativePath").replace("\\", "/").split("/")[:-1]
    names = [harmless(name).strip(" .") for name in folders]
    return upload.metadata.text("album").strip("/"), [shortened(name) for name in names if is_shown(name)][:8]
