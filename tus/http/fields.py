"""Structured fields (RFC 9651), those that uploads need: header text to values and back.

Text that breaks the grammar in any place is no value: the field counts as absent, and nothing of it may be used.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping

MAX_INTEGER = 10**15 - 1  # what a structured field can hold

_KEY = r"[a-z*][a-z0-9_.*-]*"
_BARE = (
    r"-?[0-9]{1,12}\.[0-9]{1,3}"  # decimal
    r"|-?[0-9]{1,15}(?![0-9.])"  # integer
    r'|"(?:[ !#-\[\]-~]|\\["\\])*"'  # string
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"  # token
    r"|:[A-Za-z0-9+/]*={0,2}:"  # byte sequence
    r"|\?[01]"  # boolean
    r"|@-?[0-9]{1,15}(?![0-9.])"  # date
    r'|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"'  # display string
)
_PARAMETERS = rf"(?:; *{_KEY}(?:=(?:{_BARE}))?)*"
_INNER = rf"\( *(?:(?:{_BARE}){_PARAMETERS}(?: +(?:{_BARE}){_PARAMETERS})* *)?\)"
_ITEM = re.compile(rf" *({_BARE}){_PARAMETERS} *", re.ASCII)
_MEMBER = re.compile(rf"({_KEY})(?:=({_INNER}|{_BARE}))?{_PARAMETERS}", re.ASCII)
_COMMA = re.compile(r"[ \t]*,[ \t]*", re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
_INTEGER = re.compile(r"-?[0-9]{1,15}", re.ASCII)


def _item(text: str | None) -> str:
    """The bare value of an item, without its parameters; "" if this is no item."""
    match = _ITEM.fullmatch(text) if text else None
    return match[1] if match else ""


def whole_number(text: str | None) -> int | None:
    """An integer of 0 or more."""
    bare = _item(text)
    if not _INTEGER.fullmatch(bare):
        return None
    number = int(bare)
    return number if number >= 0 else None


def string(text: str | None) -> str | None:
    """What a quoted string holds."""
    bare = _item(text)
    return _ESCAPED.sub(r"\1", bare[1:-1]) if bare.startswith('"') else None


def boolean(text: str | None) -> bool | None:
    """`?1` or `?0`."""
    bare = _item(text)
    return bare == "?1" if bare in ("?1", "?0") else None


def dictionary(text: str | None) -> dict[str, str]:
    """Each key with its bare value as it was written; of a key that comes twice, the last."""
    text = (text or "").strip(" ")
    members: dict[str, str] = {}
    at = 0
    while text:
        match = _MEMBER.match(text, at)
        if not match:
            return {}
        members[match[1]] = match[2] or "?1"
        comma = _COMMA.match(text, match.end())
        if not comma:
            return members if match.end() == len(text) else {}
        at = comma.end()
    return members


def octets(bare: str) -> bytes | None:
    """What a byte sequence holds."""
    if len(bare) < 2 or not bare.startswith(":") or not bare.endswith(":"):
        return None
    encoded = bare[1:-1].rstrip("=")
    try:
        return b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except Base64Error:
        return None


def sequence(value: bytes) -> str:
    """Bytes as a byte sequence."""
    return f":{b64encode(value).decode('ascii')}:"


def listed(members: Mapping[str, int | str]) -> str:
    """A dictionary, as a header has it."""
    return ", ".join(
        f"{key}={min(value, MAX_INTEGER) if isinstance(value, int) else value}" for key, value in members.items()
    )
