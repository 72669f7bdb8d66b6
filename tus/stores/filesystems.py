"""On which file system a directory lies, and whether several machines could see it. Asked once, at the start.

If they can, each machine has caches and often locks of its own, and what we know of an upload is not certain. This only
warns: a file system whose type cannot be found out is taken for safe.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable

_MOUNTS = "/proc/self/mountinfo"  # where Linux tells; elsewhere nothing does without a compiler
# By the names that Linux gives them.
_NETWORKS = frozenset(("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre",
                       "gpfs", "beegfs", "orangefs", "pvfs2", "glusterfs", "virtiofs", "vboxsf", "vmhgfs"))  # fmt: skip
# Programs that make a local file system of local files. Any other one may fetch them from anywhere.
_LOCAL = frozenset(("fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.unionfs", "fuse.unionfs-fuse", "fuse.bindfs",
                    "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.ntfs-3g", "fuse.lowntfs-3g", "fuse.exfat",
                    "fuse.grpcfuse"))  # fmt: skip
# Their journal has the names of files and what the files are, and keeps the order in which that came about.
_ORDERED = frozenset(("ext4", "xfs"))
_ESCAPED = re.compile(r"\\([0-7]{3})")

log = logging.getLogger("tus")

_warned: set[str] = set()


def kind(directory: str, mounts: str = _MOUNTS) -> str:
    """The type of the file system, as Linux names it; "" if it cannot be found out."""
    path = os.path.realpath(directory)
    found, longest = "", -1
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
                # Of two in the same place the later one hides the other.
                if len(point) >= longest and (path + "/").startswith(point.rstrip("/") + "/"):
                    found, longest = after.split(" ")[0], len(point)
    except (OSError, IndexError, ValueError):
        return ""
    return found


def shared(type: str) -> bool:
    """Whether other machines may write to a file system of this type."""
    return type in _NETWORKS or type.startswith("fuse.") and type not in _LOCAL


def ordered(type: str) -> bool:
    """Whether a file that was made there and is synced has its name on the disk as well."""
    return type in _ORDERED


def warn(directory: str, type: str) -> None:
    """Say once, in one line, what is not safe there."""
    path = os.path.abspath(directory)
    if path in _warned or not shared(type):
        return
    _warned.add(path)
    log.warning(
        "%s is on a network file system (%s): let one machine at a time use it, since two can mix up an upload "
        "(docs/file-systems.rst)",
        path,
        type,
    )


def stats(type: str) -> Callable[[str, int], os.stat_result]:
    """What tells size and time of a file in a directory, as the newest writer left them, if that can be had."""
    return _opened if shared(type) else _named


def _named(name: str, directory: int) -> os.stat_result:
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def _opened(name: str, directory: int) -> os.stat_result:
    """NFS and others believe what they know of a name for up to a minute, and ask again when a file is opened."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return _named(name, directory)  # a link, and no file of ours
        raise
    try:
        return os.fstat(file)
    finally:
        os.close(file)
