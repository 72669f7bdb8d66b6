"""Who may write to an upload. A lease, not a lock: the newest request owns it, and none waits for a dead connection.

A claim is the opposite: its holder keeps it until it is released or the process dies.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Lease(Protocol):
    """The right to write to one upload, for the time of a request."""

    def turn(self) -> AbstractContextManager[object]:
        """One write, or one change of the record, excluding every other; raises Interrupted once somebody
        newer took over."""

    def lock(self) -> None:
        """From here on nobody can take over until the release: what is under way must end first. Turns are part of
        it."""

    def unlock(self) -> None:
        """The end of that, and of the first turn of a lease that began with one."""

    def on_lost(self, end: Callable[[], None]) -> None:
        """Call `end` when somebody newer takes over, from any thread: it should make a blocked read return."""

    def release(self, *, forget: bool = False) -> None:
        """Done; with `forget`, no request will write to this upload any more. May be called twice."""


class Share(Lease, Protocol):
    """The right to write to one upload at the same time as others who have a share in it. A lease ends them all."""

    def holds(self) -> bool:
        """Whether no request took a lease since. Without the mutex the answer is only a guess."""


class Claim(Protocol):
    """The right to hand an upload over, which no other request can take away."""

    def release(self) -> None: ...


class Locker(Protocol):
    def lease(
        self, id: str, *, locked: bool = False, patient: bool = True, check: Callable[[], object] | None = None
    ) -> Lease:
        """Take over from the present writer; raises Locked while a claim is held, or the lease is locked: at once,
        or after some seconds if `patient`. With `locked`, the first turn has begun. If another request would lose its
        lease, `check` is called before, while no request has a turn; if it raises, no lease is lost."""

    def share(self, id: str) -> Share:
        """Write beside others, until somebody takes a lease or the upload goes away; raises Locked while a claim is
        held."""

    def writing(self, id: str) -> bool:
        """Whether a lease may be held: false only if no request is writing."""

    def lives(self, id: str) -> bool:
        """Whether a lease is out whose owner lives: true only if somebody is writing."""

    def mutex(self, id: str) -> AbstractContextManager[None]:
        """A moment in which no request has a turn, and none loses its lease; raises Locked while a claim is held."""

    def claim(self, id: str) -> Claim:
        """Raises Locked at once if there is a claim already."""

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        """Forget uploads that are gone, if a crash kept us from it, and it was `before` (seconds since the epoch)."""
