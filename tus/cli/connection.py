"""What every command that talks to a server understands: headers, logins, certificates, patience."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

from ..client import wire
from ..client.failures import FileChanged, TransferError, Unreachable
from ..client.link import Link
from ..client.uploading import Client
from ..values import size

FAILED, MISUSED, UNREACHABLE, CHANGED, INTERRUPTED = 1, 2, 3, 4, 130
EXIT_STATUS = (
    "Exit status: 0 all done, 1 a file was refused or failed, 2 nothing was tried since the command is wrong, "
    "3 the server could not be reached, 4 a file changed while it was sent, 130 interrupted. If files failed for "
    "different reasons, it is 1."
)


def exit_code(error: Exception) -> int:
    """What a program wants to know of a failure."""
    if isinstance(error, Unreachable):
        return UNREACHABLE
    return CHANGED if isinstance(error, FileChanged) else FAILED


def joint(codes: set[int]) -> int:
    """The exit status of several files."""
    failed = codes - {0}
    return FAILED if len(failed) > 1 else failed.pop() if failed else 0


def _header(text: str) -> tuple[str, str]:
    try:
        return wire.header_line(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def chunk_size(text: str) -> int:
    """A number of bytes that is not 0."""
    try:
        chunk = size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    if not chunk:
        raise argparse.ArgumentTypeError("at least one byte")
    return chunk


def whole_number_of(text: str) -> int:
    """A number."""
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _fingerprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def add_header_argument(parser: argparse._ActionsContainer) -> None:
    """What a command sends besides its own headers."""
    parser.add_argument(
        "-H", "--header", type=_header, action="append", default=[], metavar="'NAME: VALUE'",
        help="a header to send with every request",
    )  # fmt: skip


def add_fingerprint_argument(parser: argparse._ActionsContainer) -> None:
    """The only certificate that is trusted."""
    parser.add_argument("--fingerprint", type=_fingerprint, metavar="HEX", help="trust the server whose certificate "
        "has this SHA-256 fingerprint, and no other; `tus serve --tls-self-signed` prints it")  # fmt: skip


def add_connection_arguments(parser: argparse._ActionsContainer) -> None:
    """How the server is reached, and for how long that is tried."""
    add_header_argument(parser)
    add = parser.add_argument
    add("-u", "--user", metavar="NAME:PASSWORD", help="log in; else with TUS_LOGIN, the URL, or ~/.netrc")
    add("--cacert", metavar="FILE", help="trust these authorities (PEM) instead of the usual ones")
    add("-k", "--insecure", action="store_true", help="trust any certificate")
    add_fingerprint_argument(parser)
    add("--retries", type=whole_number_of, default=6, metavar="N",
        help="give up after this many attempts without progress (default: %(default)s)")  # fmt: skip
    add("--timeout", type=whole_number_of, default=60, metavar="SECONDS",
        help="longest silence on the connection (default: %(default)s)")  # fmt: skip


def client_for(args: argparse.Namespace, url: str, **more: Any) -> Client:
    """The client that the arguments describe; ValueError or OSError if there can be none."""
    if args.cacert and not os.access(args.cacert, os.R_OK):
        raise FileNotFoundError(2, "cannot be read", args.cacert)
    return Client(
        url,
        headers=dict(args.header),
        login=args.user or os.environ.get("TUS_LOGIN", ""),
        cafile=args.cacert or "",
        insecure=args.insecure,
        fingerprint=args.fingerprint or "",
        timeout=args.timeout or 60,
        retries=args.retries,
        **more,
    )


def link_for(args: argparse.Namespace, url: str) -> Link:
    """A link to the server for other requests than those of uploads; ValueError or OSError if there can be none."""
    return client_for(args, url).link()


def sentence(error: Exception) -> str:
    """The error for a person."""
    if isinstance(error, OSError) and error.filename is not None and not isinstance(error, TransferError):
        return f"{error.filename}: {(error.strerror or '').lower()}"
    return str(error)
