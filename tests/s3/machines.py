"""Machines that are network namespaces, each with cables to the services that it needs; a cable can be cut so that
neither end is told.

The namespaces have no names, so that nothing is left of them when this process ends, however it does.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests import live
from tests.lockers.relay import Relay

T = TypeVar("T")
_NET = 0x40000000  # CLONE_NEWNET
_HERE, _THERE = "02:00:00:00:00:01", "02:00:00:00:00:02"
_NOBODY = "02:00:00:00:00:99"  # whose frames all drop
_libc = ctypes.CDLL(None, use_errno=True)


@cache
def missing() -> str:
    """Why this system cannot make such machines; "" if it can."""
    lacking = [program for program in ("ip", "nsenter") if not shutil.which(program)]
    if lacking:
        return f"machines of their own need {' and '.join(lacking)} (apt install iproute2 util-linux)"
    try:
        with Network() as one, Network() as other:
            join(one, other, "10.0.0", "probe")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made here, which root can on Linux: {error}"
    return ""


def needed() -> None:
    """Skip a test that cannot have them."""
    if why := missing():
        pytest.skip(why)


class Network:
    """A network namespace with nothing in it but its loopback."""

    def __init__(self) -> None:
        with ThreadPoolExecutor(1) as thread:  # only that thread moves
            self._fd = thread.submit(_apart).result()
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        try:
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, words: list[str]) -> list[str]:
        """What runs this in here."""
        return ["nsenter", f"--net={self.path}", "--", *words]

    def ip(self, *words: str) -> None:
        subprocess.run(self.command(["ip", *words]), check=True, capture_output=True, text=True)

    def within(self, make: Callable[[], T]) -> T:
        """What this makes in here, such as a socket, which stays here wherever it is used."""

        def enter() -> T:
            _checked(_libc.setns(self._fd, _NET))
            return make()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter).result()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _apart() -> int:
    _checked(_libc.unshare(_NET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def join(here: Network, there: Network, prefix: str, name: str) -> None:
    """Lay a cable by that name between two networks, which are .1 and .2 on it."""
    end = ["link", "add", name, "address", _HERE, "type", "veth"]
    here.ip(*end, "peer", "name", name, "address", _THERE, "netns", there.path)
    for network, number in ((here, 1), (there, 2)):
        network.ip("address", "add", f"{prefix}.{number}/30", "dev", name)
        network.ip("link", "set", name, "up")


class Cable:
    """Between a machine and a service at a port of this system."""

    def __init__(self, machine: Network, name: str, number: int, port: int) -> None:
        self._machine, self._service, self._name, self._prefix = machine, Network(), name, f"10.0.{number}"
        join(machine, self._service, self._prefix, name)
        self.heal()
        door = self._service.within(lambda: socket.create_server((f"{self._prefix}.2", 0)))
        self._relay = Relay("127.0.0.1", port, door=door)
        self.host, self.port = f"{self._prefix}.2", self._relay.port

    def cut(self) -> None:
        """Whatever either end sends is lost, and neither is told: no reset, and no word that there is no way."""
        self._lead(_NOBODY, _NOBODY)

    def deafen(self) -> None:
        """The machine hears nothing any more, and is still heard."""
        self._lead(_THERE, _NOBODY)

    def heal(self) -> None:
        """What either end sends again arrives."""
        self._lead(_THERE, _HERE)

    def _lead(self, there: str, here: str) -> None:
        for network, number, address in ((self._machine, 2, there), (self._service, 1, here)):
            to = f"{self._prefix}.{number}"
            network.ip("neigh", "replace", to, "lladdr", address, "nud", "permanent", "dev", self._name)

    def unplug(self) -> None:
        """The link goes down, as the machine's kernel can see."""
        self._service.ip("link", "set", self._name, "down")

    def plug(self) -> None:
        self._service.ip("link", "set", self._name, "up")
        self.heal()

    def close(self) -> None:
        self._relay.close()
        self._service.close()


class Machine:
    """A network with a cable to each of these services, which are at ports of this system."""

    def __init__(self, services: Mapping[str, int]) -> None:
        self.network = Network()
        self.cables = {
            name: Cable(self.network, name, number, port) for number, (name, port) in enumerate(services.items())
        }
        self._doors: list[Relay] = []

    def start(self, kind: str, home: Path, **options: Any) -> live.Live:
        """A server on this machine, which this system reaches at the port that it has there."""
        usual, port = live.KINDS[kind], live.free_port()
        chosen = replace(usual, command=lambda port, settings: self.network.command(usual.command(port, settings)))
        live.configure(home, chosen.options | options)
        reach = lambda: self.network.within(lambda: socket.create_connection(("127.0.0.1", port), 10))  # noqa: E731
        self._doors.append(Relay("127.0.0.1", port, door=socket.create_server(("127.0.0.1", port)), reach=reach))
        server = live.Live(chosen, home, port, {}, temporary=False, environ={})
        server.start()
        return server

    def close(self) -> None:
        for one in [*self._doors, *self.cables.values(), self.network]:
            one.close()


@contextmanager
def running(*services: Mapping[str, int]) -> Iterator[list[Machine]]:
    """A machine for each of these, with cables to them."""
    machines: list[Machine] = []
    try:
        for needed in services:
            machines.append(Machine(needed))
        yield machines
    finally:
        for machine in machines:
            machine.close()
