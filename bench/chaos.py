"""Ten minutes in which everything dies, with leases in Redis and then in the bucket.

    python bench/chaos.py [SECONDS [SEED]]

Three servers on one engine; fifty clients, each request of which goes to a random server, and of tuspy and
tus-js-client four each, whose connections do. Servers are killed and stand
still, calls to the engine fail and the engine stops, Redis dies and forgets everything, servers are cut off from it. It
ends with an error unless every file is right, no offset ever fell, and each upload was handed over once (twice only
where the server that did it was hurt before it could say so). `tests/s3/cluster.py` has the rules.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.s3.cluster import hurt  # noqa: E402

CLIENTS = 50
FOREIGN = 4  # of each client that others wrote


def main(seconds: float = 600.0, seed: int = 0) -> None:
    for leases in ("redis", "s3"):
        home = Path(tempfile.mkdtemp(prefix="tus-chaos-"))
        happened = hurt(seconds / 2, home, clients=CLIENTS, foreign=FOREIGN, seed=seed, leases=leases)
        print(leases, json.dumps(happened, indent=1), flush=True)
        shutil.rmtree(home)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3]))
