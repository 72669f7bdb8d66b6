"""Signatures, with the examples that AWS published for S3."""

from __future__ import annotations

import calendar
import hashlib

import pytest

from tus.stores.s3.signing import EMPTY, Credentials, Signer, query_of

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = "examplebucket.s3.amazonaws.com"


@pytest.fixture
def signer() -> Signer:
    """On the day of the examples."""
    then = calendar.timegm((2013, 5, 24, 0, 0, 0))
    return Signer(lambda: KEYS, "us-east-1", clock=lambda: then)


@pytest.mark.parametrize(
    "method, path, pairs, headers, payload, signature",
    [
        (
            *("GET", "/test.txt", [], {"range": "bytes=0-9"}, EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            *("PUT", "/test%24file.text", []),
            {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            *("GET", "/", [("lifecycle", "")], {}, EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            *("GET", "/", [("prefix", "J"), ("max-keys", 2)], {}, EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get", "put", "lifecycle", "list"],
)
def test_request_is_signed_as_aws_does(signer: Signer, method, path, pairs, headers, payload, signature) -> None:
    """The same requests have the same signatures."""
    signed = signer.headers(method, path, query_of(pairs), {**headers, "host": HOST}, payload)

    assert signed["authorization"].endswith(f"Signature={signature}")


def test_url_is_signed_as_aws_does(signer: Signer) -> None:
    """For whoever gets it, and for a day."""
    query = signer.presigned("GET", HOST, "/test.txt", [], 86400)

    assert query.endswith("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_keys_for_a_while_bring_their_token(signer: Signer) -> None:
    """It is signed as well."""
    signer = Signer(lambda: KEYS._replace(token="t"), "us-east-1")

    signed = signer.headers("GET", "/", "", {"host": HOST}, EMPTY)

    assert signed["x-amz-security-token"] == "t"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token," in signed["authorization"]


def test_new_keys_are_used_at_once() -> None:
    """What is derived from the old ones is not used any more."""
    found = [KEYS, KEYS._replace(secret="other"), KEYS]
    signer = Signer(lambda: found.pop(), "us-east-1", clock=lambda: 0)

    first, second, third = (signer.headers("GET", "/", "", {"host": HOST}, EMPTY)["authorization"] for _ in range(3))

    assert first == third != second
