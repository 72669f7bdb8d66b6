"""What was measured, as a record, a text table, reStructuredText and a plot. Pure: nothing here starts or measures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

import peers
import workloads

Record = dict[str, Any]
YARDSTICK = "tusd"

# What each number is called, and how many digits it deserves.
_COLUMNS = {
    "mb_per_second": ("MB/s", 0), "cpu_per_gib": ("CPU s/GiB", 2), "peak_rss": ("MiB", 0),
    "per_second": ("1/s", 0), "cpu_us": ("CPU µs", 0), "p99_ms": ("p99 ms", 1),
    "head_p99_ms": ("HEAD p99 ms", 1), "head_max_ms": ("HEAD max ms", 1), "finished": ("finished", 0),
    "late": ("late s", 1), "threads": ("threads", 0), "cpu": ("CPU s", 1),
    "lost_mb": ("lost MB", 2), "lost_beyond_kernel_mb": ("beyond the kernel's", 2), "head_ms": ("HEAD ms", 1),
    "head_right": ("HEAD right", 0), "resumed": ("resumed", 0), "behind_mb": ("behind MB", 2),
    "small_ratio": ("POST ratio", 2), "head_ratio": ("HEAD ratio", 2), "ls_seconds": ("tus ls s", 2),
}  # fmt: skip
_COMPARED = ("mb_per_second", "cpu_per_gib", "per_second", "cpu_us")


@dataclass(frozen=True)
class Sample:
    workload: str
    server: str
    numbers: dict[str, float]


@dataclass(frozen=True)
class Target:
    """`server` reaches `factor` times what `against` does (or an absolute `factor`), at least or at most."""

    workload: str
    server: str
    number: str
    least: bool
    factor: float
    against: str = YARDSTICK


TARGETS = (
    Target("W1", "tus", "mb_per_second", True, 1.5),
    Target("W1", "tus", "cpu_per_gib", False, 0.65),
    Target("W1", "tus", "mb_per_second", True, 0.9, "limit-splice"),
    Target("W1", "tus", "peak_rss", False, 60, ""),
    Target("W2", "tus", "mb_per_second", True, 1.2),
    Target("W2", "tus", "cpu_per_gib", False, 0.7),
    Target("W3", "tus", "mb_per_second", True, 1.3),
    *(
        Target(f"W4-{way}", server, "per_second", True, factor)
        for way in ("one-1", "one-16", "two-1", "two-16")
        for server, factor in (("tus-2", 1.2), ("uwsgi", 2.0), ("granian", 2.0))
    ),
    Target("W5", "tus", "per_second", True, 0.9),
    Target("W5", "tus-2", "per_second", True, 1.2),
    Target("W5", "uwsgi", "per_second", True, 2.0),
    Target("W5", "granian", "per_second", True, 2.0),
    Target("W6-500", "tus", "finished", True, 500, ""),
    Target("W6-500", "tus", "head_p99_ms", False, 20, ""),
    Target("W6-1000", "tus", "finished", True, 1000, ""),
    Target("W6-1000", "tus", "head_p99_ms", False, 20, ""),
    Target("W6-1000", "tus", "peak_rss", False, 150, ""),
    Target("W7-fin", "tus", "lost_mb", False, 0, ""),
    Target("W7-rst", "tus", "lost_beyond_kernel_mb", False, 0, ""),
    *(Target(f"W7-{how}", "tus", "head_ms", False, 50, "") for how in ("fin", "rst", "silence")),
    *(Target(f"W7-{how}", "tus", "head_right", True, 1, "") for how in ("fin", "rst", "silence")),
    Target("W8", "tus", "behind_mb", False, 8, ""),
    Target("W9", "tus", "small_ratio", True, 0.9, ""),
    Target("W9", "tus", "head_ratio", True, 0.9, ""),
    Target("W9", "tus", "ls_seconds", False, 1, ""),
)


# ---- the record ----


def as_record(machine: dict[str, object], samples: Iterable[Sample], skipped: dict[str, str]) -> Record:
    rows: dict[str, dict[str, dict[str, list[float]]]] = {}
    for sample in samples:
        cell = rows.setdefault(sample.workload, {}).setdefault(sample.server, {})
        for name, value in sample.numbers.items():
            cell.setdefault(name, []).append(round(value, 4))
    return {"machine": machine, "samples": rows, "skipped": skipped}


def middle(record: Record, workload: str, server: str, name: str) -> float:
    """The median, or NaN where nothing was measured."""
    values = record["samples"].get(workload, {}).get(server, {}).get(name, [])
    return median(values) if values else math.nan


def ratio(record: Record, workload: str, server: str, name: str, against: str = YARDSTICK) -> float:
    base = middle(record, workload, against, name)
    return middle(record, workload, server, name) / base if base else math.nan


@dataclass(frozen=True)
class Verdict:
    target: Target
    value: float  # the ratio, or the number itself where the target is absolute
    reached: bool


def verdicts(record: Record) -> list[Verdict]:
    found = []
    for target in TARGETS:
        if target.against:
            value = ratio(record, target.workload, target.server, target.number, target.against)
        else:
            value = middle(record, target.workload, target.server, target.number)
        if not math.isnan(value):
            reached = value >= target.factor if target.least else value <= target.factor
            found.append(Verdict(target, value, reached))
    return found


# ---- tables ----


def _cell(values: list[float], name: str) -> str:
    digits = _COLUMNS[name][1]
    text = f"{median(values):,.{digits}f}"
    if len(values) > 1 and name in _COMPARED:
        text += f" ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
    return text


def table(record: Record, workload: workloads.Workload) -> list[list[str]]:
    """The head and one row a server, the fastest first."""
    cells = record["samples"].get(workload.name, {})
    names = [name for name in workload.shown if any(name in cell for cell in cells.values())]
    compared = [name for name in names if name in _COMPARED]
    rows = [["server", *(_COLUMNS[name][0] for name in names), *(f"{_COLUMNS[n][0]} ÷ {YARDSTICK}" for n in compared)]]
    best_first = sorted(cells, key=lambda server: -middle(record, workload.name, server, names[0]))
    for server in best_first:
        row = [_cell(cells[server][name], name) if name in cells[server] else "" for name in names]
        ratios = [ratio(record, workload.name, server, name) for name in compared]
        rows.append([server, *row, *("" if math.isnan(r) else f"{r:.2f}" for r in ratios)])
    return rows


def _tables(record: Record) -> Iterator[tuple[workloads.Workload, list[list[str]]]]:
    for workload in workloads.WORKLOADS:
        if workload.name in record["samples"]:
            yield workload, table(record, workload)


def _target_rows(record: Record) -> list[list[str]]:
    rows = [["workload", "server", "number", "to reach", "measured", ""]]
    for verdict in verdicts(record):
        target = verdict.target
        wanted = f"{'≥' if target.least else '≤'} {target.factor:g}"
        if target.against:
            wanted += f" × {target.against}"
        rows.append([
            target.workload, target.server, _COLUMNS[target.number][0], wanted, f"{verdict.value:.2f}",
            "reached" if verdict.reached else "missed",
        ])  # fmt: skip
    return rows


def _columns(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_text(record: Record) -> str:
    parts = [f"{workload.name}: {workload.title}\n{_columns(rows)}" for workload, rows in _tables(record)]
    targets = _target_rows(record)
    if len(targets) > 1:
        parts.append("Targets\n" + _columns(targets))
    if record["skipped"]:
        parts.append("Skipped\n" + "\n".join(f"{name}: {why}" for name, why in record["skipped"].items()))
    return "\n\n".join(parts)


def list_table(rows: list[list[str]]) -> str:
    """A table of reStructuredText: `list-table`, since its source does not depend on widths."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(lines)


