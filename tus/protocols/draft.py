"""Resumable Uploads for HTTP, the IETF draft, interop versions 3 to 10: its words, and nothing of how bytes are stored.

It must never complete an upload because it is long enough: the client has to say so, on a body that arrived whole.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

from ..checksum import Checksum
from ..engine import Engine
from ..engine.writer import Writer
from ..errors import (
    BadRequest,
    ChecksumMismatch,
    DigestMismatch,
    LengthMismatch,
    LengthRequired,
    Locked,
    MethodNotAllowed,
    Overrun,
    Refused,
    TooLarge,
    TusError,
    UnsupportedType,
)
from ..exchange import Conversation, Exchange
from ..http import digests, fields, problems
from ..http.headers import OFFSET_TYPE, PAGE_FORMS, filename, media_type
from ..http.messages import Headers, Request, Response
from ..upload import Metadata, Result, Upload

TYPE = "application/partial-upload"

_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"))
_MAX_APPEND = 16 << 20  # bytes; where a server collects bodies, a cut one is lost, and this is what it costs
_MAX_NAME = 1024  # characters of a file's name
_EVERY = 2.0  # seconds between two words on how far a request is
# What speaks of the application's connection or body, or would be taken for our own word.
_DROPPED = frozenset(("content-length", "transfer-encoding", "connection", "keep-alive", "upload-offset",
                      "upload-complete", "upload-incomplete", "upload-draft-interop-version"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Version:
    """What the interop versions want differently from one another."""

    number: int
    field: str  # that says whether the upload ends here
    done: str  # its values
    open: str
    unsaid: bool | None  # what a PATCH without that field means; None: it is an error
    typed: bool  # a PATCH has a media type of its own
    appended: int  # the status of an append after which the upload is still open
    located: bool  # every final answer to a creation says where the upload is
    age: str  # the name of a limit
    curt: bool  # HEAD and DELETE must not carry what only PATCH needs
    represented: bool  # an answer that has only the offset has the digests of the whole, too
    named: bool = True  # the client has named this number: a 104 has to carry it, and needs it


_3 = Version(
    3, field="Upload-Incomplete", done="?0", open="?1", unsaid=True, typed=False, appended=201, located=True,
    age="max-age", curt=True, represented=True,
)  # fmt: skip
_4 = replace(_3, number=4, field="Upload-Complete", done="?1", open="?0", unsaid=False)
_5 = replace(_4, number=5)
_6 = replace(_5, number=6, typed=True, age="expires")
_7 = replace(_6, number=7, unsaid=None, appended=204, located=False, age="max-age", curt=False)
_8 = replace(_7, number=8)
_9 = replace(_8, number=9, represented=False)
_10 = replace(_9, number=10)
VERSIONS = {version.number: version for version in (_3, _4, _5, _6, _7, _8, _9, _10)}
NEWEST = VERSIONS[max(VERSIONS)]
# As the finished standard will be spoken; and what a client gets that names a number which is still to come. Only a 104
# would tell it something wrong, and a refusal would lose its file.
UNNAMED = replace(NEWEST, named=False)


def exchange(request: Request, engine: Engine) -> DraftExchange | None:
    """The conversation, if the request speaks this protocol and not tus, which goes first."""
    version = version_of(request)
    return DraftExchange(request, engine, version) if version else None


def version_of(request: Request) -> Version | None:
    """The version that the request speaks; None if it speaks another protocol, or a version older than those."""
    headers = request.headers
    kind = media_type(headers.get("content-type", ""))
    # Libraries of iPhones add the draft's fields to every upload, also to those of other protocols.
    if "tus-resumable" in headers or kind == OFFSET_TYPE:
        return None
    version = _version(headers)
    if version is None:
        return None
    if not request.id:
        return version if _offers(request, version) and (request.target or kind not in PAGE_FORMS) else None
    # No other protocol has a DELETE without a word of its own. A HEAD without one is answered in all of them.
    said = (
        request.method == "DELETE"
        or request.method == "PATCH"
        and (kind == TYPE or _said(headers, version) is not None)
    )
    return version if said or _number(headers) is not None else None


def _offers(request: Request, version: Version) -> bool:
    """Whether what follows may be received resumably: the client offers it, by a valid field."""
    # A blank is in what stands for a nonsensical X-HTTP-Method-Override.
    able = request.method not in _BODILESS and " " not in request.method
    return able and _said(request.headers, version) is not None


def _version(headers: Headers) -> Version | None:
    """The version that a client names; the finished standard, if it names none or one that is newer than this table."""
    number = _number(headers)
    return UNNAMED if number is None or number > NEWEST.number else VERSIONS.get(number)


def _number(headers: Headers) -> int | None:
    return fields.whole_number(headers.get("upload-draft-interop-version"))


def limits(
    request: Request, engine: Engine, upload: Upload | None = None, *, age: str = "max-age", size: int | None = None
) -> str:
    """Upload-Limit, of one upload or of those that are to come; `size` if it is known better."""
    found: dict[str, int | str] = {}
    size = engine.limit(upload) if size is None else size
    if size is not None:
        found["max-size"] = size
    most = engine.options.chunk_size or (_MAX_APPEND if request.collected else None)
    if most:
        found["max-append-size"] = most
    duration = engine.options.upload_valid_duration
    left = engine.remaining(upload) if upload else None if duration is None else int(duration)
    if left is not None:
        found[age] = left
    return fields.listed(found or {"min-size": 0})


def add_limits(request: Request, engine: Engine, response: Response) -> None:
    """Add what the draft has to say to an answer to OPTIONS."""
    version = _version(request.headers) or NEWEST
    response.headers["Upload-Limit"] = limits(request, engine, age=version.age)
    response.headers["Accept-Patch"] = TYPE


def complement(request: Request, engine: Engine) -> dict[str, str]:
    """What the draft has to add to another protocol's HEAD, for a client that does not tell which one it speaks."""
    try:
        upload = engine.look(request)
    except TusError:
        return {}  # the host lets it ask, and not look
    complete = NEWEST.done if _is_over(upload) else NEWEST.open
    return {"Upload-Complete": complete, "Upload-Limit": limits(request, engine, upload)}


