"""What can happen to an upload: the only caller of store and locker, and the one door that every id passes.

The engine knows no HTTP and moves no bytes off a network. The order of what it does is what makes it safe:

* A request is admitted (authorised, its upload found, its owner compared) before it can affect another request.
* A request that writes takes the lease, and only then looks at the offset. The previous holder of the lease can write
  no more, so the offset stays true.
* A record is changed only in a turn of the lease, or under the mutex, and from what was loaded in that same turn.
* An upload finishes in steps: its last byte is stored, made durable, accepted by the host, marked complete, handed
  over, and the host's answer recorded. After a crash between two of them the next request continues from there.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress

from .. import events
from ..errors import OptionError, TusError
from ..hooks import Hooks
from ..http.messages import Request
from ..options import Options
from ..upload import Upload
from .finishing import Delivery
from .records import new_id
from .writing import Writing

__all__ = ["Delivery", "Engine", "new_id", "open_engine"]

log = logging.getLogger("tus")

_CRASHED = 3600.0  # seconds after which a half-made file was certainly left by a crash


class Engine(Writing):
    """The deeds. One engine serves all threads of a process."""

    def terminate(self, request: Request) -> None:
        """Remove the upload; a request that still writes is ended first."""
        request = self.identify(request)
        upload = self._admit(request, "terminate")
        self.hooks.before_terminate(request, upload)
        self._remove(upload)
        events.removed(upload)
        self.hooks.terminated(upload)

    def sweep(self, now: float | None = None, *, pause: float = 0.0, tell: bool = False) -> Iterator[Upload]:
        """Remove what has expired, one upload at a time, and say which; with a `pause` (seconds) now and then. With
        `tell`, the hooks hear of what was complete when a process died; only the host that has them may ask for it."""
        now = self._clock() if now is None else now
        self._store.tidy(now - _CRASHED)
        self._locker.tidy(now - _CRASHED, self._leased)
        for count, upload in enumerate(self.uploads(), 1):
            # A request that writes keeps it alive; if the times say otherwise, the clock has jumped.
            if self.expired(upload, now) and not self._locker.lives(upload.id):
                if self._gone(upload):
                    yield upload
            elif tell and upload.pending and not self._delivers and not upload.target:
                self._tell(upload)
            if pause and not count % 100:
                time.sleep(pause)

    def _leased(self, id: str) -> bool:
        """Whether there is an upload that this lease can be of; each chunk has one, by the id and its number."""
        return self._exists(id) or self._exists(id.rpartition("-")[0])

    def _gone(self, upload: Upload) -> bool:
        """Remove what has expired; one that cannot be removed does not affect the others."""
        try:
            self._remove(upload)
        except TusError:
            return False
        except OSError as error:
            log.error("upload %s has expired and cannot be removed: %s", upload.id, error)
            return False
        events.expired(upload)
        return True

    def _tell(self, upload: Upload) -> None:
        """An upload was complete when its process died, before the hooks heard of it."""
        with suppress(TusError):
            delivery = self.claim(upload.id)
            try:
                if delivery.upload.pending and delivery.hear(self.told(delivery.upload)):
                    delivery.accept(delivery.told)
            except Exception:
                log.exception("upload %s is complete and cannot be handed over", upload.id)
            finally:
                delivery.release()


def open_engine(options: Options, hooks: Hooks | None = None, *, delivers: bool = True) -> Engine:
    """An engine over files."""
    try:
        from ..lockers.file import FileLocker
        from ..stores.file import FileStore
    except (ImportError, AttributeError) as error:
        raise OptionError(f"uploads need a POSIX system for their files, and this is not one: {error}") from error

    try:
        directory = options.tmp_file_dir or private_directory()
        store = FileStore(directory, file_mode=options.file_mode, directory_mode=options.directory_mode)
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
