"""Uploads in a Litestar application: by a handler at /files, and by the filter at /upload.

uvicorn litestar_app:application
"""

import asyncio
import shutil
from pathlib import Path

from litestar import Litestar, MediaType, Request, asgi, get, post
from litestar.types import Receive, Scope, Send

from tus import AsyncTus, TusASGI

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)


@asgi("/files", is_mount=True, copy_scope=False)
async def files(scope: Scope, receive: Receive, send: Send) -> None:
    """The adapter: everything happens here. A mount gets every method and whatever follows /files, but is not told so
    by Litestar, as it would be by others."""
    mounted = {**scope, "root_path": scope.get("root_path", "") + "/files"}
    tus = AsyncTus(mounted, receive, tmp_file_dir="uploads", upload_path="/")
    await tus.handle()
    if tus.upload_finished:
        kept = KEPT / f"{tus.upload.id}-{tus.upload.metadata.filename}"
        await asyncio.to_thread(shutil.copyfile, await tus.get_filepath(), kept)
        await tus.cleanup()
    await tus.response(scope, receive, send)


@post("/upload", media_type=MediaType.TEXT, status_code=200)
async def upload(request: Request) -> str:
    """What the filter hands over: the path of the file is the body."""
    record = request.scope["tus.upload"]
    await asyncio.to_thread(shutil.copyfile, await request.body(), KEPT / f"{record.id}-{record.metadata.filename}")
    return "thank you"


@get("/", media_type=MediaType.TEXT)
async def home() -> str:
    return "hello"


app = Litestar([files, upload, home])
application = TusASGI(app, tmp_file_dir="uploads", upload_path="/upload")
