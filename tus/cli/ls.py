"""`tus ls`: list uploads."""

from __future__ import annotations

import argparse
import time

from .filters import Chosen, add_filters
from .listing import add_format, name_bad_records, report
from .place import add_place, place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    add_format(parser)
    add_place(parser)


def main(args: argparse.Namespace) -> int:
    bad: list[str] = []
    chosen, now = Chosen.by(args), time.time()
    report((upload for upload in place_of(args).listed(bad) if chosen.fits(upload, now)), args)
    return name_bad_records(bad)
