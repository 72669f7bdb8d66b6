"""A form from any browser, with or without JavaScript, and the address that tells the progress of an upload.

The file streams into the engine as it arrives, under a key that the page chose; fields become metadata, before, while
and after. It must never redirect to another site, and never answer with anything that a browser would run.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from contextlib import suppress

from ..engine import Engine
from ..engine.removing import remove_failed
from ..engine.writer import Sink, Writer
from ..errors import BadRequest, NotFound
from ..exchange import Conversation
from ..forms import BrowserExchange, Fields, Form, Part, is_form, metadata, posted, short_text
from ..http.messages import Request, Response
from ..progress import ask, keyed
from ..upload import Upload
from ..visitors import key_of

_OWN = frozenset(("uploadkey", "next"))
# A path of this very site: browsers take //host and /\host for another one.
_NEXT = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)


def exchange(request: Request, engine: Engine) -> Keyed:
    return (ProgressExchange if request.id == "progress" else FormExchange)(request, engine)


class Keyed(BrowserExchange):
    """A request about the upload that goes by a key."""

    @property
    def key(self) -> str:
        """As the page chose it."""
        return key_of(self.query)


class ProgressExchange(Keyed):
    """How far is it?"""

    methods = ("OPTIONS", "GET", "HEAD")

    def get(self) -> Conversation:
        """JSON, and never JSONP."""
        id, key = self.query.get("id", ""), self.key
        if bool(id) == bool(key):
            raise BadRequest("say ?uploadKey=… or ?id=…")
        self.request = keyed(self.engine, self.request, key) if key else self.request.about(id)
        return self.json(200, ask(self.engine, self.identify()))
        yield

    head = get


class FormExchange(Keyed):
    """A file, or words about one."""

    methods = ("OPTIONS", "POST")

    def __init__(self, request: Request, engine: Engine) -> None:
        super().__init__(request, engine)
        self._next = self.query.get("next", "")

    def post(self) -> Conversation:
        if not is_form(self.request):
            return (yield from self._described())
        self.form = form = Form(self.request, self._opened)
        cut = yield from form.filled()
        self._next = form.fields.get("next", self._next)
        if form.sink is None:
            if cut:
                raise cut
            return self._attached(form.fields)
        assert isinstance(form.sink, Writer)
        with form.sink as writer:
            if cut:
                raise cut
            late = metadata(_words(form.fields))
            if late.raw and writer.fresh:
                writer.upload = writer.upload.evolve(metadata=writer.upload.metadata.joined(late))
            elif late.raw:
                self.engine.describe(self.identify(), late)
            return self.stored(self.engine.conclude(writer))

    def _opened(self, fields: Fields, part: Part) -> Sink:
        more = metadata(_words({**self.query, **fields}), part)
        if not self.key:
            return self.whole(more)
        self.request = keyed(self.engine, self.request, self.key)
        self._clear()
        return self.whole(more, self.request.id)

    def _clear(self) -> None:
        """A form that failed may be sent again under the same key."""
        with suppress(NotFound):
            remove_failed(self.engine, self.request.id)

    # Words

    def _described(self) -> Conversation:
        fields = posted((yield from short_text(self.request)))
        self._next = fields.get("next", self._next)
        return self._attached(fields)

    def _attached(self, fields: Fields) -> Response:
        """Fields without a file: a description for an upload that runs, or is over."""
        more = metadata(_words({**self.query, **fields}))
        if not self.key:
            raise BadRequest("there is no file in this form, and no ?uploadKey=… to say which upload it describes")
        if not more.raw:
            raise BadRequest("there is nothing in this form")
        self.request = keyed(self.engine, self.request, self.key)
        return self.done(self.engine.describe(self.request, more))

    # Answers

    def done(self, upload: Upload) -> Response:
        """JSON for a script; for a browser a page, or the way to one."""
        if not self._page:
            return super().done(upload)
        if _NEXT.fullmatch(self._next):
            return Response(303, {"Location": self._next, "Cache-Control": "no-store"})
        name = upload.metadata.filename or "The file"
        return self._shown(200, f"{name} has arrived.")

    def refusal(self, status: int, body: bytes, headers: Mapping[str, str]) -> Response:
        if self._page:
            response = self._shown(status, body.decode("utf-8", "replace"))
            response.headers.update(headers)
            return response
        return super().refusal(status, body, headers)

    @property
    def _page(self) -> bool:
        headers = self.request.headers
        return "text/html" in headers.get("accept", "") and "x-requested-with" not in headers

    def _shown(self, status: int, text: str) -> Response:
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": "default-src 'none'",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Upload</title><p>{html.escape(text)}</p>\n"
        return Response(status, headers, page.encode("utf-8", "replace"))


def _words(fields: Fields) -> Fields:
    """What a form says of its file, without what it says to us."""
    return {name: value for name, value in fields.items() if name.lower() not in _OWN and name != "submit"}
