"""FilePond's server protocol: whole files in a form, and files in chunks that come one after the other.

It resembles tus, with one dangerous difference: a server that keeps half a chunk loses the other half, since FilePond
goes on with the next whole one. So a chunk is kept when it is whole, and discarded otherwise.
"""

from __future__ import annotations

import json
from typing import Any

from ..downloads import download
from ..engine import Engine
from ..engine.writer import Sink, Writer
from ..errors import BadRequest, LengthMismatch, OffsetMismatch, Refused
from ..exchange import Conversation
from ..forms import BrowserExchange, Discarded, Fields, Form, Part, check_length, is_form, metadata, short_text
from ..http.headers import bare_utf8, natural
from ..http.messages import Request, Response
from ..upload import Metadata, Result, Upload


def exchange(request: Request, engine: Engine) -> FilePondExchange:
    return FilePondExchange(request, engine)


class FilePondExchange(BrowserExchange):
    """One request of FilePond. Its uploads are called by ids that we gave."""

    methods = ("OPTIONS", "POST", "PATCH", "HEAD", "DELETE", "GET")

    def post(self) -> Conversation:
        """A whole file; or, with Upload-Length, word that one will come in chunks."""
        length = natural(self.request.headers, "upload-length")
        if not is_form(self.request):
            raise BadRequest("FilePond sends a form")
        self.form = form = Form(self.request, self._opened)
        cut = yield from form.filled()
        if isinstance(form.sink, Writer):
            with form.sink as writer:
                if cut:
                    raise cut
                return self.stored(self.engine.conclude(writer))
        if cut:
            raise cut
        if length is None:
            raise BadRequest("there is no file in this form, and no Upload-Length either")
        with self.engine.begin(self.identify(), length=length, metadata=_described(form.fields)) as writer:
            return self.stored(self.engine.conclude(writer))

    def _opened(self, fields: Fields, part: Part) -> Sink:
        more = _described(fields).joined(metadata({}, part))
        return self.whole(more)

    def patch(self) -> Conversation:
        """One chunk, wholly or not at all."""
        self.request = self.request.about(self.query.get("patch", ""))
        offset = natural(self.request.headers, "upload-offset")
        if offset is None:
            raise BadRequest("a PATCH needs Upload-Offset")
        announced = check_length(self.request)
        upload = self._named(self.engine.look(self.identify(), "write"))
        length = natural(self.request.headers, "upload-length")
        if length not in (None, upload.length):
            raise LengthMismatch(f"Upload-Length is {upload.length} and cannot become {length}")
        if offset < upload.offset or upload.complete:
            return (yield from self._again(upload, offset, announced))
        with self.engine.append(self.request, offset, announced=announced, exact=True) as writer:
            cut = None
            if writer.lease and announced != 0:
                cut = yield writer
            return self.stored(self.engine.conclude(writer, cut))

    def _again(self, upload: Upload, offset: int, announced: int | None) -> Conversation:
        """A chunk whose answer got lost comes again; and a file that ends with a whole chunk is followed by an empty
        one."""
        if offset + (announced or 0) > upload.offset:
            raise OffsetMismatch(f"the upload has {upload.offset} bytes", offset=upload.offset)
        if announced != 0:
            yield Discarded(announced, max(upload.offset - offset, 0))
        return self.stored(upload)

    def _named(self, upload: Upload) -> Upload:
        """With the name, which FilePond tells with each chunk, and not when it begins."""
        name = self.request.headers.get("upload-name", "")
        if not name or upload.metadata.filename or upload.offset or upload.complete:
            return upload
        return self.engine.describe(self.request, metadata({"filename": bare_utf8(name)}))

    def head(self) -> Conversation:
        """Where to go on; always between two chunks."""
        self.request = self.request.about(self.query.get("patch", ""))
        return self.stored(self.engine.seize(self.identify()))
        yield

    def delete(self) -> Conversation:
        """`revert`: the user took the file back. The body says which."""
        text = yield from short_text(self.request)
        self.request = self.request.about(text.strip())
        self.engine.terminate(self.identify())
        return self.text("")

    def get(self) -> Conversation:
        """`restore` and `load`: show a file again. Never `fetch`: that would let anybody send us anywhere."""
        if "fetch" in self.query:
            raise Refused("this server fetches nothing from other servers", status=403)
        self.request = self.request.about(self.query.get("restore") or self.query.get("load") or "")
        response = download(self.identify(), self.engine)
        response.headers["X-Content-Transfer-Id"] = self.request.id
        return response
        yield

    def partly(self, upload: Upload) -> Response:
        return self.final(upload, Result())

    def final(self, upload: Upload, result: Result) -> Response:
        if self.request.method == "HEAD" and not result.refuses:
            return Response(200, {"Cache-Control": "no-store", "Upload-Offset": str(upload.offset)})
        return super().final(upload, result)

    def done(self, upload: Upload) -> Response:
        """FilePond takes the body for the file's id, and puts it into the page's form."""
        response = self.text(upload.id if self.request.method == "POST" else "")
        response.headers["Upload-Offset"] = str(upload.offset)
        return response

    def text(self, text: str) -> Response:
        return Response(200, {"Content-Type": "text/plain", "Cache-Control": "no-store"}, text.encode())


def _described(fields: Fields) -> Metadata:
    """The metadata that FilePond sends as JSON, in a field by the name of the file's."""
    said: dict[str, str] = {}
    for name, value in fields.items():
        pairs = _object(value)
        if pairs is None:
            said[name] = value
        else:
            said.update({str(k): v if isinstance(v, str) else json.dumps(v) for k, v in pairs.items()})
    return metadata(said)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
