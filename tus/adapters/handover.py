"""Hand a finished upload to the application behind the filter, as one ordinary POST; and keep its answer.

What the application sees has no trace of tus but `environ["tus.upload"]`. Its file is removed only after it answered
with success and its response was consumed.
"""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote

from .. import events
from ..engine import Delivery
from ..engine.delivering import link_to
from ..errors import Locked, TusError
from ..exchange import Exchange
from ..http.messages import Request, Response
from ..talk import put_off
from ..tus import Application, handed
from ..upload import Result, Upload, definite, name_of
from .targets import repeated

Environ = dict[str, Any]
Pairs = list[tuple[str, str]]

_KEPT = 1 << 16  # bytes of an answer's body that are remembered with the upload

log = logging.getLogger("tus")

_OURS = ("HTTP_UPLOAD_", "HTTP_TUS_", "HTTP_TRANSFER_", "HTTP_TRAILER", "HTTP_EXPECT", "HTTP_X_HTTP_METHOD",
         "HTTP_IF_", "HTTP_RANGE", "HTTP_CONTENT_", "webob.", "werkzeug.", "tus.", "bottle.")  # fmt: skip
_HOPS = frozenset(("content-length", "transfer-encoding", "connection", "keep-alive"))
_UNREPEATED = _HOPS | {"date", "server", "set-cookie"}  # true of the moment, or meant for one client
_PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)
_UNDONE = Result(503, (("Retry-After", "1"), ("Content-Type", "text/plain")), b"rolled back; try again\n")
_LOGIN = 401  # is said of the request, and not of the file: with other credentials it may be taken
# What speaks of the application's own body or connection.
_DROPPED = frozenset(("content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "date",
                      "server", "etag", "last-modified", "accept-ranges", "keep-alive"))  # fmt: skip


class HandOver:
    """Calls the application once for each finished upload."""

    def __init__(self, given: Application, app: Callable[..., Iterable[bytes]]) -> None:
        self._engine, self._options = given.engine, given.options
        self._app = app

    def __call__(self, exchange: Exchange, path: str, response: Response, delivery: Delivery) -> Response:
        """What the client gets, now that the application has its say; without it, that would be `response`."""
        request, upload = exchange.request, delivery.upload
        if exchange.relays:
            relayed = self._relayed(request.native, path, delivery)
            if relayed is None:
                return put_off(exchange, Locked("undone; try again"))
            return exchange.final(upload, relayed)
        try:
            result = self._delivered(request.native, path, delivery)
        except Exception as error:
            # What the application raises goes on to what reports errors; but a client that does not know yet where its
            # upload is, or only asks how far it is, needs an answer of ours.
            if not ("Location" in response.headers or request.method == "HEAD" or isinstance(error, TusError)):
                raise
            return _located(put_off(exchange, error), response)
        finally:
            delivery.release()
        # A client that is not logged in has to learn it. At any other error a HEAD would make it begin from zero.
        if delivery.upload.pending and request.method == "HEAD" and result.status != _LOGIN:
            return put_off(exchange, Locked(f"the application answered {result.status}"))
        return exchange.final(delivery.upload if delivery.upload.refused else upload, result)

    def besides(self, request: Request, path: str, upload: Upload) -> None:
        """Hand over what a part completed. The answer to the part has no place for what the application says: who
        asks for the whole hears it."""
        try:
            delivery = self._engine.claim(upload.id)
            try:
                if delivery.upload.pending and delivery.hear(delivery.ask()):
                    self._delivered(request.native, path, delivery)
            finally:
                delivery.release()
        except Exception:
            log.exception("upload %s is complete and was not handed over", upload.id)

    def _delivered(self, environ: Environ, path: str, delivery: Delivery) -> Result:
        """What the application said. While it may still take the upload, that is pending, and the next request asks it
        again."""
        if self._options.hand_over == "none" and not delivery.upload.target:
            delivery.accept(delivery.told)
            return delivery.told
        answer = self._called(environ, path, delivery)
        if answer is None:
            return _UNDONE
        status, headers, body = answer
        if definite(status) and status != _LOGIN:
            return self._refused(Result(status, _without(headers, _UNREPEATED), body), delivery)
        if not 200 <= status < 400:
            # Content-Length is computed again, in case the application miscounted.
            events.refused(delivery.upload, status, "the host does not take it now")
            return Result(status, _without(headers, _HOPS), body)
        result = self._result(status, headers, body, delivery.told)
        delivery.accept(self._remembered(result), drop=self._options.cleanup)
        return result

    def _refused(self, result: Result, delivery: Delivery) -> Result:
        """It does not want the upload, for good: no later request has it asked again."""
        if len(result.body) > _KEPT:
            result = result._replace(body=b"the application refused this upload\n", headers=_PLAIN)
        delivery.accept(result)
        return result

    def _called(self, environ: Environ, path: str, delivery: Delivery) -> tuple[int, Pairs, bytes] | None:
        """The application's answer; None if its work was undone."""
        with closing(self._file(delivery)) as file:
            prepared = self._prepared(environ, path, delivery.upload, file)
            prepared["tus.file"] = partial(handed, delivery)  # for a host that moves it, and then repeats the request
            answer = call(self._app, prepared)
        # Set by a host whose transaction was rolled back, which need not show in its answer.
        return None if answer[0] < 400 and prepared.get("tus.undone") else answer

    def _relayed(self, environ: Environ, path: str, delivery: Delivery) -> Result | None:
        """The application's whole answer, whatever it is, and for good; None if its work was undone."""
        try:
            if self._options.hand_over == "none" and not delivery.upload.target:
                delivery.accept(delivery.told)
                return delivery.told
            answer = self._called(environ, path, delivery)
            if answer is None:
                return None
            status, headers, body = answer
            result = Result(status, (*delivery.told.headers, *headers), body)
            delivery.accept(self._remembered(result), drop=self._options.cleanup or not 200 <= status < 400)
            return result
        finally:
            delivery.release()

    def _result(self, status: int, headers: Pairs, body: bytes, told: Result) -> Result:
        """What is remembered of the application's answer, and of what the hook said before."""
        dropped = _DROPPED
        if status >= 300:
            dropped = dropped | {"location"}  # a client would follow it, and take the page for the answer to its PATCH
        kept = (*told.headers, *(pair for pair in headers if pair[0].lower() not in dropped))
        if not (self._options.pass_body and body):
            return Result(204, kept)
        kept += tuple(pair for pair in headers if pair[0].lower() == "content-type")
        return Result(200, kept, body)

    def _remembered(self, result: Result) -> Result:
        """What is kept for clients that lost the answer: a record is read with every request."""
        return result if len(result.body) <= _KEPT else result._replace(body=b"")

    def _file(self, delivery: Delivery) -> BinaryIO:
        upload = delivery.upload
        if self._options.hand_over == "path" and not upload.target:
            return io.BytesIO(delivery.path().encode())
        if self._options.hand_over == "url" and not upload.target:
            return io.BytesIO(link_to(self._engine, upload).encode())
        if self._options.hand_over == "file" or upload.target:
            return handed(delivery)
        return FormBody(upload, delivery.open())  # type: ignore[return-value]

    def _prepared(self, environ: Environ, path: str, upload: Upload, file: BinaryIO) -> Environ:
        """The environ of an ordinary POST; or of the original request that was for another resource."""
        if upload.target:
            new = repeated(environ, upload.target, upload.offset)
            return {**new, "wsgi.input": file, "wsgi.input_terminated": True, "tus.upload": upload}
        new = {key: value for key, value in environ.items() if not key.startswith(_OURS)}
        new["REQUEST_METHOD"] = "POST"
        new["PATH_INFO"] = path
        new["wsgi.input"] = file
        new["wsgi.input_terminated"] = True
        new["tus.upload"] = upload
        new["tus.unforgeable"] = unforgeable(environ)
        kind, size = "text/plain", 0
        if isinstance(file, FormBody):
            kind, size = file.content_type, file.size
        elif self._options.hand_over == "file":
            kind, size = upload.metadata.media_type or "application/octet-stream", upload.offset
        else:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
        new["CONTENT_TYPE"], new["CONTENT_LENGTH"] = kind, str(size)
        if upload.metadata.filename:
            new["HTTP_FILENAME"] = upload.metadata.filename.encode("utf-8", "replace").decode("latin-1")
        else:
            new.pop("HTTP_FILENAME", None)
        return new


