"""What signed requests to an object storage cost: our own client, against botocore's signer over urllib3.

    python bench/signers.py [ROUNDS]

Parts of 5 MiB, each with its SHA-256, and small calls, on one versitygw, in turn in one run. What counts is the time of
our own processor: walls depend on what else the machine does.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import urllib3  # noqa: E402
from botocore.auth import S3SigV4Auth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

from tests import real  # noqa: E402

MIB = 1 << 20
PARTS, CALLS = 64, 400
Ask = Callable[[str, str, bytes], None]


class Theirs:
    """botocore signs, urllib3 sends."""

    def __init__(self, facts: dict[str, str]) -> None:
        self._base = f"{facts['S3_ENDPOINT']}/{real.BUCKET}/"
        self._auth = S3SigV4Auth(Credentials(facts["S3_KEY"], facts["S3_SECRET"]), "s3", facts["S3_REGION"])
        self._pool = urllib3.PoolManager(retries=False)

    def __call__(self, method: str, key: str, body: bytes) -> None:
        request = AWSRequest(method, self._base + key, data=body)
        self._auth.add_auth(request)  # with the SHA-256 of the body
        answer = self._pool.request(method, request.url, body=body or None, headers=dict(request.headers.items()))
        assert answer.status < 300, answer.data


class Ours:
    def __init__(self, facts: dict[str, str]) -> None:
        self._bucket = real.bucket()

    def __call__(self, method: str, key: str, body: bytes) -> None:
        if method == "PUT":
            self._bucket.put(key, body)
        else:
            self._bucket.find(key)


def costs(ask: Ask, name: str) -> dict[str, float]:
    part, began = os.urandom(5 * MIB), time.process_time()
    for _ in range(PARTS):
        ask("PUT", name, part)
    parts, began = time.process_time() - began, time.process_time()
    for _ in range(CALLS):
        ask("HEAD", name, b"")
    heads, began = time.process_time() - began, time.process_time()
    for _ in range(CALLS):
        ask("PUT", f"{name}-small", b"x" * 500)
    puts, began = time.process_time() - began, time.process_time()
    for _ in range(PARTS):  # a file of 1 MiB takes two calls
        ask("PUT", f"{name}-small", b"x" * 500)
        ask("PUT", name, part[:MIB])
    files = time.process_time() - began
    return {
        "parts of 5 MiB, s/GiB": parts / PARTS / 5 * 1024,
        "files of 1 MiB, s/GiB": files / PARTS * 1024,
        "files of 64 KiB, s/GiB": (puts * 2 / CALLS + parts / PARTS / 80) * 16384,
        "HEAD, µs": heads / CALLS * 1e6,
        "PUT of 500 bytes, µs": puts / CALLS * 1e6,
    }


def main(rounds: int) -> None:
    facts = real.engine()
    clients: dict[str, Any] = {"ours": Ours(facts), "botocore + urllib3": Theirs(facts)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name, ask in clients.items():
            found[name].append(costs(ask, f"signers-{name.partition(' ')[0]}"))
    medians = {
        name: {what: statistics.median(one[what] for one in all) for what in all[0]} for name, all in found.items()
    }
    print(f"load {os.getloadavg()[0]:.1f}, {rounds} rounds in turn, medians of processor time")
    for what, ours in medians["ours"].items():
        theirs = medians["botocore + urllib3"][what]
        print(f"{what:<24} ours {ours:8.2f}   botocore + urllib3 {theirs:8.2f}   {theirs / ours:.2f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
