"""Pages: templates, texts in the reader's language, static files, and the headers that keep pages harmless.

Nothing is put into a template unescaped, unless it is Html already; and nothing here has script or style inline.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import mimetypes
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from ..adapters.wsgi import outgoing
from ..errors import OptionError
from ..http.messages import Response
from ..http.ranges import names_tag

if TYPE_CHECKING:
    from importlib.abc import Traversable

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

ROOM = "/~tus/"  # below it lies what is ours, so that no album can have the same name
LANGUAGES = ("en", "de")  # the first is for everybody else
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_COMMON = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_YEAR = "public, max-age=31536000, immutable"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> str:
    """The value as part of a page. Names of files need not be UTF-8; what is not shows as a question mark."""
    if isinstance(value, Html):
        return value
    return html.escape(str(value).encode("utf-8", "replace").decode())


class Asset:
    """One static file, in memory."""

    def __init__(self, name: str, content: bytes) -> None:
        suffix = os.path.splitext(name)[1]
        self.type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.content = content
        packed = gzip.compress(content, 9, mtime=0)
        self.packed = packed if len(packed) < len(content) else b""


class Pages:
    """Templates, texts and static files of the package, or of directories that replace some of them."""

    def __init__(self, template_dir: str = "", static_dir: str = "", language: str = "") -> None:
        if language and language not in LANGUAGES:
            raise OptionError(f"option language: {language!r} is not one of {', '.join(LANGUAGES)}")
        self._template_dir, self._static_dir, self._language = template_dir, static_dir, language
        for name, directory in (("template_dir", template_dir), ("static_dir", static_dir)):
            if directory and not os.path.isdir(directory):
                raise OptionError(f"option {name}: {directory} is not a directory")
        self._templates: dict[tuple[str, str], Template] = {}

    # Templates

    def language(self, environ: Environ) -> str:
        """What the reader understands best of what there is."""
        return self._language or _preferred(environ.get("HTTP_ACCEPT_LANGUAGE", ""))

    def fill(self, name: str, language: str, /, **values: object) -> Html:
        """A template with these values."""
        template = self._templates.get((name, language))
        if template is None:
            template = self._templates[name, language] = self._template(name, language)
        return Html(template.substitute({key: escaped(value) for key, value in values.items()}))

    def _template(self, name: str, language: str) -> Template:
        """The template with its texts put in: `{{key}}` is a text, `$name` a value."""
        text = self._read("templates", self._template_dir, f"{name}.html").decode()
        words = texts(language)
        return Template(re.sub(r"\{\{(\w+)\}\}", lambda m: html.escape(words[m[1]]).replace("$", "$$"), text))

    def _read(self, kind: str, own: str, name: str) -> bytes:
        path = os.path.join(own, name)
        if own and os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
        return (resources.files(__package__) / kind / name).read_bytes()

    def page(
        self,
        environ: Environ,
        start_response: StartResponse,
        body: Html,
        *,
        title: str,
        language: str,
        scripts: Iterable[Html] = (),
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Iterable[bytes]:
        """The whole page; or word that the reader has it already."""
        static = root(environ) + self.static
        tags = Html("\n".join(scripts))
        text = self.fill("page", language, lang=language, title=title, static=static, scripts=tags, body=body)
        return reply(environ, start_response, text.encode(), status=status, headers=headers)

    def message(
        self,
        environ: Environ,
        start_response: StartResponse,
        status: int,
        text: str,
        headers: Mapping[str, str] | None = None,
    ) -> Iterable[bytes]:
        """A page that says one thing; `text` is a key."""
        language = self.language(environ)
        said = texts(language)[text]
        body = self.fill("message", language, message=said, root=root(environ) or "./")
        return self.page(environ, start_response, body, title=said, language=language, status=status, headers=headers)

    def script(self, environ: Environ, name: str, *, kind: str = "module") -> Html:
        """A tag that loads one of the static scripts: as a module, for old browsers only, or as it is."""
        word = {"module": ' type="module"', "old": " nomodule defer", "plain": " defer"}[kind]
        return Html(f'<script{word} src="{escaped(root(environ) + self.static + name)}"></script>')

    def texts(self, language: str, scripts: Iterable[str]) -> str:
        """The texts that scripts need, as JSON: those whose names occur in them."""
        words = {word for name in scripts for word in re.findall(r"\w+", self._assets[name].content.decode())}
        return json.dumps({key: text for key, text in texts(language).items() if key in words}, ensure_ascii=False)

    # Static files

    @cached_property
    def _assets(self) -> dict[str, Asset]:
        names = {*_files(resources.files(__package__) / "static")}
        if self._static_dir:
            names |= {*_files_in(self._static_dir)}
        return {name: Asset(name, self._read("static", self._static_dir, name)) for name in sorted(names)}

    @cached_property
    def static(self) -> str:
        """Where the static files are: the name changes with any of them, so that they may be kept for ever."""
        digest = hashlib.blake2b(digest_size=8)
        for name, asset in self._assets.items():
            digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
        return f"{ROOM[1:]}static/{digest.hexdigest()}/"

    def serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """A static file, if the request is for one."""
        path = environ.get("PATH_INFO", "")
        if not path.startswith(ROOM + "static/"):
            return None
        version, _, name = path[len(ROOM + "static/") :].partition("/")
        asset = self._assets.get(name)
        if not asset or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self.message(environ, start_response, 404, "not_found")
        current = self.static.endswith(f"/{version}/")
        # A page of yesterday asks for the files of yesterday. It gets today's, and keeps them for no time.
        headers = {
            "Content-Type": asset.type,
            "Cache-Control": _YEAR if current else "no-cache",
            "Vary": "Accept-Encoding",
        }
        content = asset.content
        if asset.packed and _takes_gzip(environ):
            content, headers["Content-Encoding"] = asset.packed, "gzip"
        return reply(environ, start_response, content, headers=headers)


def reply(
    environ: Environ,
    start_response: StartResponse,
    content: bytes,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Iterable[bytes]:
    """A short answer, or 304 where the client has it."""
    tag = f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    given = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Language, Accept-Encoding",
        **_COMMON,
        **(headers or {}),
    }
    if status == 200 and given["Cache-Control"] != "no-store":
        given["ETag"] = tag
        if names_tag(environ.get("HTTP_IF_NONE_MATCH", ""), tag[2:], weak=True):
            kept = {name: value for name, value in given.items() if not name.startswith("Content-T")}
            return outgoing(Response(304, kept), environ, start_response)
    return outgoing(Response(status, given, content), environ, start_response)


def reply_json(environ: Environ, start_response: StartResponse, value: object, status: int = 200) -> Iterable[bytes]:
    """JSON that no cache keeps."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return reply(environ, start_response, json.dumps(value).encode(), status=status, headers=headers)


