"""An engine over each kind of store and locker, and the few words in which tests talk to it.

There is no HTTP here; a test that needs some belongs elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests import kinds
from tus import Engine, Hooks, Metadata, Options, Upload
from tus.engine.writer import Writer
from tus.http.messages import Request
from tus.stores import Store

KINDS = kinds.PAIRS


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def build(
    directory: Path | str | None,
    hooks: Hooks | None = None,
    *,
    kind: str = "file",
    store: Store | None = None,
    **given: Any,
) -> Engine:
    """An engine over that directory, or over memory without one; environment variables have no say. With `store`, over
    what another engine had."""
    kind = kind if directory else "memory"
    given.setdefault("durable", "none")  # waiting for a disk proves nothing here
    own = {name: given.pop(name) for name in ("clock", "name", "delivers") if name in given}
    options = Options(given, environ={})
    made = kinds.pair(kind, Path(directory or "."), clock=own.get("clock"), certify=options.durable == "always")
    return Engine(store or made[0], made[1], options, hooks, **own)


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
    """The bytes that count."""
    with engine.open(upload) as file:
        return file.read(engine.store.load(upload.id).offset)


def die(writer: Writer) -> None:
    """What `kill -9` leaves of a writer: its descriptors are closed, and nothing else of it happens."""
    draft, lease = writer.draft, writer.lease
    writer.draft = writer.lease = None
    for one in (draft, lease):
        fd = getattr(one, "_fd", -1)
        if fd >= 0:
            one._fd = -1  # type: ignore[union-attr]
            with suppress(OSError):
                os.close(fd)
