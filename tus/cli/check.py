"""`tus check URL`: find from outside what usually goes wrong between clients and a tus server.

It ends within half a minute, removes what it made, and shows no traceback for a problem of the network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from ..client import wire
from ..client.connecting import Clock, NetworkError, Trust
from ..client.link import Link
from ..doctor.probes import PROBES, removal
from ..doctor.recognised import names
from ..doctor.scores import score
from ..doctor.visit import LENGTH, Finding, Findings, Probe, Stop, Visit
from .connection import add_fingerprint_argument, add_header_argument, chunk_size

TIMEOUT = 5.0  # seconds for one step of the network
LONGEST = 24.0  # seconds for all questions
CLEANING = 4.0  # seconds for the removal at the end
INDENT = 18  # columns before the text of a finding
MOST_COLUMNS = 110
COLOURS = {"ok": "32", "note": "33", "fault": "31"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `tus check`."""
    parser.description = "Find from outside what usually goes wrong between clients and a tus server."
    parser.epilog = "Exit status: 0 no faults, 1 faults, 2 the server cannot be reached."
    add = parser.add_argument
    add("url", metavar="URL", help="where uploads are created, such as https://host/files")
    add(
        "--origin",
        metavar="ORIGIN",
        help="origin of a page that must be able to upload, such as https://app.example",
    )
    add(
        "--size",
        type=chunk_size,
        default=LENGTH,
        metavar="SIZE",
        help="largest request to allow for (default: 5GB)",
    )
    add_header_argument(parser)
    add_fingerprint_argument(parser)
    add("--json", action="store_true", help="print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    """Check; the exit status."""
    try:
        home, headers = wire.endpoint(args.url, os.environ.get("TUS_LOGIN", ""))
        if args.fingerprint and not home.startswith("https:"):
            raise ValueError("a fingerprint needs a URL that begins with https://")
    except ValueError as error:
        return _unreachable(args, str(error))
    clock = Clock(TIMEOUT, time.monotonic() + LONGEST)
    client = Link(home, {**headers, **dict(args.header)}, clock, Trust(fingerprint=args.fingerprint or ""))
    visit = Visit(client, args.origin or "https://app.example", args.size, origin_matters=bool(args.origin))
    show = (lambda finding: None) if args.json else _printer()
    findings: list[Finding] = []
    try:
        for finding in examine(visit):
            findings.append(finding)
            show(finding)
    except NetworkError as error:
        return _unreachable(args, str(error))
    except KeyboardInterrupt:
        return 130
    return _conclude(args, visit, findings)


def examine(visit: Visit, probes: Mapping[str, Probe] = PROBES) -> Iterator[Finding]:
    """Ask everything; NetworkError only when the server could not be reached at all."""
    try:
        yield from _ask_all(visit, probes)
    finally:
        visit.client.clock = Clock(TIMEOUT, time.monotonic() + CLEANING)
        last = list(_guarded("delete", removal, visit))
    yield from last


def _ask_all(visit: Visit, probes: Mapping[str, Probe]) -> Findings:
    reached = False
    for name, probe in probes.items():
        if visit.client.clock.deadline < time.monotonic():
            text = f"after {LONGEST:g} s not everything was asked ({name} and what follows was not)"
            yield Finding("time", "fault", text, "a slow line or server; a smaller --size asks for less")
            return
        try:
            yield from _guarded(name, probe, visit) if reached else probe(visit)
        except Stop:
            return
        reached = True


def _guarded(name: str, probe: Probe, visit: Visit) -> Findings:
    """A network that fails now is a finding: it worked a moment ago."""
    try:
        yield from probe(visit)
    except NetworkError as error:
        where = f"; left behind: {visit.upload}" if probe is removal else ""
        yield Finding(name, "fault", f"{(probe.__doc__ or '').partition(':')[0]}: {error}{where}")


def _printer() -> Callable[[Finding], None]:
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = max(50, min(MOST_COLUMNS, shutil.get_terminal_size((MOST_COLUMNS, 24)).columns))

    def show(finding: Finding) -> None:
        level = f"{finding.level:5}"
        if coloured:
            level = f"\x1b[{COLOURS[finding.level]}m{level}\x1b[0m"
        first, *more = wrapped(finding.text, width - INDENT)
        print(level, f"{finding.name:{INDENT - 7}}", first, flush=True)
        for line in more:
            print(" " * INDENT + line, flush=True)
        for number, line in enumerate(wrapped(finding.advice, width - INDENT - 3) if finding.level != "ok" else ()):
            print(" " * INDENT + ("   " if number else "-> ") + line, flush=True)

    return show


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most that width; what has no blank, such as a URL, stays whole to be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _conclude(args: argparse.Namespace, visit: Visit, findings: list[Finding]) -> int:
    faults, reached = sum(finding.level == "fault" for finding in findings), score(findings)
    if args.json:
        told = {"url": args.url, "software": names(visit.server), "points": reached.points, "of": reached.most}
        listed = {"lost": reached.lost, "faults": faults, "findings": [asdict(f) for f in findings]}
        print(json.dumps({**told, **listed}, indent=1))
        return 1 if faults else 0
    print("no faults" if not faults else f"{faults} fault{'s' if faults > 1 else ''}")
    if said := names(visit.server):
        print(f"in the way, as the answers say: {', '.join(said)}")
    print(f"score: {reached}")
    return 1 if faults else 0


def _unreachable(args: argparse.Namespace, sentence: str) -> int:
    if args.json:
        print(json.dumps({"url": args.url, "error": sentence}))
    print(f"tus check: {wire.printable(sentence)}", file=sys.stderr)
    return 2
