"""What a server has reached of what was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .visit import Finding

COSTS = {"ok": 0.0, "note": 0.5, "fault": 1.0}  # points


@dataclass(frozen=True)
class Score:
    """A point for each name that was looked at, and what was lost."""

    most: int
    lost: dict[str, float]

    @property
    def points(self) -> float:
        return self.most - sum(self.lost.values())

    def __str__(self) -> str:
        text = f"{self.points:g}/{self.most}"
        costs = ", ".join(f"{name} -{cost:g}" for name, cost in self.lost.items())
        return f"{text} ({costs})" if costs else text


def score(findings: Iterable[Finding]) -> Score:
    """The worst finding of each name counts."""
    costs: dict[str, float] = {}
    for finding in findings:
        costs[finding.name] = max(costs.get(finding.name, 0.0), COSTS[finding.level])
    return Score(len(costs), {name: cost for name, cost in costs.items() if cost})
