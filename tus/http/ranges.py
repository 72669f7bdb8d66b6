"""Serve one file: ranges and conditional requests, by RFC 9110. Knows nothing of uploads."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import BinaryIO

from .headers import http_date
from .messages import Headers, Response

_BLOCK = 1 << 18  # bytes
_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*", re.ASCII)
_TAG = re.compile(r'(W/)?("[^"]*")')


class Pausing:
    """A body that may be taken in one thread after another, with pauses: a server can wait for a slow client without
    keeping a thread for it. It says so by `pauses`."""

    pauses = True

    def __init__(self, blocks: Generator[bytes, None, None]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        self._blocks.close()


class FileSlice:
    """Part of an open file, as an iterable of blocks that closes the file."""

    pauses = True

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(self.start)
        left = self.size
        while left and (block := self.file.read(min(left, _BLOCK))):
            left -= len(block)
            yield block

    def close(self) -> None:
        self.file.close()


def file_response(
    headers: Headers,
    file: BinaryIO,
    *,
    size: int,
    modified: float,
    tag: str,
    extra: dict[str, str],
    method: str = "GET",
) -> Response:
    """The file, a range of it, or word that the client has it already. Takes over the open file."""
    common = {"ETag": tag, "Last-Modified": http_date(modified), "Accept-Ranges": "bytes", **extra}
    status = _condition(headers, tag, modified)
    if status:
        file.close()
        return Response(status, {k: v for k, v in common.items() if not k.startswith("Content-")})
    status, start, end = 200, 0, size
    if method == "GET" and _range_holds(headers.get("if-range"), tag, modified):
        status, start, end = _range(headers.get("range"), size)
    if status == 416:
        file.close()
        return Response(416, {"Content-Range": f"bytes */{size}", "Content-Type": "text/plain"})
    if status == 206:
        common["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    common["Content-Length"] = str(end - start)
    if method == "HEAD":
        file.close()
        return Response(status, common)
    return Response(status, common, FileSlice(file, start, end - start))


def arriving_range(headers: Headers, tag: str, *, length: int | None, there: int) -> tuple[int, int, int | None]:
    """Status, start and end of what a client gets of a file that still arrives; no end if only the file's own tells.
    503: nobody knows yet whether there will be such a range."""
    if (match := headers.get("if-match")) is not None and not names_tag(match, tag, weak=False):
        return 412, 0, 0
    holds = headers.get("if-range") in (None, tag)  # a date means nothing while bytes come
    value = headers.get("range") if holds else None
    if length is not None:
        return _range(value, length)
    found = _RANGE.fullmatch(value) if value else None
    if not found or not found[1] or value and _range(value, there)[0] == 200:
        return 200, 0, None
    start, last = int(found[1]), found[2]
    if not start and not last:
        return 200, 0, None
    return (503, 0, 0) if start >= there else (206, start, min(int(last) + 1, there) if last else there)


def _condition(headers: Headers, tag: str, modified: float) -> int:
    """412, 304, or 0 to go on; in the order of RFC 9110, section 13.2.2."""
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None:
        if not names_tag(match, tag, weak=False):
            return 412
    elif (since := _time(headers.get("if-unmodified-since"))) is not None and int(modified) > since:
        return 412
    if none_match is not None:
        return 304 if names_tag(none_match, tag, weak=True) else 0
    since = _time(headers.get("if-modified-since"))
    return 304 if since is not None and int(modified) <= since else 0


def names_tag(value: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags, or `*`, names this one; `weak`: also as a weak one."""
    if value.strip() == "*":
        return True
    return any(found == tag and (weak or not mark) for mark, found in _TAG.findall(value))


def _time(value: str | None) -> float | None:
    if value:
        with suppress(ValueError, TypeError, OverflowError):
            return parsedate_to_datetime(value).timestamp()
    return None


def _range_holds(value: str | None, tag: str, modified: float) -> bool:
    """If-Range: whether the client's part belongs to what we have."""
    if value is None:
        return True
    if value.startswith(('"', "W/")):
        return value == tag
    return _time(value) == int(modified)


def _range(value: str | None, size: int) -> tuple[int, int, int]:
    """Status, start, end. Several ranges, or what is no range, get the whole."""
    match = _RANGE.fullmatch(value) if value else None
    if not match or match[1] == match[2] == "":
        return 200, 0, size
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
        return (206, start, end) if start < end else (416, 0, 0)
    start, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return 200, 0, size
    return (206, start, end) if start < size else (416, 0, 0)
