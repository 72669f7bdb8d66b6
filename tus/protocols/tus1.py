"""tus 1.0.0 with all of its extensions: header names and status codes, and nothing about how uploads are stored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

from .. import downloads
from ..checksum import ALGORITHMS, Checksum
from ..engine import Engine
from ..engine.writer import Writer
from ..errors import (
    BadRequest,
    ChecksumMismatch,
    LengthRequired,
    MethodNotAllowed,
    Refused,
    TusError,
    UnsupportedType,
    UnsupportedVersion,
)
from ..http import headers
from ..http.messages import Request, Response
from ..upload import Metadata, Result, Upload, is_id

VERSION = "1.0.0"
TYPE = "application/offset+octet-stream"

Conversation = Generator[Writer, BaseException | None, Response]
Filling = Generator[Writer, BaseException | None, Upload]

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_NOWHERE: Mapping[str, str] = {}
_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,concatenation,concatenation-unfinished"


def speaks(request: Request, engine: Engine) -> bool:
    """Whether this is ours. Forms and pages at the collection's URL are the application's, and what lies below it by
    a name that is no upload's."""
    if "tus-resumable" in request.headers:
        return True
    if request.id:
        return request.method != "GET" or is_id(request.id)
    if request.method == "POST":
        return request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _FORMS
    return request.method not in ("GET", "HEAD")


def converse(request: Request, engine: Engine) -> Conversation:
    """The answer to one request."""
    if request.method != "OPTIONS":
        _check_version(request)
    allowed = _allowed(request, engine)
    if request.method not in allowed:
        raise MethodNotAllowed(f"{request.method} means nothing here", headers={"Allow": ", ".join(allowed)})
    response = yield from _METHODS[request.method](request, engine)
    return response


def sign(response: Response) -> None:
    """What every answer carries."""
    response.headers["Tus-Resumable"] = VERSION
    response.headers["X-Content-Type-Options"] = "nosniff"


def _allowed(request: Request, engine: Engine) -> list[str]:
    if not request.id:
        return ["OPTIONS", "POST"]
    allowed = ["OPTIONS", "HEAD", "PATCH"]
    if engine.options.download:
        allowed.append("GET")
    if engine.options.termination:
        allowed.append("DELETE")
    return allowed


def _check_version(request: Request) -> None:
    # Downloaders and browsers know nothing of versions, and a HEAD that fails costs a client the whole upload.
    version = request.headers.get("tus-resumable")
    if version != VERSION and not (version is None and request.method in ("GET", "HEAD")):
        raise UnsupportedVersion(f"Tus-Resumable is {version!a}; this server speaks {VERSION}")


def _options(request: Request, engine: Engine) -> Conversation:
    answer = {
        "Tus-Version": VERSION,
        "Tus-Extension": _extensions(request, engine),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Cache-Control": "no-store",
    }
    if engine.options.max_size is not None:
        answer["Tus-Max-Size"] = str(engine.options.max_size)
    return Response(204, answer)
    yield


def _extensions(request: Request, engine: Engine) -> str:
    names = _EXTENSIONS
    if engine.options.upload_valid_duration is not None:
        names += ",expiration"
    if engine.options.termination:
        names += ",termination"
    if request.trailers:
        names += ",checksum-trailer"
    return names


def _head(request: Request, engine: Engine) -> Conversation:
    upload = engine.seize(request)
    if upload.result and upload.refused:
        return refused(request, upload, engine)
    answer = {"Cache-Control": "no-store", **_expiry(upload, engine)}
    if upload.complete or not upload.final:
        answer["Upload-Offset"] = str(upload.offset)
    if upload.length is not None:
        answer["Upload-Length"] = str(upload.length)
    elif not upload.final:
        answer["Upload-Defer-Length"] = "1"
    if upload.metadata.raw:
        answer["Upload-Metadata"] = upload.metadata.raw
    if upload.concat:
        answer["Upload-Concat"] = upload.concat
    return Response(200, answer, finished=_news(upload))
    yield


def _expiry(upload: Upload, engine: Engine) -> dict[str, str]:
    expires = engine.expires(upload)
    return {} if expires is None else {"Upload-Expires": headers.http_date(expires)}


def refused(request: Request, upload: Upload, engine: Engine, location: Mapping[str, str] = _NOWHERE) -> Response:
    """What the host answered instead of taking the upload, for every client that asks, each time."""
    result = upload.result or Result()
    # As in the IETF's protocol: this is the last word, and nothing is left to resume.
    answer = {"Cache-Control": "no-store", "Upload-Complete": "?1", **_expiry(upload, engine), **location}
    body = result.body
    if request.method == "HEAD":
        body = b""  # and no Upload-Offset: clients would take an offset at the end for success
    else:
        answer["Upload-Offset"] = str(upload.offset)
    extra = tuple(pair for pair in result.headers if pair[0].title() not in answer)
    return Response(result.status, answer, body, extra=extra)


def _news(upload: Upload) -> Upload | None:
    return upload if upload.pending else None


