"""Uploads in a Falcon application: by a sink at /files, and by the filter at /upload.

gunicorn falcon_app:application
"""

import shutil
from pathlib import Path

import falcon

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)


def files(req, resp):
    """The adapter: everything happens here. A sink gets every method and whatever follows /files."""
    adapter = WebobAdapter(req.env)
    tus = Tus(adapter, tmp_file_dir="uploads")
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    resp.status = adapter.resp.status
    resp.set_headers(adapter.resp.headerlist)
    resp.data = adapter.resp.body


class Upload:
    """What the filter hands over: the path of the file is the body."""

    def on_post(self, req, resp):
        record = req.env["tus.upload"]
        shutil.copyfile(req.bounded_stream.read(), KEPT / f"{record.id}-{record.metadata.filename}")
        resp.text = "thank you"


class Home:
    def on_get(self, req, resp):
        resp.text = "hello"


app = falcon.App()
app.add_sink(files, "/files")
app.add_route("/upload", Upload())
app.add_route("/", Home())
application = TusFilter(app, tmp_file_dir="uploads", upload_path="/upload")
