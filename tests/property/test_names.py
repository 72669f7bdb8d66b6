"""Names and numbers that a client makes up, in forms, URLs, JSON and headers: each becomes valid metadata or is
refused, no byte of it reaches a header raw, and the file can be handed over by any name.

`TUS_FUZZ=1000000` tries so many inputs in each suite, instead of a few seconds' worth.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tus import Metadata, TusFilter, Upload
from tus.adapters.handover import FormBody as Handed
from tus.engine.pieces import MOST
from tus.errors import TusError
from tus.forms import Form, Part, metadata, posted, query
from tus.http.headers import MAX_NUMBER, disposition
from tus.http.messages import Request
from tus.protocols.chunks import DIALECTS, described, dialect, piece
from tus.protocols.filepond import _described

pytest.importorskip("multipart")

MANY = int(os.environ.get("TUS_FUZZ", "4000"))
BOUNDARY = b"x1y2z3"
HEADER = re.compile(r"[ -~\x80-\xff]*")  # what a server can send in one; without a tab, which we never write
PRINTABLE = re.compile(r"[ -~]*")

LETTERS = [
    *map(chr, range(0x21)), "\x7f", "\x80", "\x85", "\xa0", "\xad", "\xff", "é", "ключ", "名前", "😀", "\u202e",
    "\u2028", "\ufeff", "\ud800", "\udcff", "\udfff", "\U0010ffff", '"', "'", "\\", "/", "..", "%", "%00", "%0d%0a",
    "%C3", ",", ";", "=", ":", "--", "\r\n", "\r\n\r\n", "<b>", "&", "filename", "filetype", "name", "a", "b", "A",
    "_", "-", "0", "photo.jpg", "x" * 300,
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "3", "10", "1000", "-1", "+1", "1_0", "1e3", "1.0", "NaN", "nan", "Infinity", "-0", "٣",
    "\uff12", " 1", "1 ", "0x10", "", "1\x00", "9" * 17, "9" * 18, "9" * 19, "9" * 400, str(2**31), str(2**53),
    str(2**62), str(2**63 - 1), str(2**63), str(2**64), "true", "null",
]  # fmt: skip
WORDS = sorted({word for d in DIALECTS for word in (d.number, d.many, d.identifier, d.size, d.total) if word})


class Dice:
    """Random inputs, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, most: int = 6) -> str:
        return "".join(self.random.choices(LETTERS, k=self.random.randrange(most)))

    def number(self) -> str:
        return self.random.choice(NUMBERS) if self.random.random() < 0.5 else str(self.random.randrange(5))

    def fields(self, most: int = 5) -> dict[str, str]:
        return {self.text(4): self.text() for _ in range(self.random.randrange(most))}

    def json(self, depth: int = 2) -> Any:
        kind = self.random.randrange(6 if depth else 4)
        if kind == 4:
            return [self.json(depth - 1) for _ in range(self.random.randrange(3))]
        if kind == 5:
            return {self.text(3): self.json(depth - 1) for _ in range(self.random.randrange(4))}
        return (self.text(), self.random.choice([0, -1, 1e999, 10**400, 0.1]), None, True)[kind]

    def damaged(self, data: bytes) -> bytes:
        """As it is, or with a few bytes changed, lost or doubled."""
        made = bytearray(data)
        for _ in range(self.random.choice((0, 0, 0, 1, 3))):
            at = self.random.randrange(len(made) + 1)
            made[at : at + self.random.randrange(3)] = self.random.randbytes(self.random.randrange(3))
        return bytes(made)


