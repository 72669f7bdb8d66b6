"""What holds for every test: at the end of a run, which tests did not run, and why.

A test that cannot run for want of something is skipped, and must never be skipped silently.
"""

from __future__ import annotations

from collections import defaultdict

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the skipped tests by reason, also when pytest-xdist ran them elsewhere."""
    reasons = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reasons[reason(report)].append(report.nodeid)
    if not reasons:
        return
    terminalreporter.section("tests that did not run")
    for why, tests in sorted(reasons.items()):
        more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
        terminalreporter.line(f"{why}\n    {min(tests)}{more}")


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What the test, or its mark, gave as the reason."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return getattr(report, "wasxfail", "") or str(report.longrepr)
