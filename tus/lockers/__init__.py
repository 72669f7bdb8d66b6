"""Who may write to an upload. A lease, not a lock: the newest request owns it, and none waits for a dead connection.

A claim is the opposite: its holder keeps it until it is released, or until its process dies. All of these may be used
by any thread, one at a time, and belong to none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable


class Lease(Protocol):
    """The right to write to one upload, for the time of a request."""

    @property
    def token(self) -> int:
        """Grows with each lease on the same upload that could still write: a store can tell an old writer by it."""

    def turn(self) -> AbstractContextManager[object]:
        """A moment for one change; raises Interrupted once the lease is lost. On one machine it excludes every other
        turn, and no request takes over inside it. Turns are short, do not nest, and are left by the thread that entered
        them."""

    def keep(self) -> None:
        """From here on until the release no request takes over: what is under way must end first. Others are told that
        the upload is busy. Raises Interrupted if the lease is lost already."""

    def on_lost(self, end: Callable[[], None]) -> None:
        """Call `end` once, from any thread, when a newer request takes over or asks to: it should make a blocked read
        return. At once, if the lease is lost already; never after the release."""

    def release(self, *, forget: bool = False) -> None:
        """Done; with `forget`, no request will write to this upload any more. May be called twice."""


class Share(Protocol):
    """The right to write to one upload beside others who have a share in it. A lease or a claim ends them all."""

    @property
    def token(self) -> int:
        """That of the newest lease before it."""

    def turn(self) -> AbstractContextManager[object]:
        """A moment for one change; raises Interrupted once a request took a lease or a claim since."""

    def release(self) -> None:
        """Done. May be called twice."""


class Claim(Protocol):
    """The right to hand an upload over, which no other request can take away."""

    def release(self) -> None:
        """Done, and every share in the upload is over. May be called twice."""


@runtime_checkable
class Fleeting(Protocol):
    """A claim that can be lost all the same, since its server can be out of reach for too long."""

    def over(self) -> bool:
        """Whether another request may have it by now."""


@runtime_checkable
class Detachable(Protocol):
    """A claim that lies in the data of the upload, until it must not."""

    def detach(self) -> None:
        """Hold on, whatever becomes of them: they are about to be removed, or the host to hear where they are. Twice is
        fine; raises StoreFull."""


class Locker(Protocol):
    """Leases, shares and claims on uploads, by their ids."""

    def lease(
        self,
        id: str,
        *,
        brief: bool = False,
        patience: float | None = None,
        check: Callable[[], object] | None = None,
    ) -> Lease:
        """Take over from the present writer; raises Locked if a claim is held, or a lease is kept, for longer than
        `patience` (seconds; None: as long as a turn may take). If another request would lose its lease, `check` is
        called before, while no request has a turn; if it raises, no lease is lost. `brief` says that the release
        follows at once, without waiting for any client: a locker may make others wait for it as if it were kept."""

    def share(self, id: str) -> Share:
        """Write beside others; raises Locked as `lease` does."""

    def claim(self, id: str, *, patience: float = 0.0) -> Claim:
        """Raises Locked if there is a claim already, or a lease is kept, for longer than `patience`. The lease of a
        request that still writes is neither ended nor waited for, but has no turn any more."""

    def writing(self, id: str) -> bool:
        """Whether a lease may be held: false only if no request is writing."""

    def lives(self, id: str) -> bool:
        """Whether a lease is held whose owner certainly lives: true only if a request is writing."""

    def tidy(self, before: float, exists: Callable[[str], bool]) -> None:
        """Forget uploads that are gone, if a crash kept us from it, and it was `before` (seconds since the epoch)."""
