"""UploadView: a whole upload endpoint for Zope, of which only `finished` is missing.

    class Upload(UploadView):
        def finished(self, tus):
            with open(tus.get_filepath(), "rb") as file:
                manage_addFile(self.context, tus.upload.metadata.filename, file)

It never touches the body itself, and never answers for what the publisher forbids.
"""

from __future__ import annotations

from typing import Any, ClassVar

import transaction
from Products.Five import BrowserView
from zope.component import adapter
from zope.interface import implementer
from zope.publisher.interfaces import NotFound
from zope.publisher.interfaces.browser import IBrowserPublisher
from ZPublisher.interfaces import IPubStart

from ..http.address import guessed
from ..tus import Tus
from ..upload import Upload
from .handover import unforgeable
from .zope2 import TAKEN, Zope2RequestAdapter, exempt

OLD_VIEWS = {"fileUpload"}  # names of views made for the first versions of this package; Plone's is one
_STEP = "tus_upload"


@implementer(IBrowserPublisher)
class UploadView(BrowserView):
    """Subclass it, write `finished`, register it with `browser:page` and a permission."""

    options: ClassVar[dict[str, Any]] = {}  # as for `tus.Tus`; what is missing comes from TUS_… and the defaults
    upload_id: str | None = None
    _stepped = False

    def finished(self, tus: Tus) -> Any:
        """Take the file: `tus.get_filepath()`, `tus.upload`. What it returns is sent if the option `pass_body` is on.

        It runs again if Zope repeats the request. When it raises, the upload is kept, and the next request for it
        comes here again. The file is removed after the commit.
        """
        raise NotImplementedError

    def otherwise(self) -> Any:
        """What is not for tus: a page, or a form that was sent here."""
        raise NotFound(self.context, self.__name__, self.request)

    def __call__(self) -> Any:
        tus = Tus(Zope2RequestAdapter(self.request, upload_id=self.upload_id or ""), **self.options)
        if not tus.valid:
            return self.otherwise()
        tus.handle()
        if not tus.upload_finished:
            return ""
        if unforgeable(self.request.environ):
            exempt(self.request)
        body = self.finished(tus)
        if tus.options.cleanup:
            tus.cleanup_file()
        return body

    def browserDefault(self, request: Any) -> tuple[Any, tuple[str, ...]]:
        """One step more than the URL has. For OPTIONS, PATCH and DELETE the publisher takes us for a WebDAV server,
        whose last step must not be acquired; a view on a folder fails that test, its own step does not."""
        if self._stepped or self.upload_id is not None:
            return self._public(request), ()
        self._stepped = True
        return self, (_STEP,)

    def publishTraverse(self, request: Any, name: str) -> Any:
        if name == _STEP and self._stepped:
            return self
        if self.upload_id is not None:
            raise NotFound(self, name, request)
        self.upload_id = name
        return self

    def _public(self, request: Any) -> Any:
        """A browser that asks before it sends has no credentials yet, so the permission cannot guard that."""
        return Preflight(self, request) if request.method == "OPTIONS" else self


class Preflight(BrowserView):
    """OPTIONS, for everybody."""

    __call____roles__ = None  # public

    def __call__(self) -> Any:
        return self.context()


@adapter(IPubStart)
def routed(event: Any) -> None:
    """Views of before have no `publishTraverse` for the id, and today's Zope ignores their `__getitem__`. So the id is
    taken off before Zope looks, and the method is not taken for WebDAV."""
    request = event.request
    collection, id = guessed(request.environ["PATH_INFO"])
    if _is_old(collection):
        request.maybe_webdav_client = 0
        if unforgeable(request.environ):
            exempt(request)
        if id:
            request.environ["PATH_INFO"] = collection
            request.other[TAKEN] = id


@adapter(IPubStart)
def handed_over(event: Any) -> None:
    """The filter hands an upload over, and must know if that is rolled back."""
    request, environ = event.request, event.request._orig_env
    if "tus.upload" not in environ:
        return
    environ.pop("tus.undone", None)
    if environ.get("tus.unforgeable"):
        exempt(request)
    if request.retry_count:
        environ["tus.file"]().close()  # the last try may have given the file to the ZODB; now it is there again
    if _is_old(environ["PATH_INFO"]) and not environ["CONTENT_TYPE"].startswith("multipart/"):
        request.form["file"] = _posted(environ["tus.file"](), environ["tus.upload"])
    transaction.get().addAfterAbortHook(environ.__setitem__, ("tus.undone", True))


def _posted(file: Any, upload: Upload) -> Any:
    """The file as those views find it in a form, which is all that they take but tus. It stays where it is."""
    file.filename = upload.metadata.filename or upload.id
    return file


def _is_old(path: str) -> bool:
    return path.rpartition("/")[2].removeprefix("@@") in OLD_VIEWS
