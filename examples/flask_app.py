"""Uploads in a Flask application: by a view at /files, and by the filter at /upload.

gunicorn flask_app:application
"""

import shutil
from pathlib import Path

from flask import Flask, request

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)
METHODS = ["OPTIONS", "POST", "HEAD", "PATCH", "GET", "DELETE"]  # OPTIONS, or Flask answers it

application = app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 10**10


@app.route("/files", methods=METHODS, strict_slashes=False)
@app.route("/files/<id>", methods=METHODS)
def files(id=""):
    """The adapter: everything happens here. It reads past Flask's limit for bodies, so it has one of its own."""
    adapter = WebobAdapter(request.environ, upload_id=id)
    tus = Tus(adapter, tmp_file_dir="uploads", max_size=app.config["MAX_CONTENT_LENGTH"])
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    return adapter.resp


@app.post("/upload")
def upload():
    """What the filter hands over: the path of the file is the body."""
    record = request.environ["tus.upload"]
    shutil.copyfile(request.get_data(), KEPT / f"{record.id}-{record.metadata.filename}")
    return "thank you"


@app.get("/")
def home():
    return "hello"


app.wsgi_app = TusFilter(app.wsgi_app, tmp_file_dir="uploads", upload_path="/upload")
