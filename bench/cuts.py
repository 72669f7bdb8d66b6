"""Cuts a PATCH, asks at once with HEAD, and goes on from there: how often is the offset stale?

`python bench/cuts.py [ROUNDS] [KIND]` starts a server of its own and prints what the answers were. A round is stale if
the PATCH at the offset that HEAD told is answered 409.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import live  # noqa: E402
from tests.conformance.client import Client  # noqa: E402

SIZE = 200_000  # bytes of an upload
CLIENTS = 4  # at once


def cut(tus: Client, dice: random.Random) -> tuple[int, ...]:
    """One round: the status of each answer behind the cut."""
    url = tus.create(SIZE)
    body = dice.randbytes(dice.choice((1, 100, 5_000, 60_000, 150_000)))
    connection = tus.begin(url, 0, SIZE, body)
    connection.close() if dice.random() < 0.5 else connection.reset()
    head = tus.head(url)
    if head.status != 200:
        return (head.status,)
    offset = int(head["Upload-Offset"])
    if dice.random() < 0.5:
        return head.status, tus.patch(url, offset, bytes(1000)).status
    return head.status, tus.patch(url, offset, bytes(SIZE - offset)).status


def rounds(server: live.Live, count: int, seed: int) -> Counter[tuple[int, ...]]:
    """One client after the other."""
    tus, dice = Client(server, ""), random.Random(seed)
    return Counter(cut(tus, dice) for _ in range(count))


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    kind = sys.argv[2] if len(sys.argv) > 2 else "ours"
    total: Counter[tuple[int, ...]] = Counter()
    with live.start(kind, durable="none", sweep_interval="none") as server:
        with ThreadPoolExecutor(CLIENTS) as pool:
            for found in pool.map(lambda seed: rounds(server, count // CLIENTS, seed), range(CLIENTS)):
                total += found
        print(server.output[-2000:])
    for answers, times in sorted(total.items()):
        print(f"{times:7} {answers}")
    return int(any(answers[-1] not in (204, 423) for answers in total))


if __name__ == "__main__":
    sys.exit(main())
