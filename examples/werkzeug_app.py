"""Uploads in an application made with Werkzeug: by a view at /files, and by the filter at /upload.

gunicorn werkzeug_app:application
"""

import shutil
from pathlib import Path

from werkzeug import Request, Response

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)


def files(request):
    """The adapter: everything happens here."""
    adapter = WebobAdapter(request.environ)
    tus = Tus(adapter, tmp_file_dir="uploads")
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    return adapter.resp  # a WSGI application, as Werkzeug's own responses are


def upload(request):
    """What the filter hands over: the path of the file is the body."""
    record = request.environ["tus.upload"]
    shutil.copyfile(request.get_data(), KEPT / f"{record.id}-{record.metadata.filename}")
    return Response("thank you")


@Request.application
def app(request):
    if request.path.startswith("/files"):
        return files(request)
    if request.path == "/upload":
        return upload(request)
    return Response("hello")


application = TusFilter(app, tmp_file_dir="uploads", upload_path="/upload")
