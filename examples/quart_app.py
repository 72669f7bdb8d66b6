"""Uploads in a Quart application: by uploads alone at /files, and by the filter at /upload.

Quart reads the body by itself, so that a view cannot; both ways stand in front of it.

uvicorn quart_app:application
"""

import asyncio
import shutil
from pathlib import Path

from quart import Quart, request

from tus import TusASGI

KEPT = Path("kept")
KEPT.mkdir(exist_ok=True)

app = Quart(__name__)


@app.post("/upload")
@app.post("/files")
async def upload():
    """What the filter hands over: the path of the file is the body."""
    record = request.scope["tus.upload"]
    path = await request.get_data()
    await asyncio.to_thread(shutil.copyfile, path, KEPT / f"{record.id}-{record.metadata.filename}")
    return "thank you"


@app.get("/")
async def home():
    return "hello"


application = TusASGI(app, tmp_file_dir="uploads", upload_path="/upload")
application = TusASGI(application, tmp_file_dir="uploads", upload_path="/files")
