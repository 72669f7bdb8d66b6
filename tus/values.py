"""Values of options, as people and programs write them: one function for each kind, which says what is wrong.

Each raises ValueError, with words that go on after the name of the option.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hooks import Hooks

_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_TIME = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)\s*([a-z]*)", re.IGNORECASE)
_LONGEST = 100 * 365 * 86400.0  # seconds; an HTTP date has a year of four digits
_SECONDS = {"": 1, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TARGET = re.compile(r"(?:[A-Z]+:)?/\S*|[A-Z]+")
_BACKEND = re.compile(r"[a-z][a-z0-9+.-]*:.*", re.IGNORECASE)
_ORIGIN = re.compile(r"(?:[a-z][a-z0-9+.-]*://[^\s/?#@,]+/?|null)", re.IGNORECASE)
_TRUE, _FALSE = frozenset(("true", "yes", "on", "y", "t", "1")), frozenset(("false", "no", "off", "n", "f", "0"))
_UPLOADERS = ("chunks", "filepond", "form", "progress")
_NOTHING = frozenset(("", "none", "unlimited"))


def size(value: int | str | None) -> int | None:
    """Bytes: 5242880, "5MB" (powers of 1000), "5MiB" (powers of 1024), "none"."""
    if value is None or isinstance(value, str) and value.strip().lower() in _NOTHING:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("is not a size such as 500MB, 1GiB or none")
    number, unit, binary = match.groups()
    factor = (1024 if binary else 1000) ** " kmgtp".index(unit.lower() or " ")
    return int(float(number) * factor) if "." in number else int(number) * factor


def duration(value: float | str | None) -> float | None:
    """Seconds: 3600, "90s", "30min", "2h", "7d", "none"."""
    if value is None or isinstance(value, str) and value.strip().lower() in _NOTHING:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return _limited(float(value))
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or match[2].lower() not in _SECONDS:
        raise ValueError("is not a time such as 90s, 30min, 2h, 7d or none")
    return _limited(float(match[1]) * _SECONDS[match[2].lower()])


def _limited(seconds: float) -> float:
    if seconds > _LONGEST:
        raise ValueError("is longer than a century; none means for ever")
    return seconds


def flag(value: bool | str) -> bool:
    """True or false, and the words that an ini uses for them."""
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("is neither true nor false")


def downloads(value: bool | str) -> bool | str:
    """True, false, or "live"."""
    return "live" if str(value).strip().lower() == "live" else flag(value)


def automatic(value: bool | str | None) -> bool | None:
    """True, false, or what is safe there: None, "auto"."""
    return None if value is None or str(value).strip().lower() == "auto" else flag(value)


def number(value: int | str) -> int:
    """A number, from 0 on."""
    if not re.fullmatch(r"[0-9]{1,9}", str(value)):
        raise ValueError("is not a number such as 16")
    return int(value)


def at_least_one(value: int | str | None) -> int | None:
    """A number, from 1 on; or what fits: None, "auto"."""
    if value is None or str(value).strip().lower() == "auto":
        return None
    if not number(value):
        raise ValueError("is not a number such as 16: nobody could upload")
    return number(value)


def text(value: str | None) -> str:
    """Any text."""
    if value is None or isinstance(value, str):
        return (value or "").strip()
    raise ValueError("is not a text")


def directory(value: str | os.PathLike[str] | None) -> str:
    """A path."""
    if value is None or isinstance(value, str | os.PathLike):
        return os.path.expanduser(os.fspath(value).strip()) if value else ""
    raise ValueError("is not a path")


def file_mode(value: int | str | None) -> int:
    """Who may read and write a file, in octal digits as for chmod."""
    return _mode(value, 0o600, 0o666)


def directory_mode(value: int | str | None) -> int:
    """Who may enter a directory, in octal digits as for chmod."""
    return _mode(value, 0o700, 0o2777)


def _mode(value: int | str | None, least: int, most: int) -> int:
    """Permissions that leave us what we need."""
    if value is None or isinstance(value, str):
        digits = re.fullmatch(r"(?:0o)?([0-7]{1,5})", (value or "").strip() or f"{least:o}")
        if not digits:
            raise ValueError(f"is not made of octal digits such as {least | 0o040:04o}")
        value = int(digits[1], 8)
    if isinstance(value, bool) or not isinstance(value, int) or value & ~most or value & least != least:
        raise ValueError(f"is not a mode between {least:04o} and {most:04o}; in Python that is 0o{least | 0o040:o}")
    return value


def url_path(value: str | None) -> str:
    """An absolute URL path, without the slash at its end."""
    path = text(value)
    if path and not path.startswith("/"):
        raise ValueError("does not begin with a slash")
    if not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*", path):
        raise ValueError("has characters that do not belong in a path")
    return path.rstrip("/") or "/"


def url(value: str | None) -> str:
    """An absolute URL, without the slash at its end."""
    address = text(value).rstrip("/")
    if address and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", address):
        raise ValueError("is not a URL such as https://example.com/upload")
    return address


def words(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Words between blanks or commas, or a list."""
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value.strip())
    if value is None:
        return ()
    if not isinstance(value, Iterable):
        raise ValueError("is not a list of words")
    return tuple(str(word) for word in value if word)


def origins(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Origins as browsers send them, with stars inside of host names; `*` for all."""
    found = words(value)
    for word in found:
        if word != "*" and not _ORIGIN.fullmatch(word):
            raise ValueError(f"is not made of origins such as https://a.example, because of {word!r}")
    return found


def targets(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Paths, in which a star stands for anything; methods; or a method, a colon and a path."""
    found = words(value)
    for word in found:
        if not _TARGET.fullmatch(word):
            raise ValueError(f"is not a list such as /photos POST:/albums/* PUT, because of {word!r}")
    return found


def uploaders(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """The protocols that are spoken besides tus; `none` for none of them."""
    found = tuple(word.lower() for word in words(value) if word.lower() not in _NOTHING)
    for word in found:
        if word not in _UPLOADERS:
            raise ValueError(f"is not made of {', '.join(_UPLOADERS)}, because of {word!r}")
    return found


def networks(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Addresses and networks; `*` for any, `unix` for a peer on a unix socket."""
    found = words(value)
    for word in found:
        if word not in ("*", "unix"):
            ipaddress.ip_network(word, strict=False)
    return found


def whatever(value: Hooks | type[Hooks] | str | None) -> Any:
    """An object, or its name."""
    return value.strip() if isinstance(value, str) else value


def backend(value: Any) -> Any:
    """An object, or a URL."""
    if value is None or isinstance(value, str):
        value = (value or "").strip()
    if isinstance(value, os.PathLike) or isinstance(value, str) and value and not _BACKEND.fullmatch(value):
        raise ValueError("is not a URL such as file:///var/uploads or memory:")
    return value


class Choice:
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, value: Any) -> str:
        word = str(value).strip().lower()
        if word not in self.choices:
            raise ValueError(f"is not one of {', '.join(self.choices)}")
        return word
