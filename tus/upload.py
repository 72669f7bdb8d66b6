"""The frozen record of one upload, its metadata, and the one door that every id passes.

Records are values: to change one, `evolve` it and save the result.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import ItemsView, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from .errors import BadRequest, NotFound

MAX_ID = 128  # characters; file names may have 255, and we add suffixes
MAX_NAME = 200  # bytes of a file's name; file systems allow 255, and an id should fit before it
MAX_METADATA = 16 * 1024  # characters; proxies allow headers of 8 KiB, so this is generous

_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID}}}")
_RANDOM = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[!-+\--~\x80-\xff]+")  # what may stand in a header that HEAD echoes
_ECHOED = re.compile(r"[\t -~\x80-\xff]*")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.-]+)*", re.ASCII)
_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace(",", "")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def is_id(id: str) -> bool:
    """Whether an upload could go by this name."""
    return bool(_ID.fullmatch(id))


def is_random(id: str) -> bool:
    """Whether it looks like a name that we made up: no other program has files with such names."""
    return bool(_RANDOM.fullmatch(id))


def checked_id(id: str) -> str:
    """The id itself, if no path or lock made of it can lead anywhere else. A strange id is an unknown one."""
    if not _ID.fullmatch(id):
        raise NotFound("no such upload")
    return id


def is_echoed(text: str) -> bool:
    """Whether a header can say this: HEAD says again what a client said."""
    return bool(_ECHOED.fullmatch(text))


class Metadata(Mapping[str, bytes]):
    """`Upload-Metadata`: the header as the client sent it, which HEAD echoes, and its decoded values."""

    __slots__ = ("_parsed", "raw")

    def __init__(self, raw: str = "") -> None:
        """Keep the header; raises BadRequest where it breaks the grammar."""
        self.raw = raw
        self._parsed: dict[str, bytes] | None = _parsed(raw) if raw else {}

    @classmethod
    def stored(cls, raw: str) -> Metadata:
        """What was checked when it was stored; most requests never look into it."""
        if not raw.isascii() and not is_echoed(raw):  # of a form, when such names were kept as they were
            raw = quote(raw.encode("utf-8", "replace"), safe=_SAFE + ", ")
        metadata = cls.__new__(cls)
        metadata.raw, metadata._parsed = raw, None
        return metadata

    @classmethod
    def of(cls, values: Mapping[str, bytes]) -> Metadata:
        """These values, as a client would have sent them, under names in any language."""
        return cls(",".join(f"{key_for(name)} {b64encode(value).decode()}".rstrip() for name, value in values.items()))

    def joined(self, other: Metadata) -> Metadata:
        """Both; what the other says holds."""
        return Metadata.of({**self, **other}) if other.raw else self

    @property
    def _values(self) -> dict[str, bytes]:
        parsed = self._parsed
        if parsed is None:
            parsed = {}
            with suppress(BadRequest):  # a broken disk changed it, which must not end a list of uploads
                parsed = _parsed(self.raw) if self.raw else {}
            self._parsed = parsed  # last: records are remembered, so that several threads have this one
        return parsed

    def __getitem__(self, key: str) -> bytes:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[str, bytes]:
        return self._values.items()

    def __repr__(self) -> str:
        return f"Metadata({self.raw!r})"

    def text(self, *keys: str) -> str:
        """The first of these keys that has a value, as text; "" if none has."""
        values = self._values
        for key in keys:
            value = values.get(key)
            if value:
                return value.decode("utf-8", "replace")
        return ""

    @property
    def filename(self) -> str:
        """The last part of the name that the client gave the file, without anything that could hurt."""
        name = fitting(harmless(self.text("filename", "name").replace("\\", "/").rpartition("/")[2]).strip())
        return "" if name in (".", "..") else name

    @property
    def media_type(self) -> str:
        """The media type that the client claims, if it looks like one."""
        claimed = self.text("filetype", "type", "content-type")
        return claimed if _MEDIA_TYPE.fullmatch(claimed) else ""


def harmless(text: str) -> str:
    """A text without what begins a line, steers a terminal or turns the direction of writing."""
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def fitting(name: str, most: int = MAX_NAME) -> str:
    """A name that has no more bytes, with what it ends with."""
    said = name.encode()
    if len(said) <= most:
        return name
    stem, dot, kind = said.rpartition(b".")
    end = dot + kind if stem and len(kind) < 16 and len(kind) < most else b""
    return (said[: most - len(end)].decode("utf-8", "ignore").rstrip() + end.decode("utf-8", "ignore")).strip()


def key_for(name: str) -> str:
    """The key of metadata that stands for this name: itself, or with what no key can have as in a URL."""
    return quote(name.encode("utf-8", "replace"), safe=_SAFE)


def name_of(key: str) -> str:
    """The name that a key stands for."""
    try:
        return unquote(key, errors="strict")
    except UnicodeDecodeError:  # it was never made of a name
        return key


def _parsed(raw: str) -> dict[str, bytes]:
    if len(raw) > MAX_METADATA:
        raise BadRequest(f"Upload-Metadata has {len(raw)} characters; {MAX_METADATA} are allowed")
    values: dict[str, bytes] = {}
    for pair in raw.split(","):
        key, _, value = pair.strip(" ").partition(" ")
        if not _KEY.fullmatch(key):
            raise BadRequest(f"Upload-Metadata has a key that is none: {key[:40]!a}")
        if key in values:
            raise BadRequest(f"Upload-Metadata has the key {key!a} twice")
        if not _BASE64.fullmatch(value):
            raise BadRequest(f"the value of {key!a} in Upload-Metadata is not Base64")
        try:
            values[key] = a2b_base64(value)
        except Base64Error as error:
            raise BadRequest(f"the value of {key!a} in Upload-Metadata is not Base64") from error
    return values


Digests = tuple[tuple[str, str], ...]  # algorithm, digest in hexadecimal digits; "" where it is to be worked out


class Result(NamedTuple):
    """What the host answered when the upload finished: remembered and replayed, never asked for again."""

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def refuses(self) -> bool:
        """Whether the host does not want the upload."""
        return self.status >= 400

    @property
    def reason(self) -> str:
        """What a refusal says, in one line for a person; "" if it is meant for programs, or for nobody."""
        kind = next((value for name, value in self.headers if name.lower() == "content-type"), "text/plain")
        if not self.refuses or not kind.lower().startswith("text/plain"):
            return ""
        text = self.body.decode("utf-8", "replace").strip().partition("\n")[0]
        return harmless(text)[:_REASON]


def definite(status: int) -> bool:
    """Whether this status of a host says no for good. Trouble, and a few words for "later", mean: ask again."""
    return 400 <= status < 500 and status not in _LATER


_REASON = 200  # characters
_LATER = frozenset((408, 423, 425, 429))


class State(Enum):
    """What has become of an upload. The words are those of `tus ls`."""

    RECEIVING = "unfinished"
    PENDING = "pending"  # every byte is there, and the host does not have it yet
    ACCEPTED = "finished"
    PART = "part"  # finished, and never handed over by itself
    REFUSED = "refused"  # the host does not want it, and said why
    DROPPED = "handed over"  # the host has it, and the data is gone from here
    EXPIRED = "expired"


class Target(NamedTuple):
    """The request that began an upload, for the application that shall see it once its body is whole."""

    method: str
    path: str  # below the place where the application is mounted, decoded as WSGI does it
    query: str
    headers: tuple[tuple[str, str], ...]  # lower-case names


class Chunks(NamedTuple):
    """How an upload is cut that comes in numbered chunks: in any order, several at a time, each at its own place."""

    size: int  # bytes of each but the last one; 0 until the first one tells
    many: int

    def span(self, number: int, length: int | None) -> tuple[int, int | None]:
        """Where a chunk begins, and how many bytes it has; None where only its end tells."""
        start = number * self.size
        if number < self.many - 1:
            return start, self.size or None
        return start, None if length is None else length - start

    def stored(self, marks: bytes, length: int | None) -> int:
        """How many bytes are there, with a mark for each chunk that is."""
        there = marks.count(1) * self.size
        if len(marks) < self.many or not marks[-1]:
            return there
        return there - self.size + (length or 0) - (self.many - 1) * self.size


class PartPlace(NamedTuple):
    """Where a part lies in the file that it and others will be. Nobody else has this place."""

    whole: str  # 32 hexadecimal digits
    start: int  # bytes before it
    total: int  # bytes of the whole
    boot: str  # of the system, since when it has been written to


class Upload(NamedTuple):
    """One upload, as the store knows it. A named tuple, since every request makes several of them."""

    id: str
    length: int | None = None  # bytes; None until the client declares it
    offset: int = 0  # bytes that are in the store
    complete: bool = False  # a recorded fact, and not offset == length: a crash can fall between the two
    metadata: Metadata = Metadata()
    concat: str = ""  # Upload-Concat as the client sent it
    partial: bool = False
    parts: tuple[str, ...] = ()  # ids of what a final upload consists of
    finals: tuple[str, ...] = ()  # ids of final uploads that wait for this part
    owner: str | None = None
    limit: int | None = None  # most bytes that this upload may have, if the host set a limit of its own
    created: float = 0.0  # seconds since the epoch
    touched: float = 0.0  # last write, as the store knows it
    expires: float | None = None  # set by the host; otherwise a while after the last write
    unverified_from: int | None = None  # what lies behind is dropped unless its checksum turns out right
    result: Result | None = None  # the host's answer, once it has the file
    dropped: bool = False  # the data was handed over and removed; the record stays to answer late questions
    digests: Digests = ()  # of the whole: what the client announced, and what it wants to be told
    target: Target | None = None  # None: handed over as every upload is
    chunks: Chunks | None = None  # it comes in numbered chunks, so its offset is the number of bytes that are there
    keyed: str = ""  # what its creation said, if that came with a key, so that the same key says no other thing
    expected: int | None = None  # bytes that a form seems to hold; its file's length is known at its end only
    place: PartPlace | None = None  # None: the upload has a file of its own
    stored_at: str = ""  # s3://bucket/key, where others can fetch the data themselves; as the store says

    @property
    def recurs(self) -> bool:
        """Whether another upload may get this id, which follows from what its client said."""
        return bool(self.keyed or self.parts or self.chunks) or self.expected is not None

    @property
    def final(self) -> bool:
        """Whether it was made by concatenation."""
        return bool(self.parts)

    @property
    def filled(self) -> bool:
        """Whether every byte is there."""
        return self.length is not None and self.offset == self.length

    @property
    def pending(self) -> bool:
        """Whether it is complete and the host does not have it yet."""
        return self.complete and self.result is None and not self.partial and not self.dropped

    @property
    def readable(self) -> bool:
        """Whether it is a whole file that the host has taken, and that is still here."""
        return self.state is State.ACCEPTED

    @property
    def refused(self) -> bool:
        """Whether nothing can come of it any more, for the reason in `result`: mostly that of the host."""
        return self.result is not None and self.result.refuses

    @property
    def timed(self) -> bool:
        """Whether it was refused and has a time at which it goes, although every byte is there."""
        return self.refused and self.expires is not None

    @property
    def state(self) -> State:
        """What has become of it, but for expiry: `Engine.state` knows of that, too."""
        if self.refused:
            return State.REFUSED
        if not self.complete:
            return State.RECEIVING
        if self.dropped:
            return State.DROPPED
        if self.partial:
            return State.PART
        return State.PENDING if self.pending else State.ACCEPTED

    def evolve(self, **changes: Any) -> Upload:
        """A copy with these changes. In half the time that `_replace` takes."""
        values = list(self)
        try:
            for name, value in changes.items():
                values[_AT[name]] = value
        except KeyError:
            return self._replace(**changes)  # which says what is wrong
        return tuple.__new__(Upload, values)


_AT = {name: at for at, name in enumerate(Upload._fields)}
