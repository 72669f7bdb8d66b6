"""Uploads in a Starlette application: by an endpoint at /files, and by the filter at /upload.

uvicorn starlette_app:application
"""

import shutil
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tus import AsyncTus, TusASGI

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)
METHODS = ["OPTIONS", "POST", "HEAD", "PATCH", "GET", "DELETE"]


async def files(request):
    """The adapter: everything happens here. Nothing may read the body before."""
    tus = AsyncTus(request, tmp_file_dir="uploads", upload_path="/files")
    await tus.handle()
    if tus.upload_finished:
        kept = KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}"
        await run_in_threadpool(shutil.copyfile, await tus.get_filepath(), kept)
        await tus.cleanup()
    return tus.response


async def upload(request):
    """What the filter hands over: the path of the file is the body."""
    record = request.scope["tus.upload"]
    path = await request.body()
    await run_in_threadpool(shutil.copyfile, path, KEPT / f"{record.id}-{record.metadata.filename}")
    return PlainTextResponse("thank you")


async def home(request):
    return PlainTextResponse("hello")


app = Starlette(
    routes=[
        Route("/", home),
        Route("/upload", upload, methods=["POST"]),
        Route("/files", files, methods=METHODS),
        Route("/files/{id:path}", files, methods=METHODS),
    ]
)
application = TusASGI(app, tmp_file_dir="uploads", upload_path="/upload")
