"""Pictures that are small to send and large to open: whatever they are, they cost the server next to nothing."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

Image = pytest.importorskip("PIL.Image")

PAGE = 50 << 10  # kilobytes that a page may need beyond what a harmless one needs
THUMBNAIL = 150 << 10  # the same for a thumbnail
SECONDS = 3.0  # of the processor, for the page and the thumbnail

LOOK = """
import re, sys, time
from tests.site.asking import ask
from tus.site.gallery import Gallery

def most():
    return int(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])

gallery = Gallery(sys.argv[1])
ask(gallery, "/small.png/"), ask(gallery, "/small.png?size=320")
least, began = most(), time.process_time()
page = ask(gallery, "/" + sys.argv[2] + "/")
after = most()
thumbnail = ask(gallery, "/" + sys.argv[2] + "?size=320")
print(page.status, after - least, thumbnail.status, most() - least, time.process_time() - began)
"""


def png(width: int, height: int, *before: tuple[bytes, bytes], rows: int = 0, after: bytes = b"") -> bytes:
    """A picture of which so many rows are there, and chunks before it."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    pixels = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), *before, (b"IDAT", pixels), *([(b"tEXt", after)] if after else []), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, *zip(*chunks, strict=True)))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def saved(format: str, size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format, **options)
    return buffer.getvalue()


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def greedy_exif(fields: int, size: int) -> bytes:
    """Each field claims the whole of it."""
    each = b"".join(struct.pack("<HHII", 1000 + number, 7, size, 0) for number in range(fields))
    return (struct.pack("<2sHIH", b"II", 42, 8, fields) + each + bytes(size))[:size]


def jpeg_with(*segments: bytes) -> bytes:
    """Segments in place of what follows the start: FF E1 for EXIF, and so on."""
    plain = saved("JPEG")
    head = 4 + struct.unpack(">H", plain[4:6])[0]
    made = b"".join(kind + struct.pack(">H", len(rest) + 2) + rest for kind, rest in ((s[:2], s[2:]) for s in segments))
    return plain[:2] + made + plain[head:]


def large_canvas() -> bytes:
    """An animated WebP of 16,000 by 16,000, in which each frame has 64 by 64 pixels."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    content = bytearray(buffer.getvalue())
    at = content.index(b"VP8X") + 12
    content[at : at + 6] = (15_999).to_bytes(3, "little") * 2
    return bytes(content)


def greedy_avif() -> bytes:
    """Pillow does not write such EXIF; so it is put in place of as much that is harmless."""
    harmless = struct.pack("<2sHIH", b"II", 42, 8, 0) + b"\xa5" * ((1 << 20) - 10)
    content = saved("AVIF", exif=harmless)
    assert harmless in content
    return content.replace(harmless, greedy_exif(20_000, 1 << 20))


def many_frames() -> bytes:
    """A GIF of 20,000 frames."""
    plain = saved("GIF", (200, 200))
    at = plain.index(b",", 13 + 3 * 2 ** ((plain[10] & 7) + 1))
    return plain[:at] + plain[at:-1] * 20_000 + b";"


def long_comment() -> bytes:
    """A GIF with a comment of 30 MB, in pieces of 255 bytes."""
    plain = saved("GIF")
    at = plain.index(b",", 13 + 3 * 2 ** ((plain[10] & 7) + 1))
    return plain[:at] + b"!\xfe" + (b"\xff" + bytes(255)) * 120_000 + b"\0" + plain[at:]


def many_scans() -> bytes:
    """A JPEG of 49 megapixels that goes over them 1,000 times."""
    plain = saved("JPEG", (7000, 7000), progressive=True, quality=50)
    last = plain[plain.rindex(b"\xff\xc4") : -2]
    return plain[:-2] + last * 1000 + plain[-2:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "many_pixels.png": lambda: png(13_300, 13_300, rows=13_300),
    "too_many_pixels.png": lambda: png(60_000, 60_000, rows=1000),
    "texts.png": lambda: png(64, 64, *[(b"zTXt", b"a\0\0" + zeros(40))] * 200, rows=64),
    "profile.png": lambda: png(64, 64, (b"iCCP", b"a\0\0" + zeros(500)), rows=64),
    "text_before.png": lambda: png(64, 64, (b"tEXt", b"a\0" + bytes(60 << 20)), rows=64),
    "fields.png": lambda: png(64, 64, (b"eXIf", greedy_exif(20_000, 1 << 20)), rows=64),
    "frames.gif": many_frames,
    "comment.gif": long_comment,
    "canvas.webp": large_canvas,
    "fields.webp": lambda: saved("WEBP", exif=greedy_exif(20_000, 1 << 20)),
    "fields.avif": greedy_avif,
    "fields.jpg": lambda: jpeg_with(*[b"\xff\xe1Exif\0\0" + greedy_exif(2_700, 65_000)]),
    "segments.jpg": lambda: jpeg_with(*[b"\xff\xe3" + bytes(65_000)] * 1000),
    "scans.jpg": many_scans,
    "large.tiff.jpg": lambda: saved("TIFF", (9000, 9000), compression="tiff_deflate"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bomb_costs_neither_memory_nor_time(tmp_path: Path, name: str) -> None:
    """Neither its page nor its thumbnail; and the page is there, whatever the picture is."""
    (tmp_path / "small.png").write_bytes(png(64, 64, rows=64))
    (tmp_path / name).write_bytes(BOMBS[name]())

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK, str(tmp_path), name], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    page, for_page, thumbnail, for_thumbnail, seconds = map(float, done.stdout.split())
    print(f"{for_page / 1024:.0f} MiB, {for_thumbnail / 1024:.0f} MiB, {seconds:.2f} s")
    assert (page, thumbnail) in ((200, 200), (200, 415))
    assert for_page < PAGE
    assert for_thumbnail < THUMBNAIL
    assert seconds < SECONDS