def redirect(environ: Environ, start_response: StartResponse, to: str) -> Iterable[bytes]:
    return outgoing(Response(303, {"Location": to, **_COMMON}, b""), environ, start_response)


def root(environ: Environ) -> str:
    """The way from this page to the start, which is right behind any proxy: "", "../", "../../"."""
    path: str = environ.get("PATH_INFO", "/")
    return "../" * (path.count("/") - 1)


@lru_cache(8)
def texts(language: str) -> dict[str, str]:
    """Every text that a person reads."""
    return dict(json.loads((resources.files(__package__) / "texts" / f"{language}.json").read_bytes()))


@lru_cache(256)
def _preferred(accepted: str) -> str:
    best, found = 0.0, LANGUAGES[0]
    for word in accepted[:200].split(","):
        name, _, quality = word.strip().partition(";q=")
        language = name.partition("-")[0].lower()
        with_quality = float(quality) if re.fullmatch(r"[01](\.[0-9]*)?", quality) else float(not quality)
        if language in LANGUAGES and with_quality > best:
            best, found = with_quality, language
    return found


def _takes_gzip(environ: Environ) -> bool:
    return bool(re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\b)", environ.get("HTTP_ACCEPT_ENCODING", "")))


def _files(directory: Traversable, above: str = "") -> Iterable[str]:
    for entry in directory.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{above}{entry.name}/")
        else:
            yield above + entry.name


def _files_in(directory: str) -> Iterable[str]:
    from pathlib import Path

    return _files(Path(directory))
