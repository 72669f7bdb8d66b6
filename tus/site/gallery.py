"""A directory of photos and videos as albums, into which people upload. No database: the directory is the truth.

Every path from outside goes through `albums.Tree`; only `thumbnails` makes pictures from photos.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from ..adapters.wsgi import EnvironHeaders, Filter, outgoing
from ..errors import FULL, NotFound, OptionError, Refused, StoreFull, TusError
from ..http.headers import disposition
from ..http.messages import Response
from ..http.ranges import Pausing, file_response
from ..options import Options
from ..upload import Upload
from ..values import directory, flag, size, text, url_path
from .albums import ACCEPT, Item, Tree, lineage, path_in, url_part
from .archive import zipped
from .arrivals import Gate, destination, stored_path, takes
from .form import UploadForm
from .operators import Operators
from .pages import ROOM, Environ, Html, Pages, StartResponse, redirect, reply, root, texts
from .site import parsed
from .thumbnails import CROWD, FORMATS, Maker, Thumbnails

App = Callable[[Environ, StartResponse], Iterable[bytes]]

UPLOADS = ROOM + "files"  # so that no album is in the way
_KEPT = "public, max-age=31536000, immutable"
_LOOKED = "private, no-cache"
# Browsers show a bare photo in a page of their own making, which has its style inline; nothing else can be in it.
_BARE = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


class Gallery:
    """The albums, as a WSGI application; behind the filter it takes what was uploaded."""

    def __init__(
        self,
        directory: str,
        *,
        cache: str = "",
        title: str = "",
        upload_path: str = UPLOADS,
        max_size: int | None = None,
        chunk_size: int | None = None,
        uploads: bool = True,
        crowd: int = CROWD,
        accel: str = "",
        authorise: Any = None,
        pages: Pages | None = None,
        operators: Operators | None = None,
    ) -> None:
        if not directory or not os.path.isdir(directory):
            raise OptionError(f"option directory: {directory or 'nothing'} is not a directory")
        self.tree = Tree(directory)
        cache = os.path.abspath(cache or os.path.join(directory, ".tus", "thumbnails"))
        self.thumbnails = Thumbnails(self.tree, cache, crowd=crowd)
        self.pages = pages or Pages()
        self.operators = operators
        self.title, self.accel, self.uploads = title, accel, uploads
        self.form = UploadForm(self.pages, upload_path, max_size, ACCEPT, remember=False, chunk_size=chunk_size)
        self._maker = Maker(self.thumbnails)
        self._allowed = _callable(authorise)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._answer(environ, start_response)
        except (NotFound, Refused) as error:
            if "tus.upload" in environ or error.status not in (403, 404):
                return _plain(environ, start_response, error)
            text = "not_found" if error.status == 404 else "forbidden"
            return self.pages.message(environ, start_response, error.status, text)
        except TusError as error:
            return _plain(environ, start_response, error)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "tus.upload" in environ:
            return self._take(environ, start_response)
        raw = environ.get("PATH_INFO", "")
        if raw == "":
            return redirect(environ, start_response, environ.get("SCRIPT_NAME", "") + "/")
        if raw.startswith(ROOM):
            return self._ours(environ, start_response, raw)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise Refused("GET and HEAD only", status=405, headers={"Allow": "GET, HEAD"})
        path = os.fsdecode(raw.encode("latin-1"))[1:]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if path == "" or path.endswith("/"):
            return self._folder(environ, start_response, path[:-1], query)
        self._check(environ, path.rpartition("/")[0])
        try:
            item = self.tree.item(path)
        except NotFound:
            if not self.tree.is_album(path):
                raise
            return redirect(environ, start_response, url_part(path.rpartition("/")[2]) + "/")
        if "size" in query:
            return self._thumbnail(environ, start_response, item, query)
        return self._file(environ, start_response, item, download="download" in query)

    def _ours(self, environ: Environ, start_response: StartResponse, raw: str) -> Iterable[bytes]:
        if self.operators and raw.startswith(ROOM + "operators"):
            return self.operators(environ, start_response)
        served = self.pages.serve(environ, start_response)
        if served is None:
            raise NotFound("nothing here")
        return served

    def _may(self, environ: Environ, album: str) -> bool:
        """Whether this visitor may see an album, and so add to it: what is in a private one is private."""
        return not self._allowed or all(self._allowed(environ, each) for each in lineage(album))

    def _may_see(self, environ: Environ, item: Item) -> bool:
        return self._may(environ, item.path.rpartition("/")[0])

    def _check(self, environ: Environ, album: str) -> None:
        if not self._may(environ, album):
            raise Refused("this album is private")

    # Pages

    def _folder(
        self, environ: Environ, start_response: StartResponse, path: str, query: Mapping[str, Any]
    ) -> Iterable[bytes]:
        """An album; or, as each photo has a page that looks like a folder, a photo."""
        if not self.tree.is_album(path):
            self._check(environ, path.rpartition("/")[0])
            return self._photo_page(environ, start_response, self.tree.item(path))
        self._check(environ, path)
        if "zip" in query:
            return self._zip(environ, start_response, path)
        return self._album_page(environ, start_response, path)

    def _album_page(self, environ: Environ, start_response: StartResponse, path: str) -> Iterable[bytes]:
        language = self.pages.language(environ)
        words = texts(language)
        folders, items = self.tree.album(path)
        title = os.path.basename(path) or self.title or words["photos"]
        form = Html("")
        if self.uploads:
            form = self.pages.fill(
                "adding",
                language,
                form=self.form.html(environ, language, album=path),
                heading=words["add_photos_to"].format(album=title) if path else words["add_photos"],
            )
        body = self.pages.fill(
            "album",
            language,
            title=title,
            crumbs=self._crumbs(environ, language, path),
            albums=Html("\n".join(self._album_tiles(environ, language, path, folders))),
            no_albums=Html("" if folders else " hidden"),
            tiles=Html("\n".join(self._tile(language, item) for item in items)),
            no_tiles=Html("" if items else " hidden"),
            empty=Html(" hidden" if items or folders else ""),
            form=form,
        )
        scripts = [self.pages.script(environ, "gallery.js"), *(self.form.scripts(environ) if self.uploads else ())]
        return self.pages.page(environ, start_response, body, title=title, language=language, scripts=scripts)

    def _album_tiles(self, environ: Environ, language: str, path: str, folders: list[str]) -> Iterable[Html]:
        for name in folders:
            album = path_in(path, name)
            if not self._may(environ, album):
                continue
            cover = self.tree.cover(album, lambda item: self._may_see(environ, item) and self.thumbnails.showable(item))
            picture = Html("")
            if cover:
                picture = self.pages.fill("picture", language, source=_source(cover, album), alt="")
            yield self.pages.fill("folder", language, href=url_part(name) + "/", name=name, picture=picture)

    def _tile(self, language: str, item: Item) -> Html:
        if item.video:
            return self.pages.fill("clip", language, href=url_part(item.name) + "/", name=item.name)
        picture = self.pages.fill("picture", language, source=_source(item), alt=item.name)
        return self.pages.fill("tile", language, href=url_part(item.name) + "/", picture=picture)

    def _crumbs(self, environ: Environ, language: str, path: str, *, own: bool = False) -> Html:
        """The way back up. With `own`, the last step is a link as well: there is a page below it."""
        names = path.split("/") if path else []
        steps = [(root(environ), self.title or texts(language)["albums"])]
        for depth, name in enumerate(names, 1):
            up = "../" * (len(names) - depth + own)
            steps.append((up, name))
        made = [self.pages.fill("crumb", language, href=href, name=name) for href, name in steps if href]
        return Html("".join(made))

    def _photo_page(self, environ: Environ, start_response: StartResponse, item: Item) -> Iterable[bytes]:
        language = self.pages.language(environ)
        album = item.path.rpartition("/")[0]
        items = self.tree.album(album)[1]
        names = [other.name for other in items]
        if item.name not in names:
            raise NotFound("it has just gone")
        place = names.index(item.name)
        before = items[place - 1].name if place else ""
        after = items[place + 1].name if place + 1 < len(items) else ""
        body = self.pages.fill(
            "video" if item.video else "photo",
            language,
            title=item.name,
            crumbs=self._crumbs(environ, language, album, own=True),
            file=f"../{url_part(item.name)}",
            type=item.type,
            previous=f"../{url_part(before)}/" if before else "",
            next=f"../{url_part(after)}/" if after else "",
            no_previous=Html("" if before else " hidden"),
            no_next=Html("" if after else " hidden"),
            **(self._facts(language, item) if not item.video else {}),
        )
        scripts = [self.pages.script(environ, "gallery.js")]
        return self.pages.page(environ, start_response, body, title=item.name, language=language, scripts=scripts)

    def _facts(self, language: str, item: Item) -> dict[str, object]:
        width, height, taken = self.thumbnails.facts(item)
        scale = min(1.0, 1600 / max(width, height, 1))
        date = taken.strftime("%d.%m.%Y %H:%M" if language == "de" else "%d %B %Y, %H:%M") if taken else ""
        return {
            "source": _source(item, up="../"),
            "width": round(width * scale) or 1600,
            "height": round(height * scale) or 1200,
            "taken": texts(language)["taken"].format(date=date) if taken else "",
        }

    # Files

    def _thumbnail(
        self, environ: Environ, start_response: StartResponse, item: Item, query: Mapping[str, Any]
    ) -> Iterable[bytes]:
        wanted = query["size"][0]
        number = int(wanted) if wanted in ("320", "640", "1600") else 0
        format = "webp" if "image/webp" in environ.get("HTTP_ACCEPT", "") else "jpg"
        file = self.thumbnails.get(item, number, format)
        current = query.get("v") == [item.stamp] and not self._allowed
        found = os.fstat(file.fileno())
        return self._served(
            environ,
            start_response,
            file,
            found,
            f'"{item.stamp}-{number}-{format}"',
            {
                "Content-Type": FORMATS[format][1],
                "Cache-Control": _KEPT if current else _LOOKED,
                "Vary": "Accept",
            },
        )

    def _file(self, environ: Environ, start_response: StartResponse, item: Item, *, download: bool) -> Iterable[bytes]:
        name = item.name.encode("utf-8", "replace").decode()
        extra = {
            "Content-Type": item.type,
            "Content-Disposition": disposition("attachment" if download else "inline", name),
            "Content-Security-Policy": _BARE,
            "Cache-Control": _LOOKED,
        }
        if self.accel:
            return self._accelerated(environ, start_response, item, extra)
        file = self.tree.open(item)
        found = os.fstat(file.fileno())
        return self._served(environ, start_response, file, found, f'"{item.stamp}-{found.st_ino:x}"', extra)

    def _accelerated(
        self, environ: Environ, start_response: StartResponse, item: Item, extra: dict[str, str]
    ) -> Iterable[bytes]:
        """The server in front sends the file: nginx, when `accel` is its internal location; else by X-Sendfile."""
        if self.accel.startswith("/"):
            extra["X-Accel-Redirect"] = f"{self.accel.rstrip('/')}/{url_part(item.path)}"
        else:
            extra["X-Sendfile"] = url_part(self.tree.file(item))
        return outgoing(Response(200, {**extra, "X-Content-Type-Options": "nosniff"}), environ, start_response)

    def _served(
        self,
        environ: Environ,
        start_response: StartResponse,
        file: BinaryIO,
        found: os.stat_result,
        tag: str,
        extra: dict[str, str],
    ) -> Iterable[bytes]:
        response = file_response(
            EnvironHeaders(environ),
            file,
            size=found.st_size,
            modified=found.st_mtime,
            tag=tag,
            extra={"X-Content-Type-Options": "nosniff", **extra},
            method=environ["REQUEST_METHOD"],
        )
        return outgoing(response, environ, start_response)

    def _zip(self, environ: Environ, start_response: StartResponse, path: str) -> Iterable[bytes]:
        name = (os.path.basename(path) or self.title or "photos").encode("utf-8", "replace").decode()
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": disposition("attachment", f"{name}.zip"),
            "Cache-Control": "no-store",
        }
        items = (item for item in self.tree.walk(path) if self._may_see(environ, item))
        body: Iterable[bytes] = () if environ["REQUEST_METHOD"] == "HEAD" else Pausing(zipped(self.tree, items, path))
        return outgoing(Response(200, headers, body), environ, start_response)

    # Uploads

    def _take(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """A finished upload: into the album that its page showed, and the folders that it came in."""
        upload: Upload = environ["tus.upload"]
        album, folders = destination(upload)
        for each in (album, "/".join((album, *folders)).lstrip("/")):
            self._check(environ, each)
        name = upload.metadata.filename
        if not self.uploads or not takes(name):
            raise Refused("only photos and videos are taken", status=415)
        try:
            item = self.tree.put(stored_path(environ, upload), self.tree.make(album, folders), name)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise StoreFull("there is no room for this photo") from None
        self._maker.add(item)
        address = environ.get("SCRIPT_NAME", "") + f"/{url_part(item.path)}/"
        headers = {"Content-Location": address, "Content-Type": "text/plain", "Cache-Control": "no-store"}
        return reply(environ, start_response, b"thank you\n", headers=headers)


def _source(item: Item, album: str = "", up: str = "") -> str:
    """The URL of an item's thumbnails, without the size: from the page of the folder above, or from its own."""
    if album:
        start = album.rpartition("/")[0]
        name = item.path[len(start) + 1 :] if start else item.path
    else:
        name = item.name
    return f"{up}{url_part(name)}?v={item.stamp}&size="


