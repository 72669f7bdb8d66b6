"""tus 0.2, for clients from before 2014: other names for the same things. Off unless the option `legacy` is on."""

from __future__ import annotations

from ..engine import Engine
from ..errors import BadRequest, MethodNotAllowed, TusError, UnsupportedType
from ..exchange import Conversation, Exchange
from ..forms import check_length, metadata
from ..http.headers import OFFSET_TYPE, bare_utf8, http_date, natural
from ..http.messages import Request, Response
from ..upload import Result, Upload

_WORDS = ("final-length", "entity-length", "offset")


def exchange(request: Request, engine: Engine) -> LegacyExchange | None:
    """The conversation, if a client that names no version is one of these, by the words that only they know. A HEAD is
    answered to clients of all versions at once."""
    known = request.method in ("POST", "PATCH") and any(word in request.headers for word in _WORDS)
    return LegacyExchange(request, engine) if known else None


class LegacyExchange(Exchange):
    """One request of such a client."""

    renders = True

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
        more = metadata({"filename": bare_utf8(name)} if name else {})
        with self.engine.begin(self.identify(), length=lengths.pop(), metadata=more) as writer:
            upload = self.engine.conclude(writer)
        return self.stored(upload)
        yield

    def _patch(self) -> Conversation:
        if self.request.headers.get("content-type") != OFFSET_TYPE:
            raise UnsupportedType(f"the Content-Type of a PATCH is {OFFSET_TYPE}")
        offset = natural(self.request.headers, "offset")
        if offset is None:
            raise BadRequest("a PATCH needs Offset")
        announced = check_length(self.request)
        with self.engine.append(self.identify(), offset, announced=announced) as writer:
            cut = None
            if writer.lease and announced != 0:
                cut = yield writer
            upload = self.engine.conclude(writer, cut)
        return self.stored(upload)

    def final(self, upload: Upload, result: Result) -> Response:
        """The answer, with what the host had to say."""
        headers, status = {"Offset": str(upload.offset), "X-Content-Type-Options": "nosniff"}, 200
        if self.request.method == "POST":
            headers["Location"], status = self.request.location(upload.id), 201
        expires = self.engine.expires(upload)
        if expires is not None:
            headers["Upload-Expires"] = http_date(expires)
        response = Response(result.status if result.refuses else status, headers, result.body)
        response.add_extra(result.headers)
        return response

    def failure(self, error: TusError) -> Response:
        """What went wrong, for a person."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff", **error.headers}
        if error.offset is not None:
            headers["Offset"] = str(error.offset)
        return Response(error.status, headers, f"{error}\n".encode("utf-8", "replace"))
