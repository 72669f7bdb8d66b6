"""Uploads in a Pyramid application: by a view at /files, and by the filter at /upload, which pyramid.ini adds.

pserve pyramid.ini
"""

import shutil
from pathlib import Path

from pyramid.config import Configurator
from pyramid.view import view_config

from tus import Tus, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)


# Without require_csrf=False, an application that checks tokens by default answers 400 to POST, PATCH and DELETE.
@view_config(route_name="files", require_csrf=False)
def files(request):
    """The adapter: everything happens here."""
    adapter = WebobAdapter(request)
    tus = Tus(adapter, tmp_file_dir="uploads")
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    return adapter.resp


@view_config(route_name="upload", renderer="string", require_csrf=False)
def upload(request):
    """What the filter hands over: the path of the file is the body."""
    record = request.environ["tus.upload"]
    shutil.copyfile(request.body, KEPT / f"{record.id}-{record.metadata.filename}")
    return "thank you"


@view_config(route_name="home", renderer="string")
def home(request):
    return "hello"


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.set_default_csrf_options(require_csrf=True)
        config.add_route("home", "/")
        config.add_route("files", "/files*id")
        config.add_route("upload", "/upload")
        config.scan(__name__)
        return config.make_wsgi_app()
