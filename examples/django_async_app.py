"""Uploads in a Django project under ASGI, here of one file: by the filter at /upload, and by a view at /files.

Django gives a view the body when all of it has come, so only the filter keeps what arrived before a connection broke.

uvicorn django_async_app:application
"""

import asyncio
import shutil
from pathlib import Path

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from tus import AsyncTus, TusASGI

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
async def files(request, id=None):
    """The adapter: everything happens here. Nothing may touch request.body or request.POST before."""
    tus = AsyncTus(request, upload_id=id or "", tmp_file_dir="uploads", download=False)
    await tus.handle()
    if tus.upload_finished:
        kept = KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}"
        await asyncio.to_thread(shutil.copyfile, await tus.get_filepath(), kept)
        await tus.cleanup()
    return as_django(tus.response)


def as_django(answer):
    """The response as one of Django's; a download, whose body is a file, would need more."""
    response = HttpResponse(answer.body, status=answer.status_code)
    del response.headers["Content-Type"]
    for name, value in answer.raw_headers:
        response.headers[name.decode()] = value.decode("latin-1")
    return response


@csrf_exempt
async def upload(request):
    """What the filter hands over: the path of the file is the body."""
    record = request.scope["tus.upload"]
    await asyncio.to_thread(shutil.copyfile, request.body, KEPT / f"{record.id}-{record.metadata.filename}")
    return HttpResponse("thank you")


async def home(request):
    return HttpResponse("hello")


# With and without the slash at the end: APPEND_SLASH redirects, and a client repeats a redirected POST as a GET.
urlpatterns = [path("", home), re_path(r"^files(?:/(?P<id>[\w-]+))?/?$", files), re_path(r"^upload/?$", upload)]

application = TusASGI(get_asgi_application(), tmp_file_dir="uploads", upload_path="/upload")
