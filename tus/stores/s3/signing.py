"""AWS Signature Version 4, for one service and one region."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote

EMPTY = hashlib.sha256().hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"


class Credentials(NamedTuple):
    """Who we are; `token` belongs to keys that are valid for a while only."""

    key: str
    secret: str
    token: str = ""


def percent(text: str) -> str:
    """A value of a query."""
    return quote(text, safe="-_.~")


def query_of(pairs: Iterable[tuple[str, object]]) -> str:
    """A query as it is signed and sent: sorted."""
    return "&".join(sorted(f"{percent(name)}={percent(str(value))}" for name, value in pairs))


class Signs(Protocol):
    """What proves to a storage who asks."""

    region: str

    def headers(
        self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str
    ) -> dict[str, str]: ...

    def presigned(
        self, method: str, host: str, path: str, pairs: Iterable[tuple[str, object]], seconds: int
    ) -> str: ...


class Signer:
    """Signs requests, with whatever credentials are valid at that moment."""

    def __init__(
        self, credentials: Callable[[], Credentials], region: str, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._credentials, self.region, self._clock = credentials, region, clock or time.time
        self._derived: tuple[str, str, bytes] = ("", "", b"")  # secret, day, and what they make

    def headers(self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        """The headers with those that sign them; `host` must be among them. `payload` is the SHA-256 of the body."""
        who, stamp = self._credentials(), self._stamp()
        all = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload}
        if who.token:
            all["x-amz-security-token"] = who.token
        names = ";".join(sorted(all))
        text = "".join(f"{name}:{all[name]}\n" for name in sorted(all))
        signature = self._sign(who, stamp, "\n".join((method, path, query, text, names, payload)))
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        all["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={who.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return all

    def presigned(self, method: str, host: str, path: str, pairs: Iterable[tuple[str, object]], seconds: int) -> str:
        """The query of a URL that anybody may use for a while."""
        who, stamp = self._credentials(), self._stamp()
        signed = [
            *pairs,
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{who.key}/{stamp[:8]}/{self.region}/s3/aws4_request"),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", seconds),
            ("X-Amz-SignedHeaders", "host"),
        ]
        if who.token:
            signed.append(("X-Amz-Security-Token", who.token))
        query = query_of(signed)
        signature = self._sign(who, stamp, "\n".join((method, path, query, f"host:{host}\n", "host", UNSIGNED)))
        return f"{query}&X-Amz-Signature={signature}"

    def _stamp(self) -> str:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))

    def _sign(self, who: Credentials, stamp: str, request: str) -> str:
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        return hmac.digest(self._key(who.secret, stamp[:8]), text.encode(), "sha256").hex()

    def _key(self, secret: str, day: str) -> bytes:
        known = self._derived
        if known[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for word in (day, self.region, "s3", "aws4_request"):
                key = hmac.digest(key, word.encode(), "sha256")
            self._derived = known = (secret, day, key)
        return known[2]
