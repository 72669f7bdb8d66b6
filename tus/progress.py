"""The progress of an upload, asked for while it runs, from any process. Unlike HEAD, this takes no upload over."""

from __future__ import annotations

from typing import Any

from .engine import Engine
from .errors import Gone, NotFound
from .http.messages import Request
from .upload import State, Upload

SILENCE = 120.0  # seconds without a byte, after which the sender of a form is surely gone

UNKNOWN: dict[str, Any] = {"state": "unknown", "received": 0, "total": None}


def keyed(engine: Engine, request: Request, key: str) -> Request:
    """The request, for the upload that goes by a key of the client's choice, among those of the same user."""
    request = engine.identify(request)
    return request.about(engine.secret_id(request, "form", key))


def ask(engine: Engine, request: Request) -> dict[str, Any]:
    """What there is to say of the upload that the request names."""
    try:
        return told(engine, engine.look(request))
    except NotFound:
        return UNKNOWN
    except Gone:
        return {**UNKNOWN, "state": "failed"}


def told(engine: Engine, upload: Upload) -> dict[str, Any]:
    """The upload, for a script."""
    total = upload.expected if upload.length is None else upload.length
    answer = {"id": upload.id, "state": _state(engine, upload), "received": upload.offset, "total": total}
    if upload.result and upload.refused:
        answer |= {"status": upload.result.status, "reason": upload.result.reason}
    for name in ("filename", "description"):
        if upload.metadata.text(name):
            answer[name] = upload.metadata.text(name)
    return answer


def _state(engine: Engine, upload: Upload) -> str:
    state = engine.state(upload)
    if state is State.REFUSED:
        return "refused"
    if upload.complete:
        return "finished"
    # A form cannot be resumed, so one whose sender went away, or whose process died, is over.
    silent = upload.expected is not None and upload.touched + SILENCE < engine.now()
    return "failed" if silent or state is State.EXPIRED else "uploading"
