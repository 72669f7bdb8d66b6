"""`azblob://container/prefix?account=…`: a URL becomes a store."""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ...errors import OptionError
from ...options import Options
from ..s3 import S3Store, grid
from ..s3.checking import PATIENCE, SKEW, first_failure
from ..s3.client import Failed
from ..s3.urls import bucket_and_prefix, bytes_said, certificates_at, checked_endpoint, wrong_url
from .client import AzureClient
from .container import LISTING, Container
from .signing import Bearer, SharedKey

_LARGEST_BUDGET = 1 << 39  # bytes
_SAID = ("account", "key", "endpoint", "part", "unknown_part", "budget", "ca")
_CONTAINER = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
_SCOPE = "https://storage.azure.com/.default"


def open_azure(
    url: str, options: Options, environ: Mapping[str, str] = os.environ, *, patience: float = PATIENCE
) -> S3Store:
    """The store that the option names; raises OptionError, which says what to change."""
    parts = urlsplit(url)
    said = _said(parts.query, environ)
    if not _CONTAINER.fullmatch(parts.netloc):
        what = "no name of a container; it has to be azblob://container/prefix?account=NAME"
        raise wrong_url(f"{parts.netloc!r} is {what}")
    container, prefix = bucket_and_prefix(parts.netloc, unquote(parts.path))
    endpoint, base = _endpoint(said)
    client = AzureClient(endpoint, container, _signer(said), base=base, ca=certificates_at(said.get("ca", "")))
    store = S3Store(
        Container(client),
        prefix,
        part=bytes_said(said, "part", grid.LEAST),
        unknown=bytes_said(said, "unknown_part", 64 * grid.MIB),
        budget=bytes_said(said, "budget", 256 * grid.MIB, most=_LARGEST_BUDGET),
    )
    _check(store, said["account"], patience)
    return store


def _said(query: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What the URL says, and where it says nothing, the environment."""
    said = dict(parse_qsl(query, keep_blank_values=True))
    for name in said:
        if name not in _SAID:
            raise wrong_url(f"azblob: knows no {name!r}; there are {', '.join(_SAID)}")
    text = environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    fields = dict(field.split("=", 1) for field in text.split(";") if "=" in field)
    known = {
        "account": environ.get("AZURE_STORAGE_ACCOUNT") or fields.get("AccountName", ""),
        "key": environ.get("AZURE_STORAGE_KEY") or fields.get("AccountKey", ""),
        "endpoint": fields.get("BlobEndpoint", ""),
    }
    said = {**known, **{name: value.replace(" ", "+") if name == "key" else value for name, value in said.items()}}
    if not said["account"]:
        raise wrong_url("azblob: say account=NAME, or set AZURE_STORAGE_ACCOUNT")
    return said


def _endpoint(said: Mapping[str, str]) -> tuple[str, str]:
    """Where the account is, and the path that stands in front of its containers, as emulators have it."""
    text = said["endpoint"] or f"https://{said['account']}.blob.core.windows.net"
    path = urlsplit(text).path.rstrip("/")
    return checked_endpoint(text.rstrip("/").removesuffix(path)), path


def _signer(said: Mapping[str, str]) -> SharedKey | Bearer:
    if not said["key"]:
        return _of_identity()
    try:
        return SharedKey(said["account"], base64.b64decode(said["key"], validate=True))
    except binascii.Error:
        raise wrong_url("key: it is not in base64, as Azure gives it; was it cut?") from None


def _of_identity() -> Bearer:
    """What Azure's own library finds: identities of machines and containers, or who is logged in; it renews them."""
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise wrong_url(
            "there is no key: set AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING; for identities of machines, "
            "pip install azure-identity"
        ) from None
    found: Any = DefaultAzureCredential()
    return Bearer(lambda: str(found.get_token(_SCOPE).token))


def _check(store: S3Store, account: str, patience: float) -> None:
    """Do each thing once that uploads need; raises OptionError."""
    bucket = store.uploads.bucket

    def reach() -> None:
        bucket.client.ask("GET", "", [*LISTING, ("maxresults", "1")], attempts=1)

    failed = first_failure(store.uploads, reach, patience)
    if failed:
        raise OptionError(f"option store: {_reason(store, account, *failed)}") from failed[1]


def _reason(store: S3Store, account: str, step: str, error: Exception) -> str:
    client = store.uploads.bucket.client
    if not isinstance(error, Failed):
        return f"account: {error}; is the name of the account right, and the endpoint?"
    date = error.said.get("date")
    skew = abs(time.time() - parsedate_to_datetime(date).timestamp()) if date else 0.0
    if error.code == "AuthenticationFailed" and skew > SKEW:
        return f"the clock of this machine is {skew:.0f} s away from that of {client.endpoint}; set it"
    if error.code in ("AuthenticationFailed", "AuthorizationFailure", "InvalidAuthenticationInfo"):
        return f"key: {client.endpoint} does not accept it for the account {account} ({error.code}); check both"
    if error.missing:
        return f"there is no container {client.bucket} at {client.endpoint}; make it, or name another one"
    if error.answer in (401, 403):
        return f"{account} may not {step} the container {client.bucket} ({error.code}); give it that right"
    return f"cannot {step} the container {client.bucket}: {error}"
