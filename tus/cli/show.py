"""`tus show`: everything that is known of one upload, in whatever store it is."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

from ..engine import Engine, delivering
from ..errors import OptionError
from ..upload import Upload, checked_id, harmless, name_of
from .uploads import add_place, engine_of, known_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `tus ls` says it")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--url", action="store_true", help="print a URL that gives the finished file to anybody")


def main(args: argparse.Namespace) -> int:
    engine = engine_of(args)
    upload = engine.store.load(checked_id(args.id))
    if args.url:
        print(_url(engine, upload))
    elif args.json:
        metadata = {name_of(key): value.decode("utf-8", "replace") for key, value in upload.metadata.items()}
        print(json.dumps({**known_of(upload, engine), "metadata": metadata, "created": upload.created}))
    else:
        for name, value in _lines(upload, engine):
            print(f"{name:<12} {harmless(value)}")
    return 0


def _url(engine: Engine, upload: Upload) -> str:
    if not upload.readable:
        raise OptionError(f"upload {upload.id} is {engine.state(upload).value}: there is no file to fetch")
    try:
        return delivering.link_to(engine, upload)
    except NotImplementedError as error:
        raise OptionError(f"option store: {error}") from None


def _lines(upload: Upload, engine: Engine) -> Iterator[tuple[str, str]]:
    """Name and value of what is known."""
    known = known_of(upload, engine)
    length = "an unknown length" if upload.length is None else f"{upload.length} bytes"
    yield "id", upload.id
    yield "state", known["state"] + (f": {known['reason']}" if known["reason"] else "")
    yield "received", f"{upload.offset} of {length}"
    for name, seconds in (("created", upload.created), ("last byte", upload.touched), ("expires", known["expires"])):
        if seconds:
            yield name, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    for name, text in (("owner", upload.owner), ("stored at", upload.stored_at), ("parts", " ".join(upload.parts))):
        if text:
            yield name, text
    for key, value in upload.metadata.items():
        yield name_of(key), value.decode("utf-8", "replace")
