"""Records as text, in the words of tusd: what `<id>.info` holds.

What is read may be anything: a stranger's file, or what a broken disk made of one of ours. Nothing but a NotFound or
Damaged may come of that, and no value of a kind that others do not expect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from .errors import Damaged, NotFound, TusError
from .upload import Chunks, Metadata, Result, Target, Upload, is_echoed, is_random

OPENING = '{"ID":'  # of every record that we write
_MOST = 1 << 63  # bytes, and more than any file has
_parse = json.JSONDecoder().decode
_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encoded(upload: Upload) -> str:
    """The record as tusd writes it, with what only we know under a key of its own. Put together by hand: most of it is
    the same for every upload, and it is written twice or more for each."""
    raw, values = upload.metadata.raw, "{}"
    ours = f'"created":{_number(upload.created)}'
    if raw:
        ours += f',"metadata":{_write(raw)}'
        values = _write({key: value.decode("utf-8", "replace") for key, value in upload.metadata.items()})
    for name in _OURS:
        value = getattr(upload, name)
        # `in` would find 0 to be False. And an owner without a name is an owner.
        if value is not None and value is not False and value != () and (value != "" or name == "owner"):
            ours += f',"{name}":{"true" if value is True else _write(value)}'
    if upload.result:
        ours += f',"result":{_answer(*upload.result) if upload.result != Result() else _NO_ANSWER}'
    return (
        f'{{"ID":{_write(upload.id)},"Size":{_number(upload.length or 0)},'
        f'"SizeIsDeferred":{_flag(upload.length is None)},"Offset":0,"MetaData":{values},'
        f'"IsPartial":{_flag(upload.partial)},"IsFinal":{_flag(upload.final)},'
        f'"PartialUploads":{_write(upload.parts) if upload.parts else "null"},"Storage":null,"tus":{{{ours}}}}}'
    )


_OURS = ("concat", "complete", "owner", "limit", "expires", "unverified_from", "dropped", "expected",
         "finals", "digests", "target", "chunks")  # fmt: skip


def _answer(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> str:
    return _write([status, headers, body.decode("latin-1")])


_NO_ANSWER = _answer(*Result())


def _number(value: float) -> str:
    """As JSON has it, whatever kind of number the host made of it."""
    return repr(value) if type(value) in (int, float) and abs(value) < inf else _write(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def decoded(text: bytes, id: str) -> tuple[Upload, bool]:
    """The upload, and whether we wrote the record. A file that is nobody's record is no upload."""
    try:
        record = _parse(text.decode())
        return _checked(record, id), "tus" in record
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, TusError) as error:
        raise _unreadable(text, id, error) from None


def _unreadable(text: bytes, id: str, error: Exception) -> TusError:
    if is_random(id) or text.startswith(OPENING.encode()):
        return Damaged(f"the record of this upload cannot be read: {type(error).__name__}")
    return NotFound("no such upload")


def _checked(record: dict[str, Any], id: str) -> Upload:
    ours = record.get("tus", _NOTHING)
    for name, value in ours.items():
        # By its type alone, where that is enough: this runs for every request.
        if type(value) not in _KINDS.get(name, _ANY) or name in _RIGHT and not _RIGHT[name](value):
            raise TypeError(name)
    parts = record.get("PartialUploads")
    if parts and not _names(parts):
        raise TypeError("PartialUploads")
    size = record.get("Size", 0) if record.get("SizeIsDeferred") else record["Size"]
    if type(size) is not int or not 0 <= size < _MOST:
        raise TypeError("Size")
    return _upload(record, ours, parts or (), id)


def _upload(record: dict[str, Any], ours: dict[str, Any], parts: Iterable[str], id: str) -> Upload:
    result = ours.get("result")
    return Upload(
        id=id,  # and not what the record says: no name of a file comes out of a file
        length=None if record.get("SizeIsDeferred") else record["Size"],
        metadata=_metadata(record, ours),
        concat=ours.get("concat") or ("partial" if record.get("IsPartial") else ""),
        partial=bool(record.get("IsPartial")),
        parts=tuple(parts),
        finals=tuple(ours.get("finals", ())),
        complete=ours.get("complete", False),
        owner=ours.get("owner"),
        limit=None if ours.get("limit") is None else int(ours["limit"]),
        created=ours.get("created", 0.0),
        expires=ours.get("expires"),
        unverified_from=ours.get("unverified_from"),
        dropped=ours.get("dropped", False),
        result=_result(*result) if result else None,
        digests=_pairs(ours["digests"]) if "digests" in ours else (),
        chunks=_chunks(*ours["chunks"]) if "chunks" in ours else None,
        expected=ours.get("expected"),
        target=_target(*ours["target"]) if "target" in ours else None,
    )


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_word(value: str) -> bool:
    """Whether it can go into a header; names in any language may be in an old record."""
    return value.isprintable() or is_echoed(value)


def _names(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value))


_NOTHING: dict[str, Any] = {}
_ANY = (str, int, float, bool, list, dict, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    "created": (float, int, bool), "metadata": (str,), "concat": (str,), "owner": (str, int, type(None)),
    "complete": (bool,), "dropped": (bool,), "expires": (float, int, bool, type(None)),
    "limit": (int, float, type(None)),
}  # fmt: skip
_RIGHT: dict[str, Callable[[Any], bool]] = {
    "metadata": _is_word, "concat": _is_word,
    "unverified_from": _is_size, "expected": _is_size, "finals": _names,
}  # fmt: skip


def _size(value: Any) -> int:
    if not _is_size(value):
        raise TypeError("Size")
    return int(value)


def _result(status: Any, headers: Any, body: Any) -> Result:
    if type(status) is not int or not 100 <= status <= 999:
        raise TypeError("result")
    return Result(status, _pairs(headers), body.encode("latin-1"))


def _chunks(size: Any, many: Any) -> Chunks:
    return Chunks(_size(size), _size(many))


def _target(method: Any, path: Any, query: Any, headers: Any) -> Target:
    if not _names([method, path, query]):
        raise TypeError("target")
    return Target(method, path, query, _pairs(headers))


def _pairs(found: Any) -> tuple[tuple[str, str], ...]:
    pairs = tuple((first, second) for first, second in found)
    if not all(_is_text(first) and _is_text(second) for first, second in pairs):
        raise TypeError("pairs")
    return pairs


def _metadata(record: dict[str, Any], ours: dict[str, Any]) -> Metadata:
    if "tus" in record:
        return Metadata.stored(ours.get("metadata", ""))
    # A record that tusd wrote: it keeps the values only.
    return Metadata.of({key: value.encode("utf-8", "replace") for key, value in (record.get("MetaData") or {}).items()})
