"""Which uploads a command is about."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..engine.known import Summary
from ..values import duration, size


def _value(parse: Callable[[str], float | None]) -> Callable[[str], float | None]:
    """The value of an option, whose error argparse shows."""

    def parsed(text: str) -> float | None:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None

    return parsed


def add_filters(parser: argparse.ArgumentParser, *, states: bool = True) -> None:
    """Declare what leaves uploads out; several together leave out what any of them does."""
    add = parser.add_argument
    add("--name", action="append", default=[], metavar="PATTERN", help="only names that fit, as '*.jpg', or this id")
    add("--owner", metavar="NAME", help="only those of this user")
    add("--larger", type=_value(size), metavar="SIZE", help="only those with more bytes here, as 10MB")
    if not states:
        return
    add("--older", type=_value(duration), metavar="TIME", help="only those whose last byte is older, as 12h")
    add("--expired", action="store_true", help="only expired ones")
    whole = parser.add_mutually_exclusive_group()
    whole.add_argument("--open", "--unfinished", dest="unfinished", action="store_true", help="only unfinished ones")
    whole.add_argument("--finished", action="store_true", help="only finished ones")


@dataclass(frozen=True)
class Chosen:
    """What is asked for; None and () leave nothing out."""

    names: tuple[str, ...] = ()
    owner: str | None = None
    larger: float | None = None
    older: float | None = None  # seconds
    expired: bool = False
    complete: bool | None = None

    @classmethod
    def by(cls, args: argparse.Namespace) -> Chosen:
        given = vars(args)
        finished, unfinished = given.get("finished"), given.get("unfinished")
        complete = True if finished else False if unfinished else None
        return cls(tuple(args.name), args.owner, args.larger, given.get("older"), bool(given.get("expired")), complete)

    def fits(self, upload: Summary, now: float) -> bool:
        """Whether it is one of those."""
        return not any(self._faults(upload, now))

    def _faults(self, upload: Summary, now: float) -> Iterator[bool]:
        yield bool(self.names) and not any(is_called(upload, name) for name in self.names)
        yield self.owner is not None and upload.owner != self.owner
        yield self.larger is not None and upload.kept <= self.larger
        yield self.older is not None and now - upload.touched <= self.older
        yield self.expired and not upload.expired
        yield self.complete is not None and upload.complete != self.complete


def is_called(upload: Summary, pattern: str) -> bool:
    """Whether this is its id, or its name fits."""
    # A pattern is never one of ids: those are drawn by lot, and b* would fit one of sixteen.
    return upload.id == pattern or fnmatchcase(upload.filename, pattern)
