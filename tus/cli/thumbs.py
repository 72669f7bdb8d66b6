"""`tus thumbs`: make the thumbnails of a gallery now, so that no visitor waits for them."""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

from ..errors import OptionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the gallery")
    parser.add_argument("--cache", metavar="DIR", help="where thumbnails are kept (default: DIR/.tus/thumbnails)")
    parser.add_argument("--prune", action="store_true", help="also remove the thumbnails of photos that are gone")


def main(args: argparse.Namespace) -> int:
    from ..site.albums import Tree
    from ..site.thumbnails import CROWD, SIZES, Thumbnails

    if not os.path.isdir(args.directory):
        raise OptionError(f"{args.directory} is not a directory")
    tree = Tree(args.directory)
    thumbnails = Thumbnails(tree, args.cache or os.path.join(tree.directory, ".tus", "thumbnails"), patience=3600)
    items = [item for item in tree.walk() if not item.video]
    with ThreadPoolExecutor(CROWD) as pool:  # these only wait: the thumbnails themselves are made by few
        shown = list(pool.map(lambda item: thumbnails.prepare(item, SIZES), items))
    for item, good in zip(items, shown, strict=True):
        if not good:
            print(f"{item.path}: cannot be shown")
    print(f"{sum(shown)} of {len(items)} photos have thumbnails")
    if args.prune:
        print(f"{thumbnails.prune()} photos were gone")
    return 0 if all(shown) else 1
