"""tus 0.2, for clients from before 2014: other names for the same things. Off unless the option `legacy` is on."""

from __future__ import annotations

from functools import partial

from ..engine import Engine
from ..errors import BadRequest, MethodNotAllowed, TusError, UnsupportedType
from ..forms import Conversation, check_length, metadata
from ..http.headers import http_date, natural
from ..http.messages import Request, Response
from ..upload import Result, Upload

TYPE = "application/offset+octet-stream"
_WORDS = ("final-length", "entity-length", "offset")


def speaks(request: Request) -> bool:
    """Whether a client that names no version is one of these, by the words that only they know. A HEAD is answered
    to clients of all versions at once."""
    return request.method in ("POST", "PATCH") and any(word in request.headers for word in _WORDS)


def exchange(request: Request, engine: Engine) -> LegacyExchange:
    return LegacyExchange(request, engine)


class LegacyExchange:
    """One request of such a client."""

    def __init__(self, request: Request, engine: Engine) -> None:
        self.request, self.engine = request, engine

    def converse(self) -> Conversation:
        """The answer; what goes wrong is raised."""
        methods = {"POST": self._post, "PATCH": self._patch}
        handler = methods.get(self.request.method)
        if handler is None or bool(self.request.id) == (self.request.method == "POST"):
            raise MethodNotAllowed(f"{self.request.method} means nothing here", headers={"Allow": ", ".join(methods)})
        return (yield from handler())

    def _post(self) -> Conversation:
        names = [natural(self.request.headers, name) for name in ("final-length", "entity-length")]
        lengths = {length for length in names if length is not None}
        if len(lengths) != 1:
            raise BadRequest("a creation needs Final-Length")
        # Plone's pages send the name in a header of their own.
        name = self.request.headers.get("filename", "")
        more = metadata({"filename": name.encode("latin-1", "replace").decode("utf-8", "replace")} if name else {})
        with self.engine.begin(self.request, length=lengths.pop(), metadata=more) as writer:
            upload = self.engine.conclude(writer)
        return self._answer(201, upload, {"Location": self.request.location(upload.id)})
        yield

    def _patch(self) -> Conversation:
        if self.request.headers.get("content-type") != TYPE:
            raise UnsupportedType(f"the Content-Type of a PATCH is {TYPE}")
        offset = natural(self.request.headers, "offset")
        if offset is None:
            raise BadRequest("a PATCH needs Offset")
        announced = check_length(self.request)
        with self.engine.append(self.request, offset, announced=announced) as writer:
            cut = None
            if writer.lease and announced != 0:
                cut = yield writer
            upload = self.engine.conclude(writer, cut)
        return self._answer(200, upload, {})

    def _answer(self, status: int, upload: Upload, headers: dict[str, str]) -> Response:
        expires = self.engine.expires(upload)
        if expires is not None:
            headers["Upload-Expires"] = http_date(expires)
        headers = {**headers, "Offset": str(upload.offset), "X-Content-Type-Options": "nosniff"}
        if upload.pending:
            return Response(status, headers, finished=upload, render=partial(_said, status, headers))
        return _said(status, headers, upload.result or Result())

    def failure(self, error: TusError) -> Response:
        """What went wrong, for a person."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff", **error.headers}
        if error.offset is not None:
            headers["Offset"] = str(error.offset)
        return Response(error.status, headers, f"{error}\n".encode("utf-8", "replace"))


def _said(status: int, headers: dict[str, str], result: Result) -> Response:
    """The answer, with what the host had to say."""
    refused = result.status >= 400
    extra = tuple(pair for pair in result.headers if pair[0].title() not in headers)
    return Response(result.status if refused else status, dict(headers), result.body, extra=extra)
