"""Browser libraries that number their chunks: flow.js, resumable.js, simple-uploader.js, Dropzone, plupload.

They differ in words and in what they make of a status, and a table says how. This module must never count or store a
chunk by itself. A form without chunk parameters is a whole file, as these libraries send small ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..engine import Engine
from ..engine.numbered import LARGEST, Numbered, Piece
from ..errors import BadRequest, BodyCut, Interrupted, LengthMismatch, Locked, TusError
from ..forms import Conversation, Discarded, Exchange, Fields, Form, Part, check_length, is_form, metadata
from ..messages import Request, Response
from ..progress import told
from ..upload import Chunks, Upload
from ..writer import Sink, Writer

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_NAME = 4096  # characters of an identifier; a path may be long


class Dialect(NamedTuple):
    """How one library says it. "" stands for what it doesn't say."""

    name: str
    number: str
    many: str
    identifier: str
    size: str = ""
    total: str = ""
    filename: str = ""
    path: str = ""
    kind: str = ""
    first: int = 0  # the number of the first chunk
    stop: int = 0  # the one status that makes it give a file up; 0: each error's own does
    wrong: int = 400  # a chunk of another size than it said, which it may send again
    nameless: bool = False  # it calls an upload by the file's name alone


# flow.js and its cousins give up at the codes that they call permanent. Among these, 415 is the one that all versions
# of all three know; 413 is not, and resumable.js sends a chunk a hundred times otherwise.
DIALECTS = (
    Dialect(
        "flow",
        number="flowChunkNumber",
        many="flowTotalChunks",
        identifier="flowIdentifier",
        size="flowChunkSize",
        total="flowTotalSize",
        filename="flowFilename",
        path="flowRelativePath",
        first=1,
        stop=415,
    ),
    Dialect(
        "resumable",
        number="resumableChunkNumber",
        many="resumableTotalChunks",
        identifier="resumableIdentifier",
        size="resumableChunkSize",
        total="resumableTotalSize",
        filename="resumableFilename",
        path="resumableRelativePath",
        kind="resumableType",
        first=1,
        stop=415,
    ),
    Dialect(
        "simple-uploader",
        number="chunkNumber",
        many="totalChunks",
        identifier="identifier",
        size="chunkSize",
        total="totalSize",
        filename="filename",
        path="relativePath",
        first=1,
        stop=415,
    ),
    # dztotalfilesize is the size before the browser resized or transformed the file, so the last chunk tells.
    Dialect("dropzone", number="dzchunkindex", many="dztotalchunkcount", identifier="dzuuid", size="dzchunksize"),
    Dialect("plupload", number="chunk", many="chunks", identifier="name", filename="name", nameless=True),
)
_OURS = frozenset(
    word for d in DIALECTS for word in (d.number, d.many, d.size, d.total, d.filename, d.path, d.kind) if word
) | {"flowCurrentChunkSize", "resumableCurrentChunkSize", "currentChunkSize", "dztotalfilesize", "dzchunkbyteoffset",
     "flowIdentifier", "resumableIdentifier", "identifier", "dzuuid", "uploaded"}  # fmt: skip


def dialect(parameters: Mapping[str, str]) -> Dialect | None:
    """Who speaks like this."""
    for known in DIALECTS:
        if known.number in parameters and known.many in parameters:
            return known
    return None


def piece(spoken: Dialect, said: Mapping[str, str]) -> Piece:
    """The chunk that a client speaks of."""
    identifier = said.get(spoken.identifier, "")
    if not identifier or len(identifier) > _NAME:
        raise BadRequest(f"{spoken.identifier} is missing, or longer than {_NAME} characters")
    number, many = _number(said, spoken.number), _number(said, spoken.many)
    if spoken.nameless:
        many = max(many, 1)  # plupload says that an empty file has no chunk, and sends it
    size = _number(said, spoken.size) if spoken.size else 0
    if spoken.size and not size:
        raise BadRequest(f"{spoken.size} is 0")
    # plupload has no size to tell one file from another by the same name.
    name = (spoken.name, identifier, many) if spoken.nameless else (spoken.name, identifier)
    length = _number(said, spoken.total) if spoken.total else None
    chunk = Piece(tuple(map(str, name)), number - spoken.first, Chunks(size, many), length, spoken.nameless)
    return chunk.checked()


def _number(said: Mapping[str, str], name: str) -> int:
    value = said.get(name, "")
    if not _NUMBER.fullmatch(value):
        raise BadRequest(f"{name} is not a number: {value[:40]!a}")
    return int(value)


def described(spoken: Dialect, said: Mapping[str, str]) -> Fields:
    """What a client says of the file, under the names that clients of tus use; and what the page added."""
    fields = {"filename": said.get(spoken.filename, ""), "relativePath": said.get(spoken.path, "")}
    fields["filetype"] = said.get(spoken.kind, "")
    fields = {name: value for name, value in fields.items() if value}
    return {**fields, **{name: value for name, value in said.items() if name not in _OURS and name not in fields}}


def _discarded(writer: Writer, announced: int | None) -> Discarded:
    """What takes a chunk that is there already: as many bytes as it can have had."""
    size = writer.upload.chunks.size if writer.upload.chunks else 0
    return Discarded(announced, 2 * size or LARGEST)


