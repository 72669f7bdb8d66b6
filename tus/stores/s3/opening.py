"""`s3://bucket/prefix?endpoint=…`: a URL becomes a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ...options import Options
from . import S3Store, grid
from .bucket import Bucket
from .checking import PATIENCE, check
from .client import S3Client
from .pattern import Pattern
from .signing import Credentials
from .urls import bucket_and_prefix, bytes_said, certificates_at, checked_endpoint, wrong_url

_LARGEST_BUDGET = 1 << 39  # bytes
_SAID = (
    "endpoint", "region", "access_key", "secret", "token", "profile", "style", "part", "unknown_part", "budget", "ca",
    "key",
)  # fmt: skip


def open_store(
    url: str, options: Options, environ: Mapping[str, str] = os.environ, *, patience: float = PATIENCE
) -> S3Store:
    """The store that the option names; raises OptionError, which says what to change."""
    parts = urlsplit(url)
    said = _said(parts.query)
    bucket, prefix = bucket_and_prefix(parts.netloc, unquote(parts.path))
    region = said.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = said.get("endpoint") or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    client = S3Client(
        checked_endpoint(endpoint or f"https://s3.{region}.amazonaws.com"),
        bucket,
        _credentials(said, environ),
        region=region,
        path_style=_path_style(said.get("style", ""), bool(endpoint), bucket),
        ca=certificates_at(said.get("ca", "")),
    )
    store = S3Store(
        Bucket(client),
        prefix,
        pattern=_pattern(said.get("key", ""), prefix),
        part=bytes_said(said, "part", grid.LEAST),
        unknown=bytes_said(said, "unknown_part", 64 * grid.MIB),
        budget=bytes_said(said, "budget", 256 * grid.MIB, most=_LARGEST_BUDGET),
    )
    check(store.uploads, patience=patience)
    return store


def _said(query: str) -> dict[str, str]:
    said = dict(parse_qsl(query, keep_blank_values=True))
    for name in said:
        if name not in _SAID:
            raise wrong_url(f"s3: knows no {name!r}; there are {', '.join(_SAID)}")
    return said


def _path_style(style: str, chosen: bool, bucket: str) -> bool:
    """Where the name of the bucket stands: in the path, or in front of the host."""
    if style not in ("", "path", "host"):
        raise wrong_url(f"style={style!r} has to be path or host")
    # A certificate for *.s3.amazonaws.com does not fit a name with dots.
    return style == "path" or not style and (chosen or "." in bucket)


def _pattern(text: str, prefix: str) -> Pattern | None:
    try:
        return Pattern(text, prefix) if text else None
    except ValueError as error:
        raise wrong_url(f"key={text!r}: {error}") from None


def _credentials(said: Mapping[str, str], environ: Mapping[str, str]) -> Callable[[], Credentials]:
    """The keys: from the URL, the environment, the file of AWS's tools; or from whatever botocore finds."""
    for source, names in ((said, ("access_key", "secret", "token")), (environ, _VARIABLES)):
        key, secret, token = (source.get(name, "") for name in names)
        if bool(key) != bool(secret):
            raise wrong_url(f"{names[0]} and {names[1]} belong together, and one of them is missing")
        if key and not said.get("profile"):
            given = Credentials(key, secret, token)
            return lambda: given
    profile = said.get("profile") or environ.get("AWS_PROFILE", "default")
    found = _from_file(profile, environ)
    if found:
        return lambda: found
    return _of_botocore(said.get("profile") or environ.get("AWS_PROFILE"))


_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def _from_file(profile: str, environ: Mapping[str, str]) -> Credentials | None:
    path = environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path(environ.get("HOME", "/")) / ".aws" / "credentials"
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path)
    except (Error, OSError, UnicodeDecodeError) as error:
        raise wrong_url(f"{path} cannot be read: {error}") from None
    if profile not in parser or "aws_access_key_id" not in parser[profile]:
        return None
    section = parser[profile]
    return Credentials(
        section["aws_access_key_id"], section.get("aws_secret_access_key", ""), section.get("aws_session_token", "")
    )


def _of_botocore(profile: str | None) -> Callable[[], Credentials]:
    """What AWS's own library finds: roles of machines and containers, single sign-on; it renews them by itself."""
    try:
        from botocore.session import Session
    except ImportError:
        raise wrong_url(
            "there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into "
            "~/.aws/credentials; for roles of machines, pip install botocore"
        ) from None
    found: Any = Session(profile=profile).get_credentials()
    if found is None:
        raise wrong_url("there are no keys where botocore looks: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")

    def current() -> Credentials:
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    return current
