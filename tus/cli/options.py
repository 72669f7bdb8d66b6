"""`tus options`: every option of the application, for people and for docs/options.rst."""

from __future__ import annotations

import argparse
import textwrap

from ..options import OPTIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rst", action="store_true", help="print the table of docs/options.rst")


def main(args: argparse.Namespace) -> int:
    if args.rst:
        print(table())
        return 0
    for option in OPTIONS:
        print(f"{option.name} = {option.default}".rstrip())
        print(textwrap.indent(textwrap.fill(option.meaning.replace("`", ""), 76), "    "))
    return 0


def table() -> str:
    """The options as an RST table, for docs/options.rst."""
    rows = ["   * - Option", "     - Default", "     - Meaning"]
    for option in OPTIONS:
        default = f"``{option.default}``" if option.default else ""
        meaning = option.meaning.replace("`", "``")
        rows += [f"   * - ``{option.name}``", f"     - {default}".rstrip(), f"     - {meaning}"]
    return "\n".join([".. list-table::", "   :header-rows: 1", "   :widths: 22 12 66", "", *rows, ""])
