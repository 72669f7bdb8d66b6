"""A directory that several machines reach, with leases in Redis: it is refused, and this is why."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kinds, lease_servers
from tests.lockers.directories import engine_at, stand_still
from tus import OptionError, Options
from tus.backends import locker_of
from tus.stores.file import FileStore

pytestmark = [pytest.mark.engines, pytest.mark.slow]
SERVER = "/usr/lib/openssh/sftp-server"


@pytest.fixture
def url() -> str:
    lease_servers.available("redis")
    return lease_servers.shared("redis").url


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[list[str]]:
    """One directory, as two machines see it by sshfs."""
    if not (shutil.which("sshfs") and Path(SERVER).exists()):
        pytest.skip("sshfs or sftp-server is not installed")
    (tmp_path / "files").mkdir()
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\nexec {SERVER}\n")  # the same protocol, without a network
    script.chmod(0o755)
    made = []
    try:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            options = f"ssh_command={script},dir_cache=no,attr_timeout=0"
            words = ["sshfs", "-o", options, f"any:{tmp_path}/files", str(tmp_path / name)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"sshfs cannot mount here: {done.stderr.strip()}")
            made.append(str(tmp_path / name))
        yield made
    finally:
        for mount in made:
            subprocess.run(["fusermount3", "-uz", mount], check=False)


def test_directory_on_a_network_is_refused(mounts: list[str], url: str) -> None:
    """At the start, with the reason and what to use instead; with leases in files it works, for one machine."""
    store = FileStore(mounts[0])

    with pytest.raises(OptionError, match=r"network file system \(fuse.sshfs\).*use store = s3://"):
        locker_of(kinds.network_locker(url), Options({}, environ={}), store)

    locker_of("file:", Options({}, environ={}), store).lease("a").release()


def test_directory_of_this_machine_may_have_leases_in_redis(tmp_path: Path, url: str) -> None:
    """Its processes meet there; files alone would do."""
    locker = locker_of(kinds.network_locker(url), Options({}, environ={}), FileStore(str(tmp_path)))

    locker.lease("a").release()


def test_request_that_stood_still_cuts_off_what_a_newer_one_stored(mounts: list[str], url: str) -> None:
    """The reason: its client was told of ten bytes, and five are left. No lease prevents it, since it asks nobody."""
    told, there = stand_still(mounts[0], engine_at(mounts[1], url), url)

    assert (told, there) == (10, 5)
