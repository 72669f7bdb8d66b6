"""Random header values: every one is answered, in order, and none harms an upload.

The server is real; what is wrong may be in any of its layers.
"""

from __future__ import annotations

import random

import pytest

from tests.draft.client import TYPE, VERSIONS, Client

FIELDS = (
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Draft-Interop-Version",
    "Upload-Metadata",
    "Content-Digest",
    "Repr-Digest",
    "Want-Repr-Digest",
    "Content-Disposition",
    "Content-Type",
    "X-HTTP-Method-Override",
    "Tus-Resumable",
)
PIECES = (
    ["?1", "?0", "?2", "0", "5", "-1", "8", "3", "6", "99", "1" * 15, "1" * 16, "1.5", "true", TYPE, "text/plain"]
    + [";", "; a=1", ",", ", ", '"', "=", ":", "::", ":YQ==:", "sha-256=", "sha-256=:AAAA:", "sha-512=10", "(", ")"]
    + [
        "inline; filename=",
        "filename*=UTF-8''%ff",
        "\xff",
        "\xc3\xa9",
        "\t",
        " ",
        "@",
        "%",
        "*",
        "a b",
        "1.0.0",
        "PATCH",
    ]
)
METHODS = ("POST", "PUT", "PATCH", "HEAD", "GET", "DELETE", "OPTIONS")
EXPECTED = {200, 201, 204, 400, 404, 405, 409, 410, 411, 412, 413, 415}


def values(chance: random.Random) -> dict[str, str]:
    chosen = chance.sample(FIELDS, chance.randint(0, 6))
    return {name: "".join(chance.choices(PIECES, k=chance.randint(0, 3))).strip() for name in chosen}


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))])
def test_any_value_of_any_field(client: Client, seed: int) -> None:
    """The answer has an expected status; what was complete or stored before is so afterwards."""
    chance = random.Random(seed)
    kept = client.created(b"hello", {"Upload-Length": "11"})
    for _ in range(60):
        speaking = client.speaking(chance.choice([*VERSIONS, None]))
        method = chance.choice(METHODS)
        url = chance.choice([None, client.created(b"hello")])

        answer = speaking.ask(method, url, values(chance), chance.choice([b"", b" world"]))

        assert answer.status in EXPECTED, (method, url, answer)
    assert client.offset(kept) == (5, False)
    assert client.stored(kept) == b"hello"


@pytest.mark.parametrize("seed", range(3))
def test_only_a_valid_word_completes(client: Client, seed: int) -> None:
    """Whatever else the field says, the application sees nothing."""
    chance = random.Random(seed)
    for _ in range(60):
        value = "".join(chance.choices([piece for piece in PIECES if piece != "?1"], k=chance.randint(0, 3))).strip()
        url = client.created(b"hello")

        client.append(url, 5, b"", complete=None, headers={"Upload-Complete": value})

        assert client.offset(url) == (5, False)
    assert client.handed() == []
