"""Small pictures of large ones, made once and kept on disk; the only module that knows Pillow.

It decodes only what it has measured and what fits the budget of memory, does not try again what cannot be shown, and
works on no more pictures at once than there are cores.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import NotFound, OptionError, TusError
from . import exif
from .albums import Item, Tree

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("tus.gallery")

SIZES = (320, 640, 1600)  # pixels, the longer side; nothing else is made, so that nobody can fill the disk
FORMATS = {"jpg": ("JPEG", "image/jpeg"), "webp": ("WEBP", "image/webp")}
QUALITY = 80
READ = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF")  # above all no EPS, which runs Ghostscript
BUDGET = 450 << 20  # bytes that one decoder may need
LARGEST = 200 << 20  # bytes of a file: what calls itself a comment is read as a whole
WHOLE = 64 << 20  # bytes of a file of the kinds that Pillow reads as a whole: WebP, AVIF and HEIF
HEAD = 8 << 20  # bytes that may come before the size of a picture and its first pixel, in the kinds read piece by piece
PIXELS = 50_000_000  # in anything but a baseline JPEG, which is decoded at an eighth of its size
PIXELS_BASELINE = 89_000_000  # Pillow itself warns above that
# Bytes a pixel while decoding, as measured; JPEG shrinks while it decodes, unless it is progressive.
COSTS = {"PNG": 5, "GIF": 5, "WEBP": 17, "AVIF": 11, "HEIF": 10, "JPEG": 4}
SCANS = 100  # times that a JPEG may go over its pixels; encoders make some 10
PATIENCE = 4.0  # seconds that a request waits for its turn
CROWD = 32  # requests that may wait at once

_WHOLE = (b"RIFF", b"\0\0\0")  # how files of these kinds begin
# Markers in a JPEG; unsure are the progressive ones, and what may come between two markers.
_SCAN, _BASELINE, _UNSURE = 0xDA, (0xC0, 0xC1), (0xC2, 0xC6, 0xCA, 0xCE, 0xFF)
# What makes a picture upright, by its orientation: names of Pillow's.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class Busy(TusError):
    """Too many want thumbnails that are not made yet."""

    status = 503


class Unshowable(TusError):
    """The file is broken, too large, or no picture; it is not tried again until it changes."""

    status = 415


class Thumbnails:
    """Thumbnails of one tree, in a directory of their own."""

    def __init__(self, tree: Tree, cache: str, *, crowd: int = CROWD, patience: float = PATIENCE) -> None:
        self._pillow = _pillow()
        self._tree, self._cache = tree, cache
        # Always the same few threads: in each thread that decodes, the C library keeps some of the memory.
        self._decoders = ThreadPoolExecutor(_cores(), thread_name_prefix="tus-thumbnails")
        self._crowd, self._patience = threading.BoundedSemaphore(crowd), patience
        self._looking = threading.BoundedSemaphore(_cores())

    def get(self, item: Item, size: int, format: str = "jpg") -> BinaryIO:
        """The thumbnail, open; made if it must be. Raises Busy or Unshowable."""
        if size not in SIZES or item.video:
            raise NotFound("no such thumbnail")
        path = self._path(item, size, format)
        with suppress(FileNotFoundError):
            return open(path, "rb")
        if not self.showable(item):
            raise Unshowable("this cannot be shown")
        if not self._crowd.acquire(blocking=False):
            raise Busy("too many thumbnails are being made", headers={"Retry-After": "2"})
        try:
            return self._awaited(item, size, format, path)
        finally:
            self._crowd.release()

    def showable(self, item: Item) -> bool:
        """Whether it is not known that it cannot be shown."""
        return not os.path.exists(self._path(item, 0, "bad"))

    def _awaited(self, item: Item, size: int, format: str, path: str) -> BinaryIO:
        made = self._decoders.submit(self._make, item, size, format, path)
        try:
            made.result(self._patience)
        except FutureTimeout:
            made.cancel()
            raise Busy("too many thumbnails are being made", headers={"Retry-After": "2"}) from None
        return open(path, "rb")

    def prepare(self, item: Item, sizes: Iterable[int] = (320,), formats: Iterable[str] = ("jpg", "webp")) -> bool:
        """Make what visitors will ask for first; whether there is something to show."""
        try:
            for size in sizes if not item.video else ():
                for format in formats:
                    self.get(item, size, format).close()
        except TusError:
            return False
        return True

    def _path(self, item: Item, size: int, format: str) -> str:
        return os.path.join(self._folder(item.path), f"{item.stamp}-{size}.{format}")

    def _folder(self, path: str) -> str:
        digest = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
        return os.path.join(self._cache, digest[:2], digest[2:])

    def _make(self, item: Item, size: int, format: str, path: str) -> None:
        if os.path.exists(path):  # somebody else wanted it as well
            return
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        if not self.showable(item):
            raise Unshowable("this cannot be shown")
        _forget(folder, keep=item.stamp)
        try:
            small = self._reduced(item, size)
            _replace(path, lambda target: _save(small, target, format))
        except (NotFound, MemoryError):
            raise  # neither says anything of the picture
        except OSError as error:
            if error.errno is not None:  # the disk, and not what Pillow makes of the content
                raise
            self._give_up(item, error)
        except Exception as error:  # decoders raise whatever they like
            self._give_up(item, error)

    def _give_up(self, item: Item, error: Exception) -> None:
        log.warning("%r cannot be shown: %s", item.path, error)
        _replace(self._path(item, 0, "bad"), lambda target: None)
        raise Unshowable("this cannot be shown") from error

    @contextmanager
    def _opened(self, item: Item) -> Iterator[Image.Image]:
        """A picture, measured, and not a pixel of it decoded: the only way to one."""
        if item.size > LARGEST:
            raise ValueError(f"{item.size} bytes are too many")
        with self._tree.open(item) as content:
            head = _Head(content)
            with self._pillow.open(head, formats=[name for name in READ if name in self._pillow.OPEN]) as picture:
                _check(picture, scans(content) if picture.format in ("JPEG", "MPO") else 0)
                head.left = LARGEST
                yield picture

    def _reduced(self, item: Item, size: int) -> Image.Image:
        with self._opened(item) as picture:
            # First smaller, then upright: the other way round takes three times as long and eight times the memory.
            picture.thumbnail((size, size), reducing_gap=2.0)
            turn = _TURNS.get(exif.read(picture.info.get("exif", b"")).orientation)
            upright = picture.transpose(self._pillow.Transpose[turn]) if turn else picture
            return _flat(self._pillow, upright)

    def facts(self, item: Item) -> tuple[int, int, datetime | None]:
        """Width and height as it is shown, and when it was taken; without decoding it."""
        if not self.showable(item) or not self._looking.acquire(timeout=self._patience):
            return 0, 0, None
        try:
            with self._opened(item) as picture:
                said = exif.read(picture.info.get("exif", b""))
                width, height = picture.size if said.orientation < 5 else reversed(picture.size)
                return width, height, said.taken
        except NotFound:
            raise
        except Exception:  # as above: a picture may be broken in any way
            return 0, 0, None
        finally:
            self._looking.release()

    def prune(self) -> int:
        """Remove thumbnails of photos that are gone; how many folders that were."""
        alive = {self._folder(item.path) for item in self._tree.walk()}
        removed = 0
        for above, folders, files in os.walk(self._cache):
            if not folders and above not in alive and len(os.path.relpath(above, self._cache)) == 33:
                for name in files:
                    os.unlink(os.path.join(above, name))
                os.rmdir(above)
                removed += 1
        return removed


class _Head:
    """A file of which only so much may be read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = WHOLE if file.read(4).startswith(_WHOLE) else HEAD  # bytes
        self.seek, self.tell = file.seek, file.tell
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise ValueError("there is too much before the picture")
        return block


