"""Where the uploads of `tus ls`, `show`, `rm`, `sweep` and `watch` are: in a directory, in a store, or behind a server
whose operators' page is asked. Safe beside running servers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any, Protocol

from ..engine import Engine
from ..engine.known import Summary, being_written, known, link_for_all
from ..engine.removing import remove
from ..errors import Locked, OptionError
from ..options import Options
from ..tus import Application
from ..upload import Upload, checked_id
from .connection import add_connection_arguments

OWN = ("locker", "upload_valid_duration", "sweep_finished")  # what a server knows itself


class UploadPlace(Protocol):
    """What can be done to all uploads that are somewhere."""

    def listed(self, bad: list[str], *, without: Container[str] = ()) -> Iterator[Summary]:
        """Every upload but some; the ids of those whose record cannot be read go into `bad`."""

    def one(self, id: str) -> Summary:
        """The upload of this id, or NotFound."""

    def link(self, id: str) -> str:
        """A URL that gives the finished file to anybody."""

    def remove(self, id: str, *, force: bool) -> None:
        """Remove it; Locked if a request writes to it, unless that is ended by `force`."""

    def sweep(self) -> Iterator[Summary]:
        """Remove what has expired."""


def add_place(parser: argparse.ArgumentParser, *, named: bool = False) -> None:
    """Where the uploads of a command are; `named`: by an option, since other words stand for something else."""
    where = "a directory, the URL of a store such as s3://bucket/prefix, or that of a server (default: ./uploads)"
    if named:
        parser.add_argument("--in", dest="directory", metavar="WHERE", help=where)
    else:
        parser.add_argument("directory", nargs="?", metavar="WHERE", help=where)
    parser.add_argument("--store", metavar="URL", help="the same as the server's, instead of WHERE")
    parser.add_argument("--locker", metavar="URL", help="the same as the server's")
    parser.add_argument("--upload-valid-duration", metavar="TIME", help="the same as the server's; default: 7d")
    parser.add_argument("--sweep-finished", action="store_true", help="let finished uploads expire too")
    group = parser.add_argument_group("where WHERE is the http:// or https:// URL of a server with --operators")
    group.add_argument(
        "--token", default=os.environ.get("TUS_TOKEN", ""), metavar="WORD",
        help="the operators' token, if it is not in the URL; better, since nobody sees it: TUS_TOKEN",
    )  # fmt: skip
    add_connection_arguments(group)


def tell(text: str) -> None:
    """A line for a person."""
    print(f"tus: {text}", file=sys.stderr, flush=True)


def place_of(args: argparse.Namespace, *, say: Callable[[str], None] = tell) -> UploadPlace:
    """What knows the uploads of a command; `say` takes what a person should hear while a server is asked."""
    if (args.directory or "").startswith(("http://", "https://")):
        from .remote import server_of

        for name in ("store", *OWN):
            if getattr(args, name):
                raise OptionError(f"--{name.replace('_', '-')} and a server contradict each other: it has its own")
        return server_of(args, say)
    return Local(_engine_of(args))


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


def _engine_of(args: argparse.Namespace) -> Engine:
    """A directory that is not there is not made."""
    options = {**kept(args), "sweep_finished": args.sweep_finished}
    if args.upload_valid_duration is not None:
        options["upload_valid_duration"] = args.upload_valid_duration
    directory = options.get("tmp_file_dir")
    if directory and not Path(directory).is_dir():
        raise OptionError(f"{directory} is not a directory")
    return Application(Options(options), delivers=False).engine


class Local:
    """In a directory or a store, which is used as a server uses it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def listed(self, bad: list[str], *, without: Container[str] = ()) -> Iterator[Summary]:
        for upload in self._engine.uploads(bad, without=without):
            yield known(self._engine, upload)

    def one(self, id: str) -> Summary:
        return known(self._engine, self._load(id))

    def link(self, id: str) -> str:
        return link_for_all(self._engine, self._load(id))

    def remove(self, id: str, *, force: bool) -> None:
        upload = self._load(id)
        if not force and being_written(self._engine, upload):
            raise Locked("the upload is being written")
        remove(self._engine, upload)

    def sweep(self) -> Iterator[Summary]:
        for upload in self._engine.sweep():
            yield known(self._engine, upload)

    def _load(self, id: str) -> Upload:
        return self._engine.store.load(checked_id(id))
