"""Problem documents (RFC 9457): what went wrong, for programs. They tell nothing that the error does not hold."""

from __future__ import annotations

import json
from typing import Any

from ..errors import (
    ChecksumMismatch,
    DigestMismatch,
    InvalidDigest,
    LengthMismatch,
    OffsetMismatch,
    Overrun,
    TusError,
)

TYPE = "application/problem+json"

_REGISTRY = "https://iana.org/assignments/http-problem-types#"


def document(error: TusError, *, provided: int | None) -> bytes:
    """The document, where this kind of error has a name in the registry; `provided` is the offset that came."""
    members = _members(error, provided)
    return json.dumps({**members, "detail": str(error)}).encode() if members else b""


def _members(error: TusError, provided: int | None) -> dict[str, Any]:
    if isinstance(error, OffsetMismatch):
        offsets = {"expected-offset": error.offset, "provided-offset": provided}
        return {**_named("mismatching-upload-offset", "The offsets do not match"), **offsets}
    if isinstance(error, LengthMismatch | Overrun):
        return _named("inconsistent-upload-length", "The lengths contradict each other")
    if isinstance(error, InvalidDigest):
        digest = {"algorithm": error.algorithm, "header": error.field, "reason": str(error)}
        return {**_named("digest-invalid-values", "No content has such a digest"), "invalid-digests": [digest]}
    if isinstance(error, ChecksumMismatch | DigestMismatch):
        return _named("digest-mismatched-values", "The digest does not match")
    return {}


def _named(problem: str, title: str) -> dict[str, Any]:
    return {"type": _REGISTRY + problem, "title": title}
