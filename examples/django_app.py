"""Uploads in a Django project, here of one file: by a view at /files, and by the filter at /upload.

gunicorn django_app:application
"""

import shutil
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from tus import Tus, TusFilter, WebobAdapter

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="of an example",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    )


@csrf_exempt  # no other site can send Tus-Resumable with a visitor's cookies, unless `cors` allows it
def files(request, id=None):
    """The adapter: everything happens here. Nothing may touch request.body or request.POST before."""
    adapter = WebobAdapter(request.environ, upload_id=id or "")
    tus = Tus(adapter, tmp_file_dir="uploads")
    tus.handle()
    if tus.upload_finished:
        shutil.copyfile(tus.get_filepath(), KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}")
        tus.cleanup_file()
    return as_django(adapter.resp)


def as_django(answer):
    """A WebOb response as one of Django's."""
    response = HttpResponse(answer.body, status=answer.status_int, reason=answer.status[4:])
    del response.headers["Content-Type"]
    for name, value in answer.headerlist:
        response.headers[name] = value
    return response


@csrf_exempt
def upload(request):
    """What the filter hands over: the path of the file is the body."""
    record = request.environ["tus.upload"]
    shutil.copyfile(request.body, KEPT / f"{record.id}-{record.metadata.filename}")
    return HttpResponse("thank you")


def home(request):
    return HttpResponse("hello")


# With and without the slash at the end: APPEND_SLASH redirects, and a client repeats a redirected POST as a GET.
urlpatterns = [path("", home), re_path(r"^files(?:/(?P<id>[\w-]+))?/?$", files), re_path(r"^upload/?$", upload)]

application = TusFilter(get_wsgi_application(), tmp_file_dir="uploads", upload_path="/upload")
