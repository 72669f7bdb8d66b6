"""What happens to uploads, as the logger `tus` tells it: one line for each event, with its fields for programs.

Of what clients send, a line holds the names of a file and of a user and the reason of a refusal, escaped, so that
no client can write a line of its own. An event whose level is off costs next to nothing.
"""

from __future__ import annotations

import logging
import re
import time
from contextvars import ContextVar
from typing import Any

from .errors import (
    BodyCut,
    Interrupted,
    Locked,
    MethodNotAllowed,
    NoContent,
    NotFound,
    OffsetMismatch,
    StoreBroken,
    StoreFull,
    TusError,
)
from .http.messages import Request
from .upload import Upload

log = logging.getLogger("tus")
peer: ContextVar[str] = ContextVar("peer", default="")  # of the request that this thread serves

_LONGEST = 300  # characters of a text that a line holds
_WORD = re.compile(r"[A-Za-z0-9._:-]+")
# What clients handle every day; logged only at DEBUG.
_ROUTINE = (Locked, MethodNotAllowed, NoContent, NotFound, OffsetMismatch)


def shown(text: str) -> str:
    """A text that keeps to its place: what would begin a line, steer a terminal or turn the direction is escaped."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def created(upload: Upload) -> None:
    """An upload exists."""
    if log.isEnabledFor(logging.INFO):
        _tell(logging.INFO, "created", upload, size=upload.length, peer=peer.get())


def finished(upload: Upload) -> None:
    """Every byte is there, and stays."""
    if log.isEnabledFor(logging.INFO):
        seconds = max(time.time() - upload.created, 0.001) if upload.created else None
        speed = None if seconds is None else round(upload.offset / seconds)
        took = None if seconds is None else round(seconds, 3)
        _tell(logging.INFO, "finished", upload, size=upload.offset, seconds=took, speed=speed, peer=peer.get())


def answered(upload: Upload) -> None:
    """The host has seen it, and its answer is on record."""
    if log.isEnabledFor(logging.INFO) and upload.result:
        status = upload.result.status
        if status >= 400:
            refused(upload, status, upload.result.reason or "the host does not want it")
        else:
            _tell(logging.INFO, "handed over", upload, size=upload.offset, status=status, peer=peer.get())


def removed(upload: Upload) -> None:
    """A client or an operator wanted it away, or its name for another file."""
    if log.isEnabledFor(logging.INFO):
        _tell(logging.INFO, "removed", upload, offset=upload.offset, size=upload.length, peer=peer.get())


def expired(upload: Upload) -> None:
    """Its time was over, so it was removed."""
    if log.isEnabledFor(logging.INFO):
        _tell(logging.INFO, "expired", upload, offset=upload.offset, size=upload.length)


def bad_record(id: str, reason: Exception) -> None:
    """A record cannot be read. No client can resume this upload; the others are not affected."""
    _tell(logging.ERROR, "bad record", None, upload=id, reason=f"{type(reason).__name__}: {reason}")


def refused(upload: Upload, status: int, reason: str) -> None:
    """The host said no."""
    if log.isEnabledFor(logging.INFO):
        _tell(logging.INFO, "refused", upload, status=status, reason=reason, peer=peer.get())


def turned_away(address: str, reason: str) -> None:
    """Somebody tried a wrong password; a warning, since many of these are an attack."""
    _tell(logging.WARNING, "turned away", None, status=401, reason=reason, peer=address)


def failed(request: Request, error: Exception) -> None:
    """A request ended in an error of ours."""
    if isinstance(error, Locked) and isinstance(error.__cause__, TusError):
        error = error.__cause__  # clients are told to come again, whatever it was
    level, event = _judged(error)
    if log.isEnabledFor(level) and isinstance(error, TusError):
        upload: Upload | None = error.upload
        fields: dict[str, Any] = {} if upload else {"upload": request.id, "owner": request.user}
        if event == "refused":
            fields["status"] = error.status
        else:
            fields["offset"] = error.offset if error.offset is not None or not upload else upload.offset
        _tell(level, event, upload, **fields, method=request.method, reason=str(error), peer=request.peer)


def _judged(error: Exception) -> tuple[int, str]:
    """How much it matters, and what it is called."""
    if isinstance(error, StoreFull):
        return logging.ERROR, "disk full"
    if isinstance(error, StoreBroken):
        return logging.ERROR, "failed"
    if isinstance(error, BodyCut):
        return logging.INFO, "cut"
    if isinstance(error, Interrupted):
        return logging.INFO, "taken over"
    return (logging.DEBUG if isinstance(error, _ROUTINE) else logging.INFO), "refused"


def _tell(level: int, event: str, about: Upload | None, **fields: Any) -> None:
    """Write the line; empty fields stay away."""
    if about:
        fields = {"upload": about.id, "file": about.metadata.filename, **fields, "owner": about.owner}
    told = {key: shown(value[:_LONGEST]) if isinstance(value, str) else value for key, value in fields.items()}
    told = {key: value for key, value in told.items() if value is not None and value != ""}
    line = " ".join(f"{key}={_quoted(value)}" for key, value in told.items())
    log.log(level, "%s %s", event, line, extra={"event": event, **told})


def _quoted(value: Any) -> str:
    """A value that ends where it ends: in quotes, unless it is one plain word."""
    text = str(value)
    return text if _WORD.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'
