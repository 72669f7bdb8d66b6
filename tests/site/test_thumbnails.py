"""Thumbnails: every format and orientation comes out right, and nothing that is sent takes the server down."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.live import until
from tests.site.asking import ask
from tests.site.conftest import Picture
from tus.site.albums import Tree
from tus.site.gallery import Gallery
from tus.site.thumbnails import Thumbnails, Unshowable, scans

Image = pytest.importorskip("PIL.Image")


class Shelf:
    """A directory with photos, and their thumbnails."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.home = home / "photos"
        self.home.mkdir()
        self.tree = Tree(str(self.home))
        self.thumbnails = Thumbnails(self.tree, str(home / "cache"), **options)
        self.cache = home / "cache"

    def add(self, name: str, content: bytes) -> None:
        (self.home / name).write_bytes(content)

    def get(self, name: str, size: int = 320, format: str = "jpg") -> Any:
        with self.thumbnails.get(self.tree.item(name), size, format) as file:
            return Image.open(io.BytesIO(file.read()))

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.cache.rglob("*") if path.is_file())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def is_red(pixel: tuple[int, ...]) -> bool:
    return pixel[0] > 200 and pixel[2] < 60


@pytest.mark.parametrize(
    ("name", "format"), [("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.avif", "AVIF")]
)
def test_every_format_becomes_a_thumbnail(shelf: Shelf, picture: Picture, name: str, format: str) -> None:
    """Smaller, of the same shape and the same colours."""
    shelf.add(name, picture(format, (900, 600)))

    small = shelf.get(name)

    assert (small.format, small.size) == ("JPEG", (320, 213))
    assert is_red(small.getpixel((10, 100)))
    assert not is_red(small.getpixel((310, 100)))


def test_heic_where_its_reader_is_installed(shelf: Shelf, picture: Picture) -> None:
    """With pillow-heif, photos of iPhones are shown."""
    pytest.importorskip("pillow_heif")
    shelf.thumbnails  # noqa: B018 - registers the reader
    shelf.add("a.heic", picture("HEIF", (900, 600)))

    assert shelf.get("a.heic").size == (320, 213)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_kind_of_colour(shelf: Shelf, picture: Picture, mode: str) -> None:
    """Grey, palettes, transparency, print colours, 16 bits."""
    format = {"CMYK": "JPEG"}.get(mode, "PNG")
    shelf.add("a.jpg", picture(format, mode=mode) if mode != "I;16" else sixteen_bits())

    assert shelf.get("a.jpg").mode == "RGB"


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    Image.new("I;16", (60, 40), 30000).save(buffer, "PNG")
    return buffer.getvalue()


def test_transparent_parts_are_white(shelf: Shelf) -> None:
    """Not black, as a careless conversion makes them."""
    buffer = io.BytesIO()
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(buffer, "PNG")
    shelf.add("a.png", buffer.getvalue())

    assert min(shelf.get("a.png").getpixel((25, 25))) > 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_upright(shelf: Shelf, orientation: int) -> None:
    """All eight ways of holding a camera."""
    upright = Image.new("RGB", (400, 200), "blue")
    upright.paste("red", (0, 0, 200, 100))  # red is at the top left
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes what the orientation asks for
    stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=95)
    shelf.add("a.jpg", buffer.getvalue())

    small = shelf.get("a.jpg")

    assert small.size == (320, 160)
    assert is_red(small.getpixel((40, 20)))
    assert not any(is_red(small.getpixel(at)) for at in ((280, 20), (40, 140), (280, 140)))


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_metadata_is_stripped(shelf: Shelf, picture: Picture, format: str) -> None:
    """Neither the place nor the camera nor a comment leaves the house."""
    exif = Image.Exif()
    exif[0x010F] = "SECRET-CAMERA"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    shelf.add("a.jpg", picture(exif=exif, comment=b"SECRET-COMMENT", xmp=b"<x>SECRET-XMP</x>"))

    small = shelf.get("a.jpg", format=format)

    content = b"".join(path.read_bytes() for path in shelf.cache.rglob(f"*.{format}"))
    assert b"SECRET" not in content
    assert not dict(small.getexif())


