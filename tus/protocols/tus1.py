"""tus 1.0.0 with all of its extensions: header names and status codes, and nothing about how uploads are stored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial

from ..checksum import ALGORITHMS, Checksum
from ..downloads import download
from ..engine import Engine
from ..engine.joining import completed
from ..engine.repeating import begin_once
from ..engine.writer import Writer
from ..errors import (
    BadRequest,
    ChecksumMismatch,
    LengthRequired,
    MethodNotAllowed,
    NotFound,
    Refused,
    TusError,
    UnsupportedType,
    UnsupportedVersion,
)
from ..exchange import Conversation, Exchange
from ..http import headers
from ..http.headers import OFFSET_TYPE, PAGE_FORMS, media_type
from ..http.messages import Request, Response
from ..upload import Metadata, Result, Upload, is_id

VERSION = "1.0.0"

Filling = Generator[Writer, BaseException | None, Upload]

_NOWHERE: Mapping[str, str] = {}
_SIGNED = {"Tus-Resumable": VERSION, "X-Content-Type-Options": "nosniff"}  # what every answer carries
_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,concatenation,concatenation-unfinished"


def is_ours(request: Request, engine: Engine) -> bool:
    """Whether this is ours. Forms and pages at the collection's URL are the application's, and what lies below it by
    a name that is no upload's."""
    if "tus-resumable" in request.headers:
        return True
    if request.id:
        return request.method != "GET" or is_id(request.id)
    if request.method == "POST":
        return media_type(request.headers.get("content-type", "")) not in PAGE_FORMS
    return request.method not in ("GET", "HEAD")


