"""The servers that all suites run on: which kinds, and those that run."""

from __future__ import annotations

from typing import Any

import pytest

from tests import live

# What is forced to the disk, and a thread that sweeps, are no matters of the protocol, and cost time.
CALM = {"durable": "none", "sweep_interval": "none"}

SLOW = "ours-slow"  # the server whose store and locker are nothing like a disk


class Running:
    """The servers that run, by kind and settings; each starts when it is first needed."""

    def __init__(self) -> None:
        self._servers: dict[str, live.Live] = {}

    def get(self, kind: str, **settings: Any) -> live.Live:
        name = f"{kind} {settings}"
        if name not in self._servers:
            self._servers[name] = live.start(kind, settings=settings, **CALM)
        return self._servers[name]

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


def spread(metafunc: pytest.Metafunc) -> None:
    """Run the test on the default kind, and on the slow store; and, marked so, on every kind. One that says itself on
    which it runs has its way."""
    if "kind" not in metafunc.fixturenames or "kind" in _parametrized(metafunc):
        return
    default, everywhere = live.default(), metafunc.definition.get_closest_marker("every_server")
    # On the slow store, what must hold on every server is the quick part.
    kinds = [default, SLOW if everywhere else slowly(SLOW)]
    if everywhere:
        kinds += [slowly(name) for name in live.KINDS if name not in (default, SLOW)]
    metafunc.parametrize("kind", kinds, indirect=True)


def check_files(request: pytest.FixtureRequest, kind: str, on_files: bool) -> None:
    """Skip a test that is about files, on what has none."""
    marker = request.node.get_closest_marker("on_files")
    if marker and not on_files:
        pytest.skip(f"{kind} has no files, and {marker.args[0]}")


def slowly(kind: str) -> Any:
    """That kind, when there is time."""
    return pytest.param(kind, marks=pytest.mark.slow)


def _parametrized(metafunc: pytest.Metafunc) -> set[str]:
    marks = metafunc.definition.iter_markers("parametrize")
    return {name.strip() for mark in marks for name in str(mark.args[0]).split(",")}
