"""A gallery that looks like one, for browsers and screenshots: skies and mountains, the same at each run."""

from __future__ import annotations

import colorsys
import random
from pathlib import Path

ALBUMS = {"": 6, "Garden": 4, "Iceland": 5, "Sea & mountains": 4}


def fill(root: Path, size: tuple[int, int] = (900, 600)) -> None:
    """Albums with photos, all different."""
    seed = 0
    for album, count in ALBUMS.items():
        (root / album).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            seed += 1
            paint(root / album / f"IMG {number}.jpg", size, seed)


def paint(path: Path, size: tuple[int, int], seed: int, quality: int = 88) -> None:
    """One photo, with the date when it was taken."""
    from PIL import Image, ImageDraw

    chance = random.Random(seed)
    hue, horizon = seed * 0.381966 % 1, chance.uniform(0.45, 0.7)
    sky = Image.new("RGB", (1, 64))
    for y in range(64):
        sky.putpixel((0, y), _colour(hue + 0.1 * y / 64, 0.2 + 0.45 * y / 64, 0.98 - 0.2 * y / 64))
    picture = sky.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    width, height = size
    sun, radius = (width * chance.uniform(0.2, 0.8), height * horizon * chance.uniform(0.3, 0.7)), height * 0.07
    draw.ellipse([sun[0] - radius, sun[1] - radius, sun[0] + radius, sun[1] + radius], fill=_colour(hue + 0.05, 0.1, 1))
    for layer in range(4):
        steps = [
            (width * x / 20, height * (horizon + layer * 0.09 - chance.random() * 0.16 / (layer + 1)))
            for x in range(21)
        ]
        draw.polygon([(0, height), *steps, (width, height)], fill=_colour(hue + 0.5, 0.35, 0.5 - 0.1 * layer))
    exif = Image.Exif()
    exif[0x8769] = {0x9003: f"2026:0{seed % 9 + 1}:1{seed % 10} 1{seed % 10}:24:00"}
    picture.save(path, quality=quality, exif=exif)


def _colour(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    return tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
