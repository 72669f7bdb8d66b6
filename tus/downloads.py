"""An upload as a file to download, for every protocol that has a request for that: finished, or while it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .engine import Engine, admission, delivering
from .engine.following import Follower, certain_of
from .http.headers import disposition, media_type
from .http.messages import Request, Response
from .http.ranges import arriving_range, file_response
from .upload import Upload

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


class LiveBody:
    """A body that waits for the bytes of an upload. To iterate over it takes a thread; a server that can do without
    calls `park`, and has itself called when there may be more."""

    def __init__(self, follower: Follower, *, framed: bool) -> None:
        self._follower = follower
        self.framed = framed  # its length is known
        self._held = False

    def __iter__(self) -> Iterator[bytes]:
        while (block := self._follower.take()) != b"":
            if block is None:
                self._follower.wait()
            else:
                yield block

    def park(self) -> Iterator[bytes]:
        """The same, with an empty block wherever there is nothing for the moment."""
        while (block := self._follower.take()) != b"":
            yield block or b""

    def call(self, wake: Callable[[], None]) -> None:
        """Call this, once, when there may be more; perhaps at once, perhaps in another thread."""
        self._follower.call(wake)

    def hold(self) -> bool:
        """Whether it may take a thread."""
        self._held = self._held or self._follower.hold()
        return self._held

    def close(self) -> None:
        held, self._held = self._held, False
        if held:
            self._follower.free()
        self._follower.close()


def _tag(upload: Upload) -> str:
    """What is finished never changes; but a key makes the same id again when its first upload was removed."""
    return f'"{upload.id}-{upload.created * 1e6:.0f}"' if upload.keyed else f'"{upload.id}"'


def download(request: Request, engine: Engine, *, live: bool = True) -> Response:
    """The file, or what the client asks for of it. Nothing that a browser would run; and what is not finished only if
    the client did not ask for the state of an upload."""
    upload = admission.readable(engine, request, live=live)
    kind = upload.metadata.media_type
    group, _, subtype = media_type(kind).partition("/")
    inert = subtype in _INERT.get(group, ())
    shown = disposition("inline" if inert else "attachment", upload.metadata.filename)
    kind = kind if inert or subtype in _SAVED.get(group, ()) else UNKNOWN
    if engine.options.redirect_downloads and upload.readable:
        url = delivering.link_to(engine, upload, kind=kind, disposition=shown)
        return Response(302, {"Location": url, "Cache-Control": "no-store"})
    extra = {
        "Content-Type": kind,
        "Content-Disposition": shown,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    tag = _tag(upload)
    if not upload.readable:
        return _live(request, engine, upload, tag=tag, extra=extra)
    return file_response(
        request.headers,
        engine.open(upload),
        size=upload.offset,
        modified=upload.touched,
        tag=tag,
        extra=extra,
    )


def _live(request: Request, engine: Engine, upload: Upload, *, tag: str, extra: dict[str, str]) -> Response:
    """What is there of the file, and what comes. The client sees its end only once the host has it."""
    length = upload.length
    there = certain_of(engine, upload.id).offset
    status, start, end = arriving_range(request.headers, tag, length=length, there=there)
    common = {"ETag": tag, "Accept-Ranges": "bytes", **extra, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if status >= 400:
        told = {"Cache-Control": "no-store", "Content-Type": "text/plain"}
        told.update({"Content-Range": f"bytes */{length}"} if status == 416 else {})
        told.update({"Retry-After": "1"} if status == 503 else {})
        return Response(status, told)
    if status == 206 and end is not None:
        common["Content-Range"] = f"bytes {start}-{end - 1}/{'*' if length is None else length}"
    if end is not None:
        common["Content-Length"] = str(end - start)
    timeout = engine.options.live_timeout
    follower = Follower(engine, upload.id, start=start, end=end, timeout=timeout, accepted=True)
    return Response(status, common, LiveBody(follower, framed=end is not None))
