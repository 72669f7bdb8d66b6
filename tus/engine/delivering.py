"""A complete upload is handed over: claimed by one request in all processes, and the host's answer recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from .. import events
from ..errors import Locked, NotFound, Refused, StoreAway, StoreBroken, StoreFull
from ..lockers import Claim, Detachable, Fleeting
from ..upload import Result, Upload, checked_id
from .core import Core, change, contended, publish
from .finishing import refusing, with_answer

_INSISTS = 20.0  # seconds for which a storage that is away is asked again to take the answer
_PAUSE = 0.1  # seconds between


def claim(core: Core, id: str, *, patience: float = 0.0) -> Delivery:
    """The right to hand an upload over; raises Locked if another request has it for longer than `patience`."""
    claimed = core.locker.claim(checked_id(id), patience=patience)
    try:
        delivery = Delivery(core, claimed, core.store.load(id))
        if isinstance(claimed, Fleeting) and claimed.over():
            raise Locked("the server of the leases cannot be reached")
        return delivery
    except BaseException:
        claimed.release()
        raise


def accept(
    core: Core, upload: Upload, result: Result, *, drop: bool, dropping: Callable[[], None] = lambda: None
) -> Upload:
    """The host has it, or does not want it: remember its answer, so that the host is told only once."""

    def taken(found: Upload) -> Upload:
        if upload.pending and not found.pending:  # our claim was lost, and who has it now was first
            return found
        # What the target's request held, passwords perhaps, is needed no more.
        return with_answer(core, found, result).evolve(dropped=drop or found.dropped, target=None)

    # Some file systems lose a durable record with the one that replaces it, if that is not durable, too.
    # Where the data goes as well, all that a power cut can take is the memory of it.
    durable = core.syncs and not drop
    try:
        if contended(upload) or core.disk is None:  # a claim over a network can be lost; one on files cannot
            accepted = _insisted(lambda: change(core, upload.id, taken, durable=durable))
        else:
            accepted = taken(upload)
            core.store.save(accepted, durable=durable)
    except StoreFull:
        if not drop:
            raise
        dropping()  # or what makes room would still be open
        core.store.drop(upload.id)  # a complete record without data is one that was handed over
        accepted = taken(upload)
        publish(core, accepted)
    core.watches.ring(upload.id)
    if drop and accepted.dropped:
        core.store.drop(upload.id)
    return accepted


def _insisted(save: Callable[[], Upload]) -> Upload:
    """Save what the host said. It cannot be asked again whether it has the upload, so that a storage which is away for
    a moment is waited for; the claim is held meanwhile."""
    end = time.monotonic() + _INSISTS
    while True:
        try:
            return save()
        except StoreBroken as error:
            if error.status != StoreAway.status or time.monotonic() > end:
                raise
            time.sleep(_PAUSE)


def drop(core: Core, upload: Upload) -> None:
    """Remove the data of an upload that the host has taken."""
    with suppress(NotFound):
        upload = core.store.load(upload.id)
        accept(core, upload, upload.result or Result(), drop=True)


def path(core: Core, upload: Upload) -> str:
    """The finished file; raises NotImplementedError where uploads are no files."""
    if core.disk is None:
        raise NotImplementedError("this store has no files: open the upload instead")
    return core.disk.path(upload.id)


def link_to(core: Core, upload: Upload, *, kind: str = "", disposition: str = "") -> str:
    """A URL under which anybody can fetch the finished file from where it is stored, for a while; raises
    NotImplementedError where nobody can."""
    if core.linked is None:
        raise NotImplementedError("nobody else can fetch from this store: open the upload instead")
    seconds = int(core.options.link_valid_duration)
    return core.linked.link(upload, seconds=seconds, kind=kind, disposition=disposition)


@dataclass
class Delivery:
    """A complete upload while it is handed over. Only one request at a time has it, in all processes."""

    core: Core
    claim: Claim
    upload: Upload
    told: Result = Result()  # what the hook `finished` had to say
    _lent: bool = False

    def path(self) -> str:
        """Where the host finds the file. It may take that away, and still say no."""
        if self.core.disk is None:
            return path(self.core, self.upload)
        self._detach()
        self._lent = True
        return self.core.disk.lend(self.upload.id)

    def _detach(self) -> None:
        """From now on the data may go."""
        if isinstance(self.claim, Detachable):
            self.claim.detach()

    def open(self) -> BinaryIO:
        """The data, to read; even if a host that was never heard of again took the file."""
        id, disk = self.upload.id, self.core.disk
        try:
            return self.core.store.open(id)
        except NotFound:
            if disk is None:
                raise
            disk.regain(id)
            return self.core.store.open(id)

    def ask(self) -> Result:
        """What the hook `finished` says when it hears of the upload; a refusal, too."""
        try:
            return self.core.hooks.finished(self.upload) or Result()
        except Refused as error:
            return refusing(error)

    def hear(self, told: Result) -> bool:
        """Take what the hook `finished` said: whether the host may have the upload now. If not, that is over."""
        self.told = told
        if told.refuses:
            self.accept(told)
        return not told.refuses

    def accept(self, result: Result, *, drop: bool = False) -> None:
        """The host has decided."""
        self.upload = accept(self.core, self.upload, result, drop=drop, dropping=self._detach)
        events.answered(self.upload)
        self.release()

    def release(self) -> None:
        """It is over. If it did not arrive, the next request tries again. Twice is fine."""
        lent, self._lent = self._lent, False
        try:
            if lent:
                self._return()
        finally:
            self.claim.release()

    def _return(self) -> None:
        """The host has no use for the file any more; if it did not accept the upload, the file is ours again."""
        disk = self.core.disk
        assert disk
        if self.upload.pending or self.upload.refused:
            disk.regain(self.upload.id)
        elif not self.upload.dropped:
            disk.give(self.upload.id)
