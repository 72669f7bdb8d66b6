"""Whether a bucket can be used, before the first upload: what is wrong is said at the start, with what to change."""

from __future__ import annotations

import logging
import secrets
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from ...errors import OptionError, StoreBroken, StoreFull
from .client import RETRIED, Failed, Unavailable
from .uploads import Uploads

SKEW = 300.0  # seconds; S3 takes 900
PATIENCE = 10.0  # seconds that an engine has to come up: it may be started together with us
_PAUSE = 0.25  # seconds

log = logging.getLogger("tus")


def check(uploads: Uploads, *, patience: float = PATIENCE) -> None:
    """Do each thing once that uploads need, in one object; raises OptionError."""
    client = uploads.bucket.client
    failed = first_failure(uploads, lambda: client.ask("HEAD", attempts=1), patience)
    if failed:
        raise OptionError(f"option store: {_reason(uploads, *failed)}") from failed[1]
    _check_settings(uploads)


def first_failure(uploads: Uploads, reach: Callable[[], object], patience: float) -> tuple[str, Exception] | None:
    """What cannot be done, and what the storage says to it. An engine that does not answer is waited for; what it
    refuses is told at once."""
    bucket, key = uploads.bucket, f"{uploads.prefix}.tus/check-{secrets.token_hex(8)}"
    steps: dict[str, Callable[[], object]] = {
        "reach": lambda: _wait_for(reach, time.monotonic() + patience),
        "list": lambda: list(bucket.objects(f"{uploads.prefix}.tus/check-", flat=False)),
        "write": lambda: bucket.put(key, b"tus"),
        "read": lambda: bucket.get(key),
        "upload parts to": lambda: bucket.abort(key, bucket.begin(key)),
        "delete from": lambda: bucket.delete(key),
    }
    for step, deed in steps.items():
        try:
            deed()
        except (StoreBroken, StoreFull) as error:
            return step, error
    return None


def _wait_for(reach: Callable[[], object], deadline: float) -> None:
    told = False
    while True:
        try:
            reach()
            return
        except Unavailable as error:
            passing = error.answer in RETRIED if isinstance(error, Failed) else not _is_tls(error)
            if not passing or time.monotonic() > deadline:
                raise
            if not told:
                log.warning("waiting for the object storage: %s", error)
            told = True
        time.sleep(_PAUSE)


def _is_tls(error: Unavailable) -> bool:
    """Whether it was reached, and is not to be trusted."""
    return isinstance(error.__cause__, ssl.SSLError)


def _reason(uploads: Uploads, step: str, error: Exception) -> str:
    client = uploads.bucket.client
    if not isinstance(error, Failed):
        return f"endpoint: {error}; is the address right, and does the engine run?"
    if step == "reach":  # HEAD has no body, so that nothing is explained
        error = _asked_again(uploads) or error
    code = error.code
    if code == "RequestTimeTooSkewed":
        return f"the clock of this machine is {_skew(error):.0f} s away from that of {client.endpoint}; set it"
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "XAdminUserNotFound"):
        which = "secret" if code == "SignatureDoesNotMatch" else "key"
        return (
            f"{which}: {client.endpoint} does not accept it ({code}); check the keys, and the region {_region(uploads)}"
        )
    if code in ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"):
        return f"region: the bucket {client.bucket} is not in {_region(uploads)} ({error.detail}); say region=…"
    if code == "NoSuchBucket" or not code and error.answer == 404:
        return f"there is no bucket {client.bucket} at {client.endpoint}; make it, or name another one"
    if error.answer == 403:
        return f"these keys may not {step} the bucket {client.bucket} ({code or 403}); give them that right"
    return f"cannot {step} the bucket {client.bucket}: {error}"


def _asked_again(uploads: Uploads) -> Failed | None:
    """The same failure, with an explanation."""
    try:
        uploads.bucket.client.ask("GET", "", [("list-type", "2"), ("max-keys", "1")], attempts=1)
    except Failed as error:
        return error
    except Unavailable:
        return None
    return None


def _skew(error: Failed) -> float:
    date = error.said.get("date")
    return abs(time.time() - parsedate_to_datetime(date).timestamp()) if date else SKEW


def _region(uploads: Uploads) -> str:
    return uploads.bucket.client.signer.region


def _check_settings(uploads: Uploads) -> None:
    """Object lock keeps what has to go, and versions keep what was removed: both cost without end."""
    ask, bucket = uploads.bucket.client.ask, uploads.bucket.client.bucket
    for name, word in (("versioning", "Status"), ("object-lock", "ObjectLockEnabled")):
        try:
            found = ask("GET", "", [(name, "")], attempts=1).xml().findtext(f"{{*}}{word}")
        except (StoreBroken, StoreFull):  # an engine that knows nothing of it, or keys that may not ask
            continue
        if found == "Enabled":
            raise OptionError(
                f"option store: the bucket {bucket} has {name} enabled, so that nothing which is removed is gone; "
                f"use a bucket without"
            )
