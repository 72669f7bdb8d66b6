"""`tus get URL…`: fetch finished uploads, and any other file; a download that was cut goes on where it was."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from ..client.board import board_for
from ..client.failures import AlreadyThere, TransferError
from ..client.uploading import Client
from ..client.wire import printable
from . import connection
from .asking import agreed, can_be_asked
from .connection import client_for, exit_code, joint, sentence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `tus get`."""
    parser.description = (
        "Fetch files. The same command again resumes what was interrupted, if the server still has the same file. "
        "A Repr-Digest or Content-Digest that the server sends is checked."
    )
    parser.epilog = connection.EXIT_STATUS
    add = parser.add_argument
    add("urls", nargs="+", metavar="URL", help="what to fetch")
    add("-o", "--output", metavar="FILE", help="where it goes: a file, a directory (default: this one, under the name "
        "that the server says), - for standard output")  # fmt: skip
    add("-f", "--force", action="store_true", help="replace a file that is there; else it asks on a terminal, and "
        "refuses elsewhere")  # fmt: skip
    connection.add_connection_arguments(parser)
    add("--quiet", action="store_true", help="show no progress")
    add("--json", action="store_true", help="print one JSON object for each file instead of its path")


def main(args: argparse.Namespace) -> int:
    """Fetch; the exit status."""
    try:
        clients = [client_for(args, url) for url in args.urls]
        if len(clients) > 1 and args.output and not os.path.isdir(args.output):
            raise ValueError("several files need a directory to go to")
    except (ValueError, OSError) as error:
        print(f"tus get: {printable(sentence(error))}", file=sys.stderr)
        return connection.MISUSED
    try:
        return joint({_fetch(client, args) for client in clients})
    except KeyboardInterrupt:
        print("tus get: stopped; the same command resumes it", file=sys.stderr)
        return connection.INTERRUPTED


def _fetch(client: Client, args: argparse.Namespace) -> int:
    record: dict[str, Any] = {"url": client.url, "error": None}
    try:
        try:
            record |= _fetched(client, args, replace=args.force)
        except AlreadyThere as error:
            if not (can_be_asked() and agreed(f"{printable(error.path)} is there already. Replace it?")):
                raise
            record |= _fetched(client, args, replace=True)
        code = 0
    except (TransferError, OSError) as error:
        hint = " (--force replaces it)" if isinstance(error, AlreadyThere) else ""
        code, record["error"] = exit_code(error), sentence(error)
        print(printable(f"tus get: {sentence(error)}{hint}"), file=sys.stderr, flush=True)
    finally:
        client.close()
    if args.json:
        print(json.dumps(record), flush=True, file=sys.stderr if args.output == "-" else sys.stdout)
    elif not code and args.output != "-":
        print(record["file"] or args.output, flush=True)
    return code


def _fetched(client: Client, args: argparse.Namespace, *, replace: bool) -> dict[str, Any]:
    """What came of it, for programs."""
    board = board_for(1, 0, out=sys.stderr, quiet=args.quiet)
    row = board.row(client.url.rpartition("/")[2])
    to: Any = sys.stdout.buffer if args.output == "-" else args.output or "."
    try:
        found = client.get(client.url, to, replace=replace, progress=row.show, say=row.say)
        row.done(found.size)
    finally:
        board.close()
    return {"file": found.path, "bytes": found.size, "resumed_at": found.resumed_at, "verified": found.verified}
