"""What can go wrong: one class for each situation, with the HTTP status it suggests and a message for a person.

`protocols` decides how an error reaches the client.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS))  # what an OSError says that means StoreFull
# What an OSError says where a file can have no second name: there are no links, or none of this file, or none there.
NO_LINKS = frozenset(
    (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
)


class TusError(Exception):
    """The root of everything that this package raises on purpose."""

    status = 500
    retry_after = 0  # seconds, where the same request may do better when it comes again

    def __init__(
        self, message: str = "", *, offset: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.offset = offset  # what the store holds, where the client is helped by knowing it
        self.headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}  # for the answer
        self.headers.update(headers or {})
        self.upload: Any = None  # the Upload that it happened to, where somebody who had it at hand said so


class OptionError(TusError, ValueError):
    """An option is unknown or has a value that makes no sense; raised while the application is built."""


class NoContent(TusError):
    """A browser asks whether a chunk is there. It is not, so it may come: no error at all, but for views that want to
    hear of it as one."""

    status = 204


class BadRequest(TusError):
    """The request breaks the grammar of the protocol."""

    status = 400


class LengthMismatch(BadRequest):
    """What a request says of the upload's length contradicts what is known of it."""


class InvalidDigest(BadRequest):
    """No content can have such a digest."""

    def __init__(self, message: str, *, algorithm: str, field: str) -> None:
        super().__init__(message)
        self.algorithm, self.field = algorithm, field


class DigestMismatch(BadRequest):
    """The whole is not what the client announced when it began; the upload is of no use any more."""

    def __init__(self, message: str, *, algorithm: str, digest: str) -> None:
        super().__init__(message)
        self.algorithm, self.digest = algorithm, digest  # as announced, in hexadecimal digits


class Refused(TusError):
    """A rule, or the host's hook, says no. A hook chooses the status and the headers."""

    status = 403

    def __init__(
        self,
        message: str = "refused",
        *,
        status: int = 403,
        offset: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, offset=offset, headers=headers)
        self.status = status


class NotFound(TusError):
    """No such upload, or none that this user may know of."""

    status = 404


class MethodNotAllowed(TusError):
    """The method means nothing here, or is switched off."""

    status = 405


class OffsetMismatch(TusError):
    """The client wants to write somewhere else than at the end of what is stored."""

    status = 409


class Gone(TusError):
    """The upload has expired."""

    status = 410


class LengthRequired(TusError):
    """The end of the body cannot be told on this server without a Content-Length."""

    status = 411


class UnsupportedVersion(TusError):
    """The client speaks a version of the protocol that we don't."""

    status = 412


class TooLarge(TusError):
    """More bytes than the upload, or the server, has room for."""

    status = 413
    limit: int | None = None  # bytes that the upload may have, if that is why


class Overrun(TooLarge):
    """More bytes than the client itself declared."""


class UnsupportedType(TusError):
    """The body has another media type than the protocol asks for."""

    status = 415


class KeyReused(TusError):
    """The client has used this key for a creation that said something else."""

    status = 422


class Locked(TusError):
    """The upload is busy for a moment. Clients retry a 423, and give up at most other codes below 500."""

    status = 423
    retry_after = 1


class Changed(Locked):
    """The record is not the one any more that was read: who wanted to save it reads again, and decides anew."""


class ChecksumMismatch(TusError):
    """The bytes are not those that the client meant to send; nothing of the request was kept."""

    status = 460


class Interrupted(TusError):
    """A newer request for the same upload took over; this one can write no more. Nothing is wrong with the server."""

    status = 503
    retry_after = 1


class BodyCut(TusError):
    """The body ended early: the client left, or the server stops. Not 4xx, at which clients that are still there would
    give up; and not 500, which means an error of the server's own."""

    status = 503
    retry_after = 1


class Crowded(TusError):
    """Too many bodies arrive at once. 503 and not 429: clients of tus do not repeat what was answered 4xx."""

    status = 503
    retry_after = 10  # others have slow lines


class StoreBroken(TusError):
    """The store failed for a reason that the client can do nothing about."""

    status = 500


class StoreAway(StoreBroken):
    """What keeps the uploads, or says who may write, does not answer at the moment. Nothing is lost by it."""

    status = 503
    retry_after = 1


class Damaged(StoreBroken):
    """What is stored of this upload is of no use any more: asking again does not help."""


class Abandoned(TusError):
    """What is read while it arrives will never be whole: it was removed or refused, has expired, or a disk lost it."""

    status = 503


class Silent(Abandoned, TimeoutError):
    """Nothing has come for longer than a reader waits. The upload may still go on."""

    status = 503
    retry_after = 1


class StoreFull(TusError):
    """The disk or the quota is full."""

    status = 507
