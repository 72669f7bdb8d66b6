"""Which file systems are safe: those of one kernel, whatever it shows its processes; and what is said of the others."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import live
from tests.drafting import new
from tus.stores import filesystems
from tus.stores.file import FileStore

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:41 / /mnt/share rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2
31 30 8:2 / /mnt/share/scratch rw - xfs /dev/sdb1 rw
32 22 0:50 / /mnt/with\\040blank rw - fuse.sshfs me@there:/ rw
33 22 8:3 / /mnt/hidden rw - ext4 /dev/sdc1 rw
34 22 0:51 / /mnt/hidden rw - cifs //there/share rw
"""


@pytest.mark.parametrize(
    ("directory", "type"),
    [
        ("/srv", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/uploads", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/share/scratch/a", "xfs"),
        ("/mnt/with blank/a", "fuse.sshfs"),
        ("/mnt/hidden", "cifs"),
    ],
)
def test_type_is_that_of_the_nearest_mount(tmp_path: Path, directory: str, type: str) -> None:
    """The longest path that leads there counts, and of two mounts in one place the later one."""
    (tmp_path / "mountinfo").write_text(MOUNTS)

    assert filesystems.kind(directory, str(tmp_path / "mountinfo")) == type


def test_unknown_type_is_taken_for_safe(tmp_path: Path) -> None:
    """Where no system tells, or tells what nobody understands, nobody is warned."""
    (tmp_path / "mountinfo").write_text("nonsense\n")

    assert filesystems.kind("/srv", str(tmp_path / "mountinfo")) == ""
    assert filesystems.kind("/srv", str(tmp_path / "missing")) == ""
    assert not filesystems.shared("")


@pytest.mark.parametrize(
    "type", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs"]
)
def test_network_file_system_is_warned_of_once(caplog: pytest.LogCaptureFixture, tmp_path: Path, type: str) -> None:
    """In one line that says what is not safe, and where to read on."""
    with caplog.at_level(logging.WARNING, "tus"):
        filesystems.warn(str(tmp_path), type)
        filesystems.warn(str(tmp_path), type)

    (message,) = [record.getMessage() for record in caplog.records]
    assert f"{tmp_path} is on a network file system ({type})" in message
    assert "one machine" in message and "docs/file-systems.rst" in message and "\n" not in message


@pytest.mark.parametrize("type", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.fuse-overlayfs", "fuseblk"])
def test_local_file_system_is_not_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path, type: str) -> None:
    """Also the layers that containers stand on."""
    filesystems.warn(str(tmp_path), type)

    assert caplog.records == []


def test_size_is_asked_of_the_opened_file(tmp_path: Path) -> None:
    """Both ways to learn a size say the same of files, links and what is not there."""
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "link").symlink_to("file")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in ("file", "link"):
            near, far = (filesystems.stats(type)(name, directory) for type in ("ext4", "nfs4"))
            assert (near.st_size, near.st_mode, near.st_ino) == (far.st_size, far.st_mode, far.st_ino)
        with pytest.raises(FileNotFoundError):
            filesystems.stats("nfs4")("missing", directory)
    finally:
        os.close(directory)


