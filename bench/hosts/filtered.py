"""Our filter with nothing behind it, for other people's WSGI servers."""

from __future__ import annotations

import os

from tus import TusFilter

application = TusFilter(
    tmp_file_dir=os.environ["BENCH_DIRECTORY"],
    upload_path="/files",
    durable=os.environ.get("BENCH_DURABLE", "none"),
)
