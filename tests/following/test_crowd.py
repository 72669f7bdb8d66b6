"""Many readers of one upload: the writer does not notice."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engines import ask, build, create
from tus import Engine, Upload

READERS = 100
BLOCK = bytes(1 << 16)
MANY = 200


class Counted(threading.Event):
    """An event that counts how often it was set."""

    times = 0

    def set(self) -> None:
        self.times += 1
        super().set()


def written(engine: Engine, upload: Upload, start: int, end: int) -> list[float]:
    """Write so many blocks; the CPU seconds of this thread for each."""
    took = []
    with engine.append(ask(upload.id), start * len(BLOCK), announced=(end - start) * len(BLOCK)) as writer:
        for _ in range(start, end):
            began = time.thread_time()
            writer.write(BLOCK)
            took.append(time.thread_time() - began)
        engine.conclude(writer)
    return took


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Over files, where what is written can be read at once."""
    return build(tmp_path, download="live")


def test_a_hundred_readers_get_the_file_from_one_look(engine: Engine) -> None:
    """All of them have every byte; the record is looked at once for all, and nobody but one thread looks."""
    upload = create(engine, MANY * len(BLOCK))
    lookers: set[str] = set()
    load = engine.store.load

    def counted(id: str, *, durable: bool = False) -> Upload:
        lookers.add(threading.current_thread().name)
        return load(id, durable=durable)

    def read() -> int:
        with engine.follow(upload, timeout=60) as file:
            return sum(len(block) for block in iter(file.read1, b""))

    with ThreadPoolExecutor(READERS, "reader") as threads:
        readers = [threads.submit(read) for _ in range(READERS)]
        while not engine.watches or len(engine.watches._watched[upload.id]._waiting) < READERS:
            time.sleep(0.005)
        engine.store.load = counted  # type: ignore[method-assign]
        written(engine, upload, 0, MANY)
        sizes = {reader.result() for reader in readers}

    assert sizes == {MANY * len(BLOCK)}
    assert not {name for name in lookers if name.startswith("reader")}


def test_writer_rings_only_where_nobody_expects_anything(engine: Engine) -> None:
    """A block costs it one look into a table, however many wait; the bell is for the first one after a pause."""
    upload = create(engine, (MANY + 1) * len(BLOCK))
    bell = engine.watches._bell = Counted()
    waiting = [engine.follow(upload, start=(MANY + 1) * len(BLOCK) - 1, timeout=60) for _ in range(READERS)]
    with ThreadPoolExecutor(READERS) as threads:
        readers = [threads.submit(file.read) for file in waiting]
        while not engine.watches or not engine.watches._watched[upload.id].idle:
            time.sleep(0.005)
        before = bell.times
        written(engine, upload, 0, MANY)
        looks = bell.times - before
        written(engine, upload, MANY, MANY + 1)
        for reader in readers:
            assert reader.result() == b"\0"
    for file in waiting:
        file.close()

    assert looks < MANY


def test_reader_that_cannot_be_woken_keeps_nobody_waiting(engine: Engine) -> None:
    """One thread wakes all of them."""
    upload, woken = create(engine, 2 * len(BLOCK)), threading.Event()

    def fail() -> None:
        raise OSError("this reader is broken")

    with engine.follow(upload) as first, engine.follow(upload) as second:
        for file, wake in ((first, fail), (second, woken.set)):
            assert file._follower.take() is None
            file._follower.call(wake)
        written(engine, upload, 0, 1)
        assert woken.wait(20)
        written(engine, upload, 1, 2)

        assert len(second.read()) == 2 * len(BLOCK)


def test_readers_cost_the_writer_no_tenth(engine: Engine) -> None:
    """The CPU time of its thread for a block is the same beside a hundred readers who wait, but for the noise."""
    alone, crowd = (create(engine, MANY * len(BLOCK)) for _ in range(2))
    waiting = [engine.follow(crowd, start=MANY * len(BLOCK) - 1, timeout=60) for _ in range(READERS)]
    with ThreadPoolExecutor(READERS) as threads:
        readers = [threads.submit(file.read) for file in waiting]
        while not engine.watches or len(engine.watches._watched[crowd.id]._waiting) < READERS:
            time.sleep(0.005)
        # In turn, and the quickest of each: what else the machine does has no say.
        pairs = [
            (written(engine, alone, at, at + 10), written(engine, crowd, at, at + 10)) for at in range(0, MANY, 10)
        ]
        for reader in readers:
            reader.result()
    for file in waiting:
        file.close()

    without, beside = (sorted(took for pair in pairs for took in pair[which])[MANY // 4] for which in (0, 1))
    assert beside <= without * 1.1 + 20e-6