def test_date_is_read_in_either_order_of_bytes() -> None:
    """And what is broken says nothing."""
    from datetime import datetime

    from tus.site import exif

    for order, mark in (("<", b"II"), (">", b"MM")):
        first = struct.pack(order + "HHHIIHHIII", 2, 0x0112, 3, 1, 6 if order == "<" else 6 << 16, 0x8769, 4, 1, 38, 0)
        block = mark + struct.pack(order + "HI", 42, 8) + first
        block += struct.pack(order + "HHHIII", 1, 0x9003, 2, 20, 38 + 18, 0) + b"2024:05:17 18:30:00\0"

        assert exif.read(b"Exif\0\0" + block) == exif.Said(6, datetime(2024, 5, 17, 18, 30))
        for size in range(len(block)):
            assert exif.read(block[:size]).taken is None or size > 70


def test_scans_of_a_jpeg_are_counted(picture: Picture) -> None:
    """One where it can be decoded as it is read; where that is hard to tell, two at least."""
    simple, progressive = picture(), picture(progressive=True)

    assert scans(io.BytesIO(simple)) == 1
    assert 2 < scans(io.BytesIO(progressive)) < 20
    assert scans(io.BytesIO(simple[:2] + b"\xff" + simple[2:])) == 2
    assert scans(io.BytesIO(b"\xff\xd8")) == 2


# What should not be shown


