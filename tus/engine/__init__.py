"""What can happen to an upload: the only caller of store and locker, and the one door that every id passes.

The engine knows no HTTP and moves no bytes off a network. The order of what it does is what makes it safe:

* A request is admitted (authorised, its upload found, its owner compared) before it can affect another request.
* A request that writes takes the lease, and only then looks at the offset. The previous holder of the lease can write
  no more, so the offset stays true.
* A client is told no more bytes than were committed.
* A record is changed only in a turn of the lease, or if it is still the one that was read.
* An upload finishes in steps: its last byte is stored, made durable, accepted by the host, marked complete, handed
  over, and the host's answer recorded. After a crash between two of them the next request continues from there.

`Core` is what the deeds stand on; each module has some of them, and uses those before it: admission, finishing,
delivering, removing, creating, joining, writing, numbered.
"""

from __future__ import annotations

import os

from ..errors import OptionError
from ..hooks import Hooks
from ..options import Options
from . import admission, creating, delivering, joining, removing, writing
from .core import Core, new_id
from .delivering import Delivery

__all__ = ["Delivery", "Engine", "new_id", "open_engine"]


class Engine(Core):
    """The deeds. One engine serves all threads of a process."""

    identify = admission.identify
    look = admission.look
    readable = admission.readable
    open = admission.opened
    secret_id = admission.secret_id

    begin = creating.begin
    append = writing.append
    conclude = writing.conclude
    seize = writing.seize
    describe = writing.describe
    join = joining.join

    claim = delivering.claim
    terminate = removing.terminate
    sweep = removing.sweep
    uploads = removing.uploads


def open_engine(options: Options, hooks: Hooks | None = None, *, delivers: bool = True) -> Engine:
    """An engine over files."""
    try:
        from ..lockers.file import FileLocker
        from ..stores.file import FileStore
    except (ImportError, AttributeError) as error:
        raise OptionError(f"uploads need a POSIX system for their files, and this is not one: {error}") from error

    try:
        directory = options.tmp_file_dir or private_directory()
        store = FileStore(
            directory,
            file_mode=options.file_mode,
            directory_mode=options.directory_mode,
            certify=options.durable == "always",
        )
        return Engine(store, FileLocker(directory), options, hooks, delivers=delivers)
    except OSError as error:
        raise OptionError(f"option tmp_file_dir: {error.filename or ''}: {error.strerror or error}") from error


def private_directory() -> str:
    """A directory of our own in the system's temporary one, refused if somebody else made it."""
    import tempfile

    path = os.path.join(tempfile.gettempdir(), f"tus-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not os.path.isdir(path) or os.path.islink(path):
        raise PermissionError(f"{path} is not ours alone; name another place with the option tmp_file_dir")
    return path
