"""The last steps of an upload: looked at, marked complete, claimed, handed over, and the answer recorded."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from .. import events
from ..checksum import ALGORITHMS
from ..errors import (
    DigestMismatch,
    Locked,
    NotFound,
    Refused,
    StoreFull,
)
from ..lockers import Claim
from ..upload import Digests, Result, Upload, checked_id, definite
from .records import Records


class Finishing(Records):
    """From the last byte to the host's answer."""

    def _digested(self, upload: Upload) -> Digests:
        """The digests of the whole, where the client wants them; raises DigestMismatch where it announced others."""
        hashes = [(name, announced, ALGORITHMS[name][1]()) for name, announced in upload.digests]
        for block in self._stored(upload):
            for _, _, hash in hashes:
                hash.update(block)
        for name, announced, hash in hashes:
            if announced and announced != hash.digest().hex():
                raise DigestMismatch(f"the {name} of the whole upload is different", algorithm=name, digest=announced)
        return tuple((name, hash.digest().hex()) for name, _, hash in hashes)

    def _refusal(self, upload: Upload) -> Result | None:
        """What the host has against the content, if anything. A refusal that is not for good is raised, and the next
        request has the host look again."""
        if not self._checks or upload.partial:
            return None
        with self._store.open(upload.id) as file:
            try:
                self.hooks.before_finish(upload, file)
            except Refused as error:
                return _refusing(error)
        return None

    def _mark(self, upload: Upload, durable: bool, refusal: Result | None) -> Upload:
        # A part is never handed over by itself, and without a host nothing is.
        waits = self._delivers or self._tells or upload.target
        result = refusal or (None if waits and not upload.partial else Result())
        upload = upload.evolve(complete=True, result=result)
        if refusal:
            upload = self._answered(upload, refusal)
        self._store.save(upload, durable=durable)
        events.finished(upload)
        if refusal:
            events.answered(upload)
        return upload

    def _answered(self, upload: Upload, result: Result) -> Upload:
        """The upload with what the host said of it. A refused one stays for a while, so that its client hears why."""
        upload = upload.evolve(result=result)
        kept = self.options.refused_valid_duration
        if not result.refuses or kept is None:
            return upload
        ends = self._clock() + kept
        return upload.evolve(expires=ends if upload.expires is None else min(ends, upload.expires))

    def told(self, upload: Upload) -> Result:
        """What the hook `finished` says when it hears of the upload; a refusal, too."""
        try:
            return self.hooks.finished(upload) or Result()
        except Refused as error:
            return _refusing(error)

    def claim(self, id: str, *, patience: float = 0.0) -> Delivery:
        """The right to hand an upload over; raises Locked if another request has it for longer than `patience`."""
        claim = self.claimed(checked_id(id), patience)
        try:
            return Delivery(self, claim, self._store.load(id))
        except BaseException:
            claim.release()
            raise

    def claimed(self, id: str, patience: float) -> Claim:
        """The claim, should it come free in time."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._locker.claim(id)
            except Locked:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    def accept(self, upload: Upload, result: Result, *, drop: bool) -> Upload:
        """The host has it, or does not want it: remember its answer, so that the host is told only once."""
        # What the target's request held, passwords perhaps, is needed no more.
        upload = self._answered(upload, result).evolve(dropped=drop or upload.dropped, target=None)
        try:
            # Some file systems lose a durable record with the one that replaces it, if that is not durable, too.
            # Where the data goes as well, all that a power cut can take is the memory of it.
            self._store.save(upload, durable=self.options.durable != "none" and not drop)
        except StoreFull:
            if not drop:
                raise
            self._store.drop(upload.id)  # a complete record without data is one that was handed over
            self._publish(upload)
        if drop:
            self._store.drop(upload.id)
        return upload

    def lend(self, upload: Upload) -> str:
        """Where the host finds the file, until `returned`."""
        return self._store.lend(upload.id)

    def lent(self, upload: Upload) -> BinaryIO:
        """The data, even if a host that was never heard of again took the file."""
        try:
            return self._store.open(upload.id)
        except NotFound:
            self._store.regain(upload.id)
            return self._store.open(upload.id)

    def returned(self, upload: Upload) -> None:
        """The host has no use for the file any more; if it did not accept the upload, the file is ours again."""
        if upload.pending or upload.refused:
            self._store.regain(upload.id)
        elif not upload.dropped:
            self._store.give(upload.id)

    def drop(self, upload: Upload) -> None:
        """Remove the data of an upload that the host has taken."""
        with self._locker.mutex(upload.id), suppress(NotFound):
            upload = self._store.load(upload.id)
            self.accept(upload, upload.result or Result(), drop=True)


@dataclass
class Delivery:
    """A complete upload while it is handed over. Only one request at a time has it, in all processes."""

    engine: Finishing
    claim: Claim
    upload: Upload
    told: Result = Result()  # what the hook `finished` had to say
    _lent: bool = False

    def path(self) -> str:
        """Where the host finds the file. It may take that away, and still say no."""
        self._lent = True
        return self.engine.lend(self.upload)

    def open(self) -> BinaryIO:
        """The data, to read."""
        return self.engine.lent(self.upload)

    def hear(self, told: Result) -> bool:
        """Take what the hook `finished` said: whether the host may have the upload now. If not, that is over."""
        self.told = told
        if told.refuses:
            self.accept(told)
        return not told.refuses

    def accept(self, result: Result, *, drop: bool = False) -> None:
        """The host has decided."""
        self.upload = self.engine.accept(self.upload, result, drop=drop)
        events.answered(self.upload)
        self.release()

    def release(self) -> None:
        """It is over. If it did not arrive, the next request tries again. Twice is fine."""
        lent, self._lent = self._lent, False
        try:
            if lent:
                self.engine.returned(self.upload)
        finally:
            self.claim.release()


def _refusing(error: Refused) -> Result:
    """A hook's refusal as an answer to remember; raised again, if it is not for good."""
    if not definite(error.status):
        raise error
    headers = {"Content-Type": "text/plain; charset=utf-8", **error.headers}
    return Result(error.status, tuple(headers.items()), f"{error}\n".encode("utf-8", "replace"))
