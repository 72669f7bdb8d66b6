"""What lies in a store, for a test that looks into it from another process: looking disturbs no request."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.slow_store import SlowStore
from tus.errors import NotFound
from tus.lockers.file import FileLocker


class Shelf(Protocol):
    def names(self) -> list[str]:
        """`<id>.info` for each record, and `<id>` for each upload that has data."""

    def content(self, id: str) -> bytes:
        """The bytes that are stored."""

    def received(self, id: str) -> int:
        """The number of bytes that the server has, whether they are stored or not."""

    def leased(self, id: str) -> bool:
        """Whether a request has begun to write."""


class Files:
    """What FileStore has in that directory; with the names of all that lies there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        return sorted(path.name for path in self._directory.iterdir()) if self._directory.exists() else []

    def content(self, id: str) -> bytes:
        try:
            return (self._directory / id).read_bytes()
        except FileNotFoundError:
            return b""

    def received(self, id: str) -> int:
        try:
            return (self._directory / id).stat().st_size
        except FileNotFoundError:
            return 0

    def leased(self, id: str) -> bool:
        return FileLocker(str(self._directory)).lives(id)


class Objects:
    """What SlowStore has in that directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        paths = [path for path in self._directory.glob("*") if not path.name.startswith(".")]
        return sorted({path.stem + {".base": "", ".record": ".info"}[path.suffix] for path in paths if _whole(path)})

    def content(self, id: str) -> bytes:
        try:
            with SlowStore(self._directory, late=0).open(id) as file:
                return file.read()
        except NotFound:
            return b""

    def received(self, id: str) -> int:
        with suppress(FileNotFoundError):
            return max(int(self._note(id).read_text()), len(self.content(id)))
        return len(self.content(id))

    def leased(self, id: str) -> bool:
        return (self._directory / f"{id}.token").exists()

    def note(self, id: str, taken: int) -> None:
        """So many bytes arrived; they may still wait for the others of their part."""
        new = self._directory / f".{id}.{taken}"
        new.write_text(str(taken))
        new.rename(self._note(id))

    def _note(self, id: str) -> Path:
        return self._directory / f".{id}.taken"


def _whole(path: Path) -> bool:
    return path.suffix in (".base", ".record")


def shelf(directory: Path, pair: str) -> Shelf:
    return Files(directory) if pair == "file" else Objects(directory)
