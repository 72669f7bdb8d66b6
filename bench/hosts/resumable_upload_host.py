"""resumable-upload, as its documentation sets it up."""

from __future__ import annotations

import os
from pathlib import Path

from resumable_upload import SQLiteStorage, TusServer
from resumable_upload.asgi import TusASGIApp

home = Path(os.environ["BENCH_DIRECTORY"])
storage = SQLiteStorage(db_path=str(home / "uploads.db"), upload_dir=str(home / "uploads"))
app = TusASGIApp(TusServer(storage=storage, base_path="/files", max_size=1 << 40))
