"""Our filter with nothing behind it, for ASGI servers."""

from __future__ import annotations

import os

from tus import TusASGI

application = TusASGI(
    tmp_file_dir=os.environ["BENCH_DIRECTORY"],
    upload_path="/files",
    durable=os.environ.get("BENCH_DURABLE", "none"),
)
