"""The command `tus`. Each command is a module with `add_arguments` and `main`, loaded when it is called for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .. import __version__
from ..client.failures import TransferError
from ..errors import TusError
from ..upload import harmless

COMMANDS = {
    "serve": "serve a directory, or a paste ini",
    "put": "upload files, and resume what was cut",
    "get": "fetch files, and resume what was cut",
    "check": "find out from outside what is wrong with a server",
    "ls": "list the uploads in a directory, a store, or a server",
    "show": "say what is known of one upload",
    "rm": "remove uploads",
    "watch": "show uploads as they arrive",
    "sweep": "remove expired uploads",
    "thumbs": "make the thumbnails of a gallery",
    "options": "list the options",
    "completion": "let a shell complete commands and options",
    "man": "print the manual page of all commands",
}


def module_of(name: str) -> Any:
    """Where a command is."""
    return import_module(f".{name}", __name__)


def parser_of(name: str) -> argparse.ArgumentParser:
    """What a command understands."""
    parser = argparse.ArgumentParser(prog=f"tus {name}", description=_sentence(COMMANDS[name]))
    module_of(name).add_arguments(parser)
    return parser


def _sentence(summary: str) -> str:
    return summary[0].upper() + summary[1:] + "."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="tus", description="Resumable uploads.")
    parser.add_argument("--version", action="version", version=f"tus {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=_sentence(summary))
        if name in arguments[:1]:
            module = module_of(name)
            module.add_arguments(command)
            command.set_defaults(run=module.main)
    args = parser.parse_args(arguments)
    try:
        status = int(args.run(args) or 0)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader, `head` for example, has closed the pipe. Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except TransferError as error:
        from .connection import exit_code

        print(f"tus: {harmless(str(error))}", file=sys.stderr)
        return exit_code(error)
    except (TusError, OSError) as error:
        print(f"tus: {harmless(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
