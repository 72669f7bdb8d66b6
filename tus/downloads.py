"""A finished upload as a file to download, for every protocol that has a request for that."""

from __future__ import annotations

from .engine import Engine, delivering
from .http.headers import disposition, media_type
from .http.messages import Request, Response
from .http.ranges import file_response

# Types that no browser runs scripts from, so that they may be shown where they are served.
_INERT = {
    "text": ("plain",),
    "image": ("png", "jpeg", "gif", "bmp", "webp", "avif"),
    "audio": ("wav", "wave", "webm", "ogg", "mpeg", "mp4"),
    "video": ("mp4", "webm", "ogg"),
}
# Types that are saved, and that no page can use as a part of itself, whatever is in the file. Everything else that a
# client claims is not repeated: a page that allows its own host's scripts would run an upload that calls itself one.
_SAVED = {"application": ("pdf", "zip", "gzip")}
UNKNOWN = "application/octet-stream"


def download(request: Request, engine: Engine) -> Response:
    """The file, or what the client asks for of it. Only what is finished, and nothing that a browser would run."""
    upload = engine.readable(request)
    kind = upload.metadata.media_type
    group, _, subtype = media_type(kind).partition("/")
    inert = subtype in _INERT.get(group, ())
    shown = disposition("inline" if inert else "attachment", upload.metadata.filename)
    kind = kind if inert or subtype in _SAVED.get(group, ()) else UNKNOWN
    if engine.options.redirect_downloads:
        url = delivering.link_to(engine, upload, kind=kind, disposition=shown)
        return Response(302, {"Location": url, "Cache-Control": "no-store"})
    extra = {
        "Content-Type": kind,
        "Content-Disposition": shown,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    tag = f'"{upload.id}"'  # what is finished never changes
    return file_response(
        request.headers,
        engine.open(upload),
        size=upload.offset,
        modified=upload.touched,
        tag=tag,
        extra=extra,
    )
