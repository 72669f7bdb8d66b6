"""What a concatenation costs: python bench/join.py [DIRECTORY] [MB]

Four parts of random bytes become one file: at lengths that are whole blocks of the disk, at the odd lengths that
tus-js-client cuts, and written straight into their final place, as `tus put --parallel` asks for. Told are the seconds,
those of the processor, and the bytes that it gave to the disk, for the parts and for the whole; the whole costs none in
the last case, and in all of them where the file system shares blocks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tus import Engine, Metadata, Options  # noqa: E402
from tus.engine.repeating import begin_once  # noqa: E402
from tus.engine.writer import Writer  # noqa: E402
from tus.http.messages import Request  # noqa: E402
from tus.lockers.file import FileLocker  # noqa: E402
from tus.stores.file import FileStore  # noqa: E402

PARTS = 4
BLOCK = os.urandom(1 << 20)


def written() -> int:
    """Bytes that this process has had written."""
    words = Path("/proc/self/io").read_text().split()
    return int(words[words.index("write_bytes:") + 1])


def part(begin: Callable[..., Writer], engine: Engine, length: int) -> str:
    """A finished part; its id."""
    with begin(Request("POST"), length=length, metadata=Metadata(), partial=True, announced=length) as writer:
        for start in range(0, length, len(BLOCK)):
            writer.write(BLOCK[: length - start])
        return engine.conclude(writer).id


def measure(directory: str, lengths: list[int], placed: bool) -> tuple[float, float, int, int]:
    """Seconds, seconds of the processor, bytes for the parts, and bytes for the whole."""
    engine = Engine(FileStore(directory), FileLocker(directory), Options({"durable": "finish"}, environ={}))
    in_place = partial(begin_once, engine, key=str(uuid.uuid4()), sizes=tuple(lengths))
    before = written()
    ids = [part(in_place if placed else engine.begin, engine, length) for length in lengths]
    parts = written()
    clock, processor = time.perf_counter(), time.process_time()
    done = engine.join(Request("POST"), ids, metadata=Metadata(), concat="final;")
    took = time.perf_counter() - clock, time.process_time() - processor
    assert done.complete and done.offset == sum(lengths)
    whole = written()
    for id in (*ids, done.id):
        engine.store.delete(id)
    return *took, parts - before, whole - parts


def main() -> None:
    """Print a table."""
    directory = sys.argv[1] if len(sys.argv) > 1 else None
    size = int(sys.argv[2] if len(sys.argv) > 2 else 4096) << 20
    print(f"{'lengths':>10} {'seconds':>8} {'CPU':>6} {'parts MB':>9} {'whole MB':>9}")
    for name, odd in (("blocks", 0), ("any", 1), ("in place", 1)):
        lengths = [size // PARTS + odd * (n + 1) for n in range(PARTS)]
        with tempfile.TemporaryDirectory(dir=directory) as home:
            seconds, processor, parts, whole = measure(home, lengths, name == "in place")
        print(f"{name:>10} {seconds:>8.2f} {processor:>6.2f} {parts / 2**20:>9.0f} {whole / 2**20:>9.0f}")


if __name__ == "__main__":
    main()
