"""What crashes leave in the directory of the file store, and how it is told from what somebody still makes."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import Protocol

from ..errors import NotFound, TusError
from ..upload import Upload
from .disk import OLD, Directory, absent, alone, release
from .infos import KEPT, Infos, Making
from .wholes import PLACE, Wholes

log = logging.getLogger("tus")


class Tidied(Protocol):
    """What is needed of the store."""

    def load(self, id: str) -> Upload: ...
    def give(self, id: str) -> None: ...
    def delete(self, id: str) -> None: ...
    def forget(self, id: str, record: int) -> None: ...


class Tidier:
    """Removes only what is certainly ours, and old."""

    def __init__(self, store: Tidied, home: Directory, infos: Infos, wholes: Wholes) -> None:
        self._store, self._home, self._infos, self._wholes = store, home, infos, wholes

    def tidy(self, before: float) -> None:
        begun, named = self._infos.ids(begun=True), self._home.named
        some = (begun, self._begun), (named(".new"), self._new), (named(KEPT), self._kept), (named(PLACE), self._placed)
        for ids, tidied in some:
            for id in ids:
                try:
                    tidied(id, before)
                except (OSError, TusError) as error:
                    log.warning("upload %s is left as it is: %s", id, error)

    def _begun(self, id: str, before: float) -> None:
        # A long creation-with-upload writes to its data file all the time, and to its record only at the end.
        if max(self._home.touched(id), self._home.touched(id + ".info")) > before:
            return
        record = self._infos.left(id)
        if record >= 0:
            self._store.forget(id, record)

    def _new(self, id: str, before: float) -> None:
        """What replaces a record is soon done; and before records were begun in place, it named what was half made."""
        touched = max(self._home.touched(id), self._home.touched(id + ".new"))
        if touched > before or not self._infos.is_ours(id) or is_busy(self._home, id):
            return
        try:
            record, _ = self._infos.locked(id)
        except Making:
            return
        except NotFound:
            self._store.forget(id, self._infos.begin(id)[0])  # so that nobody begins another one by this name meanwhile
            return
        self._home.unlink(id + ".new")
        release(record)

    def _kept(self, id: str, before: float) -> None:
        with suppress(NotFound):
            if self._store.load(id).result:  # the host has answered and no longer uses it
                self._store.give(id)

    def _placed(self, id: str, before: float) -> None:
        """A part is of no use once its whole is an upload; and it would keep the blocks of that."""
        if max(self._home.touched(id), self._home.touched(id + ".info")) > before:
            return
        with suppress(NotFound):
            part = self._store.load(id)
            if part.finals and self._wholes.is_left(part) and not any(map(self._waits, part.finals)):
                self._store.delete(id)

    def _waits(self, id: str) -> bool:
        with suppress(NotFound):
            return not self._store.load(id).complete
        return False


def is_busy(home: Directory, id: str) -> bool:
    """Whether somebody writes to it in this moment, whatever the clock says."""
    try:
        fd = os.open(id, os.O_RDONLY | OLD, dir_fd=home.fd)
    except OSError as error:
        if isinstance(absent(error), NotFound):
            return False
        raise
    try:
        return not alone(fd)
    finally:
        os.close(fd)
