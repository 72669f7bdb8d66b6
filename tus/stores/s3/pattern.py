"""What finished files are called in the bucket: `{owner}/{date}/{id}-{name}`."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterator

from ...upload import MAX_ID, Upload, fitting

_FIELD = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~=@+-]*")
_RANDOM = re.compile(r"(?=([0-9a-f]{32}))")
_STEP, _KEY = 255, 1024  # bytes: of what some engines make the name of a file; of a key, in S3
_OWNER, _NAME = 64, 16  # bytes: the most of an owner, and what is left at least for the name of a file
_LONGEST = {"id": MAX_ID, "owner": _OWNER, "date": 10, "name": _NAME}


class Pattern:
    """Text with fields, in steps between slashes. Each upload has a key of its own, since its id is part of it."""

    def __init__(self, text: str = "{id}", prefix: str = "") -> None:
        """Raises ValueError, which says what is wrong."""
        self._steps = text.split("/")
        fields = _FIELD.findall(text)
        for field in fields:
            if field not in _LONGEST:
                raise ValueError(f"there is no field {{{field}}}; there are {', '.join(map(_braced, _LONGEST))}")
            if fields.count(field) > 1:
                raise ValueError(f"the field {{{field}}} may be there once")
        if "id" not in fields:
            raise ValueError("{id} has to be in it, or two uploads could have the same name")
        for step in self._steps:
            _check_step(step)
        longest = len(prefix) + sum(min(_length(step) + MAX_ID, _STEP) + 1 for step in self._steps)
        if longest > _KEY:
            raise ValueError(f"a name could have {longest} bytes with it, and S3 allows {_KEY}")

    def key(self, upload: Upload) -> str:
        """What the file of this upload is called, below the prefix."""
        values = {
            "id": upload.id,
            "owner": fitting(_plain(upload.owner or ""), _OWNER) or "nobody",
            "date": time.strftime("%Y-%m-%d", time.gmtime(upload.created)),
        }
        return "/".join(_filled(step, values, _plain(upload.metadata.filename) or "file") for step in self._steps)

    def ids(self, key: str) -> Iterator[str]:
        """The uploads that a file may be of which is called so, if we made up the id."""
        for found in _RANDOM.finditer(key):
            if all(re.fullmatch(*pair) for pair in self._pairs(key, found[1])):
                yield found[1]

    def _pairs(self, key: str, id: str) -> list[tuple[str, str]]:
        """A regular expression for each step, and what it has to match."""
        steps = key.split("/")
        if len(steps) != len(self._steps):
            return [("", "no")]
        return [(_expression(step, id), said) for step, said in zip(self._steps, steps, strict=True)]


def _braced(field: str) -> str:
    return f"{{{field}}}"


def _length(step: str) -> int:
    """The most bytes that a step may have."""
    return len(_FIELD.sub("", step)) + sum(_LONGEST[field] for field in _FIELD.findall(step))


def _check_step(step: str) -> None:
    literal = _FIELD.sub("", step)
    if not step or step.startswith("."):
        raise ValueError("between two slashes has to be something, and it may not begin with a dot")
    if not _LITERAL.fullmatch(literal):
        raise ValueError("outside of {fields} it may have letters, digits and . _ ~ = @ + - only")
    if _length(step) > _STEP:
        raise ValueError(f"what is between two slashes could have {_length(step)} bytes, and {_STEP} are allowed")


def _plain(text: str) -> str:
    """Letters and digits of any language; what means something to a shell, a URL or a directory is replaced."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c if c in "._-" or unicodedata.category(c)[0] in "LNM" else "_" for c in text)


def _filled(step: str, values: dict[str, str], name: str) -> str:
    """The step; the name of the file gets what the others leave."""
    others = _FIELD.sub(lambda found: values.get(found[1], ""), step)
    name = fitting(name, min(_STEP - len(others.encode()), _STEP))
    text = _FIELD.sub(lambda found: values.get(found[1], name), step)
    return f"_{text[1:]}" if text.startswith(".") else text


def _expression(step: str, id: str) -> str:
    parts = _FIELD.split(step)  # text and field in turn
    fields = [re.escape(id) if field == "id" else ".+" for field in parts[1::2]]
    return "".join(re.escape(text) + field for text, field in zip(parts[::2], [*fields, ""], strict=True))
