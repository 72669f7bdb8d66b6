"""Random bytes in a file, the same for every process that has the directory."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from ..errors import NO_LINKS, StoreBroken
from .disk import NEW, OLD, Directory, explained, lock

_NAME = ".secret"  # no id begins with a dot
_SIZE = 32  # bytes


def secret(home: Directory) -> bytes:
    """What lies there; made, if there is nothing yet."""
    while True:
        try:
            return _read(home)
        except FileNotFoundError:
            _make(home)
        except OSError as error:
            raise explained(error) from None


def _read(home: Directory) -> bytes:
    with open(os.open(_NAME, os.O_RDONLY | OLD, dir_fd=home.fd), "rb", buffering=0) as file:
        found = file.read(_SIZE)
    if not found or len(found) < _SIZE:
        raise StoreBroken(f"{home.path}/{_NAME} is incomplete; remove it, and chunked uploads start again")
    return found


def _make(home: Directory) -> None:
    try:
        _link(home, f"{_NAME}.{secrets.token_hex(8)}")
    except OSError as error:
        raise explained(error) from None


def _link(home: Directory, name: str) -> None:
    fd = os.open(name, os.O_WRONLY | NEW, 0o600, dir_fd=home.fd)
    try:
        os.write(fd, secrets.token_bytes(_SIZE))
        os.fsync(fd)
        # Linked when it is whole; the first one there is everybody's.
        with suppress(FileExistsError):
            _give_name(home, name)
    finally:
        os.close(fd)
        home.unlink(name)


def _give_name(home: Directory, name: str) -> None:
    try:
        os.link(name, _NAME, src_dir_fd=home.fd, dst_dir_fd=home.fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _rename(home, name)


def _rename(home: Directory, name: str) -> None:
    """As a link does it: what is there is never replaced, since others know it. One process after the other."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=home.fd)
    try:
        lock(fd)
        if not home.exists(_NAME):
            home.rename(name, _NAME)
    finally:
        os.close(fd)
