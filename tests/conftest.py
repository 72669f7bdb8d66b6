"""What holds for every test: servers to talk to, and at the end of a run, which tests did not run, and why.

A test that cannot run for want of something is skipped, and must never be skipped silently.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests import live
from tests.kinds import NEED_LEASES, SERVED
from tests.servers import Running, check_files


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """The servers that run, for all suites."""
    servers = Running()
    yield servers
    servers.close()


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> live.Kind:
    """The kind of server that the test talks to."""
    kind = live.KINDS[request.param]
    if not live.available(kind.name):
        pytest.skip(f"{' and '.join(kind.needs)} cannot be imported")
    check_files(request, kind.name, kind.on_files)
    return kind


@pytest.fixture
def server(kind: live.Kind, running: Running) -> live.Live:
    """A running server of that kind."""
    return running.get(kind.name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs on a real server says so; on real object storage it takes its time, too."""
    for item in items:
        kinds = [
            kind for kind in getattr(getattr(item, "callspec", None), "params", {}).values() if isinstance(kind, str)
        ]
        stored = any(kind.partition("-")[0] in ("s3", "azblob") for kind in kinds)
        if stored or not SERVED.isdisjoint(kinds):
            item.add_marker("engines")
        if stored:
            item.add_marker("slow")
        if item.get_closest_marker("without_leases") and not NEED_LEASES.isdisjoint(kinds):
            item.add_marker(pytest.mark.skip("two who change one record at once need leases on Swift: docs/s3.rst"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What the client of such a test leaves open is closed while its warnings are ignored: a cycle of an exception and
    its frames would keep it up to the collection of garbage, in another test."""
    if any(mark.args[0].endswith("ResourceWarning") for mark in item.iter_markers("filterwarnings")):
        gc.collect()


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
