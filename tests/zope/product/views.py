"""Views on folders: uploads by UploadView, and what the filter before Zope hands over. Each stores an OFS File."""

import hashlib
import json
import os

import transaction
from OFS.Image import manage_addFile
from Products.Five import BrowserView
from zExceptions import BadRequest
from ZODB.POSException import ConflictError

from tus import Tus
from tus.adapters.zope2 import UploadView, Zope2RequestAdapter


class Prepare(BrowserView):
    """A folder, and two more users."""

    def __call__(self):
        app = self.request.PARENTS[-1]
        if "f" not in app:
            app.manage_addFolder("f")
            for name in ("anna", "otto"):
                app.acl_users._doAddUser(name, name, ["Manager"], [])
        return "done"


class Stored(BrowserView):
    """What the folder has, by name: size and sha1."""

    def __call__(self):
        self.request.response.setHeader("Content-Type", "application/json")
        found = {}
        for name, file in self.context.objectItems("File"):
            found[name] = [file.get_size(), hashlib.sha1(bytes(file.data)).hexdigest(), file.title]
        return json.dumps(found)


def store(context, request, name, file, title=""):
    """Store it, and then let happen what the name says: `conflicts-2-…`, `fails-once…`, `refused…`, `doomed…`."""
    manage_addFile(context, name, file, title=title)
    if name.startswith("conflicts-") and request.retry_count < int(name.split("-")[1]):
        raise ConflictError("the test wants it")
    if name.startswith("refused"):
        raise BadRequest("the test wants it")
    if name.startswith("fails-once"):
        marker = os.path.join(os.environ["TUS_TMP_FILE_DIR"], os.pardir, name)
        if not os.path.exists(marker):
            open(marker, "w").close()
            raise ValueError("the test wants it")
    if name.startswith("doomed"):
        transaction.doom()


class Upload(UploadView):
    """Counts in the title how often it ran for this request."""

    def finished(self, tus):
        with open(tus.get_filepath(), "rb") as file:
            store(self.context, self.request, tus.upload.metadata.filename, file, f"try {self.request.retry_count}")
        return "stored"

    def otherwise(self):
        return "a page"


class WithBody(Upload):
    options = {"pass_body": True}


class Kept(Upload):
    options = {"cleanup": False}


class Bare(UploadView):
    """An own view with the adapter, which does nothing about plone.protect."""

    def __call__(self):
        tus = Tus(Zope2RequestAdapter(self.request, upload_id=self.upload_id or ""))
        tus.handle()
        if tus.upload_finished:
            with open(tus.get_filepath(), "rb") as file:
                store(self.context, self.request, tus.upload.metadata.filename, file)
            tus.cleanup_file()
        return "stored"


class CleansFirst(UploadView):
    """As the README of 2013 had it: it opens the file, cleans up, and only then does something with what it opened."""

    def __call__(self):
        req = self.request
        adapter = Zope2RequestAdapter(req, upload_id=self.upload_id or "")
        tus = Tus(adapter)
        if tus.valid:
            tus.handle()
            if not tus.upload_finished:
                return
            filename = req.getHeader("FILENAME")
            if tus.send_file:
                filedata = req._file
            else:
                filepath = req._file.read()
                filedata = open(filepath, "rb")  # noqa: SIM115  (as it is written there)
            tus.cleanup_file()
            store(self.context, req, filename, filedata)


class TakePath(BrowserView):
    """hand_over = path"""

    def __call__(self):
        name = self.request.getHeader("FILENAME").encode("latin-1").decode()
        with open(self.request._file.read(), "rb") as file:
            store(self.context, self.request, name, file, f"try {self.request.retry_count}")
        return "stored"


class TakeFile(BrowserView):
    """hand_over = file"""

    def __call__(self):
        name = self.request.getHeader("FILENAME").encode("latin-1").decode()
        store(self.context, self.request, name, self.request._file, self.request.getHeader("Content-Type"))
        return "stored"


class TakeForm(BrowserView):
    """hand_over = form"""

    def __call__(self):
        file = self.request.form["file"]
        store(self.context, self.request, file.filename, file, self.request.form.get("title", ""))
        return "stored"
