"""Leases and claims that lie in the data of an upload: which files they make, and what happens where one process dies,
stalls, moves the data, or knows nothing of marks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import kinds, live
from tests.contract.conftest import ROOT
from tests.contract.test_lockers import has_turns, take_turn
from tus.errors import Locked
from tus.lockers import marks
from tus.lockers.file import FileLocker
from tus.lockers.flocks import unlock

pytestmark = pytest.mark.skipif(not marks._SET, reason="marks are of 64-bit Linux; elsewhere each lease has its file")

OTHER = """
import sys, threading
from tus.lockers.file import FileLocker
lease = FileLocker(sys.argv[1]).lease("a")
with lease.turn():
    pass
lease.on_lost(lambda: print("lost", flush=True))
print("held", flush=True)
sys.stdin.readline()
from tus.errors import Interrupted
try:
    with lease.turn():
        print("turn", flush=True)
except Interrupted:
    print("interrupted", flush=True)
lease.release()
"""
Process = subprocess.Popen[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the data of the upload `a`."""
    return kinds.with_data(tmp_path)


@pytest.fixture
def other(home: Path) -> Iterator[Callable[[], Process]]:
    """Starts a process that takes the lease, and has one turn more when it is told."""
    running: list[Process] = []

    def start() -> Process:
        pipe = subprocess.PIPE
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", OTHER, str(home)]
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environ)
        running.append(process)
        assert heard(process) == "held"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def heard(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def asked(process: Process) -> str:
    """Whether it had a turn; what else it says before that is passed over."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    while (said := heard(process)) == "lost":
        continue
    return said


def files(home: Path) -> list[str]:
    """The lease files that are there."""
    return [path.name for path in home.glob("*.lease")]


@pytest.mark.parametrize("forget", [False, True])
def test_one_request_after_another_makes_no_file(home: Path, forget: bool) -> None:
    """However long each of them waits for its client."""
    locker = FileLocker(str(home))

    for _ in range(2):
        lease = locker.lease("a")
        take_turn(lease)
        lease.keep()
        lease.release(forget=forget)
    locker.claim("a").release()

    assert files(home) == []


def test_taking_over_makes_a_file_until_the_end(home: Path) -> None:
    """It tells who has the lease now; and goes when the upload is complete."""
    locker = FileLocker(str(home))
    older = locker.lease("a")

    newer = locker.lease("a")
    during = files(home)
    assert not has_turns(older)
    newer.release(forget=True)

    assert (during, files(home)) == (["a.lease"], [])


def test_file_stays_while_the_older_request_has_not_seen_it(home: Path) -> None:
    """A request that stalled must find that it lost its lease, however late it wakes up."""
    locker = FileLocker(str(home))
    stalled = locker.lease("a")
    locker.lease("a").release(forget=True)
    locker.claim("a").release()

    during = files(home)
    late = has_turns(stalled)
    locker.claim("a").release()

    assert (during, late, files(home)) == (["a.lease"], False, [])


def test_holder_in_another_process_is_told_and_has_no_turn(home: Path, other: Callable[[], Process]) -> None:
    """Its mark says where it listens."""
    process = other()
    locker = FileLocker(str(home))
    assert locker.writing("a") and locker.lives("a")

    newer = locker.lease("a")

    assert heard(process) == "lost"
    assert asked(process) == "interrupted"
    take_turn(newer)


def test_share_takes_no_lease_away_from_another_process(home: Path, other: Callable[[], Process]) -> None:
    """It makes the file, and writes there whose the lease is."""
    process = other()

    share = FileLocker(str(home)).share("a")

    take_turn(share)
    assert asked(process) == "turn"
    process.communicate()
    assert not FileLocker(str(home)).writing("a")


def test_stopped_process_is_not_waited_for_and_loses(home: Path, other: Callable[[], Process]) -> None:
    """Though the upload was finished, claimed and forgotten while it was stopped."""
    process = other()
    process.send_signal(signal.SIGSTOP)
    locker = FileLocker(str(home))

    newer = locker.lease("a")
    take_turn(newer)
    newer.keep()
    newer.release(forget=True)
    locker.claim("a").release()
    process.send_signal(signal.SIGCONT)

    assert asked(process) == "interrupted"


def test_killed_process_leaves_nothing(home: Path, other: Callable[[], Process]) -> None:
    """Neither a file nor a word that it writes."""
    process = other()

    process.kill()
    process.wait()
    locker = FileLocker(str(home))

    assert not locker.writing("a")
    locker.lease("a").release()
    assert files(home) == []


def test_request_has_no_turn_once_the_data_is_elsewhere(home: Path) -> None:
    """The host may have it; another upload may have come by its name."""
    lease = FileLocker(str(home)).lease("a")

    (home / "a").rename(home / "taken")
    moved = has_turns(lease)
    (home / "a").touch()

    assert (moved, has_turns(lease)) == (False, False)


def test_what_another_version_writes_ends_the_lease(home: Path) -> None:
    """It knows no marks: it makes a lease file of its own, and removes that in the end."""
    lease = FileLocker(str(home)).lease("a")
    take_turn(lease)

    with open(home / "a", "ab") as data:
        data.write(b"more")

    assert not has_turns(lease)


def test_lease_file_of_another_version_ends_the_lease(home: Path) -> None:
    """Its first number is ours, too, and its owner is not."""
    first, second = FileLocker(str(home)).lease("a"), FileLocker(str(home)).lease("a", patience=0.1)
    (home / "a.lease").write_bytes(b"%012d %-51s" % (1, b"tus-1-0123456789abcdef"))

    assert not has_turns(first)
    assert not has_turns(second)


def test_brief_lease_of_another_version_is_waited_for(home: Path) -> None:
    """It is flock on the data, whether anybody has left a mark there or not."""
    lease, order = FileLocker(str(home)).lease("a"), []

    with open(home / "a", "rb") as data:
        fcntl.flock(data, fcntl.LOCK_EX)
        turn = threading.Thread(target=lambda: order.append(has_turns(lease)))
        turn.start()
        with pytest.raises(Locked):
            FileLocker(str(home), patience=0.1).lease("a")
        order.append("released")
    turn.join(10)

    assert order == ["released", True]


def test_nobody_comes_in_between_while_a_claim_moves_to_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there a moment before it is locked. One who has waited for the file before it, which was removed,
    would take it then, and have the upload beside us."""
    ours, other = FileLocker(str(home)), FileLocker(str(home))
    claim, make = ours.claim("a"), FileLocker._opened_new
    came: list[int] = []

    def watched(locker: FileLocker, id: str) -> int:
        made = make(locker, id)
        with contextlib.suppress(Locked):
            fd, _ = other._locked("a", 0.1)
            came.append(fd)
            other.remove("a")
            unlock(fd)
        return made

    monkeypatch.setattr(FileLocker, "_opened_new", watched)
    claim.detach()
    monkeypatch.undo()

    assert came == []
    with pytest.raises(Locked):
        other.claim("a")
    claim.release()
    other.claim("a").release()


def test_claim_has_a_file_once_the_data_may_go(home: Path) -> None:
    """The host has the data, and another request must still find that the upload is claimed."""
    locker = FileLocker(str(home))
    claim: Any = locker.claim("a")
    before = files(home)

    claim.detach()
    claim.detach()
    during = files(home)
    (home / "a").unlink()
    with pytest.raises(Locked):
        locker.claim("a")
    claim.release()

    assert (before, during, files(home)) == ([], ["a.lease"], [])
    locker.claim("a").release()


def test_mark_is_of_the_open_file(home: Path) -> None:
    """Others that open and close it take nothing away; a second mark can lie beside the first."""
    one, two = (os.open(home / "a", os.O_RDONLY) for _ in range(2))

    marks.mark(one, 7)
    os.close(os.open(home / "a", os.O_RDONLY))
    seen = marks.marked(one), marks.marked(two)
    marks.unmark(one)
    gone = marks.marked(two)
    for fd in (one, two):
        os.close(fd)

    assert (seen, gone) == ((0, 7), 0)


def test_store_of_files_and_many_processes_never_mix(home: Path, other: Callable[[], Process]) -> None:
    """Of several processes that took the lease one after the other, the last one has a turn."""
    first, second, third = other(), other(), other()

    said = [asked(process) for process in (first, second, third)]

    assert said == ["interrupted", "interrupted", "turn"]
    live.until(lambda: not FileLocker(str(home)).writing("a"))
