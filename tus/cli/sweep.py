"""`tus sweep`: remove expired uploads."""

from __future__ import annotations

import argparse

from .listing import add_format, report
from .place import add_place, place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    add_format(parser)
    add_place(parser)


def main(args: argparse.Namespace) -> int:
    place = place_of(args)
    if args.dry_run:
        report((upload for upload in place.listed([]) if upload.expired), args, "would be removed")
    else:
        report(place.sweep(), args, "removed")
    return 0
