"""The demonstration: a page to upload from, and an application behind the filter that takes what arrives.

No file is kept under a name that the client chose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..adapters.wsgi import Filter
from ..errors import OptionError
from ..values import directory, flag, size, text, url_path
from .form import UploadForm
from .operators import Operators
from .pages import ROOM, Environ, Pages, StartResponse, redirect, reply, texts

App = Callable[[Environ, StartResponse], Iterable[bytes]]


class Site:
    """The upload page at "/", and below `ROOM` what belongs to it."""

    def __init__(
        self,
        *,
        upload_path: str = "/files",
        max_size: int | None = None,
        chunk_size: int | None = None,
        title: str = "",
        accept: str = "",
        pages: Pages | None = None,
        operators: Operators | None = None,
    ) -> None:
        self.pages = pages or Pages()
        self.form = UploadForm(self.pages, upload_path, max_size, accept, chunk_size=chunk_size)
        self.title, self.operators = title, operators
        self.upload_path = upload_path

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if "tus.upload" in environ:
            return self._take(environ, start_response)
        if path.startswith(ROOM):
            if self.operators and path.startswith(ROOM + "operators"):
                return self.operators(environ, start_response)
            served = self.pages.serve(environ, start_response)
            if served is not None:
                return served
        if path == "":
            return redirect(environ, start_response, environ.get("SCRIPT_NAME", "") + "/")
        if path != "/" or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self.pages.message(environ, start_response, 404, "not_found")
        return self._page(environ, start_response)

    def _page(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        language = self.pages.language(environ)
        title = self.title or texts(language)["upload_title"]
        body = self.pages.fill("upload", language, heading=title, form=self.form.html(environ, language))
        scripts = self.form.scripts(environ)
        return self.pages.page(environ, start_response, body, title=title, language=language, scripts=scripts)

    def _take(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """A finished upload: this is where an application of your own begins. Here the file stays where it is."""
        upload = environ["tus.upload"]
        answer = f"{upload.offset} bytes of {upload.metadata.filename or upload.id} are here.\n"
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        return reply(environ, start_response, answer.encode("utf-8", "replace"), headers=headers)


def with_uploads(*, operators: bool = False, host: str = "", **given: Any) -> Filter:
    """The page with uploads behind it, for `tus serve` at `host`: all of them stay where they are."""
    site = Site()
    if operators:
        site.operators = Operators(site.pages, hosts=[host])
    # Nothing here could take a file over.
    app = Filter(site, **{"upload_path": "/files", **given, "hand_over": "none"})
    site.form = UploadForm(site.pages, app.options.upload_path, app.options.max_size, chunk_size=app.options.chunk_size)
    return app


OPTIONS: dict[str, Callable[[Any], Any]] = {
    "upload_path": url_path,
    "max_size": size,
    "chunk_size": size,
    "title": text,
    "accept": text,
    "template_dir": directory,
    "static_dir": directory,
    "language": text,
    "operators": flag,
}


def parsed(given: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Options of a section, as arguments of what it configures; an unknown name is an error."""
    values = {}
    for name, value in given.items():
        if name not in known:
            from ..options import unknown

            raise OptionError(unknown(name, known))
        try:
            values[name] = known[name](value)
        except ValueError as error:
            raise OptionError(f"option {name}: {value!r} {error}") from None
    pages = Pages(values.pop("template_dir", ""), values.pop("static_dir", ""), values.pop("language", ""))
    operators = Operators(pages) if values.pop("operators", False) else None
    return {**values, "pages": pages, "operators": operators}


def demo_factory(global_conf: Mapping[str, str], **local_conf: str) -> Site:
    """`[app:main] use = egg:tus#demo`, behind `filter-with = tus`."""
    return Site(**parsed(local_conf, OPTIONS))
