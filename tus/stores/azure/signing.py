"""How Azure knows who asks: a key of the account, or a token of a machine or person."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

from ...errors import StoreBroken
from ..s3.signing import query_of

VERSION = "2021-12-02"
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


def _dated(headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}


class SharedKey:
    """Signs requests with the key of the account."""

    region = ""

    def __init__(self, account: str, key: bytes) -> None:
        self.account, self._key = account, key

    def _sign(self, text: str) -> str:
        return base64.b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()

    def headers(self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        """The headers with those that sign them; the body is proved by its MD5, which is among them."""
        all = _dated(headers)
        lines = [method, *(all.get(name, "") for name in _SIGNED)]
        lines[3] = lines[3] if lines[3] != "0" else ""
        lines += [f"{name}:{all[name]}" for name in sorted(all) if name.startswith("x-ms-")]
        lines.append(f"/{self.account}{path}")
        lines += [f"{name}:{value}" for name, value in sorted(parse_qsl(query, keep_blank_values=True))]
        signature = self._sign("\n".join(lines))
        all["authorization"] = f"SharedKey {self.account}:{signature}"
        return all

    def presigned(self, method: str, host: str, path: str, pairs: Iterable[tuple[str, object]], seconds: int) -> str:
        """The query of a URL by which anybody can read a blob for a while."""
        said = dict(pairs)
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        disposition, kind = (said.get(f"response-content-{name}", "") for name in ("disposition", "type"))
        own = path if path.startswith(f"/{self.account}/") else f"/{self.account}{path}"
        text = "\n".join(
            (
                "r",
                "",
                until,
                f"/blob{unquote(own)}",
                "",
                "",
                "",
                VERSION,
                "b",
                "",
                "",
                "",
                str(disposition),
                "",
                "",
                str(kind),
            )
        )
        given = {"sp": "r", "se": until, "sv": VERSION, "sr": "b", "rscd": disposition, "rsct": kind}
        return query_of([*((name, value) for name, value in given.items() if value), ("sig", self._sign(text))])


class Bearer:
    """Shows a token, which is renewed by whatever gave it."""

    region = ""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def headers(self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> dict[str, str]:
        return {**_dated(headers), "authorization": f"Bearer {self._token()}"}

    def presigned(self, method: str, host: str, path: str, pairs: Iterable[tuple[str, object]], seconds: int) -> str:
        raise StoreBroken("only the key of an Azure account can sign a URL")
