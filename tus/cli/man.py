"""`tus man`: a manual page, from what `--help` knows."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from .. import __version__
from . import COMMANDS, parser_of

_ESCAPED = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "To read it: tus man | man -l -"


def main(args: argparse.Namespace) -> int:
    print("\n".join(_page()))
    return 0


def _page() -> Iterator[str]:
    yield f'.TH TUS 1 "" "tus {__version__}"'
    yield from (".SH NAME", r"tus \- resumable uploads", ".SH SYNOPSIS", ".B tus", r"\fICOMMAND\fR [\fIOPTION\fR ...]")
    yield from (".SH DESCRIPTION", "Each command explains itself, too:", ".BR tus", r"\fICOMMAND\fR \fB\-\-help\fR")
    yield ".SH COMMANDS"
    for command in COMMANDS:
        yield from _section(command)


def _section(command: str) -> Iterator[str]:
    parser = parser_of(command)
    formatter = parser._get_formatter()
    yield f".SS tus {command}"
    yield _plain(parser.description or "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if actions and group not in (parser._positionals, parser._optionals):
            yield from (".PP", _plain(f"{group.title}:"))
        for action in actions:
            yield from (".TP", _term(action, formatter))
            yield _plain(formatter._expand_help(action) if action.help else "")
    if parser.epilog:
        yield from (".PP", _plain(parser.epilog))


def _term(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    """How an argument is written: names in bold, what the user fills in as it is called."""
    if not action.option_strings:
        return rf"\fI{_plain(formatter._format_args(action, action.dest))}\fR".replace("\n", " ")
    value = ""
    if action.nargs != 0:
        value = " " + _plain(formatter._format_args(action, formatter._get_default_metavar_for_optional(action)))
    return ", ".join(rf"\fB{_plain(name)}\fR{value}" for name in action.option_strings)


def _plain(text: str) -> str:
    """Text of which roff takes nothing for an instruction; each sentence begins a line, as its formatter wants it."""
    lines = re.split(r"(?<=[.?!]) (?=[A-Z])", " ".join(text.split()).translate(_ESCAPED))
    return "\n".join(rf"\&{line}" if line.startswith(".") else line for line in lines)