def _said(headers: Headers, version: Version) -> bool | None:
    """Whether the client says that the upload ends with this request; None if it does not say."""
    value = fields.boolean(headers.get(version.field.lower()))
    return None if value is None else value == (version.done == "?1")


class DraftExchange(Exchange):
    """One request and its answer."""

    relays = True

    def __init__(self, request: Request, engine: Engine, version: Version) -> None:
        super().__init__(request, engine)
        self._version = version
        self._creates = not request.id
        self._location: dict[str, str] = {}

    def converse(self) -> Conversation:
        """The answer."""
        if self._creates:
            return (yield from self._create())
        acts: dict[str, Callable[[], Conversation]] = {"HEAD": self._look, "GET": self._look, "PATCH": self._append}
        if self.engine.options.termination:
            acts["DELETE"] = self._cancel
        act = acts.get(self.request.method)
        if act is None:
            allowed = ", ".join(("OPTIONS", *acts))
            raise MethodNotAllowed(f"{self.request.method} means nothing here", headers={"Allow": allowed})
        return (yield from act())

    # What is asked

    def _create(self) -> Conversation:
        request, headers = self.request, self.request.headers
        last = _said(headers, self._version)
        length = self._length(0, last)
        checksum = _checksum(headers)
        told = request.interim is not None and self._version.named and request.has_body
        announced = digests.given("Repr-Digest", headers.get("repr-digest"))
        wanted = digests.wanted(headers.get("want-repr-digest"))
        metadata = self._metadata()
        writer = self.beginner()(
            self.identify(),
            length=length,
            metadata=metadata,
            announced=request.length,
            checksum=checksum,
            last=self._certain(last, length),
            digests=(*announced, *(pair for pair in wanted if pair[0] not in dict(announced))),
            known=told,
        )
        self._location = {"Location": request.location(writer.upload.id)}
        there = {"Upload-Offset": str(writer.repeats)} if writer.repeats else {}  # a quick client leaves it out
        first = {**self._location, **there, "Upload-Limit": self._limits(writer.upload)} if told else None
        return self.stored((yield from self._pour(writer, first)))

    def _append(self) -> Conversation:
        request, headers, version = self.request, self.request.headers, self._version
        if version.typed and media_type(headers.get("content-type", "")) != TYPE:
            raise UnsupportedType(f"the Content-Type of a PATCH is {TYPE}", headers={"Accept-Patch": TYPE})
        offset = fields.whole_number(headers.get("upload-offset"))
        if offset is None:
            raise BadRequest("a PATCH needs Upload-Offset, a structured integer")
        last = _said(headers, version)
        if last is None:
            last = version.unsaid
        if last is None:
            raise BadRequest(f"a PATCH needs {version.field}, which is ?1 or ?0")
        length = self._length(offset, last)
        checksum = _checksum(headers)
        writer = self.engine.append(
            self.identify(),
            offset,
            announced=request.length,
            length=length,
            checksum=checksum,
            last=self._certain(last, length),
        )
        upload = yield from self._pour(writer, None)
        return self.stored(upload)

    def _look(self) -> Conversation:
        self._refuse_append_fields()
        upload = self.engine.seize(self.identify(), finish=False)
        complete = _is_over(upload)
        answer = self._headers(complete, upload.offset)
        if upload.length is not None and not upload.refused:  # else tus-js-client takes the end for success, and asks
            answer["Upload-Length"] = str(upload.length)
        answer["Upload-Limit"] = self._limits(upload)
        if self._version.represented:  # later, what HEAD and GET answer is no representation that has a digest
            answer.update(_represented(upload))
        return Response(204, {**answer, "Cache-Control": "no-store"})
        yield

    def _cancel(self) -> Conversation:
        self._refuse_append_fields()
        self.engine.terminate(self.identify())
        return Response(204, self._headers())
        yield

    def _refuse_append_fields(self) -> None:
        # Interop 3 to 6: a HEAD or DELETE with them is 400.
        for name in ("upload-offset", "upload-complete", "upload-incomplete"):
            if self._version.curt and name in self.request.headers:
                raise BadRequest(f"a {self.request.method} has no {name.title()}")

    # What a request says of its body

    def _length(self, offset: int, last: bool | None) -> int | None:
        """The length of the whole upload, if this request tells it."""
        if self.request.length is None and not self.request.chunked:
            raise LengthRequired("this server cannot tell where a body without Content-Length ends")
        declared = fields.whole_number(self.request.headers.get("upload-length"))
        if not last or self.request.length is None:
            return declared
        end = offset + self.request.length
        if declared not in (None, end):
            raise LengthMismatch(f"the body ends at {end}, and Upload-Length is {declared}")
        return end

    def _certain(self, last: bool | None, length: int | None) -> bool:
        """Whether the end of this body ends the upload. Where a server hides that a chunked body was cut, and nothing
        else tells its length, what came is kept, and an empty PATCH has to end it."""
        hidden = self.request.length is None and length is None and not self.request.shows_cuts
        return bool(last) and not hidden

    def _metadata(self) -> Metadata:
        """What tus-js-client says in the words of tus, and what the representation's own headers say."""
        headers = self.request.headers
        try:
            metadata = Metadata(headers.get("upload-metadata", "").strip(" "))
        except BadRequest:
            metadata = Metadata()  # no field of this protocol
        kind = headers.get("content-type", "")
        said = {
            "filename": filename(headers.get("content-disposition", ""))[:_MAX_NAME].encode("utf-8", "replace"),
            # tus-js-client gives its creations the media type of a PATCH.
            "filetype": b"" if media_type(kind) == TYPE else kind[:_MAX_NAME].encode("latin-1", "replace"),
        }
        new = [f"{key} {b64encode(value).decode()}" for key, value in said.items() if value and key not in metadata]
        return Metadata(",".join(filter(None, [metadata.raw, *new]))) if new else metadata

    def _pour(self, writer: Writer, first: dict[str, str] | None) -> Generator[Writer, BaseException | None, Upload]:
        """Have the writer filled, once the client knows where its upload is; the upload with what came."""
        with writer:
            cut = None
            if first:
                self._send_interim(first)
            if (writer.lease or writer.repeats) and self.request.length != 0:
                self._report(writer)
                cut = yield writer
            return self.engine.conclude(writer, cut)

    # What is answered

    def _headers(self, complete: bool | None = None, offset: int | None = None) -> dict[str, str]:
        version = self._version
        answer = {"Upload-Draft-Interop-Version": str(version.number)} if version.named else {}
        if complete is not None:
            answer[version.field] = version.done if complete else version.open
        if offset is not None:
            answer["Upload-Offset"] = str(offset)
        return answer

    def _limits(self, upload: Upload | None = None, size: int | None = None) -> str:
        return limits(self.request, self.engine, upload, age=self._version.age, size=size)

    def _send_interim(self, headers: dict[str, str]) -> None:
        assert self.request.interim
        self.request.interim(104, {**self._headers(), **headers})

    def _report(self, writer: Writer) -> None:
        """Say now and then how far it is; never of bytes that a digest may throw away."""
        if self.request.interim is None or not self._version.named or writer.exact:
            return
        due = time.monotonic() + _EVERY

        def told(offset: int) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + _EVERY
                offset = writer.commit(durable=self.engine.assures)  # the client may forget these bytes
                self._send_interim({"Upload-Offset": str(offset)})

        writer.tell(told)

    def stored(self, upload: Upload) -> Response:
        if not upload.complete:
            answer = {**self._headers(False, upload.offset), "Cache-Control": "no-store"}
            if not self._creates:
                return Response(self._version.appended, answer)
            return Response(201, {**answer, **self._location, "Upload-Limit": self._limits(upload)})
        return super().stored(upload)

    def final(self, upload: Upload, result: Result) -> Response:
        """What the target answered, with the word that this is all."""
        extra = tuple(pair for pair in result.headers if pair[0].lower() not in _DROPPED)
        fresh = {"Cache-Control": "no-store"} if result.refuses else {}
        answer = {**self._headers(True, upload.offset), **_represented(upload), **fresh}
        if result == Result() and not (self.engine.delivers or upload.target):  # nobody else says what was made
            return Response(201, {**answer, "Location": self.request.location(upload.id)})
        if self._version.located and "location" not in {name.lower() for name, _ in extra}:
            answer.update(self._location)
        return Response(result.status, answer, result.body, extra=extra)

    def failure(self, error: TusError) -> Response:
        """What went wrong, for a program and for a person."""
        # A digest that does not match, and a host that does not want the upload, end it; anything else does not.
        final = isinstance(error, DigestMismatch) or isinstance(error, Refused) and self._creates
        answer = {**self._headers(final, error.offset), "Cache-Control": "no-store"}
        # 5xx and not 423: at that, most clients would give up.
        wrong = isinstance(error, ChecksumMismatch | Overrun)
        status = 503 if isinstance(error, Locked) else 400 if wrong else error.status
        if self._creates and error.offset is not None and not isinstance(error, ChecksumMismatch):
            answer.update(self._location)  # the upload exists, so the client can go on with it
        if isinstance(error, TooLarge) and not wrong:
            answer["Upload-Limit"] = self._limits(size=error.limit)
        answer.update(error.headers)
        if self.request.method == "HEAD":
            return Response(status, answer)
        document = problems.document(error, provided=fields.whole_number(self.request.headers.get("upload-offset")))
        answer["Content-Type"] = problems.TYPE if document else "text/plain; charset=utf-8"
        return Response(status, answer, document or f"{error}\n".encode("utf-8", "replace"))


def _checksum(headers: Headers) -> Checksum | None:
    """What the client says of this body."""
    return digests.expected(digests.given("Content-Digest", headers.get("content-digest")))


def _is_over(upload: Upload) -> bool:
    """Whether every byte is there and the host has spoken."""
    return upload.complete and not upload.pending


def _represented(upload: Upload) -> dict[str, str]:
    """The digests of the whole, to the client that wanted them or announced them."""
    known = tuple(pair for pair in upload.digests if pair[1]) if upload.complete else ()
    return {"Repr-Digest": digests.field_value(known)} if known else {}