class Maker:
    """Makes thumbnails of what has just arrived, one after the other, while no visitor waits."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._waiting: list[Item] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, item: Item) -> None:
        with self._changed:
            self._waiting.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tus-thumbnails", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._waiting, timeout=20):
                    self._thread = None
                    return
                item = self._waiting.pop(0)
            try:
                self._thumbnails.prepare(item)
            except Exception:
                log.exception("no thumbnail of %r", item.path)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise OptionError('the gallery needs Pillow: pip install "tus[gallery]"') from None
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return Image


def scans(file: BinaryIO) -> int:
    """How often a JPEG goes over its pixels: once if they are decoded as they are read, and more if all are held."""
    place = file.tell()
    file.seek(2)
    try:
        return 1 if _is_simple(file) else max(2, _counted(file, b"\xff\xda"))
    finally:
        file.seek(place)


def _is_simple(file: BinaryIO) -> bool:
    """Whether the first scan of a JPEG has all of its layers; False also where that is hard to tell."""
    layers = 0
    with suppress(struct.error, IndexError):
        while True:
            mark, kind, size = struct.unpack(">BBH", file.read(4))
            content = file.read(max(size - 2, 0))
            if mark != 0xFF or kind in _UNSURE:
                return False
            if kind == _SCAN:
                return content[0] == layers
            layers = content[5] if kind in _BASELINE else layers
    return False


def _counted(file: BinaryIO, pair: bytes) -> int:
    """How often these two bytes are in a file."""
    found, last = 0, b""
    file.seek(0)
    while block := file.read(1 << 20):
        found += (last + block).count(pair)
        last = block[-1:]
    return found


def _check(picture: Image.Image, scans: int) -> None:
    """Refuse what takes too much memory or time, before a pixel of it is decoded."""
    pixels = picture.width * picture.height
    baseline = scans == 1
    if scans > SCANS:
        raise ValueError(f"{scans} scans are too many")
    most = PIXELS_BASELINE if baseline else PIXELS
    cost = COSTS.get(picture.format or "", 16) * (0.5 if baseline else 1)
    if pixels > most or pixels * cost > BUDGET:
        raise ValueError(f"{picture.width} by {picture.height} pixels are too many")


def _flat(pillow: Any, picture: Image.Image) -> Image.Image:
    """The picture on white where it is transparent, with nothing but its colours: no place, no camera, no comment."""
    profile = picture.info.get("icc_profile") if picture.mode in ("RGB", "RGBA") else None
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground: Image.Image = pillow.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    picture = picture.convert("RGB")
    picture.info = {"icc_profile": profile} if profile else {}
    return picture


def _save(picture: Image.Image, target: BinaryIO, format: str) -> None:
    name = FORMATS[format][0]
    more = {"optimize": True, "progressive": True} if name == "JPEG" else {"method": 2}
    picture.save(target, name, quality=QUALITY, icc_profile=picture.info.get("icc_profile"), **more)


def _replace(path: str, write: Callable[[BinaryIO], None]) -> None:
    """The file, all or nothing."""
    fd, half = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with open(fd, "wb") as file:
            write(file)
        os.replace(half, path)
    except BaseException:
        os.unlink(half)
        raise


def _forget(folder: str, *, keep: str) -> None:
    """Remove the thumbnails of what this photo was before it changed, and what a crash left."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with suppress(FileNotFoundError):  # another thread may rename or remove it meanwhile
            old = name.startswith("tmp") and os.path.getmtime(path) < time.time() - 3600
            if old or not name.startswith(("tmp", keep + "-")):
                os.unlink(path)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