def as_rst(record: Record) -> str:
    machine = record["machine"]
    parts = [
        f"Measured on {machine['date']}: {machine['cpus']} CPUs, Linux {machine['kernel']}, "
        f"Python {machine['python']}, tusd {machine['tusd']}. Medians, in brackets the smallest and the largest."
    ]
    parts += [f"**{workload.name}: {workload.title}**\n\n{list_table(rows)}" for workload, rows in _tables(record)]
    parts.append("**What we want to reach**\n\n" + list_table(_target_rows(record)))
    if record["skipped"]:
        rows = [["not measured", "why"], *([name, why] for name, why in record["skipped"].items())]
        parts.append(list_table(rows))
    return "\n\n".join(parts)


def update_document(path: Path, marker: str, text: str) -> None:
    """Puts `text` between the two comments that carry the marker's name."""
    start, end = f".. begin {marker}", f".. end {marker}"
    document = path.read_text()
    if start not in document or end not in document:
        raise SystemExit(f"{path} has no lines {start!r} and {end!r}")
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    path.write_text(pattern.sub(lambda _: f"{start}\n\n{text}\n\n{end}", document))


# ---- the plot: one panel a workload, one bar a server ----

_PANEL, _ROW, _LABEL, _BAR = 540, 17, 110, 250  # pixels


