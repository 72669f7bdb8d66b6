"""Views on folders of Plone: each makes a File of an upload, whose content is a blob of the ZODB.

A blob takes the file that it is given: it renames it.
"""

import hashlib
import json

from plone.dexterity.utils import createContentInContainer
from plone.namedfile.file import NamedBlobFile
from Products.CMFPlone.factory import addPloneSite
from Products.Five import BrowserView
from ZODB.POSException import ConflictError

from tus.adapters.zope2 import UploadView

TYPES = "plone.app.contenttypes:default"


class Prepare(BrowserView):
    """A site with the folder of the tests, and in it others that a test can have for itself."""

    def __call__(self):
        app = self.request.PARENTS[-1]
        if "plone" not in app:
            site = addPloneSite(app, "plone", extension_ids=[TYPES])
            folder = self._folder(site, "f")
            for name in ("crowd-0", "crowd-1", "crowd-2", "by-path", "by-file", "by-form"):
                self._folder(folder, name)
        return "done"

    def _folder(self, container, name):
        return createContentInContainer(container, "Folder", id=name, checkConstraints=False)


class Stored(BrowserView):
    """What the folder has, by name: size, sha1, and how often it is there."""

    def __call__(self):
        self.request.response.setHeader("Content-Type", "application/json")
        found = {}
        for item in self.context.objectValues("Dexterity Item"):
            blob = getattr(item, "image", None) or item.file
            with blob.open("r") as file:
                content = file.read()
            name = blob.filename
            times = found[name][2] + 1 if name in found else 1
            found[name] = [len(content), hashlib.sha1(content).hexdigest(), times]
        return json.dumps(found)


def store(context, request, name, file):
    """Store it, and then let the conflicts happen that its name asks for: `conflicts-2-…`."""
    content = NamedBlobFile(data=file, filename=name)
    createContentInContainer(context, "File", title=name, file=content, checkConstraints=False)
    if name.startswith("conflicts-") and request.retry_count < int(name.split("-")[1]):
        raise ConflictError("the test wants it")


class Upload(UploadView):
    """The adapter's own view."""

    def finished(self, tus):
        store(self.context, self.request, tus.upload.metadata.filename, open(tus.get_filepath(), "rb"))  # noqa: SIM115


class TakePath(BrowserView):
    """hand_over = path"""

    def __call__(self):
        name = self.request.getHeader("FILENAME").encode("latin-1").decode()
        store(self.context, self.request, name, open(self.request._file.read(), "rb"))  # noqa: SIM115
        return "stored"


class TakeFile(BrowserView):
    """hand_over = file"""

    def __call__(self):
        name = self.request.getHeader("FILENAME").encode("latin-1").decode()
        store(self.context, self.request, name, self.request._file)
        return "stored"
