"""Header text to values and back, one function for each header. What follows from a value is decided elsewhere."""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from ..checksum import Checksum, checksum
from ..errors import BadRequest
from ..upload import is_echoed
from . import fields
from .messages import Headers

MAX_NUMBER = 2**63 - 1  # what a file offset can hold
OFFSET_TYPE = "application/offset+octet-stream"  # the media type of a PATCH of tus, from its first version on
PAGE_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")  # what browsers send by themselves

_MAX_KEY = 255  # characters; it is worked into an id, and no library sends more than a UUID
_BARE_KEY = re.compile(r"[!#-+\--:<-~]+")  # no quote, comma or semicolon, which mean something in a structured field
# A key that nobody can guess, such as a UUID; and as many numbers as a final upload may have parts.
_WHOLE = re.compile(r"[0-9A-Za-z-]{16,64}(?: [1-9][0-9]{0,14}){1,1000}", re.ASCII)
_MAX_WHOLE = 8192  # characters, as many as most servers take in a header
_EXTENDED = re.compile(r";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^';]*'([^;\s]+)", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r';\s*filename\s*=\s*("(?:[^"\\]|\\.)*"|[^;"\s]+)', re.IGNORECASE | re.ASCII)
_ODD = re.compile(r'[^ -~]|["\\%]')  # what a quoted string of an old browser cannot hold
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)  # int() would take "٣", "+5", "1_0" and " 5" too


def natural(headers: Headers, name: str) -> int | None:
    """A non-negative integer in ASCII digits; None if the header is absent."""
    value = headers.get(name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value) or (number := int(value)) > MAX_NUMBER:
        raise BadRequest(f"{name} is not a number of bytes: {value[:40]!a}")
    return number


def media_type(value: str) -> str:
    """The media type in a Content-Type, without its parameters."""
    return value.partition(";")[0].strip().lower()


def bare_utf8(value: str) -> str:
    """The text in a header that came as bare UTF-8, which WSGI carries as if it were Latin-1."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


def deferred(headers: Headers) -> bool:
    """Whether the length comes later."""
    value = headers.get("upload-defer-length")
    if value not in (None, "1"):
        raise BadRequest(f"Upload-Defer-Length is {value[:40]!a}; the only value is 1")
    return value is not None


def concat(headers: Headers) -> tuple[str, tuple[str, ...]]:
    """("", ()), ("partial", ()), or ("final", the URLs of its parts)."""
    value = headers.get("upload-concat")
    if value is None:
        return "", ()
    if value == "partial":
        return "partial", ()
    if not value.startswith("final;") or not is_echoed(value):
        raise BadRequest("Upload-Concat is neither `partial` nor `final;` and URLs")
    urls = tuple(value[6:].split())
    if not urls:
        raise BadRequest("Upload-Concat names no partial upload")
    return "final", urls


def idempotency_key(headers: Headers) -> str:
    """What the client calls this creation, so that it can send it again; "" if it does not say. Libraries send the key
    without the quotes of a structured field, too."""
    value = headers.get("idempotency-key")
    if value is None:
        return ""
    key = value if _BARE_KEY.fullmatch(value) else fields.string(value)
    if not key or len(key) > _MAX_KEY:
        raise BadRequest(f"Idempotency-Key is not one key of 1 to {_MAX_KEY} visible characters: {value[:40]!a}")
    return key


def announced_whole(headers: Headers) -> tuple[str, tuple[int, ...]]:
    """What the client calls the file that its parts will be, and the lengths of all of them in their order; ("", ()) if
    it does not say. The length of a part tells which one it is, so that all differ."""
    value = headers.get("upload-whole")
    if value is None:
        return "", ()
    if len(value) > _MAX_WHOLE or not _WHOLE.fullmatch(value):
        raise BadRequest("Upload-Whole is not a key of 16 to 64 letters and digits, and the length of each part")
    key, *said = value.split(" ")
    sizes = tuple(map(int, said))
    if len(set(sizes)) < len(sizes):
        raise BadRequest("two parts in Upload-Whole have the same length, so that nothing tells which one this is")
    return key, sizes


def expected_checksum(headers: Headers) -> Checksum | None:
    """What the client says the body's checksum is."""
    value = headers.get("upload-checksum")
    return None if value is None else checksum(value)


_LAST = 253402300799  # the end of the year 9999


def http_date(seconds: float) -> str:
    """An IMF-fixdate, in whatever language the server runs."""
    return _date(int(seconds) if 0 <= seconds <= _LAST else 0 if seconds < 0 else _LAST)


@lru_cache(64)  # uploads that are touched in the same second expire in the same one
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def filename(value: str) -> str:
    """The name in a Content-Disposition, whichever way it is written; "" if there is none."""
    extended, plain = _EXTENDED.search(value), _PLAIN.search(value)
    if extended:
        charset, encoded = extended.groups()
        return unquote_to_bytes(encoded).decode("latin-1" if charset.lower() == "iso-8859-1" else "utf-8", "replace")
    if not plain:
        return ""
    name = re.sub(r"\\(.)", r"\1", plain[1][1:-1]) if plain[1].startswith('"') else plain[1]
    return bare_utf8(name)


def disposition(kind: str, filename: str) -> str:
    """Content-Disposition with a name that old and new browsers understand."""
    if not filename:
        return kind
    plain = _ODD.sub("_", filename)
    if plain == filename:
        return f'{kind}; filename="{plain}"'
    encoded = quote(filename.encode("utf-8", "replace"), safe="!#$&+-.^_`|~")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
