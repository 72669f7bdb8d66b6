"""An engine over memory or over files, and the few words in which tests talk to it.

There is no HTTP here; a test that needs some belongs elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tus import Engine, Hooks, Metadata, Options, Upload
from tus.engine.writer import Writer
from tus.http.messages import Request
from tus.lockers.file import FileLocker
from tus.lockers.memory import MemoryLocker
from tus.stores.file import FileStore
from tus.stores.memory import MemoryStore

KINDS = ("memory", "file")


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def build(directory: Path | str | None, hooks: Hooks | None = None, **given: Any) -> Engine:
    """An engine over that directory, or over memory without one; environment variables have no say."""
    given.setdefault("durable", "none")  # waiting for a disk proves nothing here
    own = {name: given.pop(name) for name in ("clock", "name", "delivers") if name in given}
    options = Options(given, environ={})
    if directory is None:
        clock = {"clock": own["clock"]} if "clock" in own else {}
        return Engine(MemoryStore(**clock), MemoryLocker(), options, hooks, **own)
    return Engine(FileStore(str(directory)), FileLocker(str(directory), patience=0.2), options, hooks, **own)


def ask(id: str = "", **more: Any) -> Request:
    """A request about that upload."""
    return Request("TEST", id, **more)


def create(engine: Engine, length: int | None = None, *, user: str | None = None, **more: Any) -> Upload:
    """A new upload without a byte; one that has no length is complete at once."""
    with engine.begin(ask(user=user), length=length, metadata=more.pop("metadata", Metadata()), **more) as writer:
        return engine.conclude(writer)


def append(
    engine: Engine,
    id: str,
    data: bytes = b"",
    *,
    offset: int = 0,
    announced: int | None = -1,
    cut: BaseException | None = None,
    then: Callable[[Writer], object] = id,
    **more: Any,
) -> Upload:
    """One request: so many bytes are announced (all by default), `data` arrives, and `then` something happens."""
    with engine.append(ask(id), offset, announced=len(data) if announced == -1 else announced, **more) as writer:
        if writer.lease:
            writer.write(data)
        then(writer)
        return engine.conclude(writer, cut)


def content(engine: Engine, upload: Upload) -> bytes:
    with engine.open(upload) as file:
        return file.read()


def die(writer: Writer) -> None:
    """What `kill -9` leaves of a writer: its descriptors are closed, and nothing else of it happens."""
    place, lease = writer._place, writer.lease
    writer._place = writer.lease = None
    if place and hasattr(place, "_fd"):
        os.close(place._fd)
    if lease and hasattr(lease, "_fd"):
        fd, lease._fd = lease._fd, -1
        os.close(fd)
