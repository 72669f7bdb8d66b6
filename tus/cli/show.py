"""`tus show`: everything that is known of one upload, wherever it is."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

from ..client.meter import human
from ..engine.known import Summary
from ..upload import harmless
from .place import add_place, place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `tus ls` says it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--url", action="store_true", help="print a URL that gives the finished file to anybody")
    add_place(parser)


def main(args: argparse.Namespace) -> int:
    place = place_of(args)
    if args.url:
        print(harmless(place.link(args.id)))
        return 0
    upload = place.one(args.id)
    if args.json:
        print(json.dumps(upload.full()))
        return 0
    for name, value in _lines(upload):
        print(f"{harmless(name):<12} {harmless(value)}")
    return 0


def _amount(count: int) -> str:
    """A size, for people also as one that can be read."""
    return f"{count} bytes" + (f" ({human(count)})" if sys.stdout.isatty() and count >= 1000 else "")


def _lines(upload: Summary) -> Iterator[tuple[str, str]]:
    """Name and value of what is known."""
    length = "an unknown length" if upload.length is None else _amount(upload.length)
    yield "id", upload.id
    yield "state", upload.state + (f": {upload.reason}" if upload.reason else "")
    yield "received", f"{upload.offset} of {length}"
    for name, seconds in (("created", upload.created), ("last byte", upload.touched), ("expires", upload.expires)):
        if seconds:
            yield name, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    for name, text in (("owner", upload.owner), ("stored at", upload.stored_at), ("parts", " ".join(upload.parts))):
        if text:
            yield name, text
    yield from upload.metadata.items()
