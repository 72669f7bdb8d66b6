"""What the kernel moves without bringing it into Python goes through a pipe."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

BLOCK = 1 << 20  # bytes
F_SETPIPE_SZ = 1031  # Linux; the fcntl module knows it since Python 3.10, but not everywhere


def wide_pipe() -> tuple[int, int]:
    """A pipe that holds a block, where the system grants it."""
    source, sink = os.pipe()
    with suppress(OSError):  # more than this user may have: the usual 64 KiB do as well
        fcntl.fcntl(sink, F_SETPIPE_SZ, BLOCK)
    return source, sink


def drain_pipe(source: int, fd: int, size: int) -> None:
    """Move ``size`` bytes that are in a pipe into a file."""
    while size:
        try:
            size -= os.splice(source, fd, size, flags=1)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system without splice, or a file opened for appending.
            data = os.read(source, size)
            size -= len(data)
            while data:
                data = data[os.write(fd, data) :]
