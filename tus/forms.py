"""multipart/form-data, parsed as it arrives: what its file holds goes straight into a Writer. For every protocol of
browsers; nothing may lie in memory but fields, and those have limits.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from .engine import Engine
from .engine.pieces import Again
from .engine.writer import Sink, Writer
from .errors import BadRequest, BodyCut, LengthRequired, MethodNotAllowed, StoreBroken, TooLarge, TusError
from .exchange import Conversation, Exchange
from .http.headers import media_type
from .http.messages import Request, Response
from .progress import told
from .upload import Metadata, Result, Upload, key_for
from .visitors import check_origin

Fields = dict[str, str]
Filling = Generator[Sink, BaseException | None, BaseException | None]

FIELD = 1 << 16  # bytes of a field; a browser's own are a few dozen
FIELDS = 100  # parts of a form
PATIENCE = 10.0  # seconds to wait while another request hands the same upload over
QUERY = 1 << 14  # characters; servers allow about as many for the whole request line
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,200})"?', re.IGNORECASE)
_NO_KEY = re.compile(r"[\s,]+")
_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_DATA_URL = re.compile(rb"data:[^,]{0,200};base64,")


class Part(NamedTuple):
    """The file in a form, as its headers describe it."""

    field: str
    filename: str
    kind: str


class Form:
    """Looks like a Writer to an adapter. `opened` gets the fields that came before the file, and the file's headers,
    and returns what takes the file; it may raise before a byte of the file was read."""

    splices = False

    def __init__(self, request: Request, opened: Callable[[Fields, Part], Sink]) -> None:
        check_length(request)
        boundary = _BOUNDARY.search(request.headers.get("content-type", ""))
        if not boundary:
            raise BadRequest("the form's Content-Type has no boundary")
        self.fields: Fields = {}
        self.sink: Sink | None = None  # where the file goes, once it began
        self._announced = request.length
        self._received = 0
        self._opened = opened
        self._end: Callable[[], None] | None = None
        self._name = ""
        self._field: bytearray | None = None  # of the part that arrives now, unless that is the file
        self._file: Sink | None = None
        self._absent = False
        self._multipart = _library()
        self._parser = self._multipart.PushMultipartParser(boundary[1], max_segment_count=FIELDS)
        self._line = len(boundary[1]) + 4  # bytes of `--boundary` and the end of its line
        self._before = 0  # bytes that came before what the part that arrives now holds

    @property
    def lease(self) -> Form:
        """Stands for that of the Writer, which there is not yet."""
        return self

    def on_lost(self, end: Callable[[], None]) -> None:
        self._end = end

    @property
    def wanted(self) -> int | None:
        return None if self._announced is None else self._announced - self._received

    @property
    def left(self) -> int | None:
        """How many bytes the file seems to have, asked as it begins. Right, if browsers write what they always wrote,
        and nothing follows the file."""
        return None if self._announced is None else max(self._announced - self._before - self._line - 4, 0)

    def splice(self, pipe: int, size: int) -> int:
        raise NotImplementedError("a form has to be looked at")

    def write(self, block: bytes | bytearray | memoryview) -> None:
        self._received += len(block)
        if self._parser.closed:
            return  # what follows a form means nothing
        try:
            for event in self._parser.parse(bytes(block)):
                self._take(event)
        except self._multipart.MultipartError as error:
            raise BadRequest(f"the form is broken: {error}") from None

    def _take(self, event: Any) -> None:
        if event is None:
            self._over()
        elif isinstance(event, bytes | bytearray):
            self._more(event)
        else:
            self._begin(event)

    def _begin(self, segment: Any) -> None:
        self._name = segment.name or ""
        self._file = None
        self._field = bytearray()
        self._before += self._line + 2 + sum(len(f"{name}: {value}".encode()) + 2 for name, value in segment.headerlist)
        self._absent = segment.filename == ""  # what a browser sends where nobody chose a file
        if segment.filename:
            self._start(Part(self._name, segment.filename, segment.content_type or ""))

    def _start(self, part: Part) -> None:
        if self.sink is not None:
            raise BadRequest("a form brings one file at a time")
        self._field = None
        self._file = self.sink = self._opened(self.fields, part)
        if self._end and self.sink.lease:
            self.sink.lease.on_lost(self._end)

    def _more(self, data: bytes | bytearray) -> None:
        if self._file is not None:
            self._file.write(data)
            return
        assert self._field is not None
        self._field += data
        prefix = _DATA_URL.match(self._field) if self._name == "file" else None
        if prefix:  # resumable.js can send a file as a data URL, in a field like any other
            rest = self._field[prefix.end() :]
            self._start(Part("file", "blob", ""))
            assert self._file
            self._file = _Base64(self._file)
            self._file.write(rest)
        elif len(self._field) > FIELD:
            raise BadRequest(f"the field {self._name[:40]!a} is longer than {FIELD} bytes")

    def _over(self) -> None:
        if isinstance(self._file, _Base64):
            self._file.finish()
        if self._field is not None:
            self._before += len(self._field) + 2
        if self._field is not None and not self._absent:
            self.fields.setdefault(self._name, self._field.decode("utf-8", "replace"))
        self._file = self._field = None

    def filled(self) -> Filling:
        """Have it filled; why the form was cut, if it was."""
        try:
            cut = yield self
            if cut is None:
                cut = self._ending()
            elif not isinstance(cut, TusError):
                cut = BodyCut(f"the form was cut: {cut}")
        except BaseException as error:
            self._close(type(error), error, error.__traceback__)
            raise
        return cut

    def _ending(self) -> BaseException | None:
        try:
            self._parser.close()
        except self._multipart.MultipartError:
            # Some servers take a connection that is cut for the end of the body.
            if self._announced is None or self._received < self._announced:
                return BodyCut("the form was cut")
            return BadRequest("the form has no end")
        return None

    def _close(self, *why: Any) -> None:
        if isinstance(self.sink, Writer | Again):
            self.sink.__exit__(*why)


class _Base64:
    """Decodes on the way."""

    splices = False
    lease = wanted = None

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""

    def write(self, block: bytes | bytearray | memoryview) -> None:
        text = self._rest + bytes(block)
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        try:
            self._sink.write(b64decode(text[:whole], validate=True))
        except Base64Error:
            raise BadRequest("the file is not Base64") from None

    def splice(self, pipe: int, size: int) -> int:
        raise NotImplementedError("what is encoded has to be looked at")

    def finish(self) -> None:
        if self._rest:
            raise BadRequest("the file is not Base64")


class Discarded:
    """Takes bytes that are stored already, so that their client gets an answer and not a reset."""

    splices = False
    lease = None

    def __init__(self, announced: int | None, room: int) -> None:
        if announced is not None and announced > room:
            raise TooLarge(f"{announced} bytes are more than the {room} that could be there")
        self._announced, self._room = announced, room
        self._received = 0

    @property
    def wanted(self) -> int | None:
        return None if self._announced is None else self._announced - self._received

    def write(self, block: bytes | bytearray | memoryview) -> None:
        self._received += len(block)
        if self._received > self._room:
            raise TooLarge(f"there are more than the {self._room} bytes that could be there")

    def splice(self, pipe: int, size: int) -> int:
        raise NotImplementedError("there is nowhere to splice to")


class Text(Discarded):
    """A short text, in memory."""

    def __init__(self, request: Request) -> None:
        super().__init__(check_length(request), FIELD)
        self._text = bytearray()

    def write(self, block: bytes | bytearray | memoryview) -> None:
        super().write(block)
        self._text += block

    def __str__(self) -> str:
        return self._text.decode("utf-8", "replace")


def short_text(request: Request) -> Generator[Sink, BaseException | None, str]:
    """The body, as text."""
    text = Text(request)
    if (yield text):
        raise BadRequest("the body was cut")
    return str(text)


def check_length(request: Request) -> int | None:
    """The body's length; None where only its end tells."""
    if request.length is None and not request.chunked:
        raise LengthRequired("this server cannot tell where a body without Content-Length ends")
    return request.length