class TusExchange(Exchange):
    """One request and its answer."""

    _location: Mapping[str, str] = _NOWHERE  # of the upload that this request created

    def converse(self) -> Conversation:
        """The answer."""
        method = self.request.method
        if method != "OPTIONS":
            self._check_version()
        allowed = self._allowed()
        if method not in allowed:
            raise MethodNotAllowed(f"{method} means nothing here", headers={"Allow": ", ".join(allowed)})
        response = yield from _METHODS[method](self)
        return self.signed(response)

    def signed(self, response: Response) -> Response:
        """With what every answer carries."""
        response.headers.update(_SIGNED)
        return response

    def _allowed(self) -> list[str]:
        if not self.request.id:
            return ["OPTIONS", "POST"]
        allowed = ["OPTIONS", "HEAD", "PATCH"]
        if self.engine.options.download or self._asks_by_get:
            allowed.append("GET")
        if self.engine.options.termination:
            allowed.append("DELETE")
        return allowed

    @property
    def _asks_by_get(self) -> bool:
        """Whether a GET speaks tus: caches make one of a HEAD, and keep its answer to themselves."""
        return self.request.method == "GET" and "tus-resumable" in self.request.headers

    def _check_version(self) -> None:
        # Downloaders and browsers know nothing of versions, and a HEAD that fails costs a client the whole upload.
        version = self.request.headers.get("tus-resumable")
        if version != VERSION and not (version is None and self.request.method in ("GET", "HEAD")):
            raise UnsupportedVersion(f"Tus-Resumable is {version!a}; this server speaks {VERSION}")

    # What is asked

    def _options(self) -> Conversation:
        answer = {
            "Tus-Version": VERSION,
            "Tus-Extension": self._extensions(),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            "Cache-Control": "no-store",
        }
        if self.engine.options.max_size is not None:
            answer["Tus-Max-Size"] = str(self.engine.options.max_size)
        return Response(200, answer)  # some systems of phones take nothing else for a yes
        yield

    def _extensions(self) -> str:
        names = _EXTENSIONS
        if self.engine.options.upload_valid_duration is not None:
            names += ",expiration"
        if self.engine.options.termination:
            names += ",termination"
        if self._shows_trailers():
            names += ",checksum-trailer"
        return names

    def _shows_trailers(self) -> bool:
        """Whether those of a client arrive. Most proxies drop them, and nothing shows which do not."""
        address = self.request.address
        return bool(self.request.trailers) and (self.engine.options.trailers or not (address and address.proxied()))

    def _head(self) -> Conversation:
        return self.stored(self.engine.seize(self.identify()))
        yield

    def _post(self) -> Conversation:
        request, engine = self.request, self.engine
        metadata = Metadata(request.headers.get("upload-metadata", "").strip(" "))
        kind, urls = headers.concat(request.headers)
        if kind == "final":
            return self._join(urls, metadata)
        length = headers.natural(request.headers, "upload-length")
        if (length is None) != headers.deferred(request.headers):
            raise BadRequest("a creation needs either Upload-Length or `Upload-Defer-Length: 1`")
        # creation-with-upload: a body of another type is ignored, since HTTP libraries like to add one.
        body = _Body(request) if request.has_body and request.headers.get("content-type") == OFFSET_TYPE else None
        writer = self._beginner(length if kind == "partial" else None)(
            self.identify(),
            length=length,
            metadata=metadata,
            partial=kind == "partial",
            concat=request.headers.get("upload-concat", ""),
            announced=body.length if body else 0,
            checksum=body.checksum if body else None,
            trailing=bool(body and body.trailing),
        )
        self._location = {"Location": request.location(writer.upload.id)}
        return self.stored((yield from body.pour(engine, writer) if body else _nothing(engine, writer)))

    def _beginner(self, part: int | None) -> Callable[..., Writer]:
        """What begins the upload; a part of this length in its place, if the client says what it will be part of."""
        key, sizes = headers.announced_whole(self.request.headers) if part is not None else ("", ())
        if not key:
            return self.beginner()
        if part not in sizes:
            raise BadRequest(f"no part in Upload-Whole has the length {part}")
        return partial(begin_once, self.engine, key=key, sizes=sizes)

    def _join(self, urls: tuple[str, ...], metadata: Metadata) -> Response:
        request = self.request
        if request.has_body and request.said:
            raise Refused("a concatenation takes no body", status=403)
        if headers.natural(request.headers, "upload-length") is not None or headers.deferred(request.headers):
            raise BadRequest("the length of a concatenation follows from its parts")
        ids = [request.identify(url) for url in urls]
        key = headers.idempotency_key(request.headers)
        upload = self.engine.join(
            self.identify(), ids, metadata=metadata, concat=request.headers["upload-concat"], key=key
        )
        self._location = {"Location": request.location(upload.id)}
        return self.stored(upload)

    def _patch(self) -> Conversation:
        request, engine = self.request, self.engine
        if request.headers.get("content-type") != OFFSET_TYPE:
            raise UnsupportedType(f"the Content-Type of a PATCH is {OFFSET_TYPE}")
        offset = headers.natural(request.headers, "upload-offset")
        if offset is None:
            raise BadRequest("a PATCH needs Upload-Offset")
        length = headers.natural(request.headers, "upload-length")
        if length is not None and "upload-draft-interop-version" in request.headers:
            # An iPhone's library added this, and it is the length of this request's body.
            length = None if engine.look(self.identify(), "write").length is not None else length
        body = _Body(request)
        upload = yield from body.pour(
            engine,
            engine.append(
                self.identify(),
                offset,
                announced=body.length,
                length=length,
                checksum=body.checksum,
                trailing=body.trailing,
            ),
        )
        if upload.finals:
            self.also = completed(engine, upload)
        return self.stored(upload)

    def _delete(self) -> Conversation:
        self.engine.terminate(self.identify())
        return Response(204)
        yield

    def _get(self) -> Conversation:
        """Not part of tus; but an upload of which there is no file yet is asked for by a HEAD that a cache changed."""
        request = self.identify()
        try:
            return download(request, self.engine, live=not self._asks_by_get)
        except NotFound:
            if not self._asks_by_get:
                raise
        self.request = request._replace(method="HEAD")
        return (yield from self._head())

    # What is answered

    def stored(self, upload: Upload) -> Response:
        """What the request asked for. The host's own words, if it accepted the upload, come again with a PATCH only."""
        result = upload.result
        if result and (result.refuses or self.request.method == "PATCH"):
            return super().stored(upload)
        status, answer = self._said(upload)
        return Response(status, answer, finished=upload if upload.pending else None)

    def final(self, upload: Upload, result: Result) -> Response:
        """The answer, with the host's headers; and its status and body, where there is room for one."""
        if upload.refused:
            return self._refused(upload, result)
        if result.refuses:
            return self._undecided(upload, result)
        status, answer = self._said(upload)
        response = self.signed(Response(status, answer))
        if status == 204:
            response.status, response.body = result.status, result.body
        response.add_extra(result.headers)
        return response

    def _said(self, upload: Upload) -> tuple[int, dict[str, str]]:
        """Status and headers, if the host has nothing to add."""
        method = self.request.method
        answer = {**self._location, **self._expiry(upload)}
        if not upload.final or upload.complete:
            answer["Upload-Offset"] = str(upload.offset)
        if method != "HEAD":
            return 201 if method == "POST" else 204, answer
        answer["Cache-Control"] = "no-store"
        if upload.length is not None:
            answer["Upload-Length"] = str(upload.length)
        elif not upload.final:
            answer["Upload-Defer-Length"] = "1"
        if upload.metadata.raw:
            answer["Upload-Metadata"] = upload.metadata.raw
        if upload.concat:
            answer["Upload-Concat"] = upload.concat
        return 200, answer

    def _expiry(self, upload: Upload) -> dict[str, str]:
        expires = self.engine.expires(upload)
        return {} if expires is None else {"Upload-Expires": headers.http_date(expires)}

    def _refused(self, upload: Upload, result: Result) -> Response:
        """What the host answered instead of taking the upload, for every client that asks, each time."""
        # As in the IETF's protocol: this is the last word, and nothing is left to resume.
        answer = {"Cache-Control": "no-store", "Upload-Complete": "?1", **self._expiry(upload), **self._location}
        if self.request.method != "HEAD":  # for which clients would take an offset at the end for success
            answer["Upload-Offset"] = str(upload.offset)
        body = b"" if self.request.method == "HEAD" else result.body
        response = self.signed(Response(result.status, answer, body))
        response.add_extra(result.headers)
        return response

    def _undecided(self, upload: Upload, result: Result) -> Response:
        """What the host said, while it may still take the upload."""
        answer = {**_SIGNED, **self._location}
        if self.request.method != "HEAD":
            answer["Upload-Offset"] = str(upload.offset)
        response = Response(result.status, answer, result.body)
        response.add_extra(result.headers)
        return response

    def failure(self, error: TusError) -> Response:
        """What went wrong, for a person."""
        answer = {"Cache-Control": "no-store", **_SIGNED}
        if error.offset is not None:
            answer["Upload-Offset"] = str(error.offset)
            if not isinstance(error, ChecksumMismatch):
                answer.update(self._location)  # the upload exists, so the client can go on with it
        answer.update(error.headers)
        if error.status == 412:
            answer["Tus-Version"] = VERSION
        if self.request.method == "HEAD":
            return Response(error.status, answer)
        answer.setdefault("Content-Type", "text/plain; charset=utf-8")
        return Response(error.status, answer, f"{error}\n".encode("utf-8", "replace"))


