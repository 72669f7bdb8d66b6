"""Photos of every kind, made when they are needed; nothing large lies in the repository."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Picture = Callable[..., bytes]


@pytest.fixture
def picture() -> Picture:
    """Makes a picture whose left half is red and whose right half is blue."""
    image = pytest.importorskip("PIL.Image")

    def make(format: str = "JPEG", size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> bytes:
        made = image.new("RGB", size, "blue")
        made.paste("red", (0, 0, size[0] // 2, size[1]))
        buffer = io.BytesIO()
        made.convert(mode).save(buffer, format, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def photos(tmp_path: Path, picture: Picture) -> Path:
    """A directory with two albums, one of them in the other, and what must not be seen."""
    root = tmp_path / "photos"
    (root / "Trip" / "Day 2").mkdir(parents=True)
    for name in ("IMG 10.jpg", "IMG 9.jpg", "IMG 100.jpg"):
        (root / "Trip" / name).write_bytes(picture())
    (root / "Trip" / "Day 2" / "last.png").write_bytes(picture("PNG"))
    (root / "first.jpg").write_bytes(picture())
    (root / "clip.mp4").write_bytes(bytes(range(256)) * 40)
    (root / "notes.txt").write_text("not a photo")
    (root / ".hidden.jpg").write_bytes(picture())
    (root / ".secret").mkdir()
    (root / ".secret" / "in.jpg").write_bytes(picture())
    return root