def _library() -> Any:
    try:
        import multipart

        multipart.PushMultipartParser  # noqa: B018 - python-multipart goes by the same name
    except (ImportError, AttributeError):
        raise StoreBroken("forms need the package multipart, and not python-multipart: pip install multipart") from None
    return multipart


# What the client says in words


def query(request: Request) -> Fields:
    """The parameters in the URL; the first one counts where there are several."""
    pairs = parse_qsl(request.query[:QUERY], keep_blank_values=True, errors="replace")
    return dict(reversed(pairs[:FIELDS]))


def posted(text: str) -> Fields:
    """The fields of a form that has no file."""
    return dict(reversed(parse_qsl(text, keep_blank_values=True, errors="replace")[:FIELDS]))


def is_form(request: Request) -> bool:
    """Whether the body is multipart/form-data."""
    return media_type(request.headers.get("content-type", "")) == "multipart/form-data"


def metadata(fields: Mapping[str, str], part: Part | None = None) -> Metadata:
    """What the client says of its file, as a client of tus would have said it."""
    values = {}
    for name, value in fields.items():
        key = key_for(_NO_KEY.sub("_", name)[:100])
        if key and key not in values:
            values[key] = value.encode("utf-8", "replace")
    if part and part.filename != "blob":  # as which browsers send a piece of a file
        values.setdefault("filename", part.filename.encode("utf-8", "replace"))
    if part and part.kind:
        values.setdefault("filetype", part.kind.encode("utf-8", "replace"))
    return Metadata.of(values)


