"""A directory as albums: what may be seen of it, and where something new goes. Nothing here leaves the directory.

Albums are folders. Names that begin with a dot, types that are not listed and links that lead out of the tree do not
exist here for any request.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

from ..errors import NO_LINKS, NotFound, Refused

PHOTOS = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
}
VIDEOS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".ogv": "video/ogg",
}
TYPES = {**PHOTOS, **VIDEOS}
ACCEPT = ",".join(TYPES)
MOST_NAMES = 999  # files of one name in one album
DEPTH = 32  # folders in one another

_LONGEST = 200  # bytes of a name
_NUMBERS = re.compile(r"([0-9]+)")


class Item(NamedTuple):
    """One photo or video."""

    name: str  # as the file system has it
    path: str  # of the album and the name, with slashes
    size: int  # bytes
    modified: int  # nanoseconds

    @property
    def type(self) -> str:
        return TYPES[_suffix(self.name)]

    @property
    def video(self) -> bool:
        return _suffix(self.name) in VIDEOS

    @property
    def stamp(self) -> str:
        """Changes with the file."""
        return f"{self.modified:x}-{self.size:x}"


class Tree:
    """The directory."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.realpath(directory)

    def album(self, path: str) -> tuple[list[str], list[Item]]:
        """The names of the albums in this one, and what else is in it, in the order people expect."""
        folders: list[str] = []
        items: list[Item] = []
        try:
            with os.scandir(self._inside(path)) as entries:
                for entry in entries:
                    with suppress(OSError, NotFound):
                        if is_shown(entry.name):
                            self._sort_in(path, entry, folders, items)
        except OSError:
            raise NotFound("no such album") from None
        folders.sort(key=sort_key)
        items.sort(key=lambda item: sort_key(item.name))
        return folders, items

    def _sort_in(self, path: str, entry: os.DirEntry[str], folders: list[str], items: list[Item]) -> None:
        name = path_in(path, entry.name)
        if entry.is_symlink():
            self._inside(name)
        if entry.is_dir():
            folders.append(entry.name)
        elif _suffix(entry.name) in TYPES and entry.is_file():
            found = entry.stat()
            items.append(Item(entry.name, name, found.st_size, found.st_mtime_ns))

    def item(self, path: str) -> Item:
        """One photo or video."""
        name = path.rpartition("/")[2]
        if _suffix(name) not in TYPES:
            raise NotFound("no such photo")
        try:
            found = os.stat(self._inside(path))
        except OSError:
            raise NotFound("no such photo") from None
        if not stat.S_ISREG(found.st_mode):
            raise NotFound("no such photo")
        return Item(name, path, found.st_size, found.st_mtime_ns)

    def open(self, item: Item) -> BinaryIO:
        try:
            return open(self._inside(item.path), "rb")
        except OSError:
            raise NotFound("no such photo") from None

    def file(self, item: Item) -> str:
        """Where it lies."""
        return self._inside(item.path)

    def is_album(self, path: str) -> bool:
        with suppress(NotFound):
            return os.path.isdir(self._inside(path))
        return False

    def cover(self, path: str, fits: Callable[[Item], bool], depth: int = 3) -> Item | None:
        """The photo that stands for an album: its first that fits, or the first of the albums in it."""
        folders, items = self.album(path)
        for item in items:
            if not item.video and fits(item):
                return item
        for folder in folders if depth else ():
            with suppress(NotFound):
                if found := self.cover(path_in(path, folder), fits, depth - 1):
                    return found
        return None

    def walk(self, path: str = "", depth: int = DEPTH) -> Iterator[Item]:
        """Everything in an album and the albums in it."""
        folders, items = self.album(path)
        yield from items
        for folder in folders if depth else ():
            with suppress(NotFound):
                yield from self.walk(path_in(path, folder), depth - 1)

    def _inside(self, path: str) -> str:
        """The file by this path, if it lies in the tree, links followed."""
        names = path.split("/") if path else []
        if not all(is_shown(name) for name in names) or len(names) > DEPTH:
            raise NotFound("nothing here")
        place = os.path.join(self.directory, *names)
        try:
            real = os.path.realpath(place)
        except (OSError, ValueError):
            raise NotFound("nothing here") from None
        if real != self.directory:
            inside = os.path.relpath(real, self.directory).split(os.sep)
            if not all(is_shown(name) for name in inside):  # which ".." is not, either
                raise NotFound("nothing here")
        return real

    # What is new

    def put(self, source: str, album: str, name: str) -> Item:
        """Move a file into an album, under this name or one like it; nothing is ever replaced."""
        if not is_shown(name) or _suffix(name) not in TYPES:
            raise Refused("only photos and videos are taken", status=415)
        place = self._place(album)
        stem, suffix = os.path.splitext(name)
        stem = shortened(stem)
        for number in range(1, MOST_NAMES):
            candidate = f"{stem}{suffix}" if number == 1 else f"{stem} ({number}){suffix}"
            with suppress(FileExistsError):
                _move(source, os.path.join(place, candidate))
                return self.item(path_in(album, candidate))
        raise Refused(f"there are {MOST_NAMES} files of this name", status=409)

    def make(self, album: str, names: Iterable[str]) -> str:
        """The album in this one that the folders of an upload lead to."""
        for name in names:
            parent, album = self._place(album), path_in(album, name)
            with suppress(FileExistsError):
                os.mkdir(os.path.join(parent, name))
                _sync(parent)
            if not self.is_album(album):
                raise Refused("there can be no such album", status=409)
        return album

    def _place(self, album: str) -> str:
        """Where an album lies that something new is for."""
        if not self.is_album(album):
            raise Refused("there is no such album", status=404)
        return self._inside(album)


