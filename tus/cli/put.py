"""`tus put FILE… URL`: upload files, and resume what an earlier run did not finish.

Standard output gets the URLs and nothing else; everything for a person goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..checksum import ALGORITHMS
from ..client.board import Board, FileRow, board_for
from ..client.brake import Brake
from ..client.failures import Stopped, TransferError, Unwanted
from ..client.meter import counted, human
from ..client.remembered import Remembered, fingerprint
from ..client.uploading import Client
from ..client.wire import printable
from . import connection
from .connection import chunk_size, client_for, exit_code, joint, sentence, whole_number_of
from .gather import FileToSend, Manifest, gather


def metadata_pair(text: str) -> tuple[str, bytes]:
    """`key=value` from the command line."""
    key, _, value = text.partition("=")
    if not re.fullmatch(r"[!-+\--~]+", key):
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value with a key of visible ASCII and no comma")
    return key, os.fsencode(value)


def _several(text: str) -> int:
    if not 1 <= (count := whole_number_of(text)) <= 64:
        raise argparse.ArgumentTypeError("between 1 and 64")
    return count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `tus put`."""
    parser.description = (
        "Upload files to a tus server. The same command again resumes what was interrupted. The standard input is "
        "sent in chunks, of which the newest is kept: a cut connection does no harm, an ended command has to begin "
        "again. Proxies are those of http_proxy, https_proxy, all_proxy and no_proxy."
    )
    parser.epilog = connection.EXIT_STATUS
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="a file; a directory, whose files keep their relative paths as the "
        "metadata relativePath; a pattern such as '*.jpg'; - for the standard input")  # fmt: skip
    add("url", metavar="URL", help="where uploads are created, as https://host/files")
    add("--transfers", type=_several, default=4, metavar="N", help="files at once (default: %(default)s)")
    add("--parallel", type=_several, default=1, metavar="N",
        help="parts of one file at once, which the server puts together (default: %(default)s)")  # fmt: skip
    add("--chunk-size", type=chunk_size, metavar="SIZE", help="largest request in bytes (default: no limit; after a "
        "413 a smaller one is found, and remembered for that host)")  # fmt: skip
    add("--limit-rate", type=chunk_size, metavar="SIZE", help="at most so many bytes a second, as 2MB")
    add("--checksum", choices=list(ALGORITHMS), metavar="ALGORITHM", help=f"verify chunks: {', '.join(ALGORITHMS)}")
    add("--metadata", type=metadata_pair, action="append", default=[], metavar="KEY=VALUE",
        help="metadata of the upload for the server")  # fmt: skip
    add("--manifest", metavar="FILE", help="skip what this file says is there already, and add what was sent")
    add("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    connection.add_connection_arguments(parser)
    add("--quiet", action="store_true", help="show no progress")
    add("--json", action="store_true", help="print one JSON object for each file instead of its URL")


def main(args: argparse.Namespace) -> int:
    """Upload; the exit status."""
    try:
        client = client_for(args, args.url, chunk_size=args.chunk_size, limit_rate=args.limit_rate)
        items = gather(args.files, say=lambda text: _note(text, args))
        manifest = Manifest(args.manifest) if args.manifest else None
    except (ValueError, OSError) as error:
        print(f"tus put: {printable(sentence(error))}", file=sys.stderr)
        return connection.MISUSED
    there, wanted = list[FileToSend](), list[FileToSend]()
    for item in items:
        (there if manifest and item.known_as(client.url) in manifest else wanted).append(item)
    if args.dry_run:
        return _rehearse(client, wanted, there, args)
    if there:
        _note(f"{len(there)} of {counted(len(items), 'file')} {'is' if len(there) == 1 else 'are'} there already", args)
    board = board_for(len(wanted), sum(item.size for item in wanted), out=sys.stderr, quiet=args.quiet)
    try:
        return _send_all(Batch(client, args, board, Brake()), wanted, manifest)
    except KeyboardInterrupt:
        return connection.INTERRUPTED
    finally:
        board.close()
        client.close()


def _note(text: str, args: argparse.Namespace) -> None:
    """What a person should know and is no error."""
    if not args.quiet:
        print(f"tus put: {printable(text)}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Batch:
    """One run of the command."""

    client: Client
    args: argparse.Namespace
    board: Board
    brake: Brake


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    code: int
    record: dict[str, Any]

    @property
    def line(self) -> str:
        return json.dumps(self.record)


def _send_all(batch: Batch, items: list[FileToSend], manifest: Manifest | None) -> int:
    codes = set()
    for outcome in _outcomes(batch, items):
        codes.add(outcome.code)
        if manifest and not outcome.code:
            manifest.add(outcome.line)
        if batch.args.json:
            print(outcome.line, flush=True)
        elif not outcome.code:
            print(outcome.record["url"], flush=True)
    return joint(codes)


def _outcomes(batch: Batch, items: list[FileToSend]) -> Iterator[Outcome]:
    """In the order of the files, whichever is there first."""
    if len(items) == 1 or batch.args.transfers == 1:
        yield from (put(batch, item) for item in items)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(batch.args.transfers) as pool:
        try:
            yield from pool.map(lambda item: put(batch, item), items)
        except BaseException:
            batch.brake.pull()
            pool.shutdown(cancel_futures=True)
            batch.board.close()
            print("tus put: stopped; the same command resumes what was cut, and sends the rest again without "
                  "--manifest", file=sys.stderr)  # fmt: skip
            raise


def put(batch: Batch, item: FileToSend) -> Outcome:
    """Upload one file."""
    began, row = time.monotonic(), batch.board.row(item.name)
    record: dict[str, Any] = {"file": item.path, "url": None, "error": None, "refused": False, "bytes": 0}
    record |= {"resumed_at": 0, "size": item.size, "modified": item.modified, "to": batch.client.url}
    at = Progress(row)
    code = 0
    try:
        found = _put(batch, item, at)
        row.done(found.size)
        record |= {"url": found.url, "bytes": found.size, "resumed_at": found.resumed_at}
    except Stopped:
        code = connection.INTERRUPTED
    except (TransferError, OSError) as error:
        code = exit_code(error)
        # `refused`: by the host, and final; after any other failure a new attempt may succeed.
        record |= {"error": sentence(error), "refused": isinstance(error, Unwanted)}
        record |= {"url": getattr(error, "url", None), "bytes": getattr(error, "offset", 0)}
        row.fail(f"tus put: {item.name}: {sentence(error)}")
    except KeyboardInterrupt:
        row.fail(f"tus put: {item.name}: {at.farewell(item)}")
        raise
    record["seconds"] = round(time.monotonic() - began, 3)
    return Outcome(code, record)


def _put(batch: Batch, item: FileToSend, at: Progress) -> Any:
    metadata = {**({"relativePath": item.relative} if item.relative else {}), **dict(batch.args.metadata)}
    send: Callable[..., Any] = batch.client.put
    options = {"checksum": batch.args.checksum, "parallel": batch.args.parallel, "brake": batch.brake}
    options |= {"metadata": metadata, "progress": at.show, "say": at.say}
    if item.path != "-":
        return send(item.path, **options)
    # Unbuffered: on a terminal, a buffer would want a second Ctrl-D.
    with open(0, "rb", buffering=0, closefd=False) as file:
        return send(file, **options)


class Progress:
    """How far a file is, for its row and for the last word."""

    def __init__(self, row: FileRow) -> None:
        self._row, self._sent = row, -1
        self._length: int | None = None
        self._lasting = True  # what was sent is remembered

    def show(self, sent: int, length: int | None) -> None:
        self._sent, self._length = sent, length
        self._row.show(sent, length)

    def say(self, text: str) -> None:
        self._lasting = self._lasting and "cannot be resumed later" not in text
        self._row.say(text)

    def farewell(self, item: FileToSend) -> str:
        if self._sent < 0:
            return "stopped before anything was sent"
        if item.path == "-" or not item.size:
            return "stopped; a stream cannot be resumed"
        said = f"stopped after {human(self._sent)} of {human(self._length or 0)}"
        return f"{said}; the same command {'resumes it' if self._lasting else 'begins again'}"


def _rehearse(client: Client, wanted: list[FileToSend], there: list[FileToSend], args: argparse.Namespace) -> int:
    """Say what would be done, without asking the server."""
    memory = Remembered.of_user(os.environ)
    for deed, items in (("skip", there), ("send", wanted)):
        for item in items:
            known = deed == "send" and item.path != "-" and memory.get(fingerprint(item.path, client.url))
            said = "resume" if known else deed
            if args.json:
                print(json.dumps({"file": item.path, "size": item.size, "would": said}))
            else:
                print(f"would {said:<6} {human(item.size):>9}  {printable(item.name)}")
    if not args.json:
        print(f"{counted(len(wanted), 'file')}, {human(sum(item.size for item in wanted))}, would go to {client.url}")
    return 0
