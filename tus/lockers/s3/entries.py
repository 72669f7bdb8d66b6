"""What the object of an upload says about who may write, and what becomes of it at each deed: the rules alone."""

from __future__ import annotations

import json
from typing import NamedTuple

from ...errors import Damaged
from ..network import CLAIM, KEPT, LEASE, SHARE, Hold
from ..servers import Verdict

_LONG = 86400_000_000  # microseconds that a plain lease lasts: it keeps nobody out
_AGAIN = 0.25  # seconds after which a request that waits may ask again


class Entry(NamedTuple):
    """Times and tokens are microseconds since the epoch, by the clock of the storage."""

    token: int = 0  # the newest
    epoch: int = 0  # of the shares
    key: str = ""  # what is held; "" if nothing is
    kind: str = ""
    process: str = ""
    till: int = 0
    shares: tuple[str, ...] = ()  # the processes that have some

    def written(self) -> bytes:
        return json.dumps(self, separators=(",", ":")).encode()


class Step(NamedTuple):
    """What one deed comes to."""

    verdict: Verdict
    entry: Entry | None = None  # to be stored; None: it stays
    tells: tuple[tuple[str, str], ...] = ()  # processes, and what each is told


def entry_of(text: bytes) -> Entry:
    try:
        token, epoch, key, kind, process, till, shares = json.loads(text)
        return Entry(int(token), int(epoch), key, kind, process, int(till), tuple(shares))
    except (ValueError, TypeError) as error:
        raise Damaged(f"the lease of an upload cannot be read: {error!r}") from None


def _till(kind: str, now: int, life: int) -> int:
    return now + (_LONG if kind == LEASE else life)


def after_take(entry: Entry, hold: Hold, now: int, life: int, *, over: str | None) -> Step:
    held = entry.key if entry.till > now and entry.key != hold.key else ""
    if held and entry.kind != LEASE:
        return Step(Verdict("busy", wait=min((entry.till - now) / 1e6, _AGAIN)))
    if hold.kind == SHARE:
        return _shared(entry, hold, now)
    if held and hold.kind != CLAIM and over not in (None, held):
        return Step(Verdict("owned", other=held))
    token = entry.token if hold.kind == CLAIM else max(entry.token + 1, now)
    epoch, tells = _next_epoch(entry, hold.id, now)
    if held:
        tells += ((entry.process, f"{'ended' if hold.kind == CLAIM else 'lost'} {held}"),)
    new = Entry(token, epoch, hold.key, hold.kind, hold.process, _till(hold.kind, now, life))
    return Step(Verdict("taken", token, epoch, held, shares=bool(entry.shares), before=entry.token), new, tells)


def _shared(entry: Entry, hold: Hold, now: int) -> Step:
    new = entry if entry.token else entry._replace(token=now, epoch=now)
    if hold.process not in new.shares:
        new = new._replace(shares=(*new.shares, hold.process))
    return Step(Verdict("taken", new.token, new.epoch), None if new == entry else new)


def _next_epoch(entry: Entry, id: str, now: int) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Every share is over."""
    epoch = max(entry.epoch + 1, now)
    return epoch, tuple((process, f"over {id} {epoch}") for process in entry.shares)


def after_keep(entry: Entry, hold: Hold, now: int, life: int) -> Step:
    if entry.key != hold.key or entry.till <= now:
        return Step(Verdict("lost"))
    epoch, tells = _next_epoch(entry, hold.id, now)
    new = entry._replace(kind=KEPT, epoch=epoch, till=now + life, shares=())
    return Step(Verdict("taken", entry.token, epoch, shares=bool(entry.shares)), new, tells)


def after_renewal(entry: Entry, hold: Hold, now: int, life: int) -> Step:
    """A plain lease is only looked at: nothing that times out keeps others from taking it."""
    if not entry.token and hold.token or not entry.epoch:  # it was removed by somebody
        return Step(Verdict("taken"), _again(hold, now, life))
    if hold.kind == SHARE:
        return Step(Verdict("taken" if entry.epoch == hold.epoch else "lost"))
    # Not by the kind that the hold has: it may be kept in this moment.
    if entry.key != hold.key or entry.kind == KEPT and entry.till <= now:
        return Step(Verdict("lost"))
    if entry.kind == LEASE and entry.till > now + _LONG // 2:
        return Step(Verdict("taken"))
    return Step(Verdict("taken"), entry._replace(till=_till(entry.kind, now, life)))


def _again(hold: Hold, now: int, life: int) -> Entry:
    if hold.kind == SHARE:
        return Entry(hold.token, hold.epoch, shares=(hold.process,))
    return Entry(hold.token, hold.epoch, hold.key, hold.kind, hold.process, _till(hold.kind, now, life))


def after_leave(entry: Entry, key: str) -> Step:
    if entry.key != key:
        return Step(Verdict("lost"))
    return Step(Verdict("taken"), entry._replace(key="", kind="", process="", till=0))
