"""How long the last chunk takes that finishes a file, for small and large files: python bench/finish.py [DIRECTORY]

The other chunks are marked as there without being sent; the file is sparse. What is measured is what finishing adds,
and it must not grow with the file.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tus import TusFilter  # noqa: E402

CHUNK = 1 << 20  # bytes, flow.js's own default
SIZES = (10, 100, 1_000, 10_000)  # MB
ROUNDS = 9


def environ(words: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
    """The environ of a POST of one chunk, as flow.js sends it with `method: "octet"`."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/upload/chunks",
        "QUERY_STRING": urlencode(words),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "localhost",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
    }


def send(app: TusFilter, words: dict[str, Any], body: bytes) -> float:
    """The seconds that one chunk takes."""
    statuses: list[str] = []
    start = time.perf_counter()
    b"".join(app(environ(words, body), lambda status, headers, exc_info=None: statuses.append(status)))
    took = time.perf_counter() - start
    assert statuses == ["200 OK"], statuses
    return took


def finish(app: TusFilter, size: int, name: str) -> tuple[float, float]:
    """Seconds for the last but one chunk, and for the one that finishes the file."""
    many = max(size // CHUNK, 1)
    words = {
        "flowChunkSize": CHUNK,
        "flowTotalSize": size,
        "flowTotalChunks": many,
        "flowIdentifier": name,
        "flowFilename": name,
        "uploadKey": "the-same-visitor",
    }
    block = b"x" * CHUNK
    first = send(app, {**words, "flowChunkNumber": 1}, block)
    store = app.engine.store
    (id,) = [id for id in store.ids() if store.load(id).metadata.filename == name]
    for number in range(1, many - 1):
        store.mark(id, number)
    last = send(app, {**words, "flowChunkNumber": many}, b"x" * (size - (many - 1) * CHUNK))
    assert store.load(id).complete
    store.delete(id)
    return first, last


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        for durable in ("none", "finish"):
            app = TusFilter(None, tmp_file_dir=directory, durable=durable, sweep_interval="none")
            print(f"durable = {durable}")
            print(f"{'file':>10} {'chunks':>7} {'first chunk':>12} {'last chunk':>12}   (ms, median of {ROUNDS})")
            for size in SIZES:
                rounds = [finish(app, size * 10**6, f"{size}-{round}") for round in range(ROUNDS)]
                first, last = (statistics.median(times) * 1000 for times in zip(*rounds, strict=True))
                print(f"{size:>7} MB {size * 10**6 // CHUNK:>7} {first:>12.2f} {last:>12.2f}")


if __name__ == "__main__":
    main()
