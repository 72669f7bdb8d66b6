"""Uploads in a Bottle application: by a route at /files, and by the filter at /upload.

gunicorn bottle_app:application
"""

import shutil
from pathlib import Path

from bottle import Bottle, HTTPResponse, request

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)

app = Bottle()


@app.route("/files", method="ANY")
@app.route("/files/", method="ANY")
@app.route("/files/<id>", method="ANY")
def files(id=""):
    """The adapter: everything happens here. Nothing may touch request.body or request.forms before."""
    adapter = WebobAdapter(request.environ, upload_id=id)
    tus = Tus(adapter, tmp_file_dir="uploads")
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    return HTTPResponse(adapter.resp.body, status=adapter.resp.status, headers=adapter.resp.headerlist)


@app.post("/upload")
def upload():
    """What the filter hands over: the path of the file is the body."""
    record = request.environ["tus.upload"]
    shutil.copyfile(request.body.read(), KEPT / f"{record.id}-{record.metadata.filename}")
    return "thank you"


@app.get("/")
def home():
    return "hello"


application = TusFilter(app, tmp_file_dir="uploads", upload_path="/upload")