def _plain(environ: Environ, start_response: StartResponse, error: TusError) -> Iterable[bytes]:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **error.headers}
    return reply(environ, start_response, f"{error}\n".encode("utf-8", "replace"), status=error.status, headers=headers)


def _callable(named: Any) -> Callable[[Environ, str], Any] | None:
    """The hook that decides about albums: a function, or its name."""
    if not named or callable(named):
        return named or None
    module, _, name = str(named).partition(":")
    try:
        hook: Callable[[Environ, str], Any] = getattr(import_module(module), name)
        return hook
    except (ImportError, AttributeError) as error:
        raise OptionError(f"option authorise: {named!r} cannot be found: {error}") from error


OPTIONS: dict[str, Callable[[Any], Any]] = {
    "directory": directory,
    "cache": directory,
    "title": text,
    "upload_path": url_path,
    "max_size": size,
    "chunk_size": size,
    "uploads": flag,
    "crowd": int,
    "accel": text,
    "authorise": text,
    "template_dir": directory,
    "static_dir": directory,
    "language": text,
    "operators": flag,
}


def gallery_factory(global_conf: Mapping[str, str], **local_conf: str) -> Gallery:
    """`[app:main] use = egg:tus#gallery`; with `filter-with = tus` in front it takes uploads."""
    values = parsed(local_conf, OPTIONS)
    return Gallery(values.pop("directory", ""), **values)


def with_uploads(
    directory: str, uploads: str | None, *, operators: bool = False, host: str = "", **given: Any
) -> Filter:
    """The gallery with uploads in front of it, for `tus serve --gallery` at `host`."""
    given = {"upload_path": UPLOADS, "hooks": Gate(Tree(directory)), **given, "hand_over": "path"}
    if uploads or "store" not in given:  # beside the photos, on the same file system: moving costs nothing
        given["tmp_file_dir"] = uploads or os.path.join(directory, ".tus", "uploads")
    checked = Options(given)
    gallery = Gallery(
        directory, upload_path=checked.upload_path, max_size=checked.max_size, chunk_size=checked.chunk_size
    )
    if operators:
        gallery.operators = Operators(gallery.pages, hosts=[host])
    return Filter(gallery, **given)
