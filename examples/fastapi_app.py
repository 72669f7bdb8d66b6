"""Uploads in a FastAPI application: by an endpoint at /files, and by the filter at /upload.

uvicorn fastapi_app:application
"""

import shutil
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from tus import AsyncTus, TusASGI

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)
METHODS = ["OPTIONS", "POST", "HEAD", "PATCH", "GET", "DELETE"]

app = FastAPI()


def current_upload(request: Request) -> AsyncTus:
    """What asks who is there (`Depends(current_user)`) comes first: no byte of the file has been read yet."""
    return AsyncTus(request, tmp_file_dir="uploads", upload_path="/files")


@app.api_route("/files", methods=METHODS, include_in_schema=False)
@app.api_route("/files/{id:path}", methods=METHODS, include_in_schema=False)
async def files(tus: Annotated[AsyncTus, Depends(current_upload)]):
    """The adapter: everything happens here."""
    await tus.handle()
    if tus.upload_finished:
        kept = KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}"
        await run_in_threadpool(shutil.copyfile, await tus.get_filepath(), kept)
        await tus.cleanup()
    return tus.response


@app.post("/upload")
async def upload(request: Request):
    """What the filter hands over: the path of the file is the body."""
    record = request.scope["tus.upload"]
    path = await request.body()
    await run_in_threadpool(shutil.copyfile, path, KEPT / f"{record.id}-{record.metadata.filename}")
    return "thank you"


@app.get("/", response_class=PlainTextResponse)
async def home():
    return "hello"


application = TusASGI(app, tmp_file_dir="uploads", upload_path="/upload")