def wire(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def sane(made: Metadata) -> None:
    """It can be said in a header, be parsed again, name a file in an answer, and be handed over."""
    assert PRINTABLE.fullmatch(made.raw), made.raw
    assert dict(Metadata(made.raw)) == dict(made)
    named(made)


def named(made: Metadata) -> None:
    upload = Upload("id", length=1, offset=1, metadata=made)
    name = upload.metadata.filename
    assert name.isprintable() and "/" not in name and name not in (".", "..")
    assert PRINTABLE.fullmatch(disposition("attachment", name))
    assert PRINTABLE.fullmatch(made.media_type)
    with Handed(upload, io.BytesIO(b"x")) as handed:
        whole = handed.read()
    assert len(whole) == handed.size
    boundary = handed.content_type.partition("=")[2].encode()
    for part in whole.split(b"--" + boundary + b"\r\n")[1:]:
        for line in part.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            assert not re.search(rb"[\x00-\x1f\x7f]", line), line


PART = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n%b\r\n'


def forms() -> Iterator[bytes]:
    dice = Dice(1)
    for _ in range(MANY):
        body = b""
        for name, value in dice.fields().items():
            body += PART % (BOUNDARY, wire(name), b"\r\n" + wire(value))
        named = b'%b"; filename="%b' % (wire(dice.text(3)), wire(dice.text()))
        body += PART % (BOUNDARY, named, b"Content-Type: %b\r\n\r\nbytes" % wire(dice.text(3)))
        yield dice.damaged(body + b"--%b--\r\n" % BOUNDARY)


class Sink:
    lease = wanted = None
    splices = False

    def write(self, block: bytes) -> None:
        """Goes nowhere."""


def test_any_form_is_metadata_or_refused() -> None:
    """Field names, file names and types in any language, with any control character, and with broken framing."""
    for body in forms():
        parts: list[Metadata] = []

        def opened(fields: dict[str, str], part: Part, parts: list[Metadata] = parts) -> Any:
            parts.append(metadata(fields, part))
            return Sink()

        headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
        form = Form(Request("POST", headers=headers, length=len(body)), opened)
        try:
            form.write(body)
            parts.append(metadata(form.fields))
        except TusError as error:
            assert error.status < 500, error
        for made in parts:
            sane(made)


def test_any_chunk_is_possible_or_refused() -> None:
    """Whatever numbers it has: huge, negative, not numbers, digits of other scripts, or none."""
    dice = Dice(2)
    for _ in range(MANY):
        words = {word: dice.number() for word in dice.random.sample(WORDS, 6)}
        known = dice.random.choice(DIALECTS)
        for word in (known.number, known.many, known.size, known.total):
            words[word] = dice.number()
        words |= {known.identifier: dice.text() or "x"} | dice.fields(3)
        spoken = dialect(words)
        assert spoken
        try:
            chunk = piece(spoken, words)
            sane(metadata(described(spoken, words), Part("file", dice.text(), dice.text(3))))
        except TusError as error:
            assert error.status < 500, error
            continue
        start, size = chunk.chunks.span(chunk.number, chunk.length)
        assert 0 <= chunk.number < chunk.chunks.many <= MOST
        assert 0 <= start <= start + (size or 0) <= MAX_NUMBER


def test_any_query_is_parsed() -> None:
    """Percent signs, plus signs and bytes that are no UTF-8."""
    dice = Dice(3)
    for _ in range(MANY):
        text = dice.damaged(wire("&".join(f"{name}={value}" for name, value in dice.fields().items()))).decode(
            "latin-1"
        )

        sane(metadata(query(Request("GET", query=text))))
        sane(metadata(posted(text)))


def test_any_word_of_filepond_is_metadata_or_refused() -> None:
    """JSON of any shape, broken JSON, and lone surrogates, which only JSON can say."""
    dice = Dice(4)
    for _ in range(MANY):
        text = json.dumps(dice.json())
        text = dice.damaged(text.encode()).decode("utf-8", "replace") if dice.random.random() < 0.3 else text
        try:
            sane(_described({dice.text(3): text, "filepond": text}))
        except TusError as error:
            assert error.status < 500, error


def test_any_header_is_metadata_or_refused() -> None:
    """What a tus client sends comes back as it was, or is refused; never with a control character."""
    dice = Dice(5)
    kinds = ["", "YQ==", "AP8=", "0LrQu9GO0Yc=", "7aCA", "YQ", "*", "LyAuLi8=", "DQoNCg=="]
    for _ in range(MANY):
        pairs = [f"{dice.text(3) or 'key'} {dice.random.choice(kinds)}" for _ in range(dice.random.randrange(4))]
        raw = dice.damaged(wire(",".join(pairs))).decode("latin-1")
        try:
            made = Metadata(raw)
        except TusError as error:
            assert error.status == 400, error
            continue
        assert made.raw == raw
        assert HEADER.fullmatch(raw)
        named(made)
        sane(made.joined(Metadata("filename YQ==")))


def answered(app: TusFilter, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """An answer of which every header can be sent."""
    given: list[Any] = []
    common = {"SCRIPT_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "HTTP_HOST": "localhost"}
    parts = app({**common, **environ}, lambda *said: given.append(said))
    body = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    ((status, headers),) = given
    for name, value in headers:
        assert PRINTABLE.fullmatch(name) and HEADER.fullmatch(value), (name, value)
    return int(status[:3]), dict(headers), body


@pytest.mark.parametrize("hand_over", ["path", "file", "form"])
def test_any_name_arrives_and_comes_back(tmp_path: Any, hand_over: str) -> None:
    """Through the whole filter: the application gets the file, and HEAD and GET can speak of it."""
    names = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        names.append(environ["tus.upload"].metadata.filename)
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("204 No Content", [])
        return [b""]

    filter = TusFilter(app, tmp_file_dir=str(tmp_path), durable="none", cleanup=False, hand_over=hand_over)
    dice, taken = Dice(6), 0
    for _, body in zip(range(max(MANY // 40, 50)), forms(), strict=False):
        place, said = "form", b""
        if dice.random.random() < 0.5:
            said = wire(json.dumps({dice.text(3): dice.text() for _ in range(3)}))
            said = PART % (BOUNDARY, b"filepond", b"\r\n" + said)
            place = "filepond"
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": f"/upload/{place}",
            "CONTENT_TYPE": f"multipart/form-data; boundary={BOUNDARY.decode()}",
            "CONTENT_LENGTH": str(len(said + body)),
            "wsgi.input": io.BytesIO(said + body),
        }
        status, _, text = answered(filter, environ)
        assert status in (200, 400), text
        if status == 200:
            taken += 1
            id = json.loads(text)["id"] if place == "form" else text.decode()
            for method in ("HEAD", "GET"):
                asked = {"REQUEST_METHOD": method, "PATH_INFO": f"/upload/{id}", "wsgi.input": io.BytesIO()}
                assert answered(filter, asked)[0] == 200

    assert taken == len(names) > 10