def _post(request: Request, engine: Engine) -> Conversation:
    metadata = Metadata(request.headers.get("upload-metadata", "").strip(" "))
    kind, urls = headers.concat(request.headers)
    if kind == "final":
        return _join(request, engine, urls, metadata)
    length = headers.natural(request.headers, "upload-length")
    if (length is None) != headers.deferred(request.headers):
        raise BadRequest("a creation needs either Upload-Length or `Upload-Defer-Length: 1`")
    # creation-with-upload: a body of another type is ignored, since HTTP libraries like to add one.
    body = _Body(request) if request.has_body and request.headers.get("content-type") == TYPE else None
    writer = engine.begin(
        request,
        length=length,
        metadata=metadata,
        partial=kind == "partial",
        concat=request.headers.get("upload-concat", ""),
        announced=body.length if body else 0,
        checksum=body.checksum if body else None,
        unverified=bool(body and body.trailing),
    )
    location = {"Location": request.location(writer.upload.id)}
    try:
        upload = yield from body.pour(engine, writer) if body else _nothing(engine, writer)
    except TusError as error:
        if error.offset is not None and not isinstance(error, ChecksumMismatch):
            error.headers.update(location)  # the upload exists, so the client can go on with it
        raise
    if upload.result and upload.refused:
        return refused(request, upload, engine, location)
    answer = {**location, **_expiry(upload, engine), "Upload-Offset": str(upload.offset)}
    return Response(201, answer, finished=_news(upload))


def _nothing(engine: Engine, writer: Writer) -> Filling:
    """No body. An empty file is complete as soon as it exists."""
    with writer:
        return engine.conclude(writer)
    yield


def _join(request: Request, engine: Engine, urls: tuple[str, ...], metadata: Metadata) -> Response:
    if request.has_body and request.said:
        raise Refused("a concatenation takes no body", status=403)
    if headers.natural(request.headers, "upload-length") is not None or headers.deferred(request.headers):
        raise BadRequest("the length of a concatenation follows from its parts")
    ids = [request.identify(url) for url in urls]
    upload = engine.join(request, ids, metadata=metadata, concat=request.headers["upload-concat"])
    location = {"Location": request.location(upload.id)}
    if upload.result and upload.refused:
        return refused(request, upload, engine, location)
    answer = {**location, **_expiry(upload, engine)}
    if upload.complete:
        answer["Upload-Offset"] = str(upload.offset)
    return Response(201, answer, finished=_news(upload))


def _patch(request: Request, engine: Engine) -> Conversation:
    if request.headers.get("content-type") != TYPE:
        raise UnsupportedType(f"the Content-Type of a PATCH is {TYPE}")
    offset = headers.natural(request.headers, "upload-offset")
    if offset is None:
        raise BadRequest("a PATCH needs Upload-Offset")
    length = headers.natural(request.headers, "upload-length")
    if length is not None and "upload-draft-interop-version" in request.headers:
        # An iPhone's library added this, and it is the length of this request's body.
        length = None if engine.look(request, "write").length is not None else length
    body = _Body(request)
    upload = yield from body.pour(
        engine,
        engine.append(
            request,
            offset,
            announced=body.length,
            length=length,
            checksum=body.checksum,
            unverified=body.trailing,
        ),
    )
    if upload.result and upload.refused:
        return refused(request, upload, engine)
    response = stored(upload, engine)
    if upload.finals:
        response.also = engine.completed(upload)
    return response


def stored(upload: Upload, engine: Engine) -> Response:
    """The answer to a PATCH; for a finished upload with what the host had to say, however often it is asked."""
    answer = {"Upload-Offset": str(upload.offset), **_expiry(upload, engine)}
    result = upload.result
    if result is None:
        return Response(204, answer, finished=_news(upload))
    return Response(result.status, answer, result.body, extra=result.headers)


class _Body:
    """What a request says of its body, checked before a byte of it is read."""

    def __init__(self, request: Request) -> None:
        if request.length is None and not request.chunked:
            raise LengthRequired("this server cannot tell where a body without Content-Length ends")
        self.length = request.length
        self.checksum = headers.expected_checksum(request.headers)
        self._trailers = request.trailers
        announced = request.headers.get("trailer", "").lower().replace(" ", "").split(",")
        self.trailing = bool(request.trailers) and "upload-checksum" in announced

    def pour(self, engine: Engine, writer: Writer) -> Filling:
        """Have the writer filled; the upload with what came."""
        with writer:
            cut = None
            # A body of unknown length is looked at even where nothing more is wanted: it must be an empty one.
            unknown = self.length is None and not writer.upload.refused
            if unknown or writer.lease and self.length:
                cut = yield writer
            return engine.conclude(writer, cut, self._trailing_checksum(cut))

    def _trailing_checksum(self, cut: BaseException | None) -> Checksum | None:
        if not self.trailing or cut or not self._trailers:
            return None
        checksum = headers.expected_checksum(self._trailers())
        if checksum is None:
            raise BadRequest("the trailer Upload-Checksum was announced and did not come")
        return checksum


def _delete(request: Request, engine: Engine) -> Conversation:
    engine.terminate(request)
    return Response(204)
    yield


def _get(request: Request, engine: Engine) -> Conversation:
    """Not part of tus."""
    return downloads.given(request, engine)
    yield


_METHODS: dict[str, Callable[[Request, Engine], Conversation]] = {
    "OPTIONS": _options,
    "HEAD": _head,
    "POST": _post,
    "PATCH": _patch,
    "DELETE": _delete,
    "GET": _get,
}