def exchange(request: Request, engine: Engine) -> Exchange:
    return ChunkExchange(request, engine)


class ChunkExchange(Exchange):
    """One request of such a library."""

    methods = ("OPTIONS", "GET", "HEAD", "POST", "PUT")

    def __init__(self, request: Request, engine: Engine) -> None:
        super().__init__(request, engine)
        self.dialect = dialect(self.query)
        self._numbered = Numbered(engine)
        self._piece: Piece | None = None

    # Testing

    def get(self) -> Conversation:
        """Is this chunk there? 200 yes, 204 no; never 404, at which flow.js gives the whole file up."""
        if self.dialect is None:
            if self.request.method == "HEAD":  # flow.js with testMethod HEAD: browsers drop its parameters
                return Response(204, {"Cache-Control": "no-store"})
            raise BadRequest("there are no chunk parameters in the URL")
        asked = piece(self.dialect, self.query)
        upload, marks = self._numbered.find(self.request, asked)
        if "uploaded" in self.query:
            return self._all(upload, marks)
        if upload is not None and upload.complete:
            return self.stored(upload)
        if upload is not None and marks[asked.number : asked.number + 1] == b"\1":
            return self.json(200, told(self.engine, upload))
        return Response(204, {"Cache-Control": "no-store"})
        yield

    head = get

    def _all(self, upload: Upload | None, marks: bytes) -> Response:
        """simple-uploader.js can be taught to ask once, and not for each chunk."""
        numbers = [number for number, mark in enumerate(marks, 1) if mark]
        state = told(self.engine, upload) if upload else {"state": "unknown"}
        response = self.stored(upload) if upload and upload.pending else self.json(200, {})
        if response.status == 200 and not response.finished:
            response = self.json(200, {**state, "uploaded": numbers})
        return response

    # Storing

    def post(self) -> Conversation:
        """A chunk; or a whole file, in a form that speaks of no chunk."""
        if is_form(self.request):
            return (yield from self._form())
        if self.dialect is None:
            raise BadRequest("there are no chunk parameters in the URL, and the body is no form")
        announced = check_length(self.request)
        writer = self._begun(self.query, announced)
        sink: Sink = writer if writer.lease else _discarded(writer, announced)
        try:
            with writer:
                cut = yield sink
                return self._concluded(writer, cut)
        except Interrupted:
            return self._overtaken()

    put = post

    def _form(self) -> Conversation:
        self.form = form = Form(self.request, self._opened)
        try:
            cut = yield from form.filled()
            if self._piece is None and form.sink is None:
                self.dialect = self.dialect or dialect(form.fields)
                raise cut or BadRequest("there is no file in this form")
            if isinstance(form.sink, Discarded):
                return self._overtaken()
            assert isinstance(form.sink, Writer)
            with form.sink as writer:
                if self._piece is None:
                    if cut:
                        raise cut
                    return self.stored(self.engine.conclude(writer))
                return self._concluded(writer, cut)
        except Interrupted:
            return self._overtaken()

    def _opened(self, fields: Fields, part: Part) -> Sink:
        said = {**self.query, **fields}
        self.dialect = dialect(said)
        if self.dialect is None:
            more = metadata({name: said[name] for name in said if name not in _OURS}, part)
            return self.whole(more)
        writer = self._begun(said, None, part)
        return writer if writer.lease else _discarded(writer, None)

    def _begun(self, said: Mapping[str, str], announced: int | None, part: Part | None = None) -> Writer:
        assert self.dialect
        self._piece = piece(self.dialect, said)
        more = metadata(described(self.dialect, said), part)
        return self._numbered.write(self.request, self._piece, metadata=more, announced=announced)

    def _concluded(self, writer: Writer, cut: BaseException | None) -> Response:
        assert self._piece
        if writer.lease is None:
            return self._overtaken()
        return self.stored(self._numbered.conclude(writer, self._piece, cut))

    def _overtaken(self) -> Response:
        """The chunk is there, whoever brought it, or will have to come again."""
        if self._piece is None:
            raise Locked("the upload was taken over")
        upload, marks = self._numbered.find(self.request, self._piece)
        if upload is None or marks[self._piece.number : self._piece.number + 1] != b"\1":
            raise Locked("the upload was taken over; send this chunk again")
        return self.stored(upload)

    # Failing

    def failure(self, error: TusError) -> Response:
        """The status at which this client does what it should: send again, or give up."""
        response = super().failure(error)
        response.status = self._status(error)
        if response.status == 503:
            response.headers["Retry-After"] = "1"
        return response

    def _status(self, error: TusError) -> int:
        spoken = self.dialect or DIALECTS[0]
        if isinstance(error, Locked | Interrupted | BodyCut):
            return 503
        if isinstance(error, LengthMismatch) and self._piece:
            return spoken.wrong
        return error.status if error.status == 500 else spoken.stop or error.status

    def refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Response:
        """The host does not want it: give up. The host is in trouble: try again."""
        spoken = self.dialect or DIALECTS[0]
        status = 503 if status >= 500 else spoken.stop or status
        return super().refusal(status, body, headers)
