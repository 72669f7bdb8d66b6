"""How the garbage collector gets on with thousands of bodies that wait: it must not look at all of them again and
again, which takes half a second where ten thousand wait, and nobody is served meanwhile."""

from __future__ import annotations

import gc

CROWD = 64  # bodies; fewer are looked at soon enough
FROZEN = 256  # bodies that begin between two times that the collector is told to leave alone what there is
THAW = 100  # times after which it looks at everything again

_freeze, _unfreeze = getattr(gc, "freeze", None), getattr(gc, "unfreeze", None)


class Collecting:
    """Of a crowd, what was there before is there after each collection."""

    def __init__(self) -> None:
        self._begun = self._froze = 0

    def began(self, waiting: int) -> None:
        """One more body of so many."""
        self._begun += 1
        if waiting <= CROWD or self._froze >= THAW:
            self._thaw()
        elif self._begun % FROZEN == 0 and _freeze:
            self._froze += 1
            gc.collect(1)  # what is new and of no use must not stay for that
            _freeze()

    def ended(self, waiting: int) -> None:
        """So many are left."""
        if waiting <= CROWD:
            self._thaw()

    def _thaw(self) -> None:
        if self._froze and _unfreeze:
            _unfreeze()
        self._froze = 0