_METHODS: dict[str, Callable[[TusExchange], Conversation]] = {
    "OPTIONS": TusExchange._options,
    "HEAD": TusExchange._head,
    "POST": TusExchange._post,
    "PATCH": TusExchange._patch,
    "DELETE": TusExchange._delete,
    "GET": TusExchange._get,
}


def _nothing(engine: Engine, writer: Writer) -> Filling:
    """No body. An empty file is complete as soon as it exists."""
    with writer:
        return engine.conclude(writer)
    yield


class _Body:
    """What a request says of its body, checked before a byte of it is read."""

    def __init__(self, request: Request) -> None:
        if request.length is None and not request.chunked:
            raise LengthRequired("this server cannot tell where a body without Content-Length ends")
        self.length = request.length
        self.checksum = headers.expected_checksum(request.headers)
        self._trailers = request.trailers
        announced = request.headers.get("trailer", "").lower().replace(" ", "").split(",")
        self.trailing = "upload-checksum" in announced
        if self.trailing and not request.trailers:
            raise BadRequest("this server cannot read trailers; Upload-Checksum has to come as a header")

    def pour(self, engine: Engine, writer: Writer) -> Filling:
        """Have the writer filled; the upload with what came."""
        with writer:
            cut = None
            # A body of unknown length is looked at even where nothing more is wanted: it must be an empty one.
            unknown = self.length is None and not writer.upload.refused
            if unknown or (writer.lease or writer.repeats) and self.length:
                cut = yield writer
            return engine.conclude(writer, cut, self._trailing_checksum(cut))

    def _trailing_checksum(self, cut: BaseException | None) -> Checksum | None:
        if not self.trailing or cut or not self._trailers:
            return None
        checksum = headers.expected_checksum(self._trailers())
        if checksum is None:
            raise BadRequest("the trailer Upload-Checksum was announced and did not come")
        return checksum