def lineage(album: str) -> list[str]:
    """An album and those above it; the start page has none above, and is above none."""
    names = album.split("/")
    return ["/".join(names[:depth]) for depth in range(1, len(names) + 1)]


def is_shown(name: str) -> bool:
    """Whether a file or folder by this name may be known."""
    return bool(name) and not name.startswith((".", "~tus")) and "/" not in name and "\0" not in name


def path_in(album: str, name: str) -> str:
    return f"{album}/{name}" if album else name


def sort_key(name: str) -> tuple[object, ...]:
    """Sorts IMG 9 before IMG 10."""
    parts = _NUMBERS.split(name.casefold())
    return (*((int(part), part) if i % 2 else part for i, part in enumerate(parts)), name)


def url_part(path: str) -> str:
    """A path as part of a URL; names need not be UTF-8."""
    return quote(os.fsencode(path), safe="/~!$'()*;=@")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def shortened(name: str) -> str:
    """As much of a name as a file system takes, with a number and a type behind it."""
    return name.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "ignore") or "_"


def _move(source: str, target: str) -> None:
    """Move a file to a name that is free; raises FileExistsError. Others see all of it, or nothing. The source
    goes last: until the new one is on the disk, it may be the only one that a power cut leaves."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copy(source, target)
    try:
        os.chmod(target, 0o644)
        _sync(target)
        _sync(os.path.dirname(target))
    except BaseException:
        os.unlink(target)
        raise
    os.unlink(source)


def _copy(source: str, target: str) -> None:
    """To another file system, and then to its name."""
    fd, half = tempfile.mkstemp(prefix=".tus-", dir=os.path.dirname(target))
    try:
        with open(source, "rb") as read, open(fd, "wb") as write:
            shutil.copyfileobj(read, write, 1 << 20)
            write.flush()
            os.fsync(fd)
        _name(half, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(half)


def _name(half: str, target: str) -> None:
    """Give a file its name, if that is free."""
    try:
        os.link(half, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # FAT has no links: take the name first
        os.replace(half, target)


def _sync(path: str) -> None:
    """Block until a file, or the contents of a directory, is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
