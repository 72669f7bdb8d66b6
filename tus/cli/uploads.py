"""`tus ls` and `tus sweep`: list uploads, and remove expired ones. Safe beside a running server."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..client.meter import human
from ..engine import Engine
from ..errors import OptionError
from ..options import Options
from ..tus import Application
from ..upload import Upload


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where the uploads of a command are."""
    parser.add_argument(
        "directory", nargs="?", metavar="WHERE",
        help="a directory, or the URL of a store such as s3://bucket/prefix (default: ./uploads)",
    )  # fmt: skip
    parser.add_argument("--store", metavar="URL", help="the same as the server's, instead of WHERE")
    parser.add_argument("--locker", metavar="URL", help="the same as the server's")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--expired", action="store_true", help="only expired ones")
    whole = parser.add_mutually_exclusive_group()
    whole.add_argument("--open", "--unfinished", dest="unfinished", action="store_true", help="only unfinished ones")
    whole.add_argument("--finished", action="store_true", help="only finished ones")
    parser.add_argument("--bytes", action="store_true", help="exact sizes on a terminal; elsewhere they always are")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--upload-valid-duration", metavar="TIME", help="the same as the server's; default: 7d")
    parser.add_argument("--sweep-finished", action="store_true", help="let finished uploads expire too")
    parser.add_argument("--dry-run", action="store_true", help="sweep: only say what would be removed")


def main(args: argparse.Namespace) -> int:
    options = {"sweep_finished": args.sweep_finished}
    if args.upload_valid_duration is not None:
        options["upload_valid_duration"] = args.upload_valid_duration
    engine = engine_of(args, **options)
    if args.command == "sweep" and not args.dry_run:
        return _report(engine.sweep(), args, engine, "removed")
    if args.command == "sweep":
        return _report(filter(engine.expired, engine.uploads()), args, engine, "would be removed")
    bad: list[str] = []
    _report(_chosen(engine, args, bad), args, engine, "")
    for id in bad:
        print(f"tus: the record {id}.info cannot be read; other uploads are not affected", file=sys.stderr)
    return 1 if bad else 0


def kept(args: argparse.Namespace) -> dict[str, Any]:
    """The options that say where the uploads of a command are: `./uploads`, if nobody says anything."""
    said = {name: value for name in ("store", "locker") if (value := getattr(args, name)) is not None}
    if args.directory:
        if "://" not in args.directory:
            return {**said, "tmp_file_dir": args.directory}
        if "store" in said:
            raise OptionError(f"{args.directory} and --store contradict each other")
        return {**said, "store": args.directory}
    if "store" in said or os.environ.get("TUS_STORE"):
        return said
    return {**said, "tmp_file_dir": os.environ.get("TUS_TMP_FILE_DIR") or "./uploads"}


def engine_of(args: argparse.Namespace, **options: Any) -> Engine:
    """What knows the uploads of a command. A directory that is not there is not made."""
    where = kept(args)
    directory = where.get("tmp_file_dir")
    if directory and not Path(directory).is_dir():
        raise OptionError(f"{directory} is not a directory")
    return Application(Options({**where, **options}), delivers=False).engine


def _chosen(engine: Engine, args: argparse.Namespace, bad: list[str]) -> Iterable[Upload]:
    for upload in engine.uploads(bad):
        if args.unfinished and upload.complete or args.finished and not upload.complete:
            continue
        if not args.expired or engine.expired(upload):
            yield upload


def _report(uploads: Iterable[Upload], args: argparse.Namespace, engine: Engine, deed: str) -> int:
    terminal = sys.stdout.isatty() and not args.json
    amount = human if terminal and not args.bytes else str
    if terminal:
        print(_columns("id", "received", "size", "last byte", "state", "name", room=_room(amount)))
    count = size = 0
    for upload in uploads:
        count += 1
        size += 0 if upload.dropped else upload.offset
        print(json.dumps(known_of(upload, engine)) if args.json else _line(upload, engine, amount))
    if not args.json:
        print(f"{count} uploads, {human(size) if amount is human else f'{size} bytes'} {deed}".rstrip())
    return 0


def _room(amount: Callable[[int], str]) -> int:
    """Columns of a size."""
    return 13 if amount is str else 8


def _columns(id: str, offset: str, length: str, touched: str, state: str, name: str, *, room: int) -> str:
    return f"{id:<32}  {offset:>{room}}/{length:<{room}} {touched:<16}  {state:<11} {name}".rstrip()


def _line(upload: Upload, engine: Engine, amount: Callable[[int], str]) -> str:
    length = "?" if upload.length is None else amount(upload.length)
    touched = _minute(int(upload.touched) // 60)
    state, reason, name = engine.state(upload).value, _reason(upload), upload.metadata.filename
    line = _columns(upload.id, amount(upload.offset), length, touched, state, name, room=_room(amount))
    return f"{line}  refused: {reason}" if reason else line


def _reason(upload: Upload) -> str:
    return upload.result.reason or str(upload.result.status) if upload.result and upload.refused else ""


@lru_cache(256)
def _minute(minute: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(minute * 60))


def known_of(upload: Upload, engine: Engine) -> dict[str, Any]:
    """What programs want to know."""
    return {
        "id": upload.id,
        "offset": upload.offset,
        "length": upload.length,
        "state": engine.state(upload).value,
        "reason": _reason(upload) or None,
        "touched": upload.touched,
        "expires": engine.expires(upload),
        "owner": upload.owner,
        "filename": upload.metadata.filename,
        "stored_at": upload.stored_at or None,
    }