def _without(headers: Pairs, names: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in headers if pair[0].lower() not in names)


def unforgeable(environ: Environ) -> bool:
    """Whether no page of another site can have made this request: browsers ask before they send such headers, and the
    answer, by `cors`, allows cookies only from the sites that `cors_origins` names."""
    return any(key.startswith(("HTTP_TUS_", "HTTP_UPLOAD_")) for key in environ)


def _located(answer: Response, instead_of: Response) -> Response:
    """A refused creation still exists, and the client has to know where, to try again."""
    if "Location" in instead_of.headers:
        answer.headers["Location"] = instead_of.headers["Location"]
    return answer


def call(app: Callable[..., Iterable[bytes]], environ: Environ) -> tuple[int, Pairs, bytes]:
    """The application's whole answer. What it raises goes on to what reports errors outside."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        started.append((status, headers))
        return written.append

    parts = app(environ, start_response)
    try:
        written.extend(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    status, headers = started[-1]
    return int(status.split(" ", 1)[0]), headers, b"".join(written)


class FormBody(io.RawIOBase):
    """multipart/form-data as a browser would have sent it: metadata as fields, and the file where it lies."""

    def __init__(self, upload: Upload, file: BinaryIO) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._file = file
        head = b"".join(
            _part(boundary, name_of(key), value)
            for key, value in upload.metadata.items()
            if key not in ("filename", "filetype")
        )
        kind = upload.metadata.media_type or "application/octet-stream"
        head += _opening(boundary, "file", upload.metadata.filename or upload.id, kind)
        tail = f"\r\n--{boundary}--\r\n".encode()
        self._ends = (len(head), len(head) + upload.offset, len(head) + upload.offset + len(tail))
        self._pieces = (io.BytesIO(head), file, io.BytesIO(tail))
        self.size = self._ends[-1]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """As much as asked for, since applications read a form in one go and expect all of it."""
        view = memoryview(buffer).cast("B")
        filled = start = 0
        for end, piece in zip(self._ends, self._pieces, strict=True):
            if filled < len(view) and self._position < end:
                piece.seek(self._position - start)
                block = piece.read(min(len(view) - filled, end - self._position))
                view[filled : filled + len(block)] = block
                filled += len(block)
                self._position += len(block)
            start = end
        return filled

    def peek(self, size: int = 0) -> bytes:
        """What comes next. `readline` asks for it, and would read byte by byte without."""
        position = self._position
        block = self.read(1 << 12)
        self._position = position
        return block

    def close(self) -> None:
        self._file.close()
        super().close()


def _opening(boundary: str, name: str, filename: str, kind: str) -> bytes:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; filename="{_quoted(filename)}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    ).encode()


def _part(boundary: str, name: str, value: bytes) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
    return head.encode() + value + b"\r\n"


def _quoted(text: str) -> str:
    """As browsers write names in forms."""
    text = text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return text if text.isprintable() else "".join(c if c.isprintable() else quote(c) for c in text)
