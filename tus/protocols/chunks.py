"""Browser libraries that number their chunks: flow.js, resumable.js, simple-uploader.js, Dropzone, plupload.

They differ in words and in how they react to a status, and a table says how. This module counts and stores no chunks:
the engine does. A form without chunk parameters is a whole file, since these libraries send small files that way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..engine import Engine
from ..engine.admission import separates
from ..engine.numbered import Numbered
from ..engine.pieces import Again, Piece
from ..engine.writer import Sink, Writer
from ..errors import BadRequest, LengthMismatch, Locked, Refused, TusError
from ..exchange import Conversation
from ..forms import BrowserExchange, Fields, Form, Part, check_length, is_form, metadata
from ..http.messages import Request, Response
from ..progress import told
from ..upload import Chunks, Result, Upload, definite
from ..visitors import foreign, key_of, new_visitor, visitor

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_NAME = 4096  # characters of an identifier; a path may be long
_VERSION = ("lastModified", "digest")  # what a page can add, so that a file which changed is another file


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
    name = (spoken.name, identifier, many if spoken.nameless else "", *(said.get(word, "") for word in _VERSION))
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
    return {**fields, **_others({name: value for name, value in said.items() if name not in fields})}


def _others(said: Mapping[str, str]) -> Fields:
    """What the page added to the library's own words."""
    return {name: value for name, value in said.items() if name not in _OURS and name.lower() != "uploadkey"}


def exchange(request: Request, engine: Engine) -> ChunkExchange:
    return ChunkExchange(request, engine)


class ChunkExchange(BrowserExchange):
    """One request of such a library."""

    methods = ("OPTIONS", "GET", "HEAD", "POST", "PUT")

    def __init__(self, request: Request, engine: Engine) -> None:
        super().__init__(request, engine)
        self.dialect = dialect(self.query)
        self._numbered = Numbered(engine)
        self._piece: Piece | None = None
        self._cookie = ""  # for a visitor whom we see for the first time

    def converse(self) -> Conversation:
        return self._remembered((yield from super().converse()))

    def _remembered(self, response: Response) -> Response:
        if self._cookie:
            response.headers["Set-Cookie"] = self._cookie
        return response

    def _spoken(self, said: Mapping[str, str]) -> Piece:
        """The chunk that a request speaks of, with what tells this visitor from all who call a file the same."""
        assert self.dialect
        chunk = piece(self.dialect, said)
        chunk = chunk._replace(whose=self._whose(chunk, said))
        self.request = self._numbered.named(self.request, chunk)
        return chunk

    def _whose(self, chunk: Piece, said: Mapping[str, str]) -> tuple[str, ...]:
        """What only this visitor knows."""
        assert self.dialect
        if separates(self.engine, self.identify()):
            return (key_of(said),)
        # plupload's name is the file's, which others may have, however random it looks.
        whose = visitor(self.request, said, "" if chunk.nameless else said[self.dialect.identifier])
        if whose:
            return whose
        if not chunk.alone and foreign(self.request):
            raise Refused("pages of another site have to send an uploadKey with each chunk", status=403)
        token, self._cookie = new_visitor(self.request)
        if not chunk.alone and self.request.method not in ("GET", "HEAD"):
            raise Locked("send this chunk again, with the cookie of this answer, or with an uploadKey")
        return (token,)

    # Testing

    def get(self) -> Conversation:
        """Is this chunk there? 200 yes, 204 no; never 404, at which flow.js gives the whole file up."""
        if self.dialect is None:
            if self.request.method == "HEAD":  # flow.js with testMethod HEAD: browsers drop its parameters
                return Response(204, {"Cache-Control": "no-store"})
            raise BadRequest("there are no chunk parameters in the URL")
        asked = self._spoken(self.query)
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
        response = self.stored(upload) if upload and (upload.pending or upload.refused) else self.json(200, {})
        if response.status == 200 and not response.finished:
            response = self.json(200, {**state, "uploaded": numbers})
        return response

    # Storing

    def post(self) -> Conversation:
        """A chunk; or a whole file, in a form that speaks of no chunk."""
        if is_form(self.request):
            return (yield from self._form())
        if self.dialect is None:
            raise BadRequest("there are no chunk parameters in the URL, and the body is not a form")
        with self._begun(self.query, check_length(self.request)) as sink:
            cut = yield sink
            return self._concluded(sink, cut)

    put = post

    def _form(self) -> Conversation:
        self.form = form = Form(self.request, self._opened)
        cut = yield from form.filled()
        if form.sink is None:
            self.dialect = self.dialect or dialect(form.fields)
            raise cut or BadRequest("there is no file in this form")
        assert isinstance(form.sink, Writer | Again)
        with form.sink as sink:
            if self._piece:
                return self._concluded(sink, cut)
            if cut:
                raise cut
            assert isinstance(sink, Writer)
            return self.stored(self.engine.conclude(sink))

    def _opened(self, fields: Fields, part: Part) -> Sink:
        said = {**self.query, **fields}
        self.dialect = dialect(said)
        if self.dialect is None:
            return self.whole(metadata(_others(said), part))
        return self._begun(said, None, part)

    def _begun(self, said: Mapping[str, str], announced: int | None, part: Part | None = None) -> Writer | Again:
        assert self.dialect
        self._piece = self._spoken(said)
        more = metadata(described(self.dialect, said), part)
        return self._numbered.write(self.request, self._piece, metadata=more, announced=announced)

    def _concluded(self, sink: Writer | Again, cut: BaseException | None) -> Response:
        assert self._piece
        if isinstance(sink, Again):
            return self.stored(self._numbered.repeated(sink, self._piece, cut))
        return self.stored(self._numbered.conclude(sink, self._piece, cut))

    def final(self, upload: Upload, result: Result) -> Response:
        return self._remembered(super().final(upload, result))

    # Failing

    def failure(self, error: TusError) -> Response:
        """The status at which this client does what it should: send again, or give up."""
        response = super().failure(error)
        response.status = self._status(error)
        return self._remembered(response)

    def _status(self, error: TusError) -> int:
        spoken = self.dialect or DIALECTS[0]
        if error.retry_after or isinstance(error, Refused) and not definite(error.status):
            return 503
        if isinstance(error, LengthMismatch) and self._piece:
            return spoken.wrong
        return error.status if error.status == 500 else spoken.stop or error.status

    def refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Response:
        """The host does not want it: give up. The host is in trouble: try again."""
        spoken = self.dialect or DIALECTS[0]
        status = 503 if status >= 500 else spoken.stop or status
        return super().refusal(status, body, headers)
