"""tuswsgi, as its documentation sets it up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from tuswsgi import TusMiddleware


def _nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return [b""]


application = TusMiddleware(_nothing, upload_path="/files", tmp_dir=os.environ["BENCH_DIRECTORY"], max_size=1 << 40)
