"""Uploads in a plain WSGI application: by calling the adapter at /files, and by the filter at /upload.

gunicorn plain_wsgi:application
"""

import shutil
from pathlib import Path

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)


def files(environ, start_response):
    """The adapter: everything happens here."""
    adapter = WebobAdapter(environ)
    tus = Tus(adapter, tmp_file_dir="uploads")
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    return adapter.resp(environ, start_response)


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/files"):
        return files(environ, start_response)
    if "tus.upload" in environ:  # from the filter, with the path of the file as the body
        upload = environ["tus.upload"]
        shutil.copyfile(environ["wsgi.input"].read(), KEPT / f"{upload.id}-{upload.metadata.filename}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


application = TusFilter(app, tmp_file_dir="uploads", upload_path="/upload")


def app_factory(global_conf, **settings):
    """For `urlmap.ini`, which puts the filter around it by itself."""
    return app
