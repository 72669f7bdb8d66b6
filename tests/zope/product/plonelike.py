"""An upload view with the calls of Plone's: whoever wrote one for the original library must not have to change it."""

import json
import mimetypes
import os

from AccessControl import getSecurityManager
from OFS.Image import manage_addFile
from Products.Five import BrowserView

OPTIONS = {"tmp_file_dir": str, "send_file": lambda value: value.lower() in ("t", "true", "1", "on"),
           "upload_valid_duration": int}  # fmt: skip

TUS_ENABLED = False
if os.environ.get("TUS_ENABLED"):
    from tus import Tus, Zope2RequestAdapter

    tus_settings = {}
    for option, converter in OPTIONS.items():
        if f"TUS_{option.upper()}" in os.environ:
            tus_settings[option] = converter(os.environ[f"TUS_{option.upper()}"])
    TUS_ENABLED = os.path.isdir(tus_settings["tmp_file_dir"])


class FileUploadView(BrowserView):
    """Takes an upload by tus, or a form."""

    tus_uid = None

    def __contains__(self, uid):
        return self.tus_uid and self.tus_uid == uid

    def __getitem__(self, uid):
        if self.tus_uid is not None:
            raise KeyError(uid)
        self.tus_uid = uid
        self.__doc__ = "published"
        return self

    def __call__(self):
        if not getSecurityManager().checkPermission("View", self.context):
            self.request.RESPONSE.setStatus(403)
            return "You are not authorized to add content to this folder."
        req = self.request
        tusrequest = False
        if TUS_ENABLED:
            adapter = Zope2RequestAdapter(req)
            tus = Tus(adapter, **tus_settings)
            if tus.valid:
                tusrequest = True
                tus.handle()
                if not tus.upload_finished:
                    return
                filename = req.getHeader("FILENAME")
                if tus.send_file:
                    filedata = req._file
                    filedata.filename = filename
                else:
                    filepath = req._file.read()
                    filedata = open(filepath, "rb")  # noqa: SIM115  (as it is written there)
        if not tusrequest:
            if req.REQUEST_METHOD != "POST":
                return
            filedata = self.request.form.get("file", None)
            if filedata is None:
                return
            filename = filedata.filename
        content_type = mimetypes.guess_type(filename)[0] or ""
        if not filedata:
            return
        if filename.endswith(".exe"):
            self.request.RESPONSE.setStatus(403)
            return "You cannot add a File to this folder, try another one"
        manage_addFile(self.context, filename, filedata, content_type=content_type)
        obj = self.context[filename]
        if tusrequest:
            tus.cleanup_file()
        self.request.response.setHeader("Content-Type", "application/json; charset=utf-8")
        return json.dumps({"size": obj.get_size(), "url": obj.absolute_url(), "filename": filename})
