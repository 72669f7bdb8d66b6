"""The upload form, on whichever page it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .pages import Html, Pages, escaped, root

CHUNK = 8 << 20  # bytes a request, where the server hands a body over only when it has all of it
SCRIPTS = ("earlier.js", "item.js", "key.js", "page.js", "rows.js", "safari.js", "upload.js", "iframe.js")


class UploadForm:
    """A form for one collection of uploads."""

    def __init__(
        self,
        pages: Pages,
        upload_path: str,
        max_size: int | None = None,
        accept: str = "",
        *,
        remember: bool = True,
        chunk_size: int | None = None,
    ) -> None:
        """`remember`: links to what was finished stay in the browser, where no other page shows them."""
        self.pages, self.upload_path = pages, upload_path
        self.max_size, self.accept, self.remember = max_size, accept, remember
        self.chunk_size = chunk_size
        self._known: dict[str, str] = {}

    def html(self, environ: dict[str, Any], language: str, *, album: str = "") -> Html:
        """The form; what is sent through it lands in `album`."""
        fields = f'<input type="hidden" name="album" value="{escaped(album)}">' if album else ""
        return self.pages.fill(
            "form",
            language,
            endpoint=root(environ) + self.upload_path.lstrip("/"),
            max_size=self.max_size or "",
            chunk=self.chunk_size or ("" if _streams(environ) else CHUNK),
            accept=self.accept,
            album=album,
            remember=" data-remember" if self.remember else "",
            fields=Html(fields),
            texts=self._texts(language),
        )

    def _texts(self, language: str) -> str:
        if language not in self._known:
            self._known[language] = self.pages.texts(language, SCRIPTS)
        return self._known[language]

    def scripts(self, environ: dict[str, Any]) -> list[Html]:
        """What the form needs. Browsers too old for modules, and requests that ask for it, get the hidden frame."""
        if "mode=iframe" in environ.get("QUERY_STRING", "").split("&"):
            return [self.pages.script(environ, "iframe.js", kind="plain")]
        return [
            self.pages.script(environ, "vendor/tus.min.js", kind="plain"),
            self.pages.script(environ, "upload.js"),
            self.pages.script(environ, "iframe.js", kind="old"),
        ]


def _streams(environ: Mapping[str, Any]) -> bool:
    """Whether a body that is cut is kept: waitress alone collects it before it calls anybody."""
    return "waitress" not in environ.get("SERVER_SOFTWARE", "")
