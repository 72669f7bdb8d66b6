"""The notes that the file store takes of an upload: which chunks are there, or how many bytes are on the disk."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import Damaged, StoreBroken, StoreFull
from .disk import OLD, Directory, explained, sync

NOTES = ".chunks"
_MARKS = (1 << 20) + 1  # bytes; no upload has that many chunks
_DIGITS = 20  # of a number of bytes


class Notes:
    """A file beside the data: a byte for each chunk; or digits, if the upload does not come in chunks."""

    def __init__(self, home: Directory) -> None:
        self._dir = home.fd
        # How much is certain of what could not be synced and is not yet cut off; only we know.
        self.doubted: dict[str, int] = {}

    def mark(self, id: str, number: int, *, durable: bool = False) -> None:
        try:
            self._note(id, b"\1", number, durable=durable)
        except (StoreFull, StoreBroken):
            with suppress(StoreFull, StoreBroken):
                self._note(id, b"\0", number)  # who is told of a failure sends it again, and it must be taken then
            raise

    def marks(self, id: str) -> bytes:
        try:
            fd = os.open(id + ".chunks", os.O_RDONLY | OLD, dir_fd=self._dir)
        except FileNotFoundError:
            return b""
        try:
            return os.read(fd, _MARKS)
        except OSError as error:
            raise Damaged(f"it is not known which chunks are there: {error.strerror}") from None
        finally:
            os.close(fd)

    def note(self, id: str, size: int) -> None:
        """So many bytes are on the disk; for other processes."""
        self._note(id, b"%0*d" % (_DIGITS, size), 0)

    def certain(self, id: str) -> int:
        """How many bytes were noted, and not cut off since."""
        digits = self.marks(id)[:_DIGITS]
        return int(digits) if digits.isdigit() else 0

    def _note(self, id: str, what: bytes, position: int, *, durable: bool = False) -> None:
        try:
            fd = os.open(id + ".chunks", os.O_WRONLY | os.O_CREAT | OLD, 0o600, dir_fd=self._dir)
            try:
                os.pwrite(fd, what, position)
                if durable:
                    sync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise explained(error) from None
