"""Uploads in a CherryPy application: by a page handler at /files, and by the filter at /upload.

gunicorn cherrypy_app:application
"""

import shutil
from pathlib import Path

import cherrypy

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)


class Root:
    @cherrypy.expose
    @cherrypy.config(**{"request.process_request_body": False})
    def files(self, id=""):
        """The adapter: everything happens here. CherryPy must leave the body alone."""
        adapter = WebobAdapter(cherrypy.request.wsgi_environ, upload_id=id)
        tus = Tus(adapter, tmp_file_dir="uploads")
        tus.handle()
        if tus.upload_finished:
            shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
            tus.cleanup_file()
        cherrypy.response.status = adapter.resp.status
        cherrypy.response.headers.clear()  # it has a Content-Type already
        cherrypy.response.headers.update(adapter.resp.headerlist)
        return adapter.resp.body

    @cherrypy.expose
    def upload(self):
        """What the filter hands over: the path of the file is the body."""
        record = cherrypy.request.wsgi_environ["tus.upload"]
        shutil.copyfile(cherrypy.request.body.read(), KEPT / f"{record.id}-{record.metadata.filename}")
        return "thank you"

    @cherrypy.expose
    def index(self):
        return "hello"


cherrypy.config.update({"environment": "embedded"})
app = cherrypy.Application(Root(), "")
application = TusFilter(app, tmp_file_dir="uploads", upload_path="/upload")