# sshfs, for real


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A directory, and the same through sshfs."""
    sftp = next((p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if os.path.exists(p)), None)
    if not shutil.which("sshfs") or not sftp or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("sshfs, sftp-server or /dev/fuse is missing (apt install sshfs openssh-sftp-server)")
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    ours, theirs = socket.socketpair()
    server = subprocess.Popen([sftp], stdin=theirs, stdout=theirs)
    command = ["sshfs", "-f", "-o", "passive", f"here:{near}", str(far)]
    mount = subprocess.Popen(command, stdin=ours, stdout=ours, stderr=subprocess.PIPE)
    ours.close()
    theirs.close()
    try:
        live.until(lambda: os.path.ismount(far) or mount.poll() is not None)
        if mount.poll() is not None:
            assert mount.stderr
            pytest.skip(f"sshfs cannot mount here: {mount.stderr.read().decode().strip()}")
        yield near, far
    finally:
        subprocess.run(["fusermount3", "-u", str(far)], check=False, capture_output=True)
        for process in (mount, server):
            process.terminate()
            process.wait()
        if mount.stderr:
            mount.stderr.close()


@pytest.mark.slow
def test_sshfs_is_recognised(mounted: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    """A store in a directory that sshfs shows warns, works, and soon sees what somebody else appends."""
    near, far = mounted

    store = FileStore(str(far))
    new(store, length=5)
    sizes = [store.load("a").offset]
    with open(near / "a", "ab") as other:
        other.write(b"hello")
    sizes.append(live.until(lambda: store.load("a").offset))

    assert [record.getMessage() for record in caplog.records if "(fuse.sshfs)" in record.getMessage()]
    assert sizes == [0, 5]


# Containers on one host


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system, which is reached from every network namespace."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: Path, method: str, url: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
    connection = UnixConnection(path)
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, url, body, {"Tus-Resumable": "1.0.0", **own})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


BYTES = "application/offset+octet-stream"
SIZE = 300_000  # bytes
BLOCK = 1000  # bytes


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two servers over one directory, each in mount, PID, network and host-name namespaces of its own."""
    apart = ["unshare", "-m", "-p", "-n", "-u", "--fork", "--kill-child", "--mount-proc"]
    apart += ["--map-root-user"] if os.getuid() else []
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not permitted here (unshare, as root)")
    servers, sockets = [], []
    for name in ("one", "two"):
        sockets.append(tmp_path / f"{name}.sock")
        command = [sys.executable, "-m", "tus", "serve", str(tmp_path / "uploads"), "--no-page", "--durable", "none"]
        command += ["--set", f"unix_socket={sockets[-1]}"]
        how: dict[str, Any] = {"cwd": live.ROOT, "stdout": subprocess.PIPE, "start_new_session": True}
        servers.append(subprocess.Popen([*apart, *command], **how))
    try:
        for path in sockets:
            live.until(path.exists, within=live.START)
        yield sockets[0], sockets[1]
    finally:
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            assert server.stdout
            server.stdout.close()


@pytest.mark.slow
def test_containers_of_one_host_share_a_directory(containers: tuple[Path, Path], tmp_path: Path) -> None:
    """A client whose connection still sends to one comes back to the other: what that says holds, and the late bytes
    of the first are nowhere."""
    rounds = 20
    for number in range(rounds):
        old, new = containers if number % 2 else containers[::-1]
        created = ask(new, "POST", "/files", Upload_Length=str(SIZE))
        url = "/files/" + str(created.headers["Location"]).rpartition("/")[2]
        file = tmp_path / "uploads" / url.rpartition("/")[2]
        first = UnixConnection(old)
        first.putrequest("PATCH", url)
        head = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": BYTES, "Content-Length": str(SIZE)}
        for header in head.items():
            first.putheader(*header)
        first.endheaders()
        for _ in range(number * 3 + 1):
            first.send(b"a" * BLOCK)
        live.until(lambda file=file: file.stat().st_size)

        offset = int(ask(new, "HEAD", url).headers["Upload-Offset"])
        _send_on(first)
        half = (SIZE - offset) // 2
        rest = SIZE - offset - half
        middle = ask(new, "PATCH", url, b"b" * half, Upload_Offset=str(offset), Content_Type=BYTES)
        _send_on(first)
        end = ask(new, "PATCH", url, b"c" * rest, Upload_Offset=str(offset + half), Content_Type=BYTES)
        first.close()

        assert (middle.status, end.status) == (204, 204)
        content = b"a" * offset + b"b" * half + b"c" * rest
        assert file.read_bytes() == content, f"round {number} mixed two requests"


def _send_on(connection: http.client.HTTPConnection) -> None:
    """More of what the first request began; its server may have ended it."""
    with suppress(OSError):
        for _ in range(20):
            connection.send(b"x" * BLOCK)


@pytest.mark.slow
def test_containers_of_one_host_share_records(containers: tuple[Path, Path]) -> None:
    """A record that one process wrote is what the other one reads."""
    one, two = containers
    created = ask(one, "POST", "/files", b"hello", Upload_Length="5", Content_Type=BYTES)
    url = "/files/" + str(created.headers["Location"]).rpartition("/")[2]

    answer = ask(two, "HEAD", url)
    removed = ask(two, "DELETE", url)

    assert (created.status, answer.status, answer.headers["Upload-Offset"]) == (201, 200, "5")
    assert (removed.status, ask(one, "HEAD", url).status) == (204, 404)