# Answers


class BrowserExchange(Exchange):
    """One request of a browser's library, and its answer. The base of those that need no more than this."""

    renders = True
    patience = PATIENCE
    methods: tuple[str, ...] = ()

    def __init__(self, request: Request, engine: Engine) -> None:
        super().__init__(request, engine)
        self.query = query(request)
        self.form: Form | None = None

    def converse(self) -> Conversation:
        """The answer; what goes wrong is raised."""
        method = self.request.method
        if method == "OPTIONS":
            return Response(204, {"Allow": ", ".join(self.methods)})
        if method not in self.methods:
            raise MethodNotAllowed(f"{method} means nothing here", headers={"Allow": ", ".join(self.methods)})
        if method not in ("GET", "HEAD"):
            check_origin(self.request, self.engine.options)
        response: Response = yield from getattr(self, method.lower())()
        return response

    def failure(self, error: TusError) -> Response:
        """What went wrong, for the client's program and for a person."""
        return self.refusal(error.status, f"{error}\n".encode("utf-8", "replace"), error.headers)

    def refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Response:
        answer = {"Content-Type": "text/plain; charset=utf-8", **_ALWAYS, **headers}
        if status in (423, 503):
            answer.setdefault("Retry-After", "1")
        return Response(status, answer, b"" if self.request.method == "HEAD" else body)

    def whole(self, more: Metadata, id: str = "") -> Writer:
        """For a file that comes whole; under an id that the client can know, it can be asked for while it comes."""
        expected = (self.form.left if self.form else None) or 0
        return self.engine.begin(
            self.identify(),
            length=None,
            metadata=more,
            announced=None,
            last=True,
            known=bool(id),
            id=id,
            expected=expected,
        )

    def stored(self, upload: Upload) -> Response:
        """The answer to the request that brought the last byte, with the host's own; the same each time it is asked."""
        return super().stored(upload) if upload.complete else self.partly(upload)

    def partly(self, upload: Upload) -> Response:
        """The answer to a request that brought other bytes."""
        return self.json(200, told(self.engine, upload))

    def final(self, upload: Upload, result: Result) -> Response:
        """What the host answered, in words that this client understands."""
        if result.status >= 400:
            response = self.refusal(result.status, result.body, {})
        elif result.body:
            response = Response(200, dict(_ALWAYS), result.body)
        else:
            response = self.done(upload)
        response.add_extra(result.headers)
        return response

    def done(self, upload: Upload) -> Response:
        """The host had nothing to say."""
        return self.json(200, {**told(self.engine, upload), "url": self.request.location(upload.id)})

    def json(self, status: int, value: Mapping[str, Any]) -> Response:
        return Response(status, {"Content-Type": "application/json", **_ALWAYS}, json.dumps(value).encode() + b"\n")
