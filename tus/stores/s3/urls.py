"""What the URLs of all object storage have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ...errors import OptionError
from . import grid

_BUCKET = re.compile(r"[a-z0-9A-Z][a-zA-Z0-9._-]{1,254}")
_PREFIX = re.compile(r"[A-Za-z0-9._~/=-]*")
_SIZE = re.compile(r"([0-9]{1,6}) ?mi?b?", re.IGNORECASE)


def wrong_url(what: str) -> OptionError:
    return OptionError(f"option store: {what}")


def bucket_and_prefix(bucket: str, path: str) -> tuple[str, str]:
    if "@" in bucket:
        raise wrong_url("keys do not belong in front of the bucket; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not _BUCKET.fullmatch(bucket):
        raise wrong_url(f"{bucket!r} is no name of a bucket; it has to be s3://bucket/prefix?endpoint=https://…")
    prefix = path.strip("/")
    if not _PREFIX.fullmatch(prefix) or ".." in prefix or "//" in prefix:
        raise wrong_url(f"the prefix {prefix!r} may have letters, digits and . _ ~ = - only, between single slashes")
    return bucket, f"{prefix}/" if prefix else ""


def checked_endpoint(text: str) -> str:
    url = urlsplit(text)
    try:
        valid = url.scheme in ("http", "https") and url.hostname and url.path in ("", "/") and url.port != 0
    except ValueError:
        valid = False
    if not valid or url.query or url.username:
        raise wrong_url(f"endpoint={text!r} has to be like https://s3.example.com, or http://127.0.0.1:9000")
    return f"{url.scheme}://{url.netloc}"


def bytes_said(said: Mapping[str, str], name: str, default: int, *, most: int = 5 << 30) -> int:
    """A number of bytes; a part may have 5 GiB."""
    text = said.get(name, "")
    if not text:
        return default
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * grid.MIB if found else 0
    if not grid.LEAST <= size <= most:
        raise wrong_url(f"{name}={text!r} has to be from 5MiB to {most // grid.MIB}MiB")
    return size


def certificates_at(path: str) -> str | None:
    if path and not os.path.isfile(path):
        raise wrong_url(f"ca={path!r} is no file; it names the certificates that are trusted, in PEM format")
    return path or None
