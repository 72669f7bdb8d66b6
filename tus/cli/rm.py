"""`tus rm`: remove uploads, by their ids or names or by what they have in common."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress

from ..client.meter import counted, human
from ..engine.known import Summary
from ..errors import Locked, NotFound, OptionError
from ..upload import harmless
from .asking import agreed, can_be_asked
from .connection import FAILED
from .filters import Chosen, add_filters, is_called
from .listing import add_format, report
from .place import UploadPlace, add_place, place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Remove uploads for good. On a terminal it shows them and asks; elsewhere it wants --yes. "
        "What is being written stays, unless --force ends that."
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="an id, a name, or a pattern of names such as '*.jpg'")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("-f", "--force", action="store_true", help="also what is being written; it is still asked for")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    add_filters(parser)
    add_format(parser)
    add_place(parser, named=True)


def main(args: argparse.Namespace) -> int:
    chosen = Chosen.by(args)
    if not args.what and chosen == Chosen():
        raise OptionError("say which uploads: by an id, a name, a pattern, or a filter such as --expired")
    place = place_of(args)
    found = _found(place, args.what, chosen)
    unknown = [what for what in args.what if not any(is_called(upload, what) for upload in found)]
    for what in unknown:
        print(f"tus rm: no such upload: {harmless(what)}", file=sys.stderr)
    if unknown:
        return FAILED
    if args.dry_run:
        report(found, args, "would be removed")
        return 0
    if found and not args.yes and not _wanted(found, args):
        print("tus rm: nothing was removed", file=sys.stderr)
        return FAILED
    return _remove(place, found, args)


def _found(place: UploadPlace, whats: list[str], chosen: Chosen) -> list[Summary]:
    """What was asked for; ids are looked up, and only for the rest all uploads are read."""
    now, exact = time.time(), list[Summary]()
    for what in dict.fromkeys(whats):
        with suppress(NotFound):
            exact.append(place.one(what))
    uploads = exact if whats and len(exact) == len(set(whats)) else place.listed([])
    named = (upload for upload in uploads if not whats or any(is_called(upload, what) for what in whats))
    return [upload for upload in named if chosen.fits(upload, now)]


def _wanted(found: list[Summary], args: argparse.Namespace) -> bool:
    count = counted(len(found), "upload")
    if not can_be_asked():
        raise OptionError(f"nobody can be asked whether to remove {count}: --yes says so")
    report(found, args, out=sys.stderr)
    size = human(sum(upload.kept for upload in found))
    return agreed(f"Remove {count}, {size}, for good?")


def _remove(place: UploadPlace, found: list[Summary], args: argparse.Namespace) -> int:
    size, removed, status = 0, 0, 0
    for upload in found:
        try:
            place.remove(upload.id, force=args.force)
        except NotFound:
            continue  # somebody else was quicker
        except Locked:
            status = FAILED
            print(f"tus rm: {harmless(upload.id)} is being written; --force ends that", file=sys.stderr, flush=True)
            continue
        removed, size = removed + 1, size + upload.kept
        print(json.dumps(upload.brief()) if args.json else harmless(upload.id), flush=True)
    if not args.json and sys.stdout.isatty():
        print(f"{counted(removed, 'upload')}, {human(size)} removed")
    return status
