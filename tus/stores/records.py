"""Records as text, in the words of tusd: what `<id>.info` holds.

What is read may be anything: a stranger's file, or one of ours that a broken disk changed. Such text raises NotFound or
Damaged and nothing else, and no value has a type that others do not expect.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from math import inf
from operator import attrgetter
from typing import Any

from ..errors import Damaged, NotFound, TusError
from ..upload import Chunks, Metadata, PartPlace, Result, Target, Upload, is_echoed, is_random

OPENING = '{"ID":'  # of every record that we write
# Where a record says how far its upload came: 0, open; 1, complete; 2, complete, and the host had nothing to add; 3, as
# 2, and its data may go. This one digit, in a place that is always the same, can be changed without writing the rest.
# With 4 added, the bytes lie in another file: who does not know of that must not read the record.
STATE = -3
STATES = b"01234567"
_DONE, _OVER, _PLACED = 2, 3, 4
_PLAIN = Result()
_SHORT = 2048  # characters of a record, as nearly all are
_MOST = 1 << 63  # bytes, and more than any file has
_scan = json.JSONDecoder().raw_decode
_BLANKS = " \t\n\r"
_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encoded(upload: Upload) -> str:
    """The record as tusd writes it, with what only we know under a key of its own. Put together by hand: most of it is
    the same for every upload, and it is written twice or more for each."""
    raw, values = upload.metadata.raw, ""
    ours = f'"created":{_number(upload.created)}'
    if raw:
        ours += f',"metadata":{_quoted(raw)}'
        pairs = upload.metadata.items()
        values = ",".join([f"{_quoted(key)}:{_quoted(value.decode('utf-8', 'replace'))}" for key, value in pairs])
    state = state_of(upload)
    found = _ours(upload if state & _OVER != _OVER else upload.evolve(dropped=False))
    if found != _NONE_OF_OURS:
        ours += _more(found)
    if upload.result and state & _OVER < _DONE:
        ours += (
            f',"result":{_write([upload.result.status, upload.result.headers, upload.result.body.decode("latin-1")])}'
        )
    return (
        f'{{"ID":{_quoted(upload.id)},"Size":{_number(upload.length or 0)},'
        f'"SizeIsDeferred":{_FLAGS[upload.length is None]},"Offset":0,"MetaData":{{{values}}},'
        f'"IsPartial":{_FLAGS[upload.partial]},"IsFinal":{_FLAGS[upload.final]},'
        f'"PartialUploads":{_write(upload.parts) if upload.parts else "null"},"Storage":null,'
        f'"tus":{{{ours},"complete":{state}}}}}'
    )


def _more(found: tuple[Any, ...]) -> str:
    """What only some uploads have."""
    text = ""
    for name, blank, value in zip(_OURS, _NONE_OF_OURS, found, strict=True):
        # `in` would find 0 to be False. And an owner without a name is an owner.
        if value is blank or value is None or value is False or value == () or value == "" and name != "owner":
            continue
        text += f',"{name}":{"true" if value is True else _write(value)}'
    return text


def state_of(upload: Upload) -> int:
    """The digit that says how far the upload came."""
    placed = _PLACED if upload.place else 0
    if not upload.complete:
        return placed
    return placed + (1 if upload.result != _PLAIN else _OVER if upload.dropped else _DONE)


def advanced(old: Upload, new: Upload) -> bool:
    """Whether the record of the new one differs in its digit, and in nothing else."""
    if old.result or new.result not in (None, _PLAIN):
        return False
    came = {"offset": new.offset, "touched": new.touched, "complete": new.complete, "result": new.result}
    return new.complete and old.evolve(**came) == new


def same(now: Upload, since: Upload) -> bool:
    """Whether nobody has changed the record. What the storage says by itself does not count, such as that the data is
    gone; nor what a store notes there of its own drafts."""
    since = since.evolve(unverified_from=None, dropped=since.dropped or now.dropped)
    return encoded(now.evolve(unverified_from=None)) == encoded(since)


_BLANK = list(Upload(""))
_AT = {name: at for at, name in enumerate(Upload._fields)}
_OURS = (
    "concat", "owner", "limit", "expires", "unverified_from", "dropped", "expected", "finals", "digests",
    "target", "chunks", "keyed", "place",
)  # fmt: skip
_ours = attrgetter(*_OURS)
_NONE_OF_OURS = _ours(Upload(""))
_FLAGS = ("false", "true")


def _number(value: float) -> str:
    """As JSON has it, whatever kind of number the host made of it."""
    return repr(value) if type(value) in (int, float) and abs(value) < inf else _write(value)


def decoded(text: bytes, id: str) -> tuple[Upload, bool]:
    """The upload, and whether we wrote the record. A file that is not a record is no upload."""
    # Requests for one upload come one after the other, and its record seldom changes meanwhile.
    return _remembered(text, id) if len(text) <= _SHORT else _decoded(text, id)


def part_place_of(text: bytes, id: str) -> PartPlace | None:
    """Where the part with this record lies, if it can be read."""
    with suppress(TusError):
        return decoded(text, id)[0].place if b'"place":' in text else None
    return None


def _decoded(text: bytes, id: str) -> tuple[Upload, bool]:
    try:
        record = _parsed(text.decode().strip(_BLANKS))
        return _checked(record, id), "tus" in record
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, TusError) as error:
        raise _unreadable(text, id, error) from None


_remembered = lru_cache(1024)(_decoded)  # a record is read-only; some megabytes at most


def _parsed(text: str) -> Any:
    """As json.loads has it, with half of the calls."""
    value, end = _scan(text)
    if end != len(text):
        raise ValueError("more than one value")
    return value


def _unreadable(text: bytes, id: str, error: Exception) -> TusError:
    if is_random(id) or text.startswith(OPENING.encode()):
        return Damaged(f"the record of this upload cannot be read: {type(error).__name__}")
    return NotFound("no such upload")


def _checked(record: dict[str, Any], id: str) -> Upload:
    """The upload; looks only at what the record holds, since this runs for every request."""
    values = _BLANK.copy()
    values[0] = id  # and not what the record says: no name of a file comes out of a file
    if record.get("SizeIsDeferred"):
        _size(record.get("Size", 0))
    else:
        values[_LENGTH] = _size(record["Size"])
    if record.get("IsPartial"):
        values[_PARTIAL] = True
    if parts := record.get("PartialUploads"):
        values[_PARTS] = _names(parts)
    if "tus" not in record:
        values[_METADATA] = _of_tusd(record.get("MetaData") or {})
    for name, value in record.get("tus", _NOTHING).items():
        if name in _READ:
            at, read = _READ[name]
            values[at] = read(value)
    if values[_COMPLETE] in (_DONE, _OVER):
        values[_DROPPED] = values[_DROPPED] or values[_COMPLETE] == _OVER
        values[_COMPLETE], values[_RESULT] = True, _PLAIN
    if values[_PARTIAL] and not values[_CONCAT]:
        values[_CONCAT] = "partial"
    return tuple.__new__(Upload, values)  # in a fraction of the time that twenty keywords take


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise TypeError("size")
    return value


def _number_of(value: Any) -> Any:
    if type(value) not in (float, int, bool):
        raise TypeError("number")
    return value


def _state_of(value: Any) -> int:
    if type(value) not in (int, bool) or not 0 <= value <= _OVER + _PLACED:
        raise TypeError("state")
    value &= _OVER
    return value if value >= _DONE else bool(value)


def _flag_of(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("flag")
    return value


def _word(value: Any) -> str:
    """What can go into a header; names in any language may be in an old record."""
    if type(value) is not str or not (value.isprintable() or is_echoed(value)):
        raise TypeError("word")
    return value


def _metadata(value: Any) -> Metadata:
    return Metadata.stored(_word(value))


def _of_tusd(values: dict[str, str]) -> Metadata:
    """It keeps the values only."""
    return Metadata.of({key: value.encode("utf-8", "replace") for key, value in values.items()})


def _owner(value: Any) -> Any:
    if type(value) not in (str, int):
        raise TypeError("owner")
    return value


def _names(found: Any) -> tuple[str, ...]:
    if type(found) is not list or not all(type(name) is str for name in found):
        raise TypeError("names")
    return tuple(found)


def _result(found: Any) -> Result:
    status, headers, body = found
    if type(status) is not int or not 100 <= status <= 999:
        raise TypeError("result")
    return Result(status, _pairs(headers) if headers else (), body.encode("latin-1"))


def _chunks(found: Any) -> Chunks:
    size, many = found
    return Chunks(_size(size), _size(many))


def _place(found: Any) -> PartPlace:
    whole, start, total, boot = found
    _names([whole, boot])
    if not is_random(whole):  # a name of a file comes of it
        raise ValueError("whole")
    return PartPlace(whole, _size(start), _size(total), boot)


def _target(found: Any) -> Target:
    method, path, query, headers = found
    _names([method, path, query])
    return Target(method, path, query, _pairs(headers))


def _pairs(found: Any) -> tuple[tuple[str, str], ...]:
    pairs = tuple((first, second) for first, second in found)
    if not all(type(first) is type(second) is str for first, second in pairs):
        raise TypeError("pairs")
    return pairs


def _or(read: Callable[[Any], Any], nothing: Any) -> Callable[[Any], Any]:
    """As `read` has it, if there is anything."""
    return lambda value: read(value) if value else nothing


def _unless_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_NOTHING: dict[str, Any] = {}
_LENGTH, _PARTIAL, _CONCAT = _AT["length"], _AT["partial"], _AT["concat"]
_PARTS, _METADATA, _COMPLETE, _RESULT = _AT["parts"], _AT["metadata"], _AT["complete"], _AT["result"]
_DROPPED = _AT["dropped"]
_READ: dict[str, tuple[int, Callable[[Any], Any]]] = {
    name: (_AT[name], read)
    for name, read in {
        "created": _number_of,
        "metadata": _metadata,
        "concat": _word,
        "complete": _state_of,
        "owner": _unless_none(_owner),
        "limit": _unless_none(lambda value: int(_number_of(value))),
        "expires": _unless_none(_number_of),
        "unverified_from": _size,
        "dropped": _flag_of,
        "expected": _size,
        "finals": _names,
        "digests": _pairs,
        "target": _target,
        "chunks": _chunks,
        "keyed": _word,
        "place": _place,
        "result": _or(_result, None),
    }.items()
}
