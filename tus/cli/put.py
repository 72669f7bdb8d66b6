"""`tus put FILE… URL`: upload files, and resume what an earlier run did not finish.

Standard output gets the URLs and nothing else; everything for a person goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import os
import re
import stat
import sys
import time
from typing import Any, BinaryIO

from ..checksum import ALGORITHMS
from ..client import wire
from ..client.connecting import Clock
from ..client.meter import Meter, human
from ..client.remembered import Remembered, fingerprint
from ..client.transfer import ByteSource, File, Pace, Stream, Transfer, TransferError, Unwanted, metadata_header
from ..client.wire import Client
from ..options import size

CHECKED_CHUNK = 16 << 20  # bytes; a checksum makes a cut request worth nothing, so requests are kept small


def metadata_pair(text: str) -> tuple[str, bytes]:
    """`key=value` from the command line."""
    key, _, value = text.partition("=")
    if not re.fullmatch(r"[!-+\--~]+", key):
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value with a key of visible ASCII and no comma")
    return key, os.fsencode(value)


def _header(text: str) -> tuple[str, str]:
    try:
        return wire.header_line(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def chunk_size(text: str) -> int:
    try:
        chunk = size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    if not chunk:
        raise argparse.ArgumentTypeError("a chunk has at least one byte")
    return chunk


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def _natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def add_header_argument(parser: argparse.ArgumentParser) -> None:
    """What `tus put` and `tus check` send besides their own headers."""
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header to send with every request",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `tus put`."""
    parser.description = "Upload files to a tus server. The same command again resumes what was interrupted."
    parser.epilog = "Exit status: 0 all files uploaded, 1 a file was not uploaded, 2 nothing was tried."
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="a file; - for the standard input")
    add("url", metavar="URL", help="where uploads are created, as https://host/files")
    add("--chunk-size", type=chunk_size, metavar="SIZE", help="largest request in bytes (default: no limit)")
    add(
        "--checksum",
        choices=list(ALGORITHMS),
        metavar="ALGORITHM",
        help=f"verify chunks: {', '.join(ALGORITHMS)}",
    )
    add(
        "--metadata",
        type=metadata_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="metadata of the upload for the server",
    )
    add_header_argument(parser)
    _add_connection_arguments(parser)
    add("--quiet", action="store_true", help="show no progress")
    add("--json", action="store_true", help="print one JSON object for each file instead of its URL")


def _add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--retries",
        type=_natural,
        default=6,
        metavar="N",
        help="give up after this many attempts without progress (default: %(default)s)",
    )
    add(
        "--timeout",
        type=_natural,
        default=60,
        metavar="SECONDS",
        help="longest silence on the connection (default: %(default)s)",
    )
    add("--fingerprint", type=_fingerprint, metavar="HEX", help="trust the server whose certificate has "
        "this SHA-256 fingerprint, and no other; `tus serve --tls-self-signed` prints it")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Upload; the exit status."""
    try:
        home, headers = wire.endpoint(args.url, os.environ.get("TUS_LOGIN", ""))
        _check_files(args.files)
        if args.fingerprint and not home.startswith("https:"):
            raise ValueError("--fingerprint needs a URL that begins with https://")
    except (ValueError, OSError) as error:
        _complain(_sentence(error))
        return 2
    client = Client(home, {**headers, **dict(args.header)}, Clock(args.timeout or 60), args.fingerprint or "")
    try:
        results = [put(client, path, args) for path in args.files]
    except KeyboardInterrupt:
        return 130
    finally:
        client.close()
    return 0 if all(results) else 1


def put(client: Client, path: str, args: argparse.Namespace) -> bool:
    """Upload one file and print its URL; whether that worked."""
    began = time.monotonic()
    name = "stdin" if path == "-" else os.path.basename(path)
    meter = Meter(name, out=sys.stderr, quiet=args.quiet)
    transfer, failure, refused = None, None, False
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            before = os.fstat(file.fileno()).st_mtime_ns
            transfer = _transfer(client, file, path, args, meter)
            transfer.run()
            meter.done(transfer.offset)
            if isinstance(transfer.source, File) and os.fstat(file.fileno()).st_mtime_ns != before:
                meter.say("changed while it was being sent: what arrived may be a mixture")
    except (TransferError, OSError, EOFError) as error:
        failure, refused = _sentence(error), isinstance(error, Unwanted)
        meter.clear()
        _complain(f"{name}: {failure}")
    except KeyboardInterrupt:
        meter.clear()
        _complain(f"{name}: {_farewell(transfer)}")
        raise
    _report(path, transfer, failure, args, refused=refused, seconds=time.monotonic() - began)
    return failure is None


def _transfer(client: Client, file: BinaryIO, path: str, args: argparse.Namespace, meter: Meter) -> Transfer:
    """The upload that the arguments ask for, with what an earlier run remembered."""
    pace = Pace(args.retries, say=meter.say, sleep=time.sleep)
    chunk = args.chunk_size or (CHECKED_CHUNK if args.checksum else None)
    metadata = _metadata(path, dict(args.metadata))
    source: ByteSource = File(file) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else Stream(file)
    transfer = Transfer(client, source, metadata, meter, pace, chunk=chunk, checksum=args.checksum)
    # A stream cannot be found again, and an empty file is done when it is created.
    if source.length and path != "-":
        memory, key = Remembered.of_user(os.environ), fingerprint(path, client.home)
        transfer.url = memory.get(key)
        if not transfer.url:
            transfer.key = memory.creation(key, metadata_header(metadata))
        transfer.remember = lambda url: memory.put(key, url)
        transfer.forget = lambda: memory.forget(key)
    return transfer


def _metadata(path: str, given: dict[str, bytes]) -> dict[str, bytes]:
    """The usual two keys, unless the user says otherwise."""
    found = {}
    if path != "-":
        found["filename"] = os.fsencode(os.path.basename(path))
        kind, encoding = mimetypes.guess_type(path)
        if kind and not encoding:
            found["filetype"] = kind.encode()
    return {**found, **given}


def _report(
    path: str,
    transfer: Transfer | None,
    failure: str | None,
    args: argparse.Namespace,
    *,
    refused: bool,
    seconds: float,
) -> None:
    if args.json:
        record: dict[str, Any] = {"file": path, "url": transfer and transfer.url, "error": failure}
        record["refused"] = refused  # by the host, and final; after any other failure a new attempt may succeed
        record["bytes"] = transfer.offset if transfer else 0
        record["resumed_at"] = transfer.resumed_at if transfer else 0
        record["seconds"] = round(seconds, 3)
        print(json.dumps(record), flush=True)
    elif transfer and failure is None:
        print(transfer.url, flush=True)


def _farewell(transfer: Transfer | None) -> str:
    if transfer is None or transfer.url is None:
        return "stopped before anything was sent"
    if isinstance(transfer.source, Stream):
        return "stopped; a stream cannot be resumed"
    sent, length = human(transfer.sent), human(transfer.source.length or 0)
    return f"stopped after {sent} of {length}; the same command resumes it"


def _check_files(paths: list[str]) -> None:
    """Find a wrong name before the first upload begins, not after the tenth."""
    if paths.count("-") > 1:
        raise ValueError("the standard input can be read only once")
    for path in paths:
        if path != "-" and stat.S_ISDIR(os.stat(path).st_mode):
            raise IsADirectoryError(21, "is a directory", path)
        if path != "-" and not os.access(path, os.R_OK):
            raise PermissionError(13, "may not be read", path)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or '').lower()}"
    return str(error)


def _complain(text: str) -> None:
    print(f"tus put: {wire.printable(text)}", file=sys.stderr, flush=True)