def bomb(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has next to nothing in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8000, 9500, 14000, 60000])
def test_bombs_are_refused_before_they_are_decoded(shelf: Shelf, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their size, whether Pillow minds or not."""
    shelf.add("bomb.png", bomb(side, side))
    monkeypatch.setattr("PIL.Image.Image.load", lambda *_: pytest.fail("it was decoded"))

    with pytest.raises(Unshowable):
        shelf.get("bomb.png")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"<svg/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\0" * 5000,
        bomb(60, 40),
    ],
    ids=["empty", "head", "gif", "svg", "eps", "zeros", "truncated"],
)
def test_broken_files_cannot_be_shown(shelf: Shelf, content: bytes) -> None:
    """Whatever they are, the answer is the same."""
    shelf.add("a.jpg", content)

    with pytest.raises(Unshowable):
        shelf.get("a.jpg")


def test_failure_is_remembered(shelf: Shelf, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken photo costs one attempt, until it changes."""
    shelf.add("a.jpg", picture()[:200])
    attempts: list[object] = []
    reduced = Thumbnails._reduced
    monkeypatch.setattr(Thumbnails, "_reduced", lambda *args: (attempts.append(1), reduced(*args))[1])

    for size in (320, 640, 320):
        with pytest.raises(Unshowable):
            shelf.get("a.jpg", size)
    shelf.add("a.jpg", picture())
    shelf.get("a.jpg")

    assert len(attempts) == 2


# The cache


def test_thumbnail_is_made_once(shelf: Shelf, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second visitor gets the file, and nothing half made lies about."""
    shelf.add("a.jpg", picture())
    shelf.get("a.jpg")
    monkeypatch.setattr(Thumbnails, "_make", lambda *_: pytest.fail("it was made twice"))

    shelf.get("a.jpg")

    assert len(shelf.kept()) == 1


def test_changed_photo_gets_a_new_thumbnail(shelf: Shelf, picture: Picture) -> None:
    """And the old one goes."""
    shelf.add("a.jpg", picture(size=(60, 40)))
    shelf.get("a.jpg")

    shelf.add("a.jpg", picture(size=(40, 60)))
    os.utime(shelf.home / "a.jpg", ns=(1, 10**18))

    assert shelf.get("a.jpg").size == (40, 60)
    assert len(shelf.kept()) == 1


def test_only_some_sizes_are_made(photos: Path) -> None:
    """Nobody can fill the disk by asking for every size there is."""
    gallery = Gallery(str(photos))

    answers = [
        ask(gallery, f"/first.jpg?size={size}").status for size in ("320", "640", "1600", "321", "-1", "9e9", "")
    ]

    assert answers == [200, 200, 200, 404, 404, 404, 404]


def test_browser_gets_what_it_reads(photos: Path) -> None:
    """WebP, where the browser says so; each under a tag of its own, kept for ever under an address that changes."""
    gallery = Gallery(str(photos))
    stamp = gallery.tree.item("first.jpg").stamp

    jpeg = ask(gallery, f"/first.jpg?size=320&v={stamp}")
    webp = ask(gallery, f"/first.jpg?size=320&v={stamp}", HTTP_ACCEPT="image/avif,image/webp,*/*")

    assert (jpeg.headers["Content-Type"], webp.headers["Content-Type"]) == ("image/jpeg", "image/webp")
    assert jpeg.headers["Etag"] != webp.headers["Etag"]
    assert jpeg.headers["Vary"] == webp.headers["Vary"] == "Accept"
    assert "immutable" in jpeg.headers["Cache-Control"]
    assert "immutable" not in ask(gallery, "/first.jpg?size=320&v=old").headers["Cache-Control"]
    assert ask(gallery, f"/first.jpg?size=320&v={stamp}", HTTP_IF_NONE_MATCH=jpeg.headers["Etag"]).status == 304


# A crowd


def test_no_more_decoders_than_cores(tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at once, and each photo is decoded once."""
    shelf = Shelf(tmp_path, crowd=100)
    for n in range(6):
        shelf.add(f"{n}.jpg", picture())
    running, most, made = 0, 0, []
    guard = threading.Lock()
    reduced = Thumbnails._reduced

    def counted(*args: Any) -> Any:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
            made.append(1)
        try:
            threading.Event().wait(0.02)
            return reduced(*args)
        finally:
            with guard:
                running -= 1

    monkeypatch.setattr(Thumbnails, "_reduced", counted)
    threads = [threading.Thread(target=shelf.get, args=(f"{n % 6}.jpg",)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most <= len(os.sched_getaffinity(0))
    assert len(made) <= 6 * most


@pytest.mark.parametrize("options", [{"crowd": 1}, {"patience": 0.05}])
def test_crowd_is_told_to_come_again(photos: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """503 with Retry-After, at once when too many wait, and in time when it takes too long; others are served."""
    gallery = Gallery(str(photos))
    gallery.thumbnails = Thumbnails(gallery.tree, str(photos / ".tus" / "other"), **options)
    cores, going, begun = len(os.sched_getaffinity(0)), threading.Event(), []
    monkeypatch.setattr(Thumbnails, "_make", lambda *_: (begun.append(1), going.wait(10)))
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)  # there is no file in the end
    wanted = cores if "patience" in options else 1
    threads = [threading.Thread(target=ask, args=(gallery, "/first.jpg?size=640"), daemon=True) for _ in range(wanted)]
    for thread in threads:
        thread.start()
    until(lambda: len(begun) == wanted)

    refused = ask(gallery, "/first.jpg?size=320")
    other = ask(gallery, "/first.jpg")
    going.set()
    for thread in threads:
        thread.join()

    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert other.status == 200


@pytest.mark.slow
def test_large_photo_is_quick_and_small(tmp_path: Path) -> None:
    """24 megapixels take at most 60 MiB, and less work than to decode them all; bench/ measures the time."""
    import subprocess
    import sys

    code = """
import re, sys
from time import process_time
from PIL import Image
from tus.site.albums import Tree
from tus.site.thumbnails import Thumbnails

tree = Tree(sys.argv[1])
thumbnails, item = Thumbnails(tree, sys.argv[1] + "/.cache"), tree.item("big.jpg")
began = process_time()
thumbnails.get(item, 320).close()
ours, most = process_time() - began, re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1]
began = process_time()
with Image.open(sys.argv[1] + "/big.jpg") as whole:
    whole.resize((320, 213), Image.Resampling.LANCZOS).save(sys.argv[1] + "/small.jpg")
print(ours, process_time() - began, most)
"""
    noise = Image.effect_noise((1500, 1000), 60).resize((6000, 4000)).convert("RGB")
    noise.save(tmp_path / "big.jpg", quality=92)

    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    ours, plain, kilobytes = map(float, told.split())
    print(f"{ours:.3f} s for {plain:.3f} s, {kilobytes / 1024:.0f} MiB")

    assert kilobytes < 60 * 1024
    assert ours < plain