def _bars(record: Record, workload: workloads.Workload, top: int) -> tuple[list[str], int]:
    name = workload.shown[0]
    cells = record["samples"][workload.name]
    values = {server: median(cell[name]) for server, cell in cells.items() if cell.get(name)}
    largest = max([*values.values(), 1e-9])
    yardstick = values.get(YARDSTICK)
    lines = [f'<text x="0" y="{top}" class="title">{escape(workload.name)}: {escape(workload.title)}</text>']
    for place, (server, value) in enumerate(sorted(values.items(), key=lambda item: -item[1])):
        y = top + 8 + place * _ROW
        kind = "limit" if server.startswith("limit") else "ours" if peers.PEERS_BY_NAME[server].ours else "peer"
        width = max(1, round(_BAR * value / largest))
        low, high = (round(_BAR * edge(cells[server][name]) / largest) for edge in (min, max))
        text = f"{value:,.{_COLUMNS[name][1]}f}" + (f" · {value / yardstick:.2f} ×" if yardstick else "")
        lines += [
            f'<text x="{_LABEL - 6}" y="{y + 12}" class="name">{escape(server)}</text>',
            f'<rect x="{_LABEL}" y="{y + 2}" width="{width}" height="{_ROW - 5}" class="{kind}"/>',
            f'<path d="M{_LABEL + low} {y + 8}H{_LABEL + high}" class="range"/>',
            f'<text x="{_LABEL + max(width, high) + 5}" y="{y + 12}">{text}</text>',
        ]
    return lines, top + 8 + len(values) * _ROW + 26


def as_svg(record: Record) -> str:
    """Throughputs only: the rest is in the tables."""
    body: list[str] = []
    top = 40
    for workload in workloads.WORKLOADS:
        if workload.name in record["samples"] and workload.shown[0] in ("mb_per_second", "per_second"):
            lines, top = _bars(record, workload, top)
            body += lines
    style = (
        "text{font:11px sans-serif;fill:#222}.title{font-weight:bold;font-size:12px}.name{text-anchor:end}"
        ".ours{fill:#2a7d4f}.peer{fill:#8aa4c0}.limit{fill:#ccc}.range{stroke:#222;stroke-width:1.5}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_PANEL + 40}" height="{top}" role="img" '
        f'aria-label="Throughput of tus servers">\n<style>{style}</style>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n<g transform="translate(10)">\n'
        f'<text x="0" y="16" class="title">MB/s or requests/s; × is the ratio to {YARDSTICK}; the line: smallest to '
        f"largest</text>\n" + "\n".join(body) + "\n</g>\n</svg>\n"
    )
