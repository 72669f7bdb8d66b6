"""What becomes of an upload of which nothing can come: removed, emptied, or kept for a while to say so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterator
from contextlib import suppress

from .. import events
from ..errors import DigestMismatch, NotFound, Overrun, StoreFull, TusError
from ..http.messages import Request
from ..lockers import Lease
from ..upload import Upload
from . import delivering
from .admission import admit
from .core import Core, exists
from .writer import Writer

log = logging.getLogger("tus")

_CRASHED = 3600.0  # seconds after which a half-made file was certainly left by a crash


def uploads(core: Core, bad: list[str] | None = None, *, without: Container[str] = ()) -> Iterator[Upload]:
    """Every upload there is but some; for operators. The ids of those whose record cannot be read go into `bad`."""
    for id in core.store.ids():
        if id in without:
            continue
        try:
            upload = core.store.load(id)
        except NotFound:  # removed meanwhile
            continue
        except Exception as error:  # whatever is wrong with one, the others are not concerned
            events.bad_record(id, error)
            if bad is not None:
                bad.append(id)
            continue
        yield upload


def terminate(core: Core, request: Request) -> None:
    """Remove the upload; a request that still writes is ended first."""
    admitted = admit(core, request, "terminate")
    admitted.reading.close()
    core.hooks.before_terminate(admitted.request, admitted.upload)
    remove(core, admitted.upload)
    events.removed(admitted.upload)
    core.hooks.terminated(admitted.upload)


def remove(core: Core, upload: Upload, over: Callable[[Upload], bool] | None = None) -> bool:
    """Remove the upload; if it still is `over`, where that is given: since it was looked at, another one may have been
    made by its name. Returns whether it is gone."""
    try:
        lease = core.locker.lease(upload.id, brief=True)
    except StoreFull:
        return _remove_without_room(core, upload.id, over)
    gone = True
    try:
        with lease.turn():
            gone = _delete(core, upload.id, over)
    finally:
        lease.release(forget=gone)
    core.watches.ring(upload.id)
    return gone


def _delete(core: Core, id: str, over: Callable[[Upload], bool] | None) -> bool:
    with suppress(NotFound):
        if over and not over(core.store.load(id)):
            return False
        core.store.delete(id)
    return True


def _remove_without_room(core: Core, id: str, over: Callable[[Upload], bool] | None) -> bool:
    """The disk is too full to take the lease, and removing is what helps. Writers find nothing then."""
    gone = _delete(core, id, over)
    with suppress(TusError):
        core.locker.lease(id, brief=True).release(forget=gone)
    return gone


def remove_failed(core: Core, id: str) -> None:
    """Remove an upload of which nothing can come any more, so that its id is free."""

    def over(upload: Upload) -> bool:
        return upload.refused or core.expired(upload)

    upload = core.store.load(id)
    if over(upload) and remove(core, upload, over):
        (events.removed if upload.refused else events.expired)(upload)


def empty(core: Core, upload: Upload, lease: Lease) -> None:
    """Forget every byte of the upload. Only in a turn."""
    core.store.append(upload.id, 0, fence=lease).close()


def spoils(writer: Writer, error: BaseException) -> bool:
    """Whether the upload is of no use after this. One that says itself where it ends, and goes on behind its length,
    never was what it said."""
    if writer.upload.expected is not None:  # a form cannot be resumed
        return True
    return isinstance(error, DigestMismatch) or isinstance(error, Overrun) and writer.last is not None


def spoil(core: Core, writer: Writer) -> None:
    """This upload can no longer be used: clients that ask are told that it is gone."""
    assert writer.lease
    with suppress(TusError), writer.lease.turn():
        empty(core, writer.upload, writer.lease)
        core.store.save(writer.upload.evolve(offset=0, expires=0.0))


def sweep(core: Core, now: float | None = None, *, pause: float = 0.0, tell: bool = False) -> Iterator[Upload]:
    """Remove what has expired, one upload at a time, and say which; with a `pause` (seconds) now and then. With
    `tell`, the hooks hear of what was complete when a process died; only the host that has them may ask for it."""
    now = core.now() if now is None else now
    core.store.tidy(now - _CRASHED)
    # Each chunk has a lease by the id of its upload and its number.
    core.locker.tidy(now - _CRASHED, lambda id: exists(core, id) or exists(core, id.rpartition("-")[0]))
    for count, upload in enumerate(uploads(core), 1):
        # A request that writes keeps it alive; if the times say otherwise, the clock has jumped.
        if core.expired(upload, now) and not core.locker.lives(upload.id):
            if _expire(core, upload, now):
                yield upload
        elif tell and upload.pending and not core.delivers and not upload.target:
            _tell(core, upload)
        if pause and not count % 100:
            time.sleep(pause)


def _expire(core: Core, upload: Upload, now: float) -> bool:
    """Remove what has expired; one that cannot be removed does not affect the others."""
    try:
        if not remove(core, upload, lambda found: core.expired(found, now)):
            return False
    except TusError:
        return False
    except OSError as error:
        log.error("upload %s has expired and cannot be removed: %s", upload.id, error)
        return False
    events.expired(upload)
    return True


def _tell(core: Core, upload: Upload) -> None:
    """An upload was complete when its process died, before the hooks heard of it."""
    with suppress(TusError):
        delivery = delivering.claim(core, upload.id)
        try:
            if delivery.upload.pending and delivery.hear(delivery.ask()):
                delivery.accept(delivery.told)
        except Exception:
            log.exception("upload %s is complete and cannot be handed over", upload.id)
        finally:
            delivery.release()
