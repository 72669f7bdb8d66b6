"""`tus watch`: uploads as they arrive. It only reads, so it is safe beside any number of running servers."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from contextlib import suppress
from typing import NamedTuple

from ..client.meter import cut, human, lasting
from ..engine.known import Summary
from ..upload import State, harmless
from .filters import Chosen, add_filters
from .listing import name_bad_records
from .place import UploadPlace, add_place, place_of, tell

_ARRIVING = (State.RECEIVING.value, State.PENDING.value)
_REMOVED = "removed"
_WINDOW = 5.0  # seconds of which the rate is told
_HEADER = f"{'done':>5} {'size':>9} {'rate':>11} {'age':>10}  {'state':<10}  name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "It ends with Ctrl-C. Where the output is no terminal, each change is a line."
    parser.add_argument("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="default: 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each change")
    add_filters(parser, states=False)
    add_place(parser)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < 1e6:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")


def main(args: argparse.Namespace) -> int:
    logging.getLogger("tus").setLevel(logging.CRITICAL)  # each look would name bad records again
    screen = LiveList() if sys.stdout.isatty() and not args.json else None
    arrivals = Arrivals(place_of(args, say=screen.say if screen else tell), Chosen.by(args))
    while True:
        changed = arrivals.look()
        if screen:
            screen.draw([row for row in changed if not row.arriving], arrivals.arriving)
        elif changed:
            print("\n".join(_object(row) if args.json else _line(row) for row in changed), flush=True)
        time.sleep(args.interval)


class Arrival(NamedTuple):
    """One upload at one look."""

    upload: Summary
    state: str
    samples: tuple[tuple[float, int], ...]  # when it had how many bytes, the oldest first

    @property
    def arriving(self) -> bool:
        return self.state in _ARRIVING

    @property
    def rate(self) -> float:
        """Bytes a second."""
        (began, first), (ended, last) = self.samples[0], self.samples[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    @property
    def age(self) -> float:
        """Seconds since it was created."""
        return max(0.0, time.time() - self.upload.created)


class Arrivals:
    """What changes from look to look. Uploads that have ended are not read again."""

    def __init__(self, place: UploadPlace, chosen: Chosen) -> None:
        self._place, self._chosen = place, chosen
        self._rows: dict[str, Arrival] = {}
        self._ended: set[str] = set()
        self._bad: set[str] = set()
        self._looked = False

    @property
    def arriving(self) -> list[Arrival]:
        """Those that had a byte last come first."""
        return sorted(self._rows.values(), key=lambda row: -row.upload.touched)

    def look(self) -> list[Arrival]:
        """The rows that are new, or not as they were. Of what had ended before the first look, nothing is told."""
        changed: list[Arrival] = []
        bad: list[str] = []
        found = set()
        for upload in self._place.listed(bad, without=self._ended):
            if not self._chosen.fits(upload, time.time()):
                continue
            found.add(upload.id)
            before, row = self._rows.get(upload.id), self._row(upload)
            if row.arriving:
                self._rows[upload.id] = row
            else:
                self._ended.add(upload.id)
                self._rows.pop(upload.id, None)
            told = before or row.arriving or self._looked
            if told and not (before and (before.upload.offset, before.state) == (upload.offset, row.state)):
                changed.append(row)
        self._complain(set(bad))
        changed += [self._rows.pop(id)._replace(state=_REMOVED) for id in self._rows.keys() - found - self._bad]
        self._looked = True
        return changed

    def _row(self, upload: Summary) -> Arrival:
        now = time.monotonic()
        before = self._rows.get(upload.id)
        samples = before.samples if before else ()
        recent = tuple(sample for sample in samples if now - sample[0] <= _WINDOW) or samples[-1:]
        return Arrival(upload, upload.state, (*recent, (now, upload.offset)))

    def _complain(self, bad: set[str]) -> None:
        name_bad_records(sorted(bad - self._bad))
        self._bad = bad


class LiveList:
    """A terminal: what has ended moves up and stays, and below it is what arrives."""

    def __init__(self) -> None:
        self._drawn = 0

    def say(self, text: str) -> None:
        """A line that stays; the list goes on below it."""
        tell(text)
        self._drawn = 0

    def draw(self, ended: list[Arrival], arriving: list[Arrival]) -> None:
        columns, lines = shutil.get_terminal_size()
        room = max(1, lines - 3)
        live = [_HEADER, *map(_line, arriving[:room])]
        if len(arriving) > room:
            live.append(f"… and {len(arriving) - room} more")
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        text = "\n".join(cut(line, columns - 1) for line in [*map(_line, ended), *live])
        print(f"{back}{text}", flush=True)
        self._drawn = len(live)


def _line(row: Arrival) -> str:
    upload = row.upload
    size = upload.offset if upload.length is None else upload.length
    done = "?" if upload.length is None else f"{100 * upload.offset // (upload.length or 1)} %"
    rate = f"{human(row.rate)}/s"
    name = harmless(upload.filename or upload.id)
    return f"{done:>5} {human(size):>9} {rate:>11} {lasting(row.age):>10}  {row.state:<10}  {name}"


def _object(row: Arrival) -> str:
    return json.dumps({**row.upload.brief(), "state": row.state, "rate": round(row.rate), "age": round(row.age, 1)})
